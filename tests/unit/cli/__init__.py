"""The command line, against files and a fake daemon."""
