"""Channels in which an agent remembers approvals stay on their device."""

from __future__ import annotations

import pytest

from fleetsync.ports import NOT_CARRIED, Group, Outcome
from fleetsync.records import channels
from tests.fakes.laptops import Laptop, meet
from tests.fakes.samples import EVENTS, YAML, event, manifest, write

MARKER = "agents/qa/hitl-channel"
OTHER = "channels/c2/events.jsonl"


def _mark(laptop: Laptop, channel: str) -> None:
    laptop.path(MARKER).parent.mkdir(parents=True, exist_ok=True)
    laptop.path(MARKER).write_text(channel)


def _paths(laptop: Laptop) -> set[str]:
    return {group.path for group in laptop.groups()}


def test_it_is_neither_offered_nor_applied(pair: tuple[Laptop, Laptop]) -> None:
    """Neither lines nor manifest; other channels go on, and status says what stays and why."""
    one, _ = pair
    _mark(one, "fleet-dev\n")
    write(one, EVENTS, event(0, '{"text":"a"}') + b"\n")
    write(one, OTHER, event(0, '{"text":"b"}') + b"\n")
    assert _paths(one) == {OTHER, "channels/c2/channel.yaml"}
    body = channels.without_seq(event(1, '{"text":"from elsewhere"}'))
    [verdict] = one.replica.apply([Group(EVENTS, [body])], one.device)
    assert (verdict.outcome, verdict.reason) == (Outcome.REFUSED, NOT_CARRIED)
    assert b"elsewhere" not in one.path(EVENTS).read_bytes()
    condition = one.replica.condition()
    assert condition.kept_here == {"channels/fleet-dev": "agent qa remembers its approvals there"}
    assert condition.alerts == []


def test_the_marker_that_comes_last_counts_from_then_on(pair: tuple[Laptop, Laptop]) -> None:
    """The channel is made before its marker: what comes after the marker stays, and nothing is deleted."""
    one, two = pair
    told: list[int] = []
    one.replica.hear(wrote=lambda path: None, keeps_others=lambda: told.append(len(one.replica.kept_here)))
    write(one, YAML, manifest())
    meet(one, two)
    _mark(one, "fleet-dev")
    one.path(EVENTS).write_bytes(event(0, '{"hitl_id":"h"}', kind="hitl-response") + b"\n")
    one.replica.scan([EVENTS, MARKER])
    assert _paths(one) == set()
    assert told == [1]
    one.reopen()
    assert _paths(one) == set()
    assert two.path(YAML).exists()
    assert not two.path(EVENTS).exists()


def test_a_channel_that_is_no_memory_any_more_syncs_again(pair: tuple[Laptop, Laptop]) -> None:
    """mur names another one when the first no longer loads."""
    one, two = pair
    _mark(one, "fleet-dev")
    write(one, EVENTS, event(0, '{"text":"a"}') + b"\n")
    _mark(one, "c2")
    one.replica.scan([MARKER])
    meet(one, two)
    assert two.path(EVENTS).read_bytes() == event(0, '{"text":"a"}') + b"\n"


@pytest.mark.parametrize("marker", [b"", b"../keys", b"\xff", b"x" * 5000])
def test_a_marker_that_names_no_channel_keeps_nothing(marker: bytes, pair: tuple[Laptop, Laptop]) -> None:
    """And is no trouble."""
    one, _ = pair
    one.path(MARKER).parent.mkdir(parents=True)
    one.path(MARKER).write_bytes(marker)
    write(one, EVENTS, event(0, '{"text":"a"}') + b"\n")
    assert EVENTS in _paths(one)
    assert one.replica.kept_here == set()
