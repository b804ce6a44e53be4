"""Where a device can be called: `HOST:PORT`, or `[V6]:PORT`, as configured, typed, announced and dialled.

Pure text: no name is looked up here. The host may be any word without spaces or slashes; what cannot be
found at it is found out by dialling.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from fleetsync.errors import UserError

MAX_PORT = 65_535

_FORM = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[^\s:\[\]/@]+)):(?P<port>\d{1,5})")


class Address(NamedTuple):
    """A host name or an IP address without brackets, and a port; 0 means a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """The address in this text. Raises `UserError`."""
    found = _FORM.fullmatch(text.strip())
    if found is None or int(found["port"]) > MAX_PORT:
        raise UserError(f"{text[:80]!r} is not HOST:PORT, or [V6]:PORT")
    return Address(found["six"] or found["host"], int(found["port"]))
