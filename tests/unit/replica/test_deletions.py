"""Deletions: a skill that is gone, what outlives it, trash, restore and the guard (SEMANTICS §3)."""

from __future__ import annotations

import shutil

import pytest

from fleetsync.merge import register
from fleetsync.ports import Group, HomeState
from fleetsync.replica.journal import Journal, ParkedLine
from tests.fakes.laptops import SECOND, SKILL, Laptop, meet
from tests.faults.scenarios import LOCAL, LOG, MANIFEST, NEWER, PEER, SKEW, YAML, line, version_of


@pytest.fixture
def pair(pair: tuple[Laptop, Laptop]) -> tuple[Laptop, Laptop]:
    """Two laptops that agree about one skill."""
    one, two = pair
    one.make("deploy", *LOCAL)
    meet(one, two)
    return pair


def test_a_deleted_skill_goes_everywhere_and_its_lines_stay_in_trash(pair: tuple[Laptop, Laptop]) -> None:
    """The directory leaves home; the lines remain members, with their bodies, and the manifest is in
    history: nothing a person wrote disappears.
    """
    one, two = pair
    one.delete("deploy")
    meet(one, two)
    assert not one.path(SKILL).exists()
    assert not two.path(SKILL).exists()
    for laptop in pair:
        assert len([g for g in laptop.groups() if g.path == LOG]) == len(LOCAL)
        assert [e.kind for e in laptop.replica.history.entries(YAML)] == ["deleted"]
        assert laptop.replica.condition().parked == 0


def test_lines_that_never_had_a_manifest_leave_the_set_with_their_directory(
    pair: tuple[Laptop, Laptop],
) -> None:
    """Nothing announces what it cannot give: nothing was deleted, the lines are absent like a lost log."""
    one, two = pair
    stray = "skills/stray/events.jsonl"
    one.path(stray).parent.mkdir()
    one.path(stray).write_bytes(line(1, "stray") + b"\n")
    one.replica.scan(None)
    shutil.rmtree(one.path(stray).parent)
    one.reopen()
    assert stray not in {group.path for group in one.groups()}
    assert len(one.groups()) == one.replica.head().count
    meet(one, two)


def test_a_directory_must_be_gone_for_a_while(pair: tuple[Laptop, Laptop]) -> None:
    """Programs move directories away and back; five seconds decide."""
    one, _ = pair
    one.path(SKILL).rename(one.path("aside"))
    one.replica.scan(None)
    assert one.replica.due_in() == pytest.approx(5.0)
    one.replica.settle()
    one.path("aside").rename(one.path(SKILL))
    one.pass_time(10)
    current = one.replica._parts.versions.current(YAML)
    assert current is not None
    assert current.value == MANIFEST
    assert one.replica.due_in() is None


def test_a_manifest_that_alone_is_missing_is_put_back(pair: tuple[Laptop, Laptop]) -> None:
    """The unit of deletion is the directory; an editor may have unlinked the file."""
    one, _ = pair
    one.path(YAML).unlink()
    one.pass_time(6)
    assert one.path(YAML).read_bytes() == MANIFEST


def test_an_edit_that_did_not_know_of_the_deletion_is_decided_by_time(pair: tuple[Laptop, Laptop]) -> None:
    """Concurrent deletion and edit: the later one wins, on both; the other is in history."""
    one, two = pair
    one.delete("deploy")
    two.now = one.now + 10 * SECOND
    two.path(YAML).write_bytes(NEWER.replace(b"2026-06-30", b"2026-09-30"))
    two.replica.scan(None)
    edited = two.path(YAML).read_bytes()
    meet(one, two)
    assert one.path(SKILL).exists() == two.path(SKILL).exists()
    if two.path(SKILL).exists():
        assert one.path(YAML).read_bytes() == edited
    else:
        kept = [two.replica.history.value(e.path, e.version)[1] for e in two.replica.history.entries(YAML)]
        assert edited in kept


def test_a_line_written_after_the_deletion_brings_the_skill_back(pair: tuple[Laptop, Laptop]) -> None:
    """What the deletion had not seen outlives it: the manifest it deleted returns, the old lines do not."""
    one, two = pair
    one.delete("deploy")
    later = line(0, "two").replace(b"2026-06-01", b"2026-12-01")
    with two.path(LOG).open("ab") as log:
        log.write(later + b"\n")
    two.replica.scan(None)
    meet(one, two)
    assert one.path(YAML).read_bytes() == MANIFEST
    assert one.lines() == [later]
    assert later in two.lines()


