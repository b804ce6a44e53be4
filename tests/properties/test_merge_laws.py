"""The laws that make replicas converge, on events and manifests that Hypothesis makes up."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st

from fleetsync.merge.counters import apply_new_events_to_stats, fold
from fleetsync.merge.manifest import resolve_manifest_lww
from fleetsync.merge.union import union_events
from fleetsync.records import skills, stats, timestamps
from fleetsync.records.skills import SkillEvent
from fleetsync.records.timestamps import Timestamp

T = TypeVar("T")

# Few instants, devices and outcomes, so that keys and times collide often; sub-microsecond parts and
# a leap second make different instants with one key.
TIMES = st.sampled_from(
    [
        "1969-12-31T23:59:59.9999991Z",
        "1969-12-31T23:59:59.9999999Z",
        "2026-05-30T00:00:00Z",
        "2026-05-30T02:00:00+02:00",
        "2026-05-30T00:00:00.000000400Z",
        "2026-05-30T23:59:60Z",
        "2026-05-31T00:00:00Z",
    ]
)
DEVICES = st.sampled_from(["cli", "a", "b"])


def _line(kind: str, ts: str, device: str, outcome: str, extra: str) -> bytes:
    more = f',"outcome":"{outcome}"' if kind == "execution" else ""
    return f'{{"kind":"{kind}","ts":"{ts}","device_id":"{device}"{more}{extra}}}'.encode()


EVENTS = st.builds(
    _line,
    st.sampled_from(list(skills.FIELDS)),
    TIMES,
    DEVICES,
    st.sampled_from(["success", "failure", "skipped"]),
    st.sampled_from(["", ',"note":1', ',"note":1.0']),
).map(skills.parse_event)
LOGS = st.lists(EVENTS, max_size=12)


def _bytes(events: list[SkillEvent]) -> list[bytes]:
    return [event.line for event in events]


@given(LOGS, LOGS)
def test_union_commutes(a: list[SkillEvent], b: list[SkillEvent]) -> None:
    """Which side comes first does not matter, to the last byte."""
    assert _bytes(union_events(a, b)) == _bytes(union_events(b, a))


@given(LOGS, LOGS, LOGS)
def test_union_associates(a: list[SkillEvent], b: list[SkillEvent], c: list[SkillEvent]) -> None:
    """How three sides are grouped does not matter, to the last byte."""
    left = union_events(union_events(a, b), c)
    assert _bytes(left) == _bytes(union_events(a, union_events(b, c)))


@given(LOGS, LOGS)
def test_union_is_idempotent(a: list[SkillEvent], b: list[SkillEvent]) -> None:
    """Merging again what is already merged changes nothing."""
    merged = _bytes(union_events(a, b))
    assert _bytes(union_events(union_events(a, b), b)) == merged
    assert _bytes(union_events(union_events(a, b), union_events(a, b))) == merged


@given(LOGS, LOGS)
def test_union_holds_every_key_once_by_time(a: list[SkillEvent], b: list[SkillEvent]) -> None:
    """Nothing is lost, nothing is made up, nothing stands twice, and time never runs backwards."""
    merged = union_events(a, b)
    keys = [event.dedup_key for event in merged]
    assert sorted(keys) == sorted({event.dedup_key for event in a + b})
    assert set(_bytes(merged)) <= set(_bytes(a + b))
    assert all(earlier.ts <= later.ts for earlier, later in pairwise(merged))


@given(LOGS, st.randoms(use_true_random=False))
def test_fold_is_a_function_of_the_set(events: list[SkillEvent], random: object) -> None:
    """Neither order nor repetition changes what a log adds up to."""
    mixed = events + events[::2]
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert fold(mixed) == fold(events) == fold(union_events(events))


@given(LOGS)
def test_fold_takes_the_earliest_first_success(events: list[SkillEvent]) -> None:
    """The first success is the earliest success that stands in the merged log, the last the latest."""
    successes = [event.ts for event in union_events(events) if event.outcome == "success"]
    counters = fold(events)
    assert counters.first_successful_use_at == (min(successes) if successes else None)
    assert counters.last_success_at == (max(successes) if successes else None)
    assert counters.success_count == len(successes)


@given(LOGS, LOGS)
def test_counting_in_parts_is_counting_at_once(a: list[SkillEvent], b: list[SkillEvent]) -> None:
    """Two batches one after the other leave the same stats as one batch of both."""
    fresh = stats.new("s", "1.0.0", "d", timestamps.EPOCH)
    apart = apply_new_events_to_stats(apply_new_events_to_stats(fresh, a), b)
    assert apart == apply_new_events_to_stats(fresh, a + b)
    assert apart.usage_count >= apart.success_count + apart.failure_count


@given(LOGS)
def test_new_events_in_merged_order_add_up_to_the_fold(events: list[SkillEvent]) -> None:
    """Counting a merged log into fresh stats gives its fold: the two ways agree."""
    fresh = stats.new("s", "1.0.0", "d", timestamps.EPOCH)
    assert apply_new_events_to_stats(fresh, union_events(events)).counters == tuple(fold(events))


@dataclass(frozen=True)
class Manifest:
    """A manifest of which only the time matters."""

    updated_at: Timestamp


MANIFESTS = TIMES.map(timestamps.parse).map(Manifest)


@given(MANIFESTS, MANIFESTS)
def test_manifests_of_different_times_are_decided_alike_on_both_devices(a: Manifest, b: Manifest) -> None:
    """Unless they tie, both devices keep the later one; a tie keeps each its own, and forcing too."""
    here, there = resolve_manifest_lww(a, b, force_local=False), resolve_manifest_lww(b, a, force_local=False)
    if a.updated_at == b.updated_at:
        assert (here[0], there[0]) == (a, b)
    else:
        assert here[0] is there[0]
        assert here[0].updated_at == max(a.updated_at, b.updated_at)
    assert resolve_manifest_lww(a, b, force_local=True)[0] is a
