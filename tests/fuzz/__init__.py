"""Every parser that reads what a peer or a disk gives, and what must hold whatever it reads.

`targets.py` is the table: one row per parser. `python -m tests.fuzz` looks for new inputs (that needs
atheris); the inputs that were found worth keeping stand in `corpus/` and are replayed by `make test`.
"""
