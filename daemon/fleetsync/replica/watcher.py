"""Hints that files under home changed (watchdog). The sweep is the truth; this only makes it quick.

Watches the directories in which datasets live and nothing else, wakes its reader once per batch, and
says in words when hints cannot be had: the inotify limit, an overflow, a filesystem without events.
A hint names a path; whether anything is there, and what, is for the replica to find out.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

from fleetsync import datasets
from fleetsync.errors import StorageFailed
from fleetsync.files import Folder, Identity
from fleetsync.replica import approvals
from fleetsync.replica.layout import WATCHED_ROOTS, leaves_of
from fleetsync.replica.publishing import is_public_file

_EVENTS: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileDeletedEvent,
    DirCreatedEvent,
    DirMovedEvent,
    DirDeletedEvent,
]
_OVERFLOW_LOGGER = "watchdog.observers.inotify_c"
_STATS = "stats.json"
_LIBC = ctypes.CDLL(None, use_errno=True)
_IN_DELETE_SELF = 0x400  # linux/inotify.h

Hint = Callable[[frozenset[str] | None], None]
"""Called from a watcher thread: the touched paths, or None when anything may have changed."""


class Watcher(FileSystemEventHandler):
    """Watches one home until stopped. `hint` must be safe to call from any thread."""

    def __init__(self, home: Path, hint: Hint) -> None:
        self._home = home.resolve()
        self._hint = hint
        self._observer: BaseObserver | None = None
        self._running = False
        self._roots: dict[str, ObservedWatch] = {}
        self._watched: Identity | None = None
        self._lock = threading.Lock()
        self._overflow = _OverflowHandler(self._overflowed)
        self.trouble: str | None = None
        """Why hints are missing, for `status`; None while all is well."""

    def start(self) -> None:
        """Begin; never raises for a home that cannot be watched: the sweep carries on alone."""
        logging.getLogger(_OVERFLOW_LOGGER).addHandler(self._overflow)
        self._watched = self._identity()
        self._running = True
        try:
            self._observer = Observer()
            self._observer.start()
        except OSError as error:
            self._observer, self.trouble = None, _explain(self._home, error)
            return
        self._watch(self._home, recursive=False)
        self._watch_roots()
        self._look_for_room()

    def stop(self) -> None:
        """End all threads; idempotent."""
        self._running = False
        logging.getLogger(_OVERFLOW_LOGGER).removeHandler(self._overflow)
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            observer.join()

    def tend(self) -> None:
        """Begin anew if home went and came back as another directory, if not all could be watched, or if an
        error has ended the thread.
        """
        ended = self._observer is not None and not self._observer.is_alive()
        if self._running and (self.trouble is not None or ended or self._identity() != self._watched):
            self.stop()
            self._roots.clear()
            self.trouble = None
            self.start()
            self._hint(None)

    def _identity(self) -> Identity | None:
        try:
            with Folder.open(self._home) as home:
                return home.identity()
        except (FileNotFoundError, StorageFailed):
            return None

    def dispatch(self, event: FileSystemEvent) -> None:
        """Called by watchdog for each event, in its thread."""
        names = {self._relative(event.src_path), self._relative(event.dest_path)} - {""}
        if event.is_directory:
            inside = [name for name in names if name.partition("/")[0] in WATCHED_ROOTS]
            if inside:
                self._watch_roots()
                self._look_for_room()
                self._hint_directory(event, inside)
            return
        touched = frozenset(name for name in names if _concerns(name))
        if touched:
            self._hint(touched)

    def _hint_directory(self, event: FileSystemEvent, names: list[str]) -> None:
        """A new directory is looked into; when one is gone or moved, everything is looked at."""
        leaves = leaves_of(names[0]) if isinstance(event, DirCreatedEvent) else None
        if leaves is None:
            self._hint(None)
        elif leaves:
            self._hint(leaves)

    def _relative(self, path: bytes | str) -> str:
        text = os.fsdecode(path)
        prefix = f"{self._home}{os.sep}"
        return text[len(prefix) :] if text.startswith(prefix) else ""

    def _watch_roots(self) -> None:
        with self._lock:
            for name in WATCHED_ROOTS:
                try:
                    self._watch_root(name)
                except OSError as error:  # it cannot even be told what is there
                    self.trouble = _explain(self._home / name, error)

    def _watch_root(self, name: str) -> None:
        root = self._home / name
        if not root.is_dir():
            self._forget(name)
        elif name not in self._roots and not root.is_symlink():
            watch = self._watch(root, recursive=True)
            if watch is not None:
                self._roots[name] = watch

    def _forget(self, name: str) -> None:
        watch = self._roots.pop(name, None)
        if watch is not None and self._observer is not None:
            self._observer.unschedule(watch)

    def _watch(self, path: Path, *, recursive: bool) -> ObservedWatch | None:
        if self._observer is None:
            return None
        try:
            return self._observer.schedule(self, str(path), recursive=recursive, event_filter=_EVENTS)
        except OSError as error:
            self.trouble = _explain(path, error)
            return None

    def _look_for_room(self) -> None:
        """watchdog says nothing of directories that it could not watch; but if there is room for one watch
        more, the last one found room too.
        """
        if self.trouble is None and (error := one_more_watch(self._home)) is not None:
            self.trouble = _explain(self._home, error)

    def _overflowed(self) -> None:
        self._hint(None)


def _concerns(name: str) -> bool:
    """Whether a path is one that the replica wants to look at."""
    if name.rpartition("/")[2] == _STATS:
        return datasets.find(datasets.sibling(name, "events.jsonl")) is not None
    return datasets.find_file(name) is not None or is_public_file(name) or approvals.is_marker(name)


def _explain(path: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EMFILE):
        return (
            f"{path} cannot be watched, or not all of it: the limit of inotify watches is reached; changes "
            "are found by the sweep (raise fs.inotify.max_user_watches and max_user_instances)"
        )
    return f"{path} cannot be watched: {os.strerror(error.errno or 0)}; changes are found by the sweep"


def one_more_watch(path: Path) -> OSError | None:
    """What the system says to one more watch; None if it may be had, or where there is no limit."""
    if sys.platform != "linux":
        return None
    instance = _LIBC.inotify_init1(os.O_CLOEXEC)
    if instance < 0:
        return None  # no instance more, but no watch less
    try:
        watch = _LIBC.inotify_add_watch(instance, os.fsencode(path), _IN_DELETE_SELF)
        number = ctypes.get_errno()
        return OSError(number, os.strerror(number)) if watch < 0 and number == errno.ENOSPC else None
    finally:
        os.close(instance)


class _OverflowHandler(logging.Handler):
    """The only sign watchdog gives of lost events is a warning in its log."""

    def __init__(self, overflowed: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._overflowed = overflowed

    def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - the signature of Handler
        """Any warning of that logger means that events were lost."""
        self._overflowed()
