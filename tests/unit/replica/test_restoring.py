"""A home that goes back in time, all at once or file by file (SEMANTICS §2.5)."""

from __future__ import annotations

import shutil

import msgspec
import pytest

from fleetsync.errors import NotFound
from fleetsync.files import Folder
from fleetsync.replica.guard import Cause
from fleetsync.replica.restoring import MANY, Restoring
from tests.fakes.laptops import SECOND, Laptop, meet
from tests.faults.scenarios import LOCAL, MANIFEST, NEWER

NEWEST = NEWER.replace(b"2026-06-30", b"2026-09-30")
SKILLS = [f"skill-{n}" for n in range(MANY + 2)]
ONE, *OTHERS = FILES = [f"skills/{name}/skill.yaml" for name in SKILLS]


@pytest.fixture
def pair(pair: tuple[Laptop, Laptop]) -> tuple[Laptop, Laptop]:
    """Two laptops on which all skills have been edited since they were made."""
    one, two = pair
    for name in SKILLS:
        one.make(name, *LOCAL)
    write(one, NEWER, *FILES)
    meet(one, two)
    return pair


def write(laptop: Laptop, value: bytes, *files: str) -> None:
    """The daemon looks after each file."""
    for file in files:
        laptop.path(file).write_bytes(value)
        laptop.replica.scan([file])


def wait(laptop: Laptop, seconds: float) -> None:
    """As the daemon does: it settles what is due."""
    laptop.now += int(seconds * SECOND)
    if laptop.replica.due_in() == 0:
        laptop.replica.settle()


def standing(laptop: Laptop) -> set[bytes]:
    return {laptop.path(file).read_bytes() for file in FILES}


def asked(laptop: Laptop) -> list[str]:
    """What a person is asked about as a restored home."""
    held = laptop.replica.guarded
    if held is None:
        return []
    assert held.cause is Cause.RESTORED
    return held.paths


def test_a_backup_that_comes_back_file_by_file_is_a_restored_home(pair: tuple[Laptop, Laptop]) -> None:
    """While the daemon watches: the current values stand again on both, and all of it is asked about."""
    one, two = pair
    for file in FILES:
        write(one, MANIFEST, file)
        one.now += SECOND
    assert asked(one) == FILES
    assert standing(one) == {NEWER}
    meet(one, two)
    assert standing(two) == {NEWER}
    one.replica.decide(confirm=True)
    meet(one, two)
    assert standing(one) == standing(two) == {MANIFEST}


def test_what_of_a_backup_comes_later_belongs_to_it(pair: tuple[Laptop, Laptop]) -> None:
    """While the question is open, for some minutes."""
    one, _ = pair
    write(one, MANIFEST, *OTHERS)
    assert asked(one) == OTHERS
    wait(one, 30)
    write(one, MANIFEST, ONE)
    assert asked(one) == FILES
    assert standing(one) == {NEWER}


def test_a_few_files_beside_a_log_that_lost_lines_are_a_restored_home(pair: tuple[Laptop, Laptop]) -> None:
    """One is enough then; the log is refilled."""
    one, two = pair
    log = one.path("skills/skill-0/events.jsonl")
    log.write_bytes(LOCAL[0] + b"\n")
    write(one, MANIFEST, ONE)
    assert asked(one) == [ONE]
    meet(one, two)
    assert set(LOCAL) <= set(log.read_bytes().split(b"\n"))


@pytest.mark.parametrize("file", FILES[:2])
def test_one_file_that_goes_back_is_an_edit(pair: tuple[Laptop, Laptop], file: str) -> None:
    """A person may take an edit back; it travels as soon as no other file has followed."""
    one, two = pair
    write(one, MANIFEST, file)
    due = one.replica.due_in()
    assert due is not None
    assert 0 < due <= 2
    wait(one, due)
    assert one.replica.due_in() is None
    assert asked(one) == []
    meet(one, two)
    assert two.path(file).read_bytes() == one.path(file).read_bytes() == MANIFEST


def test_an_edit_meanwhile_is_an_edit_at_once(pair: tuple[Laptop, Laptop]) -> None:
    """What went back and forth was never judged."""
    one, two = pair
    write(one, MANIFEST, ONE)
    write(one, NEWEST, ONE)
    assert one.replica.due_in() is None
    meet(one, two)
    assert two.path(ONE).read_bytes() == NEWEST


def test_what_a_peer_brings_meanwhile_does_not_judge(pair: tuple[Laptop, Laptop]) -> None:
    """Its version waits; then what went back is an edit that was concurrent with it, and nothing is lost."""
    one, two = pair
    write(one, MANIFEST, ONE)
    write(two, NEWEST, ONE)
    meet(one, two)
    assert one.path(ONE).read_bytes() == MANIFEST
    assert one.replica.due_in() is not None
    wait(one, 2)
    meet(one, two)
    assert one.path(ONE).read_bytes() == two.path(ONE).read_bytes()
    kept = {one.replica.history.value(ONE, entry.version)[1] for entry in one.replica.history.entries(ONE)}
    assert {MANIFEST, NEWEST} <= {*kept, one.path(ONE).read_bytes()}


def test_a_restored_home_is_known_while_the_daemon_was_down(pair: tuple[Laptop, Laptop]) -> None:
    """Then all is there at once, and nothing is waited for."""
    one, _ = pair
    one.replica.close()
    for file in FILES:
        one.path(file).write_bytes(MANIFEST)
    one.replica = one._open()
    assert asked(one) == FILES
    assert standing(one) == {NEWER}