def test_a_deletion_while_the_daemon_was_down_loses_to_any_edit_elsewhere(
    pair: tuple[Laptop, Laptop],
) -> None:
    """Nobody watched, so it is taken for as old as what it deleted (SEMANTICS §2.4)."""
    one, two = pair
    one.replica.close()
    shutil.rmtree(one.path(SKILL))
    edited = MANIFEST + b"description: edited without a new date\n"
    two.path(YAML).write_bytes(edited)
    two.replica.scan(None)
    one.replica = one._open()
    one.pass_time(6)
    meet(one, two)
    assert one.path(YAML).read_bytes() == two.path(YAML).read_bytes() == edited


def test_a_deletion_while_the_daemon_was_down_is_carried_out_if_nothing_else_happened(
    pair: tuple[Laptop, Laptop],
) -> None:
    """It is a wish all the same."""
    one, two = pair
    one.replica.close()
    shutil.rmtree(one.path(SKILL))
    one.replica = one._open()
    one.pass_time(6)
    meet(one, two)
    assert not two.path(SKILL).exists()


def test_what_came_before_the_absence_was_noticed_outlives_what_nobody_watched(
    pair: tuple[Laptop, Laptop],
) -> None:
    """An edit that arrives within the five seconds was never in the file that is gone."""
    one, two = pair
    one.replica.close()
    shutil.rmtree(one.path(SKILL))
    two.path(YAML).write_bytes(NEWER)
    two.replica.scan(None)
    one.replica = one._open()
    one.replica.apply(two.groups(), two.device)
    one.pass_time(6)
    meet(one, two)
    assert one.path(YAML).read_bytes() == two.path(YAML).read_bytes() == NEWER


def test_who_makes_a_skill_anew_has_not_seen_what_came_while_it_was_gone(
    pair: tuple[Laptop, Laptop],
) -> None:
    """The edit that arrived while the directory was missing is no predecessor but a rival: it is kept."""
    one, two = pair
    two.path(YAML).write_bytes(NEWER)
    two.replica.scan(None)
    shutil.rmtree(one.path(SKILL))
    one.replica.apply(two.groups(), two.device)
    anew = MANIFEST + b"description: made anew\n"
    one.path(SKILL).mkdir()
    one.path(YAML).write_bytes(anew)
    one.replica.scan(None)
    versions = [register.decode(group.bodies[0]) for group in one.groups() if group.path == YAML]
    assert {version.value for version in versions} == {NEWER, anew}
    meet(one, two)
    histories = [(each.replica.history, each.replica.history.entries(YAML)) for each in pair]
    kept = {history.value(e.path, e.version)[1] for history, entries in histories for e in entries}
    assert {anew, NEWER} <= {*kept, one.path(YAML).read_bytes()}


def test_two_who_delete_at_once_promise_no_lines_that_are_gone(pair: tuple[Laptop, Laptop]) -> None:
    """The other's deletion arrives before one's own was noticed: only what is kept here is a member."""
    one, two = pair
    with one.path(LOG).open("ab") as log:
        log.write(line(31, "own") + b"\n")
    one.replica.scan(None)
    two.delete("deploy")
    shutil.rmtree(one.path(SKILL))
    one.replica.apply(two.groups(), two.device)
    one.pass_time(6)
    assert len(one.groups()) == one.replica.head().count
    meet(one, two)


def test_a_skill_made_again_does_not_get_the_old_lines_back(pair: tuple[Laptop, Laptop]) -> None:
    """It inherits what the deletion had put aside."""
    one, two = pair
    one.delete("deploy")
    meet(one, two)
    fresh = line(1, "again").replace(b"2026-06-01", b"2026-12-01")
    one.make("deploy", fresh)
    meet(one, two)
    assert two.path(YAML).read_bytes() == MANIFEST
    assert one.lines() == two.lines() == [fresh]


@pytest.mark.parametrize("where", [0, 1])
def test_restoring_brings_back_directory_manifest_and_lines(pair: tuple[Laptop, Laptop], where: int) -> None:
    """On the device that deleted and on the one that was told; the lines are in the log once."""
    one, two = pair
    one.delete("deploy")
    meet(one, two)
    pair[where].replica.restore(SKILL, None)
    meet(one, two)
    for laptop in pair:
        assert laptop.path(YAML).read_bytes() == MANIFEST
        assert sorted(laptop.lines()) == sorted(LOCAL)


