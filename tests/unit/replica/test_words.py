"""A person's word and the lies of clocks (SEMANTICS §2.1–2.3): what wins, what is told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path

import pytest

from fleetsync.ports import Group
from tests.fakes.laptops import SECOND, Laptop, meet
from tests.faults.scenarios import LOG, MANIFEST, NOW, PEER, SKEW, YAML, line, version_of

MINUTE = 60 * SECOND


@pytest.fixture
def trio(tmp_path: Path) -> Iterator[list[Laptop]]:
    """Three laptops that agree about one skill."""
    laptops = [Laptop(tmp_path, letter) for letter in "abc"]
    laptops[0].make("deploy", line(1, "a"))
    meet(*laptops)
    yield laptops
    for laptop in laptops:
        laptop.replica.close()


def edit(laptop: Laptop, minute: float, *, dated: float | None = None) -> bytes:
    """A person edits the manifest at that minute; the date in it may be another one."""
    laptop.now = NOW + int(minute * MINUTE)
    moment = NOW + int((minute if dated is None else dated) * MINUTE)
    date = datetime.fromtimestamp(moment / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    value = (
        MANIFEST.replace(b"2026-05-30T00:00:00Z", date.encode())
        + f"by: {laptop.device[0]}{minute}\n".encode()
    )
    laptop.path(YAML).write_bytes(value)
    os.utime(laptop.path(YAML), ns=(laptop.now * 1000, laptop.now * 1000))
    laptop.replica.scan([YAML])
    return value


def keep_local(laptop: Laptop, minute: float) -> bytes:
    """A person insists on what stands there."""
    laptop.now = NOW + int(minute * MINUTE)
    laptop.replica.keep_local(YAML)
    return laptop.path(YAML).read_bytes()


def standing(laptops: list[Laptop]) -> set[bytes]:
    """What stands after all have met, in every order the same."""
    meet(*laptops)
    return {laptop.path(YAML).read_bytes() for laptop in laptops}


# --- keep-local -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_keep_local_wins_over_what_was_made_apart_before_it(
    order: tuple[int, ...], trio: list[Laptop]
) -> None:
    """Also over values with a later date in them: its time is when the person spoke."""
    a, b, c = trio
    lost = edit(b, 5), edit(c, 6, dated=9)
    kept = keep_local(a, 10)
    assert standing([trio[n] for n in order]) == {kept}
    for loser, laptop in zip(lost, (b, c), strict=True):
        entries = laptop.replica.history.entries(YAML)
        assert loser in [laptop.replica.history.value(YAML, entry.version)[1] for entry in entries]


def test_an_edit_made_apart_after_the_word_wins(trio: list[Laptop]) -> None:
    """Whoever speaks last is heard: another person did not know of the word and wrote later."""
    a, b, _ = trio
    edit(a, 9)
    keep_local(a, 10)
    later = edit(b, 12)
    assert standing(trio) == {later}


def test_of_two_words_spoken_apart_the_later_one_counts(trio: list[Laptop]) -> None:
    """Both cannot win everywhere."""
    a, b, _ = trio
    edit(a, 1, dated=9)
    edit(b, 2, dated=3)
    keep_local(a, 10)
    later = keep_local(b, 11)
    assert standing(trio) == {later}


def test_a_word_is_no_weaker_than_what_it_decides_about(trio: list[Laptop]) -> None:
    """It covers a version that is dated some minutes ahead, and beats what that version would have beaten."""
    a, b, c = trio
    ahead = edit(a, 1, dated=6)
    beaten = edit(b, 2, dated=5)
    assert ahead != beaten
    meet(a, c)
    kept = keep_local(c, 3)
    assert kept == ahead
    assert standing(trio) == {kept}


def test_restoring_wins_like_any_word(trio: list[Laptop]) -> None:
    """The restored value's own date is old: that must not make it lose."""
    a, b, c = trio
    edit(a, 1)
    meet(*trio)
    edit(c, 4)
    b.now = NOW + 5 * MINUTE
    b.replica.restore(YAML, None)
    assert standing(trio) == {MANIFEST}


def test_an_edit_made_in_knowledge_of_a_word_follows_it(trio: list[Laptop]) -> None:
    """Causality comes before every stamp: a word is no lock, even for a value with an old date."""
    a, b, _ = trio
    keep_local(a, 10)
    meet(*trio)
    follows = edit(b, 11, dated=0)
    assert standing(trio) == {follows}


# --- lines from the future ------------------------------------------------------------------------------


def test_a_line_from_beyond_the_skew_is_written_and_told(trio: list[Laptop]) -> None:
    """Log lines have no winner: it is accepted, and `status` names the log until time catches up."""
    a, b, _ = trio
    future = line(3, "a").replace(b"2026-06-01", b"2027-06-01")
    with a.path(LOG).open("ab") as log:
        log.write(future + b"\n")
    a.replica.scan([LOG])
    meet(a, b)
    for laptop in (a, b):
        assert future in laptop.lines()
        [alert] = [each for each in laptop.replica.condition().alerts if each.code == "dated-ahead"]
        assert "one line is" in alert.detail
        assert LOG in alert.detail
    b.now += 365 * 24 * 60 * MINUTE
    assert [each.code for each in b.replica.condition().alerts] == []


def test_a_held_version_is_not_taken_for_a_line(trio: list[Laptop]) -> None:
    """It has an alert of its own."""
    a, b, _ = trio
    a.now += 2 * SKEW
    a.path(YAML).write_bytes(MANIFEST + b"from: ahead\n")
    a.replica.scan([YAML])
    b.replica.apply(a.groups(), a.device)
    assert [each.code for each in b.replica.condition().alerts] == ["held"]


def test_what_was_held_when_a_person_restored_is_in_history(trio: list[Laptop]) -> None:
    """It loses to the word although it never stood there: nothing that a person wrote disappears."""
    one, two, _ = trio
    edit(two, 1)
    meet(*trio)
    ahead = version_of(b"from ahead\n", 1, {}, one.now + SKEW + MINUTE)
    one.replica.apply([Group(YAML, [ahead])], PEER)
    one.replica.restore(YAML, None)
    entries = one.replica.history.entries(YAML)
    assert b"from ahead\n" in {one.replica.history.value(YAML, entry.version)[1] for entry in entries}
    assert len(entries) == len({(entry.sha256, entry.kind) for entry in entries})
