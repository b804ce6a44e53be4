"""The watcher where the system lets nobody watch more: said, survived, and over when there is room."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetsync.replica import watcher as module
from fleetsync.replica.watcher import Watcher
from tests.system.fleet import until


@pytest.fixture
def hints() -> list[frozenset[str] | None]:
    return []


@pytest.fixture
def watcher(tmp_path: Path, hints: list[frozenset[str] | None]) -> Iterator[Watcher]:
    (tmp_path / "skills").mkdir()
    made = Watcher(tmp_path, hints.append)
    yield made
    made.stop()


def no_room(*_: object) -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


def test_no_instance_at_all_is_said_and_tried_again(
    watcher: Watcher, hints: list[frozenset[str] | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon starts without a single hint, and has them once the system allows it."""

    def refuse() -> None:
        raise OSError(errno.EMFILE, "inotify instance limit reached")

    with monkeypatch.context() as patch:
        patch.setattr(module, "Observer", refuse)
        watcher.start()
        assert "max_user_instances" in str(watcher.trouble)
        watcher.tend()
        assert "max_user_instances" in str(watcher.trouble)
    watcher.tend()
    assert not watcher.trouble
    assert hints[-1] is None, "what was missed meanwhile is looked for"


def test_a_directory_that_found_no_room_is_said(
    watcher: Watcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """watchdog is silent about directories below a root that it cannot watch; the watcher is not."""
    watcher.start()
    assert watcher.trouble is None
    with monkeypatch.context() as patch:
        patch.setattr(module, "one_more_watch", no_room)
        (tmp_path / "skills/deploy").mkdir()
        until(lambda: watcher.trouble, "it is said")
        assert "max_user_watches" in str(watcher.trouble)
    watcher.tend()
    assert watcher.trouble is None


def test_a_root_that_cannot_be_looked_at_is_said_and_tried_again(
    watcher: Watcher, hints: list[frozenset[str] | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home whose directories may not be searched for a while ends neither the daemon nor the watching."""

    def refuse(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "is_dir", refuse)
        watcher.start()
        assert "cannot be watched: Permission denied" in str(watcher.trouble)
    watcher.tend()
    assert not watcher.trouble
    assert hints[-1] is None, "what was missed meanwhile is looked for"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_an_error_has_ended_is_begun_anew(tmp_path: Path) -> None:
    """Nothing else would tell that changes are found by the sweep alone from then on."""
    hints: list[frozenset[str] | None] = []

    def fails_once(touched: frozenset[str] | None) -> None:
        hints.append(touched)
        if len(hints) == 1:
            raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / "skills/deploy").mkdir(parents=True)
    watcher = Watcher(tmp_path, fails_once)
    watcher.start()
    try:
        manifest = tmp_path / "skills/deploy/skill.yaml"
        manifest.write_text("name: deploy")
        until(lambda: watcher._observer and not watcher._observer.is_alive(), "the thread has ended")
        watcher.tend()
        manifest.write_text("name: other")
        until(lambda: frozenset({"skills/deploy/skill.yaml"}) in hints[1:], "changes are seen again")
    finally:
        watcher.stop()


def test_a_stopped_watcher_stays_stopped(watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be watched is no reason to begin again after the end."""
    monkeypatch.setattr(module, "one_more_watch", no_room)
    watcher.start()
    watcher.stop()
    monkeypatch.undo()
    watcher.tend()
    assert watcher.trouble is not None


def test_a_home_that_was_made_anew_is_watched(
    watcher: Watcher, tmp_path: Path, hints: list[frozenset[str] | None]
) -> None:
    """Also when the new directory was given the inode of the old one, as ext4 does at once."""
    watcher.start()
    shutil.rmtree(tmp_path)
    (tmp_path / "skills/deploy").mkdir(parents=True)
    watcher.tend()
    until(lambda: None in hints, "all of it is looked at")
    hints.clear()
    (tmp_path / "skills/deploy/skill.yaml").write_text("name: deploy\n")
    until(lambda: frozenset({"skills/deploy/skill.yaml"}) in hints, "it is watched")
