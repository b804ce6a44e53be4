"""Whatever is appended to an experience store, in whatever order, it answers as the reference does.

Two references: `MemoryExperienceStore`, which every other store is held against on random stories, and
upstream's own properties of its in-memory store, kept in the upstream mode. Canonical content is held
to what it promises: equal for every spelling of one content, different for different contents.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetsync.errors import FleetsyncError
from fleetsync.experience_port import ExperienceStore, Recorded, TraceLink
from fleetsync.records import strictjson
from fleetsync.records.experience_intake import Rules
from fleetsync.records.experience_queries import ArtifactQuery, EventQuery, TimeRange
from fleetsync.records.experience_words import ArtifactState, KnownArtifactKind
from fleetsync.records.experiences import Experience, canonical, read
from fleetsync.stores.experience_ledger import ExperienceLedger
from fleetsync.stores.experience_log import ExperienceLog
from fleetsync.stores.experience_memory import MemoryExperienceStore
from fleetsync.stores.experience_sql import SqlExperienceStore
from fleetsync.stores.opening import open_database
from tests.fakes.experiences import budget, fact, lifecycle, outcome, respelled, trace, transition

EXAMPLES = (Path(__file__).parents[1] / "vectors" / "experience_examples.jsonl").read_bytes().splitlines()

# --- stories -------------------------------------------------------------------------------------------

ids = st.sampled_from(["e-1", "e-2", "evt-0", "bad id"])
tenants = st.sampled_from([None, "t1", "T1", "t2"])
chains = st.sampled_from(["ch-1", "ch-2", "c" * 400])
correlations = st.sampled_from([None, "c1", "c2"])
times = st.sampled_from(
    [
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00.000000001Z",
        "2026-01-01T01:00:00+01:00",
        "2026-01-01",
        "2026-01-02T00:00:00Z",
        "1970-01-01T00:00:00Z",
        "lamport:7",
    ]
)
states = st.sampled_from([str(state) for state in ArtifactState])
owners = {"tenant_id": tenants, "correlation_id": correlations}
plain_events = st.one_of(
    st.builds(outcome, ids, times, chain=chains, tokens=st.integers(0, 1), **owners),
    st.builds(budget, ids, times, chain=chains, **owners),
    st.builds(fact, ids, times, proposal=st.sampled_from(["p-1", "p-2"]), **owners),
    st.builds(trace, ids, st.sampled_from(["tl-1", "tl-2"]), st.sampled_from(["acme", "other"]), **owners),
    st.builds(transition, ids, states, states, st.sampled_from(["a", "b"]), tenants),
)
events = plain_events | plain_events.map(respelled)
batches = st.lists(events, max_size=4)
streams = st.sampled_from(["local", "other"])
limits = st.none() | st.integers(-1, 4)
queries = st.builds(
    EventQuery,
    tenant_id=tenants,
    all_tenants=st.booleans(),
    time_range=st.none() | st.builds(TimeRange, st.none() | times, st.none() | times),
    kinds=st.lists(st.sampled_from(["OutcomeRecorded", "FactPromoted", "Nothing"]), max_size=2).map(tuple),
    correlation_id=correlations,
    chain_id=st.none() | chains,
    limit=limits,
    trace_link_id=st.sampled_from([None, None, "tl-1"]),
    proposal_id=st.sampled_from([None, None, "p-1"]),
    related=st.booleans(),
    after=st.sampled_from([None, None, None, "e-1", "x:1"]),
    newest_first=st.booleans(),
)
artifact_queries = st.builds(
    ArtifactQuery,
    tenant_id=tenants,
    artifact_id=st.sampled_from([None, "a"]),
    state=st.none() | st.sampled_from(list(ArtifactState)),
    limit=st.none() | st.integers(0, 2),
)
lifecycles = st.builds(lifecycle, states, states, tenants, times)
acts = st.one_of(
    st.tuples(st.just("append"), batches, streams, st.sampled_from([Rules.WRITTEN, Rules.IMPORTED])),
    st.tuples(st.just("append"), batches, streams, st.just(Rules.IMPORTED)),
    st.tuples(st.just("transition"), st.sampled_from(["a", "b"]), lifecycles),
    st.tuples(st.just("events"), queries),
    st.tuples(st.just("artifacts"), artifact_queries),
    st.tuples(st.just("trace"), st.sampled_from(["tl-1", "tl-2"]), tenants),
    st.tuples(st.just("conflicts")),
)
stories = st.lists(acts, min_size=1, max_size=25)
EVERYTHING: list[tuple[Any, ...]] = [
    ("events", EventQuery(all_tenants=True)),
    ("events", EventQuery(all_tenants=True, newest_first=True, limit=3)),
    ("artifacts", ArtifactQuery()),
    ("conflicts",),
]


def answer(store: ExperienceStore, act: tuple[Any, ...]) -> Any:
    """What comes of an act: a value or an error, without what differs between two stores."""
    try:
        return told(perform(store, act))
    except FleetsyncError as error:
        return type(error)


def perform(store: ExperienceStore, act: tuple[Any, ...]) -> Any:
    """Do it."""
    name, *rest = act
    if name == "append":
        return store.append_events(rest[0], stream=rest[1], rules=rest[2])
    if name == "transition":
        return store.write_artifact_state_transition(rest[0], KnownArtifactKind.PACK, rest[1]).line
    asks: dict[str, Callable[..., Any]] = {
        "events": store.query_events,
        "artifacts": store.query_artifacts,
        "trace": store.get_trace_link,
        "conflicts": store.conflicts,
    }
    return asks[name](*rest)


def told(value: Any) -> Any:
    """The value with its places numbered from the first: positions begin anywhere."""
    if isinstance(value, Recorded):
        return value.stream, value.line, value.conflict
    if isinstance(value, TraceLink):
        return told(value.recorded), value.differing
    if isinstance(value, list):
        return [told(each) for each in value]
    return tuple(told(each) for each in value) if isinstance(value, tuple) else value


def surroundings() -> dict[str, Any]:
    """A clock and ids that every store of one story sees alike."""
    numbers = iter(range(10**6))
    return {"now": lambda: 1_780_099_200_000_000_000, "new_id": lambda: f"evt-new-{next(numbers)}"}


def held_alike(store: ExperienceStore, story: list[tuple[Any, ...]]) -> None:
    """The store answers every act of the story, and every question after it, as the reference does."""
    reference = MemoryExperienceStore(**surroundings())
    for act in [*story, *EVERYTHING]:
        assert answer(store, act) == answer(reference, act)


@given(stories)
@settings(max_examples=60)
def test_sqlite_answers_as_the_reference(story: list[tuple[Any, ...]]) -> None:
    """A file of its own for every story."""
    with tempfile.TemporaryDirectory() as folder:
        store = SqlExperienceStore(open_database("", Path(folder) / "experience.db"), **surroundings())
        store.initialize()
        try:
            held_alike(store, story)
        finally:
            store.close()


@given(stories)
@settings(max_examples=40)
def test_the_ledger_of_a_home_answers_as_the_reference(story: list[tuple[Any, ...]]) -> None:
    """Also after its index was thrown away: the logs hold everything, each stream in its order."""
    with tempfile.TemporaryDirectory() as folder:
        index = SqlExperienceStore(open_database("", Path(folder) / "experience.db"))
        ledger = ExperienceLedger(ExperienceLog(Path(folder)), index, **surroundings())
        ledger.initialize()
        try:
            held_alike(ledger, story)
            before = shown(ledger)
            index.forget()
            assert shown(ledger) == before
        finally:
            ledger.close()


def shown(store: ExperienceStore) -> list[str]:
    """The contents that are shown, sorted: which of two spellings it is depends on the order of streams."""
    return sorted(found.experience.content for found in store.query_events(EventQuery(all_tenants=True)))


@given(stories)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_postgres_answers_as_the_reference(postgres_url: str, story: list[tuple[Any, ...]]) -> None:
    """One database for all stories; every story begins with nothing."""
    store = SqlExperienceStore(open_database(postgres_url, Path()), **surroundings())
    store.initialize()
    try:
        store.forget()
        held_alike(store, story)
    finally:
        store.close()


# --- upstream's own properties ---------------------------------------------------------------------------

legal_ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)


def upstream(*appended: Experience) -> MemoryExperienceStore:
    """The reference with these in it."""
    store = MemoryExperienceStore(upstream=True)
    for event in appended:
        store.append_event(event)
    return store


def asked(store: MemoryExperienceStore, **conditions: Any) -> list[Experience]:
    """The events that are asked for."""
    return [found.experience for found in store.query_events(EventQuery(**conditions))]


@given(st.lists(legal_ids, max_size=20))
def test_upstream_keeps_every_append_in_its_order(names: list[str]) -> None:
    """N valid appends, N events, repeats and all (properties 1 and 2)."""
    store = upstream(*(outcome(name) for name in names))
    assert [event.event_id for event in asked(store)] == names


@given(st.integers(0, 9), st.integers(0, 9))
def test_upstream_keeps_tenants_apart(first: int, second: int) -> None:
    """Each tenant its own count and nobody else's events (property 3)."""
    store = upstream(
        *(outcome(f"a-{n}", tenant_id="one") for n in range(first)),
        *(outcome(f"b-{n}", tenant_id="two") for n in range(second)),
    )
    for tenant, count in (("one", first), ("two", second)):
        assert [event.tenant_id for event in asked(store, tenant_id=tenant)] == [tenant] * count


