"""The only code that writes files.

Rules of the file: every path below a root is walked component by component without following
symlinks; what is written is fsynced before it is believed; a short write is an error that says how
much was written; foreign `OSError`s become `StorageFailed` with the path and the errno in words.
It knows nothing of datasets, journals or the order in which these primitives make a protocol.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final

from fleetsync.errors import IllegalName, LockBusy, StorageFailed

PRIVATE_DIR: Final = 0o700
PRIVATE_FILE: Final = 0o600
LOCK_PATIENCE: Final = 5.0
_RETRY_FIRST, _RETRY_MOST = 0.001, 0.05
_OPEN = os.O_CLOEXEC | os.O_NOFOLLOW
_DIRECTORY = _OPEN | os.O_RDONLY | os.O_DIRECTORY
_TEMPORARY: Final = re.compile(r"\..+\.([0-9]{1,10})\.tmp")
_GET_GENERATION: Final = 0x8008_7601  # FS_IOC_GETVERSION of linux/fs.h

Identity = tuple[int, int, int]
"""Device, inode, and which directory this is of all that have had that inode; 0 where that is not told."""


class ShortWrite(StorageFailed):
    """The disk took only part of a write."""

    code = "short-write"

    def __init__(self, message: str, written: int) -> None:
        super().__init__(message)
        self.written = written


@contextmanager
def storage_errors(what: str | Path) -> Iterator[None]:
    """Turn an `OSError` of the block into `StorageFailed` naming `what`; absence stays absence, of `what`."""
    try:
        yield
    except FileNotFoundError as error:
        if "/" not in str(error.filename):  # what lies innermost has been named in full
            error.filename = str(what)
        raise
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):
            raise IllegalName(f"{what}: a symbolic link is in the way") from error
        raise StorageFailed(f"{what}: {os.strerror(error.errno or 0)} (errno {error.errno})") from error


class Folder:
    """An open directory: everything happens relative to its descriptor, so a rename above it or a
    swapped symlink cannot lead a write astray. Close it, or use it as a context manager.
    """

    def __init__(self, fd: int, label: str) -> None:
        self.fd = fd
        self.label = label

    @classmethod
    def open(cls, path: Path) -> Folder:
        """An absolute directory; symlinks in the path itself are followed (it is a root)."""
        with storage_errors(path):
            return cls(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), str(path))

    def __enter__(self) -> Folder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the descriptor back; idempotent."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def identity(self) -> Identity:
        """What tells this directory from another one of the same name."""
        status = os.fstat(self.fd)
        return status.st_dev, status.st_ino, _generation(self.fd, status)

    def at(self, name: str) -> str:
        """The name as errors show it."""
        return f"{self.label}/{name}"

    def enter(self, relative: str, *, create: bool = False) -> Folder:
        """The directory `relative` below this one. Raises FileNotFoundError, `IllegalName` for a
        symlink, `StorageFailed`. With `create`, missing ones are made (0700) and fsynced.
        """
        fd = os.dup(self.fd)
        label = self.label
        try:
            for part in (p for p in relative.split("/") if p):
                label = f"{label}/{part}"
                with storage_errors(label):
                    fd = _descend(fd, part, create=create)
        except BaseException:
            os.close(fd)
            raise
        return Folder(fd, label)

    def parent_of(self, relative: str, *, create: bool = False) -> tuple[Folder, str]:
        """The open directory that holds `relative`, and the last component."""
        directory, _, name = relative.rpartition("/")
        return self.enter(directory, create=create), name

    def open_file(self, name: str, flags: int, mode: int = PRIVATE_FILE) -> int:
        """A descriptor of a regular file; anything else (socket, device, symlink) is refused."""
        with storage_errors(self.at(name)):
            fd = os.open(name, flags | _OPEN | os.O_NONBLOCK, mode, dir_fd=self.fd)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise IllegalName(f"{self.at(name)} is not a regular file")
        return fd

    def status(self, name: str) -> os.stat_result | None:
        """lstat of a name in here, None if there is nothing."""
        with storage_errors(self.at(name)), suppress(FileNotFoundError):
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        return None

    def read(self, name: str, limit: int) -> bytes:
        """The whole file; raises FileNotFoundError, `StorageFailed` when it is over `limit` bytes."""
        fd = self.open_file(name, os.O_RDONLY)
        try:
            with storage_errors(self.at(name)):
                data = read_span(fd, 0, limit + 1)
        finally:
            os.close(fd)
        if len(data) > limit:
            raise StorageFailed(f"{self.at(name)} is larger than {limit} bytes")
        return data

    def names(self) -> list[str]:
        """The names in here, sorted."""
        with storage_errors(self.label):
            return sorted(os.listdir(self.fd))

    def make(self, name: str) -> None:
        """A new private directory; exists = fine."""
        with storage_errors(self.at(name)), suppress(FileExistsError):
            os.mkdir(name, PRIVATE_DIR, dir_fd=self.fd)

    def create(self, name: str, data: bytes, mode: int = PRIVATE_FILE) -> None:
        """A new file with this content, fsynced; raises `StorageFailed` and leaves none if it fails."""
        fd = self.open_file(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with storage_errors(self.at(name)):
                os.fchmod(fd, mode)
                write_fully(fd, data, self.at(name))
                os.fsync(fd)
        except BaseException:
            self.remove(name)
            raise
        finally:
            os.close(fd)

    def remove(self, name: str) -> None:
        """Unlink; absence is fine."""
        with storage_errors(self.at(name)), suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.fd)

    def remove_tree(self, name: str) -> None:
        """Remove a directory of ours and all below it, never following a symlink."""
        try:
            inner = self.enter(name)
        except FileNotFoundError:
            return
        with inner:
            for entry in inner.names():
                status = inner.status(entry)
                if status is not None and stat.S_ISDIR(status.st_mode):
                    inner.remove_tree(entry)
                else:
                    inner.remove(entry)
        with storage_errors(self.at(name)):
            os.rmdir(name, dir_fd=self.fd)

    def sync(self) -> None:
        """Make renames and creations in here durable."""
        with storage_errors(self.label):
            os.fsync(self.fd)

    def rename_to(self, name: str, target: Folder, target_name: str) -> None:
        """Rename, replacing what is there."""
        with storage_errors(target.at(target_name)):
            os.rename(name, target_name, src_dir_fd=self.fd, dst_dir_fd=target.fd)

    def move_into_place(self, name: str, target: Folder, target_name: str) -> bool:
        """Rename unless the target exists: False then, and nothing has changed."""
        with storage_errors(target.at(target_name)):
            return _rename_exclusive(self.fd, name, target.fd, target_name)

    def exchange(self, name: str, target: Folder, target_name: str) -> None:
        """Swap two names at once, so that whatever was in place is kept whole under `name`."""
        with storage_errors(target.at(target_name)):
            _swap(self.fd, name, target.fd, target_name)


def _descend(fd: int, part: str, *, create: bool) -> int:
    """The descriptor of a child directory; consumes `fd` when it succeeds."""
    try:
        child = os.open(part, _DIRECTORY, dir_fd=fd)
    except FileNotFoundError:
        if not create:
            raise
        with suppress(FileExistsError):
            os.mkdir(part, PRIVATE_DIR, dir_fd=fd)
        os.fsync(fd)
        child = os.open(part, _DIRECTORY, dir_fd=fd)
    except NotADirectoryError as error:  # what O_NOFOLLOW|O_DIRECTORY says of a symlink
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from error
    os.close(fd)
    return child


# --- reading and writing descriptors ----------------------------------------------------------------


def read_span(fd: int, offset: int, length: int) -> bytes:
    """Up to `length` bytes from `offset`; fewer at the end of the file."""
    chunks: list[bytes] = []
    while length > 0:
        chunk = os.pread(fd, min(length, 1 << 20), offset)
        if not chunk:
            break
        chunks.append(chunk)
        offset += len(chunk)
        length -= len(chunk)
    return b"".join(chunks)


def write_fully(fd: int, data: bytes, label: str) -> None:
    """One `write`, and the rest only if the kernel took less without an error.

    A full disk shows as a short write first: `ShortWrite` then tells how many bytes are in the file.
    """
    written = 0
    while written < len(data):
        try:
            taken = os.write(fd, memoryview(data)[written:])
        except OSError as error:
            raise ShortWrite(
                f"{label}: {os.strerror(error.errno or 0)} (errno {error.errno})", written
            ) from error
        written += taken


def blank(fd: int, offset: int, length: int) -> None:
    """Overwrite bytes of ours with newlines, in place: empty lines mean nothing to any reader."""
    while length > 0:
        written = os.pwrite(fd, b"\n" * length, offset)
        offset += written
        length -= written
    os.fsync(fd)


@contextmanager
def flocked(
    fd: int,
    label: str,
    *,
    patience: float = LOCK_PATIENCE,
    monotonic: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Hold flock(2) LOCK_EX on `fd`; raises `LockBusy` after `patience` seconds.

    Never blocks in the kernel: a stopped holder must not stop the daemon.
    """
    deadline, delay = monotonic() + patience, _RETRY_FIRST
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise StorageFailed(f"{label}: cannot be locked: {os.strerror(error.errno or 0)}") from error
        if monotonic() > deadline:
            raise LockBusy(f"{label} is locked by another program for more than {patience:g} s")
        pause(delay)
        delay = min(delay * 2, _RETRY_MOST)
    try:
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)


