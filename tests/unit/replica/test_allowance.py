"""More from one peer than is allowed in an hour waits for a person (SEMANTICS §7.6)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetsync.ports import Group, HomeState
from fleetsync.replica.allowance import HOUR, Limits
from fleetsync.replica.guard import Cause
from tests.fakes.laptops import Laptop, meet
from tests.faults.scenarios import LOG, MANIFEST, NOW, YAML, line, version_of

PEER, OTHER = "b" * 52, "c" * 52


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[Laptop]:
    """A laptop with a skill, on which a peer may bring ten items, or 2000 bytes, in an hour."""
    made = Laptop(tmp_path, "a")
    made.make("deploy")
    made.replica.limit(Limits(10, 2000))
    yield made
    made.replica.close()


def bring(laptop: Laptop, first: int, count: int, *, peer: str = PEER) -> list[bytes]:
    """A peer brings lines, one batch each."""
    lines = [line(number, peer[0]) for number in range(first, first + count)]
    for each in lines:
        laptop.replica.apply([Group(LOG, [each])], peer)  # type: ignore[arg-type]
    return lines


def asked(laptop: Laptop) -> tuple[Cause, list[str]] | None:
    """What a person is asked now."""
    question = laptop.replica.guarded
    return None if question is None else (question.cause, question.paths)


def test_what_is_beyond_the_limit_is_parked_and_asked_about(laptop: Laptop) -> None:
    """Everything is a member and passed on; one command lets it in, and a new hour begins."""
    lines = bring(laptop, 0, 15)
    assert laptop.lines() == lines[:11]
    condition = laptop.replica.condition()
    assert (condition.parked, condition.state) == (4, HomeState.GUARDED)
    assert {body for group in laptop.groups() if group.path == LOG for body in group.bodies} == set(lines)
    assert asked(laptop) == (Cause.FLOODED, [LOG])
    assert laptop.replica.decide(confirm=True) == [LOG]
    assert laptop.lines() == lines
    assert not asked(laptop)
    assert laptop.replica.condition().state is HomeState.OK
    assert laptop.lines() + bring(laptop, 15, 5) == laptop.lines()


def test_bytes_count_as_items_do(laptop: Laptop) -> None:
    """Few large items are a flood as well."""
    laptop.replica.limit(Limits(1000, 300))
    bring(laptop, 0, 8)
    assert 0 < len(laptop.lines()) < 8
    assert asked(laptop)


def test_other_peers_and_this_device_go_on(laptop: Laptop) -> None:
    """The limit is each peer's own."""
    bring(laptop, 0, 15)
    others = bring(laptop, 20, 3, peer=OTHER)
    assert set(others) <= set(laptop.lines())
    with laptop.path(LOG).open("ab") as log:
        log.write(line(30, "a") + b"\n")
    laptop.replica.scan(None)
    assert line(30, "a") in [body for group in laptop.groups() for body in group.bodies]


def test_what_was_declined_waits_without_asking_until_a_later_word(laptop: Laptop) -> None:
    """Nothing can leave the set; it stays parked over restarts, and `confirm` still lets it in."""
    lines = bring(laptop, 0, 15)
    laptop.reopen()
    laptop.replica.limit(Limits(10, 2000))
    assert asked(laptop)
    laptop.replica.decide(confirm=False)
    assert not asked(laptop)
    more = bring(laptop, 15, 2)
    assert laptop.replica.condition().parked == 6
    laptop.replica.decide(confirm=True)
    assert laptop.lines() == lines + more


def test_an_hour_later_a_peer_may_bring_as_much_again(laptop: Laptop) -> None:
    """Only what comes in one hour counts together; known items do not count."""
    bring(laptop, 0, 9)
    for _ in range(3):
        bring(laptop, 0, 9)
    laptop.now += HOUR
    lines = bring(laptop, 9, 9)
    assert laptop.lines()[9:] == lines
    assert not asked(laptop)


def test_versions_beyond_the_limit_are_members_and_not_applied(laptop: Laptop) -> None:
    """A flood of manifests is one too; after the word they stand."""
    bring(laptop, 0, 11)
    later = MANIFEST.replace(b"2026-05-30", b"2026-08-30") + b"from: peer\n"
    laptop.replica.apply([Group(YAML, [version_of(later, 1, {}, NOW)])], PEER)  # type: ignore[arg-type]
    assert laptop.path(YAML).read_bytes() == MANIFEST
    assert asked(laptop) == (Cause.FLOODED, [YAML])
    laptop.replica.settle()
    assert laptop.path(YAML).read_bytes() == MANIFEST
    laptop.replica.decide(confirm=True)
    assert laptop.path(YAML).read_bytes() == later


def test_a_first_sync_of_honest_size_is_never_asked_about(tmp_path: Path) -> None:
    """The defaults are far from what people have."""
    one, two = Laptop(tmp_path, "a"), Laptop(tmp_path, "b")
    one.make("deploy", *[line(number, "a") for number in range(3000)])
    meet(one, two)
    assert len(two.lines()) == 3000
    assert two.replica.guarded is None
    assert Limits().items >= 5_000_000
    one.replica.close()
    two.replica.close()
