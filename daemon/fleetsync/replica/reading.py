"""Reading register files: their bytes, the values in them, and what these have in common with others.

Reads, never writes. What a path means is looked up in the table of datasets; a path may name a file or a
part of one.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

from fleetsync import datasets
from fleetsync.errors import MalformedRecord
from fleetsync.files import Folder
from fleetsync.merge.register import GONE_DIGEST
from fleetsync.replica.layout import Look, look_of

LIMIT = datasets.MAX_BODY - 65_536
"""The largest value, bytes: with its version's header it stays under the item limit."""


def values_of(path: str, raw: bytes) -> Mapping[str, bytes]:
    """What of the file at or around a path travels; one that cannot be taken apart is put aside as it is."""
    file = datasets.file_of(path)
    row = datasets.find_file(file)
    try:
        return {} if row is None else datasets.contents(row, file, raw).values
    except MalformedRecord:
        return {path: raw} if file == path and row is not None and row.parts is None else {}


def found_at(path: str, raw: bytes) -> bytes:
    """The digest of what the file holds at this path. Raises `MalformedRecord` for a part that does not
    sync, and where the parts cannot be told from each other.
    """
    file, row = datasets.file_of(path), datasets.require(path)[1]
    if row.parts is None:
        return digest_of(path, values_of(path, raw)[path])
    contents = datasets.contents(row, file, raw)
    if path in contents.left_out:
        raise MalformedRecord(f"what stands there does not sync: {contents.left_out[path]}")
    return digest_of(path, contents.values[path]) if path in contents.values else GONE_DIGEST


def digest_of(path: str, value: bytes) -> bytes:
    """What spellings of this value have in common, by the row of its path."""
    return datasets.require(path)[1].digest(value)


def read_file(root: Folder, file: str) -> tuple[bytes, Look]:
    """As `read`, by its path under home. Raises FileNotFoundError."""
    folder, name = root.parent_of(file)
    with folder:
        return read(folder, name)


def read(folder: Folder, name: str) -> tuple[bytes, Look]:
    """The bytes of the file (one more than `LIMIT` at most) and its look before reading."""
    status = folder.status(name)
    if status is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder.at(name))
    if status.st_size > LIMIT:
        return b"\0" * (LIMIT + 1), look_of(status)
    return folder.read(name, LIMIT + 1), look_of(status)