# --- files of our own, outside home ----------------------------------------------------------------


def ensure_private_dir(path: Path) -> None:
    """Make the directory (and parents) and keep it 0700."""
    with storage_errors(path):
        path.mkdir(mode=PRIVATE_DIR, parents=True, exist_ok=True)
        if stat.S_IMODE(path.stat().st_mode) != PRIVATE_DIR:
            path.chmod(PRIVATE_DIR)


def replace_private(path: Path, data: bytes) -> None:
    """Replace a file of ours whole (0600): temporary, fsync, rename, fsync of the directory."""
    temporary = f".{path.name}.{os.getpid()}.tmp"
    with Folder.open(path.parent) as folder:
        folder.remove(temporary)
        folder.create(temporary, data)
        folder.rename_to(temporary, folder, path.name)
        folder.sync()


def sweep_private(directory: Path) -> None:
    """Remove what `replace_private` left in there of processes that died meanwhile."""
    with Folder.open(directory) as folder:
        for name in folder.names():
            found = _TEMPORARY.fullmatch(name)
            if found is not None and not _is_another_process(int(found[1])):
                folder.remove(name)


def _is_another_process(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it lives, and is not this user's
        return True
    return pid != os.getpid()


# --- renames the standard library does not have ------------------------------------------------------

_EXCLUSIVE_LINUX, _EXCHANGE_LINUX = 1, 2  # linux/fs.h RENAME_NOREPLACE, RENAME_EXCHANGE
_SWAP_DARWIN, _EXCLUSIVE_DARWIN = 2, 4  # sys/stdio.h RENAME_SWAP, RENAME_EXCL
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


def _rename_with(flags: int, fd: int, name: str, target_fd: int, target: str) -> None:
    """renameat2(2) or renameatx_np(2); raises `OSError`, ENOSYS where there is neither."""
    call = getattr(_LIBC, "renameat2" if sys.platform == "linux" else "renameatx_np", None)
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if call(fd, name.encode(), target_fd, target.encode(), ctypes.c_uint(flags)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _generation(fd: int, status: os.stat_result) -> int:
    """The inode of a directory that was removed is given to the next one at once."""
    if sys.platform == "darwin":
        return int(status.st_birthtime * 1e6)
    try:
        return int.from_bytes(fcntl.ioctl(fd, _GET_GENERATION, bytes(8))[:4], sys.byteorder)
    except OSError:
        return 0


_LIBC = ctypes.CDLL(None, use_errno=True)


def _rename_exclusive(fd: int, name: str, target_fd: int, target: str) -> bool:
    flags = _EXCLUSIVE_LINUX if sys.platform == "linux" else _EXCLUSIVE_DARWIN
    try:
        _rename_with(flags, fd, name, target_fd, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        return _link_into_place(fd, name, target_fd, target)
    return True


def _link_into_place(fd: int, name: str, target_fd: int, target: str) -> bool:
    """Where the filesystem cannot rename exclusively: a hard link is as exclusive, for files."""
    try:
        os.link(name, target, src_dir_fd=fd, dst_dir_fd=target_fd, follow_symlinks=False)
    except FileExistsError:
        return False
    os.unlink(name, dir_fd=fd)
    return True


def _swap(fd: int, name: str, target_fd: int, target: str) -> None:
    flags = _EXCHANGE_LINUX if sys.platform == "linux" else _SWAP_DARWIN
    try:
        _rename_with(flags, fd, name, target_fd, target)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        _swap_by_link(fd, name, target_fd, target)


def _swap_by_link(fd: int, name: str, target_fd: int, target: str) -> None:
    """Where names cannot be exchanged: keep the old file by a second link, then rename over it.

    The link is checked to be what is in place right before the rename; a file that another program
    renames in within those microseconds is the one thing this fallback cannot keep.
    """
    kept = f"{name}.kept"
    while True:
        os.link(target, kept, src_dir_fd=target_fd, dst_dir_fd=fd, follow_symlinks=False)
        linked = os.stat(kept, dir_fd=fd, follow_symlinks=False).st_ino
        if os.stat(target, dir_fd=target_fd, follow_symlinks=False).st_ino == linked:
            break
        os.unlink(kept, dir_fd=fd)
    os.rename(name, target, src_dir_fd=fd, dst_dir_fd=target_fd)
    os.rename(kept, name, src_dir_fd=fd, dst_dir_fd=fd)