def test_what_is_written_at_the_instant_of_the_verdict_is_an_edit(
    pair: tuple[Laptop, Laptop], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what still is what went back is taken for no edit; a file that has gone keeps no other waiting."""
    one, two = pair
    found = Restoring.found
    late = [one.path(FILES[1])]

    def found_before_another_wrote(self: Restoring, root: Folder, seen: list[object]) -> object:
        old = found(self, root, seen)  # type: ignore[arg-type]
        if len(old) > MANY and late:
            late.pop().write_bytes(NEWEST)
            one.path(FILES[2]).unlink()
        return old

    monkeypatch.setattr(Restoring, "found", found_before_another_wrote)
    for file in FILES:
        one.path(file).write_bytes(MANIFEST)
    one.replica.scan(None)
    assert not late
    one.pass_time(6)
    meet(one, two)
    assert [two.path(file).read_bytes() for file in FILES] == [NEWER, NEWEST, NEWER, NEWER, NEWER]


def put_back(laptop: Laptop, *skills: str) -> None:
    """All of home is another directory, with these skills as they were before."""
    home = laptop.path("")
    shutil.rmtree(home)
    for skill in skills:
        (home / "skills" / skill).mkdir(parents=True)
        (home / "skills" / skill / "skill.yaml").write_bytes(MANIFEST)
        (home / "skills" / skill / "events.jsonl").write_bytes(b"".join(each + b"\n" for each in LOCAL))


def test_a_backup_from_before_a_skill_asks_two_questions(pair: tuple[Laptop, Laptop]) -> None:
    """What it lacks is asked about first, since nothing moves until that is answered; what it holds next,
    also after a restart.
    """
    one, two = pair
    put_back(one, *SKILLS[1:])
    one.replica.scan(None)
    one.pass_time(60)
    held = one.replica.guarded
    assert held is not None
    assert (held.cause, held.paths) == (Cause.DELETED_HERE, [ONE])
    one.reopen()
    assert one.replica.decide(confirm=False) == [ONE]
    assert asked(one) == OTHERS
    meet(one, two)
    assert standing(one) == standing(two) == {NEWER}
    one.reopen()
    assert one.replica.decide(confirm=False) == OTHERS
    assert one.replica.guarded is None


def test_a_question_of_an_earlier_journal_stays_asked(pair: tuple[Laptop, Laptop]) -> None:
    """They held one question alone."""
    one, _ = pair
    one.replica._parts.journal.put("guard", msgspec.msgpack.encode(["restored", [ONE]]))
    one.reopen()
    assert asked(one) == [ONE]


def test_insisting_means_what_the_backup_held(pair: tuple[Laptop, Laptop]) -> None:
    """Also where that stood here before, and where a peer has edited it since: what history got last is
    something else then.
    """
    one, two = pair
    for value in (NEWEST, NEWEST + b"by: two\n"):
        write(two, value, *FILES)
        meet(one, two)
    write(one, NEWER, *FILES)
    assert asked(one) == FILES
    write(two, NEWEST + b"by: two again\n", ONE)
    meet(one, two)
    one.replica.decide(confirm=True)
    meet(one, two)
    assert standing(one) == standing(two) == {NEWER}


def test_what_history_has_lost_cannot_be_insisted_on(pair: tuple[Laptop, Laptop]) -> None:
    """The question stays, and may be answered the other way."""
    one, _ = pair
    write(one, MANIFEST, *FILES)
    for kept in (one.folder / "state" / "history").iterdir():
        kept.unlink()
    with pytest.raises(NotFound):
        one.replica.decide(confirm=True)
    assert asked(one) == FILES
    assert one.replica.decide(confirm=False) == FILES
    assert standing(one) == {NEWER}


def test_a_backup_is_known_when_a_peer_is_first_to_touch_it(pair: tuple[Laptop, Laptop]) -> None:
    """What a peer brings is brought into a file that is read first, whoever has written it."""
    one, two = pair
    for file in FILES:
        one.path(file).write_bytes(MANIFEST)
    write(two, NEWEST, *FILES)
    one.replica.apply(two.groups(), two.device)
    assert asked(one) == FILES
    assert standing(one) == {NEWEST}


def test_a_log_that_lost_lines_a_moment_ago_counts_too(pair: tuple[Laptop, Laptop]) -> None:
    """Looks that come between the two files of a backup do not part them."""
    one, _ = pair
    one.path("skills/skill-0/events.jsonl").write_bytes(LOCAL[0] + b"\n")
    for _ in range(3):
        one.replica.scan(None)
        one.now += SECOND // 3
    write(one, MANIFEST, ONE)
    assert asked(one) == [ONE]


def test_a_persons_word_about_what_went_back_is_the_last(pair: tuple[Laptop, Laptop]) -> None:
    """What stands there is a wish then, and the word was spoken after it."""
    one, two = pair
    prompt = "agents/qa/sys_prompt.md"
    one.path("agents/qa").mkdir(parents=True)
    for value in (b"first", b"second"):
        write(one, value, prompt)
        meet(one, two)
    write(two, b"third", prompt)
    meet(one, two)
    write(one, b"first", prompt)
    one.replica.restore(prompt, None)
    wait(one, 2)
    meet(one, two)
    assert one.path(prompt).read_bytes() == two.path(prompt).read_bytes() == b"second"
