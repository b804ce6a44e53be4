"""stats.json: what is kept, what is dropped, what begins anew, and where it lies."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetsync.errors import IllegalName, MalformedRecord
from fleetsync.records import stats, timestamps
from fleetsync.records.stats import LifecycleState, SkillStats

NOW = timestamps.parse("2026-05-30T00:00:00.123456789Z")
FRESH = stats.new("deploy-api", "1.0.0", "ab" * 32, NOW)

COUNTS = st.integers(0, 2**64 - 1)
TIMES = st.none() | st.integers(-(10**18), 4 * 10**18).map(timestamps.at)
STATS = st.builds(
    SkillStats,
    st.integers(0, 2**32 - 1),
    st.text(),
    st.text(),
    st.text(),
    st.sampled_from(LifecycleState),
    st.just(NOW),
    st.booleans(),
    st.text(),
    COUNTS,
    COUNTS,
    COUNTS,
    TIMES,
    TIMES,
    TIMES,
    st.floats(allow_nan=False, allow_infinity=False),
    TIMES,
    COUNTS,
    TIMES,
)


@given(STATS)
def test_what_is_written_is_read_back(value: SkillStats) -> None:
    """Writing and reading changes nothing."""
    assert stats.loads(stats.dumps(value)) == value


def test_unknown_members_are_dropped() -> None:
    """As mur does: nothing of ours may hide in its file."""
    data = stats.dumps(FRESH).replace(b"{\n", b'{\n  "ours": [1, {"deep": 1e999}],\n', 1)
    assert stats.dumps(stats.loads(data)) == stats.dumps(FRESH)


@pytest.mark.parametrize(
    "data", [b"", b"null", b"{", b'{"schema_version": 1}', stats.dumps(FRESH)[:-1], b"\xff"]
)
def test_what_mur_could_not_read_is_malformed(data: bytes) -> None:
    """Torn, empty or incomplete files are told apart from stats."""
    with pytest.raises(MalformedRecord):
        stats.loads(data)


def test_an_array_may_lack_its_last_two_values() -> None:
    """mur's reader takes the values in its order; the last two have defaults."""
    values = list(json.loads(stats.dumps(FRESH)).values())
    for length in (16, 17, 18):
        assert stats.loads(json.dumps(values[:length]).encode()) == FRESH
    for wrong in (values[:15], [*values, None], []):
        with pytest.raises(MalformedRecord):
            stats.loads(json.dumps(wrong).encode())


def test_a_repeated_member_is_malformed() -> None:
    """Which of two counts is meant nobody knows."""
    data = stats.dumps(FRESH).replace(b'"pinned":', b'"usage_count": 1,\n  "pinned":')
    with pytest.raises(MalformedRecord, match="twice"):
        stats.loads(data)


def test_a_new_manifest_resets_the_counters_only() -> None:
    """What a person decided and what was first stay."""
    first = timestamps.parse("2026-01-01T00:00:00Z")
    used = FRESH.with_counters((5, 3, 2, NOW, NOW, first))
    later = timestamps.parse("2026-06-01T00:00:00Z")
    assert stats.is_stale(used, "new")
    reset = stats.reset_for_new_manifest(used, version="2.0.0", digest="new", now=later)
    assert not stats.is_stale(reset, "new")
    assert reset.counters == (0, 0, 0, None, None, first)
    assert (reset.skill_version, reset.lifecycle_changed_at) == ("2.0.0", later)


def test_epoch_is_the_text_of_the_rebuild_mark() -> None:
    """It tells when mur overwrote the counters, whatever the spelling of the time."""
    assert FRESH.epoch is None
    data = stats.dumps(FRESH).replace(
        b'"rebuilt_from_trace_through": null', b'"rebuilt_from_trace_through": "2026-05-30T02:00:00.0+02:00"'
    )
    assert stats.loads(data).epoch == "2026-05-30T00:00:00Z"


def test_paths() -> None:
    """A skill's stats lie beside its log, an agent's own stats of it under the agent."""
    assert stats.path_of("deploy-api") == "skills/deploy-api/stats.json"
    assert stats.path_of("deploy-api", agent="Qa_1") == "agents/Qa_1/skills/deploy-api/stats.json"


@pytest.mark.parametrize(
    ("skill", "agent"), [("..", None), ("a/b", None), ("fleet:x", None), ("a", ".."), ("a", "")]
)
def test_paths_of_illegal_names_are_refused(skill: str, agent: str | None) -> None:
    """A name never escapes its directory."""
    with pytest.raises(IllegalName):
        stats.path_of(skill, agent=agent)
