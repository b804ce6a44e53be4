"""The fixtures of attacks on real daemons, under the names that tests ask for."""

from __future__ import annotations

from tests.system.fleet import fleet

__all__ = ["fleet"]