@given(st.integers(0, 9), st.integers(0, 9))
def test_upstream_counts_kinds(outcomes: int, budgets: int) -> None:
    """Each kind exactly its own (property 4)."""
    store = upstream(
        *(outcome(f"a-{n}") for n in range(outcomes)), *(budget(f"b-{n}") for n in range(budgets))
    )
    for kind, count in (("OutcomeRecorded", outcomes), ("BudgetExceeded", budgets)):
        assert [event.kind for event in asked(store, kinds=(kind,))] == [kind] * count


@given(st.integers(5, 19), st.integers(1, 4))
def test_upstream_gives_no_more_than_the_limit(count: int, limit: int) -> None:
    """The oldest ones (property 5)."""
    store = upstream(*(outcome(f"e-{n}") for n in range(count)))
    assert [event.event_id for event in asked(store, limit=limit)] == [f"e-{n}" for n in range(limit)]


@given(st.integers(0, 9), st.integers(0, 9))
def test_upstream_finds_a_correlation(target: int, noise: int) -> None:
    """Exactly the target's, and only that id (property 6)."""
    store = upstream(
        *(outcome(f"a-{n}", correlation_id="target") for n in range(target)),
        *(outcome(f"b-{n}", correlation_id="noise") for n in range(noise)),
    )
    assert [event.correlation_id for event in asked(store, correlation_id="target")] == ["target"] * target


