"""Measurements of the budgets; `python -m bench`."""
