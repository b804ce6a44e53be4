"""The daemon as a whole: every part built, joined, served and closed again."""

from fleetsync.app.serve import serve

__all__ = ["serve"]
