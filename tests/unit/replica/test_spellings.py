"""Two paths that differ in case alone: one is applied, the other waits, nothing is lost (SEMANTICS §1.5)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import pytest

from fleetsync import datasets
from fleetsync.datasets import Kind
from fleetsync.files import Folder
from fleetsync.merge import register
from fleetsync.ports import Group
from fleetsync.records.names import NAME_RULES
from fleetsync.replica.layout import is_spelled_so, respell
from fleetsync.replica.spellings import Spellings
from tests.fakes.laptops import Laptop, meet

UPPER, LOWER = "agents/QA/sys_prompt.md", "agents/qa/sys_prompt.md"


@pytest.fixture
def trio(tmp_path: Path) -> Iterator[tuple[Laptop, Laptop, Laptop]]:
    """Three laptops with empty homes."""
    laptops = Laptop(tmp_path, "a"), Laptop(tmp_path, "b"), Laptop(tmp_path, "c")
    yield laptops
    for laptop in laptops:
        laptop.replica.close()


def write(laptop: Laptop, path: str, value: bytes) -> None:
    """A person writes a file, and the daemon sees it."""
    laptop.path(path).parent.mkdir(parents=True, exist_ok=True)
    laptop.path(path).write_bytes(value)
    laptop.replica.scan([path])


def stands(laptop: Laptop, path: str) -> bytes | None:
    """What a file of home holds."""
    return laptop.path(path).read_bytes() if laptop.path(path).exists() else None


def history(laptop: Laptop) -> list[bytes]:
    """What history has of the larger spelling."""
    entries = laptop.replica.history.entries(LOWER)
    return [laptop.replica.history.value(LOWER, entry.version)[1] for entry in entries]


# --- which one ------------------------------------------------------------------------------------------


def test_whatever_lies_below_the_larger_spelling_of_a_directory_comes_after() -> None:
    """Other files of the same directory too: on a disk that ignores case they would lie together."""
    known = Spellings([UPPER, "agents/other/sys_prompt.md"])
    assert list(known.before("agents/qa/skills/x/skill.yaml")) == [("agents/QA", UPPER)]
    assert list(known.before(UPPER)) == []
    known.add("agents/qa/profile.yaml")
    assert list(known.before(UPPER)) == []
    assert known.several() == [UPPER, "agents/qa/profile.yaml"]
    assert list(known.before("agents/Qa/profile.yaml")) == [("agents/QA", UPPER)]


def test_no_log_can_be_spelled_twice() -> None:
    """Lines are never parked for their spelling, because names that lead to logs are lower case."""
    logs = [row for row in datasets.DATASETS if row.kind is Kind.LOG]
    kinds = {kind for row in logs for kind in re.findall(r"<(\w+)>", row.pattern)}
    assert all(NAME_RULES[kind].fullmatch("qa") and not NAME_RULES[kind].fullmatch("QA") for kind in kinds)


# --- on a disk ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_in_any_order_of_arrival_the_smaller_spelling_stands(
    order: tuple[int, ...], trio: tuple[Laptop, Laptop, Laptop]
) -> None:
    """A function of the set: three devices that hear of four files in any order apply the same two."""
    one, two, three = trio
    write(one, UPPER, b"of QA\n")
    write(one, "agents/QA/skills/deploy/skill.yaml", b"name: deploy\n")
    write(two, LOWER, b"of qa\n")
    write(two, "agents/qa/skills/deploy/skill.yaml", b"name: other\n")
    groups = sorted([*one.groups(), *two.groups()], key=lambda group: group.path)
    for number in order:
        three.replica.apply([groups[number]], one.device)
        assert stands(three, UPPER) is None or stands(three, LOWER) is None
    meet(*trio)
    for laptop in trio:
        laptop.replica.settle()
        assert (stands(laptop, UPPER), stands(laptop, LOWER)) == (b"of QA\n", None)
        assert stands(laptop, "agents/qa/skills/deploy/skill.yaml") is None
        condition = laptop.replica.condition()
        assert condition.parked == 2
        assert [LOWER in a.detail for a in condition.alerts if a.code == "spelled-twice"] == [False, True]
        laptop.reopen()
        assert laptop.replica.condition().parked == 2


def test_what_stood_in_the_place_of_the_smaller_is_in_history_and_comes_back_when_that_is_gone(
    trio: tuple[Laptop, Laptop, Laptop],
) -> None:
    """Parked is not lost: the set holds it, history shows it, and its place may become free."""
    one, two, _ = trio
    write(two, LOWER, b"of qa\n")
    write(one, UPPER, b"of QA\n")
    meet(one, two)
    assert history(two) == [b"of qa\n"]
    two.pass_time(90)
    assert {group.path for group in two.groups()} == {UPPER, LOWER}
    one.path(UPPER).unlink()
    one.path("agents/QA").rmdir()
    one.pass_time(0)
    meet(one, two)
    for laptop in (one, two):
        laptop.pass_time(0)
        assert (stands(laptop, UPPER), stands(laptop, LOWER)) == (None, b"of qa\n")
        assert laptop.replica.condition().parked == 0
        assert laptop.replica.condition().alerts == []


def test_a_parked_file_that_a_person_writes_again_is_a_version_and_parked_again(
    trio: tuple[Laptop, Laptop, Laptop],
) -> None:
    """The edit is in the set and in history; what stands in home stays the same everywhere."""
    one, two, _ = trio
    write(one, UPPER, b"of QA\n")
    write(two, LOWER, b"of qa\n")
    meet(one, two)
    write(two, LOWER, b"edited\n")
    meet(one, two)
    assert stands(two, LOWER) is None
    assert [g.bodies for g in one.groups() if g.path == LOWER] == [
        g.bodies for g in two.groups() if g.path == LOWER
    ]
    assert b"edited\n" in history(two)


def test_what_is_written_into_a_file_that_was_put_aside_is_kept(trio: tuple[Laptop, Laptop, Laptop]) -> None:
    """A program held the file open: what it wrote is found at the second look and becomes a version."""
    one, two, _ = trio
    write(two, LOWER, b"of qa\n")
    write(one, UPPER, b"of QA\n")
    with two.path(LOWER).open("ab") as held:
        meet(one, two)
        held.write(b"and more\n")
    two.pass_time(61)
    late = b"of qa\nand more\n"
    assert late in history(two)
    assert any(late in group.bodies[0] for group in two.groups() if group.path == LOWER)


def test_a_crash_while_a_file_is_put_aside_deletes_nothing(
    trio: tuple[Laptop, Laptop, Laptop], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the rename and the note of it: the next start finishes, and takes it for no deletion."""
    one, two, _ = trio
    write(two, LOWER, b"of qa\n")
    write(one, UPPER, b"of QA\n")

    def die(path: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(two.replica._parts.registers, "note_gone", die)
    with pytest.raises(KeyboardInterrupt):
        two.replica.apply(one.groups(), one.device)
    assert stands(two, LOWER) is None
    two.reopen()
    two.pass_time(10)
    assert history(two) == [b"of qa\n"]
    meet(one, two)
    assert two.replica.condition().parked == 1
    assert not any(register_gone(group) for group in one.groups())


def register_gone(group: Group) -> bool:
    """Whether the version in a group says that its file is gone."""
    return register.decode(group.bodies[0]).value is None


# --- on a disk that ignores case ------------------------------------------------------------------------


class Ignoring(Folder):
    """A directory that finds names in any case, as a Mac's does."""

    def enter(self, relative: str, *, create: bool = False) -> Folder:
        inner = super().enter(relative, create=create)
        again = Ignoring(inner.fd, inner.label)
        inner.fd = -1
        return again

    def status(self, name: str):
        alike = [each for each in self.names() if each.lower() == name.lower()]
        return super().status(alike[0]) if alike else None


def test_the_one_directory_of_two_spellings_gets_the_name_that_counts(tmp_path: Path) -> None:
    """Otherwise its files would be taken for those of the larger spelling when home is looked at."""
    (tmp_path / "agents/qa").mkdir(parents=True)
    with Ignoring.open(tmp_path) as root:
        assert not is_spelled_so(root, UPPER)
        respell(root, "agents/QA")
        assert is_spelled_so(root, UPPER)
        assert [each.name for each in (tmp_path / "agents").iterdir()] == ["QA"]
        respell(root, "agents/QA")
        respell(root, "agents/other")
        respell(root, "nowhere/at")
        assert [each.name for each in (tmp_path / "agents").iterdir()] == ["QA"]


def test_directories_of_two_spellings_stay_two_where_case_counts(tmp_path: Path) -> None:
    """Nothing is renamed over anything."""
    (tmp_path / "agents/qa").mkdir(parents=True)
    with Folder.open(tmp_path) as root:
        respell(root, "agents/QA")
    assert [each.name for each in (tmp_path / "agents").iterdir()] == ["qa"]
