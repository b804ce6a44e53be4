"""Mutation testing: the program broken in one place at a time, and whether a test notices.

`python -m tests.mutation AREA` lays out a copy of the project as mutmut wants it and runs it there;
`areas.py` says what is broken and which tests are asked. mutmut is no dependency of the project: `make
campaign-mutation` installs it into `.venv`.
"""