@given(stories)
@settings(max_examples=40)
def test_sqlite_as_upstream_answers_as_upstream(story: list[tuple[Any, ...]]) -> None:
    """The comparison mode is the same in every store; conflicts are unknown there."""
    reference = MemoryExperienceStore(upstream=True)
    with tempfile.TemporaryDirectory() as folder:
        store = SqlExperienceStore(open_database("", Path(folder) / "experience.db"), upstream=True)
        store.initialize()
        try:
            for act in [*story, *EVERYTHING]:
                assert answer(store, act) == answer(reference, act)
        finally:
            store.close()


# --- canonical content -----------------------------------------------------------------------------------


def shuffled(value: Any, dice: random.Random) -> Any:
    """The same content in another spelling: other order of keys, nulls left out."""
    if isinstance(value, list):
        return [shuffled(each, dice) for each in value]
    if not isinstance(value, dict):
        return value
    items = [(k, shuffled(v, dice)) for k, v in value.items() if v is not None or dice.random() < 0.5]
    dice.shuffle(items)
    return dict(items)


@given(st.sampled_from(EXAMPLES), st.randoms(use_true_random=False))
def test_a_spelling_does_not_change_the_content(line: bytes, dice: random.Random) -> None:
    """Order of keys, absent or null, blanks, escapes: one content, in every kind."""
    other = json.dumps(shuffled(json.loads(line), dice), ensure_ascii=dice.random() < 0.5).encode()
    assert read(other).content == read(line).content


@given(st.sampled_from(EXAMPLES), st.data())
def test_a_changed_value_changes_the_content(line: bytes, data: st.DataObject) -> None:
    """Every scalar in every kind counts."""
    value = json.loads(line)
    places = list(leaves(value))
    holder, key = data.draw(st.sampled_from(places))
    holder[key] = f"{holder[key]}-changed"
    changed = canonical(strictjson.parse(json.dumps(value).encode()))
    assert changed != canonical(strictjson.parse(line))


def leaves(value: Any) -> Any:
    """(container, key) of every scalar in it."""
    pairs = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    for key, each in pairs:
        if isinstance(each, dict | list):
            yield from leaves(each)
        else:
            yield value, key


@pytest.mark.parametrize("text", ["0.7", "0.70", "7e-1", "0.7000000000000001", "0.69999999999999996"])
def test_digits_that_do_not_survive_other_readers_do_not_count(text: str) -> None:
    """One or two units in the last place of an f64 are what upstream's parser moves."""
    line = EXAMPLES[3].replace(b'"score":0.75', b'"score":' + text.encode())
    assert read(line).content == read(EXAMPLES[3].replace(b"0.75", b"0.7")).content