def test_what_is_in_trash_is_not_read_again_with_every_look(
    pair: tuple[Laptop, Laptop], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much it is; until something may bring it back, or adds to it."""
    one, two = pair
    one.delete("deploy")
    meet(one, two)
    one.pass_time(61)
    read: list[str] = []
    parked = Journal.parked

    def watched(self: Journal, path: str) -> list[ParkedLine]:
        read.append(path)
        return parked(self, path)

    monkeypatch.setattr(Journal, "parked", watched)
    one.pass_time(60)
    one.pass_time(60)
    assert read == []
    assert one.replica.restore(SKILL, None)
    assert read
    assert sorted(one.lines()) == sorted(LOCAL)


def test_a_late_writer_into_a_trashed_log_is_not_lost(pair: tuple[Laptop, Laptop]) -> None:
    """A program that had the log open writes into the renamed file: a second look finds it."""
    one, two = pair
    writer = two.path(LOG).open("ab")
    one.delete("deploy")
    meet(one, two)
    later = line(0, "late").replace(b"2026-06-01", b"2026-12-01")
    writer.write(later + b"\n")
    writer.close()
    two.pass_time(61)
    meet(one, two)
    assert later in two.lines()
    assert two.path(YAML).read_bytes() == MANIFEST
    assert later in one.lines()
    assert not list(two.path(".fleetsync/trash").iterdir())


def many(laptop: Laptop, count: int) -> list[str]:
    names = [f"skill-{n}" for n in range(count)]
    for name in names:
        laptop.make(name, line(1, name))
    return names


def test_many_skills_gone_at_once_wait_for_a_person(pair: tuple[Laptop, Laptop]) -> None:
    """Nothing is minted and nothing applied meanwhile; undoing brings all of it back."""
    one, two = pair
    names = many(one, 10)
    meet(one, two)
    for name in names:
        shutil.rmtree(one.path(f"skills/{name}"))
    one.pass_time(6)
    assert one.replica.condition().state is HomeState.GUARDED
    assert two.path("skills/skill-3").exists()
    one.reopen()
    assert one.replica.guarded is not None
    one.replica.decide(confirm=False)
    meet(one, two)
    assert one.replica.condition().state is HomeState.OK
    assert all(one.path(f"skills/{name}/skill.yaml").exists() for name in names)
    assert all(two.path(f"skills/{name}/skill.yaml").exists() for name in names)


def test_many_deletions_that_were_meant_are_carried_out_on_a_persons_word(
    pair: tuple[Laptop, Laptop],
) -> None:
    """The other device asks as well: it cannot know."""
    one, two = pair
    names = many(one, 10)
    meet(one, two)
    for name in names:
        shutil.rmtree(one.path(f"skills/{name}"))
    one.pass_time(6)
    one.replica.decide(confirm=True)
    meet(one, two)
    assert two.replica.condition().state is HomeState.GUARDED
    assert all(two.path(f"skills/{name}").exists() for name in names)
    two.replica.decide(confirm=True)
    assert not any(two.path(f"skills/{name}").exists() for name in names)
    assert two.path(SKILL).exists()


def test_a_handful_passes_the_guard(pair: tuple[Laptop, Laptop]) -> None:
    """`mur skill sweep` removes a few at a time."""
    one, two = pair
    names = many(one, 5)
    meet(one, two)
    for name in names:
        shutil.rmtree(one.path(f"skills/{name}"))
    one.pass_time(6)
    meet(one, two)
    assert not any(two.path(f"skills/{name}").exists() for name in names)


def test_the_directory_of_all_skills_gone_is_never_taken_for_deletions(pair: tuple[Laptop, Laptop]) -> None:
    """However few there were: an unmounted or moved directory is an accident."""
    one, two = pair
    one.path("skills").rename(one.path("elsewhere"))
    one.pass_time(6)
    two.replica.apply(one.groups(), one.device)
    assert one.replica.condition().state is HomeState.GUARDED
    assert two.path(SKILL).exists()


def test_a_disk_that_comes_back_answers_the_guard(pair: tuple[Laptop, Laptop]) -> None:
    """Home was unmounted and is mounted again: nobody needs to be asked, and what came meanwhile is taken."""
    one, two = pair
    away = one.folder / "away"
    one.path("").rename(away)
    one.path("").mkdir()
    one.pass_time(6)
    assert one.replica.condition().state is HomeState.GUARDED
    one.path("").rmdir()
    away.rename(one.path(""))
    (one.path(SKILL) / "skill.yaml").write_bytes(MANIFEST + b"edited: while away\n")
    one.pass_time(6)
    assert one.replica.condition().state is HomeState.OK
    meet(one, two)
    assert b"while away" in (two.path(SKILL) / "skill.yaml").read_bytes()


def test_nothing_is_written_into_an_empty_mount_point(pair: tuple[Laptop, Laptop]) -> None:
    """A peer's change that comes before anything has looked at what is left of home waits for the guard."""
    one, two = pair
    (two.path(SKILL) / "skill.yaml").write_bytes(MANIFEST + b"more: true\n")
    two.make("fresh", *[])
    two.replica.scan(None)
    away = one.folder / "away"
    one.path("").rename(away)
    one.path("").mkdir()
    one.replica.apply(two.groups(), two.device)
    assert list(one.path("").iterdir()) == []
    one.path("").rmdir()
    away.rename(one.path(""))
    one.pass_time(6)
    meet(one, two)
    assert b"more: true" in (one.path(SKILL) / "skill.yaml").read_bytes()


def test_what_becomes_due_is_not_written_into_an_empty_mount_point(pair: tuple[Laptop, Laptop]) -> None:
    """The time of a version from ahead comes before anything has looked at what is left of home."""
    one, _ = pair
    ahead = version_of(MANIFEST, 1, {}, one.now + SKEW + SECOND)
    one.replica.apply([Group("skills/fresh/skill.yaml", [ahead])], PEER)
    away = one.folder / "away"
    one.path("").rename(away)
    one.path("").mkdir()
    one.now += 2 * SECOND
    one.replica.settle()
    assert list(one.path("").iterdir()) == []
    one.path("").rmdir()
    away.rename(one.path(""))
    one.pass_time(6)
    assert one.path("skills/fresh/skill.yaml").read_bytes() == MANIFEST


def test_nothing_is_due_while_home_is_away(pair: tuple[Laptop, Laptop]) -> None:
    """Nothing can be decided then, and nobody asks again and again."""
    one, _ = pair
    shutil.rmtree(one.path(SKILL))
    one.replica.scan(None)
    assert one.replica.due_in() is not None
    away = one.folder / "away"
    one.path("").rename(away)
    one.now += 6 * SECOND
    one.replica.settle()
    assert one.replica.due_in() is None
    away.rename(one.path(""))
    one.replica.scan(None)
    assert one.replica.due_in() is not None


def test_a_home_put_back_from_a_backup_does_not_undo_what_came_after(pair: tuple[Laptop, Laptop]) -> None:
    """Old values beside a log that lost lines: the current ones are applied, and a person is told."""
    one, two = pair
    backup = one.folder / "backup"
    shutil.copytree(one.path(SKILL), backup)
    one.path(YAML).write_bytes(NEWER)
    with one.path(LOG).open("ab") as log:
        log.write(line(30, "here") + b"\n")
    one.replica.scan(None)
    meet(one, two)
    one.replica.close()
    shutil.rmtree(one.path(SKILL))
    shutil.copytree(backup, one.path(SKILL))
    one.replica = one._open()
    assert one.replica.condition().state is HomeState.GUARDED
    meet(one, two)
    assert one.path(YAML).read_bytes() == two.path(YAML).read_bytes() == NEWER
    assert sorted(one.lines()) == sorted([*LOCAL, line(30, "here")])


def test_a_version_says_what_its_deletion_deleted(pair: tuple[Laptop, Laptop]) -> None:
    """So that any device can bring it back, whoever deleted it."""
    one, _ = pair
    one.delete("deploy")
    (body,) = [g.bodies[0] for g in one.groups() if g.path == YAML]
    gone = register.decode(body)
    assert (gone.value, gone.before) == (None, MANIFEST)
    assert gone.floor is not None


def test_a_deletion_by_two_people_leaves_no_member_without_a_body(pair: tuple[Laptop, Laptop]) -> None:
    """Where the directory is gone already when a peer's deletion arrives, its lines leave the set: a member
    that cannot be given would keep the two apart for ever.
    """
    one, two = pair
    one.delete("deploy")
    shutil.rmtree(two.path(SKILL))
    meet(one, two)
    assert two.replica.head().count == len(two.ids())


def test_a_skill_that_came_back_keeps_its_lines_at_the_second_look(pair: tuple[Laptop, Laptop]) -> None:
    """The second look at a directory that had left home takes late lines only: those that stand in the new
    directory stay there, once.
    """
    one, two = pair
    mine = line(50, "two")
    with two.path(LOG).open("ab") as log:
        log.write(mine + b"\n")
    two.replica.scan(None)
    meet(one, two)
    one.delete("deploy")
    meet(one, two)
    one.replica.restore(SKILL, None)
    meet(one, two)
    two.pass_time(70)
    meet(one, two)
    two.replica.scan(None)
    assert sorted(two.lines()) == sorted([*LOCAL, mine])
    assert two.replica.head().count == len(two.ids())


def test_an_edit_after_the_clock_was_set_back_replaces_what_it_was_made_from(
    pair: tuple[Laptop, Laptop],
) -> None:
    """What stands in the file was read by its editor, though its stamp seems to lie ahead now."""
    one, two = pair
    (two.path(SKILL) / "skill.yaml").write_bytes(MANIFEST + b"by: two\n")
    two.replica.scan(None)
    meet(one, two)
    one.now -= 3600 * SECOND
    one.replica.scan(None)
    (one.path(SKILL) / "skill.yaml").write_bytes(MANIFEST + b"by: one, later\n")
    one.replica.scan(None)
    two.replica.apply(one.groups(), one.device)
    for laptop in pair:
        assert (laptop.path(SKILL) / "skill.yaml").read_bytes() == MANIFEST + b"by: one, later\n"
        assert laptop.replica.condition().held == 0


def test_a_deletion_after_the_clock_was_set_back_takes_what_stood_there(pair: tuple[Laptop, Laptop]) -> None:
    """What seems to lie ahead now was seen by who deleted it: it goes, and is in history."""
    one, two = pair
    newest = MANIFEST + b"by: two\n"
    (two.path(SKILL) / "skill.yaml").write_bytes(newest)
    two.replica.scan(None)
    meet(one, two)
    one.now -= 3600 * SECOND
    one.replica.scan(None)
    one.delete("deploy")
    two.replica.apply(one.groups(), one.device)
    two.replica.settle()
    assert not any(laptop.path(SKILL).exists() for laptop in pair)
    assert one.replica.history.value(YAML, None)[1] == newest


def test_a_clock_that_is_set_back_does_not_keep_a_deletion_waiting(pair: tuple[Laptop, Laptop]) -> None:
    """What was seen missing at a time that has not come yet has been missing since now."""
    one, _ = pair
    one.now += 3600 * SECOND
    shutil.rmtree(one.path(SKILL))
    one.replica.scan(None)
    one.now -= 3600 * SECOND
    one.pass_time(6)
    assert one.replica.due_in() is None


def test_a_deletion_arrives_where_all_of_its_kind_is_gone(pair: tuple[Laptop, Laptop]) -> None:
    """Not only the directory but the one it lay in is missing, and nothing has looked yet: that is no error,
    and a guard's question besides keeps nothing else waiting.
    """
    one, two = pair
    prompt = "agents/qa/sys_prompt.md"
    for laptop in pair:
        laptop.path(prompt).parent.mkdir(parents=True)
        laptop.path(prompt).write_bytes(b"Be kind.\n")
        laptop.replica.scan(None)
    meet(one, two)
    shutil.rmtree(two.path("agents/qa"))
    two.pass_time(0)
    shutil.rmtree(one.path("agents"))
    meet(one, two)
    one.replica.scan(None)
    one.replica.settle()
    assert one.replica._parts.versions.current(prompt) == two.replica._parts.versions.current(prompt)
    assert one.path(YAML).read_bytes() == two.path(YAML).read_bytes() == MANIFEST


def test_lines_in_the_journal_are_members_whatever_an_older_index_says(pair: tuple[Laptop, Laptop]) -> None:
    """A power loss took the index back to when they stood in the file; meanwhile they were deleted and came
    back from a peer into the journal, and another file stands there. They are not lost, nor written twice.
    """
    one, two = pair
    one.replica.close()
    index = one.folder / "state/index.db"
    older = index.read_bytes()
    one.replica = one._open()
    one.delete("deploy")
    meet(one, two)
    one.replica.close()
    for path in index.parent.glob("index.db*"):
        path.unlink()
    index.write_bytes(older)
    one.path(SKILL).mkdir()
    one.path(YAML).write_bytes(NEWER)
    late = line(59, "late")
    one.path(LOG).write_bytes(late + b"\n")
    one.replica = one._open()
    assert {body for group in one.groups() if group.path == LOG for body in group.bodies} == {*LOCAL, late}
    meet(one, two)
    one.replica.scan(None)
    assert one.lines().count(late) == 1
    assert len(one.lines()) == len(set(one.lines()))
