"""`python -m fleetsync` is the same as the installed command."""

from fleetsync.cli import main

if __name__ == "__main__":
    main()
