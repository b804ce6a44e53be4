"""What every `RunStore` does, as a test class: subclass it and say how a store is made.

The suite asks for nothing but the port, so the in-memory reference, SQLite and PostgreSQL are held
to the same words: those of the table in the issue, and of the port's docstrings.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fleetsync.errors import DuplicateRecord, MalformedRecord, NotFound
from fleetsync.ports import RunStore
from fleetsync.records.audits import (
    MAX_CHAIN,
    EventType,
    Run,
    RunFilter,
    RunLog,
    RunStart,
    RunStats,
    RunStatus,
    begun,
)

ALL = RunFilter(include_dry_run=True)


def begin(store: RunStore, run_id: str, at: int = 0, **more: Any) -> RunStart:
    """A run that begins at `at` µs."""
    start = RunStart(id=run_id, started_at=at, **{"skill_id": "deploy", "caller_id": "cli", **more})
    store.start_run(start)
    return start


def end(store: RunStore, run_id: str, status: str = "ok", at: int = 1_000, **more: Any) -> RunStats:
    """It ends."""
    stats = RunStats(status=RunStatus(status), finished_at=at, **more)
    store.finish_run(run_id, stats)
    return stats


def done(store: RunStore, run_id: str, at: int = 0, status: str = "ok", **more: Any) -> None:
    """A run that began and ended."""
    begin(store, run_id, at, **more)
    end(store, run_id, status, at + 1_000)


def note(store: RunStore, run_id: str, sequence: int, payload: Any = None) -> RunLog:
    """An entry in its log."""
    entry = RunLog(
        run_id=run_id, sequence=sequence, event_type=EventType.STEP, payload=payload, created_at=sequence
    )
    store.append_log(entry)
    return entry


def ids(runs: list[Run]) -> list[str]:
    """Which runs, in order."""
    return [run.id for run in runs]


class RunStoreContract(ABC):
    """Subclass it as `Test…` and make a store."""

    @abstractmethod
    @pytest.fixture
    def store(self, *arguments: Any) -> Any:
        """An empty store, initialized."""

    # --- initialize ------------------------------------------------------------------------------

    def test_initialize_is_idempotent(self, store: RunStore) -> None:
        """Initializing again changes nothing of what is there."""
        begin(store, "a")
        store.initialize()
        assert ids(store.list_runs_filtered(ALL, 0, 50)) == ["a"]

    # --- start and finish ------------------------------------------------------------------------

    def test_a_started_run_is_running(self, store: RunStore) -> None:
        """What was given comes back, with nothing of an end."""
        start = begin(
            store, "a", 7, channel_id="peer", inputs={"list": [1, 2.5, None, "é\0"]}, parent_run_id="p"
        )
        assert store.get_run("a") == begun(start)
        assert store.get_run("a").status is RunStatus.RUNNING

    def test_a_run_is_started_once(self, store: RunStore) -> None:
        """A second start of one id is refused and changes nothing, not even the counts."""
        begin(store, "a", 1)
        with pytest.raises(DuplicateRecord):
            begin(store, "a", 2, skill_id="other")
        assert store.get_run("a").started_at == 1
        assert store.count_runs_filtered(ALL) == 1

    @pytest.mark.parametrize("status", [status for status in RunStatus if status is not RunStatus.RUNNING])
    def test_every_terminal_status_is_kept(self, store: RunStore, status: RunStatus) -> None:
        """All that the stats say is in the run afterwards."""
        begin(store, "a")
        stats = end(
            store,
            "a",
            status,
            5,
            output={"done": ["ü", 1]},
            error="why",
            tool_calls_count=3,
            runtime_seconds=1.25,
            total_input_tokens=2**62,
            total_output_tokens=1,
            total_thinking_tokens=2,
        )
        run = store.get_run("a")
        assert {name: getattr(run, name) for name in stats.__struct_fields__} == {
            name: getattr(stats, name) for name in stats.__struct_fields__
        }

    def test_the_last_finish_wins(self, store: RunStore) -> None:
        """A second end replaces the first one, whole: what it does not say is gone."""
        begin(store, "a")
        end(store, "a", "error", 5, error="why", tool_calls_count=3)
        end(store, "a", "ok", 9)
        run = store.get_run("a")
        assert (run.status, run.finished_at, run.error, run.tool_calls_count) == ("ok", 9, None, 0)
        assert store.count_runs_filtered(RunFilter(status=RunStatus.ERROR)) == 0
        assert store.count_runs_filtered(RunFilter(status=RunStatus.OK)) == 1

    def test_what_is_not_there_cannot_be_finished_or_found(self, store: RunStore) -> None:
        """`NotFound` for a run that never began."""
        with pytest.raises(NotFound):
            end(store, "a")
        with pytest.raises(NotFound):
            store.get_run("a")
        assert store.count_runs_filtered(ALL) == 0

    def test_values_are_copies(self, store: RunStore) -> None:
        """Changing what was handed in, or what came back, changes nothing in the store."""
        inputs = {"list": [1]}
        begin(store, "a", inputs=inputs)
        inputs["list"].append(2)
        store.get_run("a")
        assert store.get_run("a").inputs == {"list": [1]}

    def test_tuples_come_back_as_lists(self, store: RunStore) -> None:
        """Values are JSON, whatever Python calls them."""
        begin(store, "a", inputs=(1, {2: "x"}))
        assert store.get_run("a").inputs == [1, {"2": "x"}]

    # --- logs ------------------------------------------------------------------------------------

    def test_logs_come_in_sequence(self, store: RunStore) -> None:
        """However they were written."""
        begin(store, "a")
        entries = [note(store, "a", n, {"n": n, "text": "\0\ud800"}) for n in (2, 0, 10)]
        assert store.list_logs_by_run("a") == [entries[1], entries[0], entries[2]]

    def test_a_sequence_is_used_once(self, store: RunStore) -> None:
        """(run, sequence) is unique; the first entry stays."""
        begin(store, "a")
        begin(store, "b")
        first = note(store, "a", 0, "first")
        with pytest.raises(DuplicateRecord):
            note(store, "a", 0, "second")
        note(store, "b", 0)
        assert store.list_logs_by_run("a") == [first]

    def test_a_log_belongs_to_a_run(self, store: RunStore) -> None:
        """An entry of a run that is not there is refused; asking for its log yields nothing."""
        with pytest.raises(NotFound):
            note(store, "a", 0)
        assert store.list_logs_by_run("a") == []

    # --- listings --------------------------------------------------------------------------------

    def test_runs_of_a_skill_newest_first_without_dry_ones(self, store: RunStore) -> None:
        """By start, then id, descending; at most the limit."""
        for run_id, at in (("b", 2), ("a", 1), ("c", 2)):
            done(store, run_id, at)
        done(store, "dry", 9, "dry_run")
        done(store, "other", 9, skill_id="build")
        assert ids(store.list_runs_by_skill("deploy", 10)) == ["c", "b", "a"]
        assert ids(store.list_runs_by_skill("deploy", 2)) == ["c", "b"]
        assert store.list_runs_by_skill("deploy", 0) == store.list_runs_by_skill("nothing", 5) == []

    def test_ids_are_ordered_byte_by_byte(self, store: RunStore) -> None:
        """Not as a dictionary would have it: the same on every machine."""
        for run_id in ("a", "B", "é", "b", "_", "𝄞", "\uffee"):
            begin(store, run_id)
        expected = sorted(("a", "B", "é", "b", "_", "𝄞", "\uffee"), reverse=True)
        assert ids(store.list_runs_filtered(ALL, 0, 50)) == expected

    def test_pages_of_a_skill_agree_with_their_count(self, store: RunStore) -> None:
        """All pages together are all runs, each once, with and without dry ones."""
        for n in range(7):
            done(store, f"r{n}", n, "dry_run" if n % 3 == 0 else "ok")
        for dry, expected in ((True, 7), (False, 4)):
            pages = [store.list_runs_by_skill_paginated("deploy", n, 2, dry) for n in range(0, 8, 2)]
            found = [run.id for page in pages for run in page]
            assert found == sorted(found, reverse=True)
            assert len(found) == store.count_runs_by_skill("deploy", dry) == expected
        assert ids(store.list_runs_by_skill_paginated("deploy", -3, 1, True)) == ["r6"]
        assert store.list_runs_by_skill_paginated("deploy", 0, -1, True) == []
        assert store.count_runs_by_skill("nothing", True) == 0

    def test_runs_of_a_caller(self, store: RunStore) -> None:
        """Newest first, dry ones too."""
        done(store, "a", 1, caller_id="me")
        done(store, "b", 2, "dry_run", caller_id="me")
        done(store, "c", 3)
        assert ids(store.list_runs_by_caller("me", 5)) == ["b", "a"]
        assert ids(store.list_runs_by_caller("me", 1)) == ["b"]
        assert store.list_runs_by_caller("me", 0) == []

    def test_every_condition_of_a_filter_must_hold(self, store: RunStore) -> None:
        """Each by itself, and all together; the count is that of the same predicate."""
        done(store, "a", 10, caller_id="me", channel_id="peer")
        done(store, "b", 20, "error", skill_id="build", parent_run_id="a")
        begin(store, "c", 30, channel_id="peer")
        done(store, "d", 40, "dry_run", channel_id="peer")
        for expected, conditions in (
            ("cba", {}),
            ("dcba", {"include_dry_run": True}),
            ("d", {"status": RunStatus.DRY_RUN}),
            ("b", {"status": RunStatus.ERROR}),
            ("c", {"status": RunStatus.RUNNING}),
            ("b", {"skill_id": "build"}),
            ("a", {"caller_id": "me"}),
            ("ca", {"channel_id": "peer"}),
            ("cb", {"caller_id": "cli", "until": 40, "include_dry_run": True}),
            ("ca", {"top_level_only": True}),
            ("cb", {"since": 20}),
            ("ba", {"until": 30}),
            ("b", {"since": 20, "until": 30}),
            ("a", {"caller_id": "me", "channel_id": "peer", "status": RunStatus.OK, "skill_id": "deploy"}),
            ("", {"caller_id": "me", "status": RunStatus.ERROR}),
            ("dc", {"channel_id": "peer", "since": 20, "include_dry_run": True, "top_level_only": True}),
        ):
            wanted = RunFilter(**conditions)
            assert ids(store.list_runs_filtered(wanted, 0, 50)) == list(expected), conditions
            assert store.count_runs_filtered(wanted) == len(expected), conditions

    def test_an_empty_name_is_a_name(self, store: RunStore) -> None:
        """A filter for the empty channel means the runs without one, not all."""
        done(store, "a", channel_id="peer")
        done(store, "b")
        assert ids(store.list_runs_filtered(RunFilter(channel_id=""), 0, 50)) == ["b"]

    @pytest.mark.parametrize(
        ("limit", "shown"), [(0, 50), (-1, 50), (501, 50), (2**70, 50), (500, 60), (51, 51)]
    )
    def test_a_filtered_page_has_a_sensible_size(self, store: RunStore, limit: int, shown: int) -> None:
        """A limit that is not within 1 … 500 becomes 50."""
        for n in range(60):
            begin(store, f"{n:02}", n)
        assert len(store.list_runs_filtered(ALL, 0, limit)) == shown

    def test_an_offset_moves_the_page(self, store: RunStore) -> None:
        """Beyond the end there is nothing; before the beginning is the beginning."""
        for n in range(5):
            begin(store, str(n), n)
        assert ids(store.list_runs_filtered(ALL, 3, 50)) == ["1", "0"]
        assert store.list_runs_filtered(ALL, 5, 50) == store.list_runs_filtered(ALL, 2**70, 50) == []
        assert len(store.list_runs_filtered(ALL, -1, 50)) == 5

    # --- purges ----------------------------------------------------------------------------------

    def test_a_purge_takes_what_is_strictly_older(self, store: RunStore) -> None:
        """Logs and counts go too, running runs as well; the number of runs comes back."""
        done(store, "a", 1)
        begin(store, "b", 2)
        done(store, "c", 3)
        note(store, "a", 0)
        note(store, "c", 0)
        assert store.purge_older_than(3) == 2
        assert store.purge_older_than(3) == 0
        assert ids(store.list_runs_filtered(ALL, 0, 50)) == ["c"]
        assert (store.list_logs_by_run("a"), len(store.list_logs_by_run("c"))) == ([], 1)
        assert store.count_runs_filtered(ALL) == store.count_runs_by_skill("deploy", True) == 1

    def test_a_purge_counts_top_level_and_children_apart(self, store: RunStore) -> None:
        """Every sum is right afterwards, whatever it is over."""
        done(store, "old", 1, caller_id="me")
        done(store, "child", 1, "error", parent_run_id="old")
        done(store, "new", 5, parent_run_id="old")
        assert store.purge_older_than(5) == 2
        for wanted, left in (({}, 1), ({"top_level_only": True}, 0), ({"caller_id": "me"}, 0)):
            assert store.count_runs_filtered(RunFilter(**wanted)) == left
        begin(store, "newer", 6, caller_id="me")
        assert store.count_runs_filtered(RunFilter(caller_id="me", top_level_only=True)) == 1

    def test_a_purge_by_number_keeps_the_newest(self, store: RunStore) -> None:
        """Among equal starts the order of listings decides."""
        for run_id, at in (("a", 1), ("b", 2), ("c", 2), ("d", 3)):
            done(store, run_id, at)
        assert store.purge_beyond(9) == 0
        assert store.purge_beyond(2) == 2
        assert ids(store.list_runs_filtered(ALL, 0, 50)) == ["d", "c"]
        assert store.purge_beyond(0) == 2
        assert store.count_runs_filtered(ALL) == store.purge_beyond(-1) == 0

    def test_a_purged_id_may_be_used_again(self, store: RunStore) -> None:
        """Nothing of the old run is left, its log least of all."""
        done(store, "a", 1)
        note(store, "a", 0, "old")
        store.purge_older_than(2)
        begin(store, "a", 5)
        assert store.list_logs_by_run("a") == []

    # --- families --------------------------------------------------------------------------------

    def test_children_oldest_first(self, store: RunStore) -> None:
        """By start, then id; a run without a parent is nobody's child, not even of the empty id."""
        begin(store, "p")
        for run_id, at in (("b", 2), ("c", 1), ("a", 2)):
            begin(store, run_id, at, parent_run_id="p")
        assert ids(store.list_children_by_parent("p")) == ["c", "a", "b"]
        assert store.list_children_by_parent("") == store.list_children_by_parent("a") == []

    def test_a_chain_leads_from_the_root(self, store: RunStore) -> None:
        """Root first, the run itself last; a parent that is gone ends it."""
        begin(store, "root", parent_run_id="gone")
        begin(store, "middle", parent_run_id="root")
        begin(store, "leaf", parent_run_id="middle")
        assert ids(store.walk_parent_chain("leaf")) == ["root", "middle", "leaf"]
        assert ids(store.walk_parent_chain("root")) == ["root"]
        assert store.walk_parent_chain("nothing") == store.walk_parent_chain("") == []

    def test_a_cycle_is_walked_once(self, store: RunStore) -> None:
        """Each run of it stands in the chain once."""
        for run_id, parent in (("a", "c"), ("b", "a"), ("c", "b"), ("self", "self")):
            begin(store, run_id, parent_run_id=parent)
        assert ids(store.walk_parent_chain("c")) == ["a", "b", "c"]
        assert ids(store.walk_parent_chain("self")) == ["self"]

    def test_a_chain_has_at_most_32_runs(self, store: RunStore) -> None:
        """Those nearest to the run."""
        for n in range(40):
            begin(store, f"{n:02}", parent_run_id=f"{n - 1:02}" if n else None)
        chain = ids(store.walk_parent_chain("39"))
        assert (len(chain), chain[0], chain[-1]) == (MAX_CHAIN, "08", "39")

    # --- by finish, and the last ones ------------------------------------------------------------

    def test_finished_runs_oldest_first(self, store: RunStore) -> None:
        """Strictly before the cutoff, by finish; running ones never, and no limit is none."""
        begin(store, "running")
        for run_id, at in (("b", 5), ("a", 5), ("c", 3), ("d", 6)):
            begin(store, run_id)
            end(store, run_id, "error", at)
        assert ids(store.list_finished_runs_before(6, 10)) == ["c", "a", "b"]
        assert ids(store.list_finished_runs_before(6, 1)) == ["c"]
        assert store.list_finished_runs_before(6, 0) == store.list_finished_runs_before(6, -1) == []
        assert len(store.list_finished_runs_before(2**62, 2**70)) == 4

    def test_the_last_run_of_each_skill(self, store: RunStore) -> None:
        """Only `ok` ones, or all but dry ones; a skill without is absent."""
        done(store, "a1", 1, skill_id="a")
        done(store, "a2", 2, skill_id="a")
        done(store, "a3", 3, "error", skill_id="a")
        done(store, "a4", 4, "dry_run", skill_id="a")
        done(store, "b1", 1, "timeout", skill_id="b")
        begin(store, "c1", 1, skill_id="c")
        done(store, "d1", 1, "dry_run", skill_id="d")
        done(store, "e1", 1, skill_id="e")

        def last(include_failed: bool) -> dict[str, str]:
            found = store.last_run_by_skills(["a", "b", "c", "d", "nothing", "a"], include_failed)
            return {skill: run.id for skill, run in found.items()}

        assert last(False) == {"a": "a2"}
        assert last(True) == {"a": "a3", "b": "b1", "c": "c1"}

    def test_no_skills_no_question(self, store: RunStore) -> None:
        """Without ids the store is not even asked: a closed one answers."""
        store.close()
        assert store.last_run_by_skills([], True) == {}

    def test_many_skills_at_once(self, store: RunStore) -> None:
        """More than a statement takes parameters."""
        done(store, "a", skill_id="skill-1200")
        found = store.last_run_by_skills([f"skill-{n}" for n in range(2500)], False)
        assert {skill: run.id for skill, run in found.items()} == {"skill-1200": "a"}

    # --- what cannot be stored -------------------------------------------------------------------

    @pytest.mark.parametrize("text", ["a\0b", "\ud800"])
    def test_texts_that_no_database_takes_are_refused_alike(self, store: RunStore, text: str) -> None:
        """NUL and lone surrogates: `MalformedRecord` from every question, before any database sees it."""
        questions: list[Callable[[], object]] = [
            lambda: store.get_run(text),
            lambda: store.finish_run(text, RunStats(status=RunStatus.OK, finished_at=0)),
            lambda: store.list_logs_by_run(text),
            lambda: store.list_runs_by_skill(text, 1),
            lambda: store.list_runs_by_caller(text, 1),
            lambda: store.count_runs_by_skill(text, True),
            lambda: store.list_children_by_parent(text),
            lambda: store.walk_parent_chain(text),
            lambda: store.last_run_by_skills([text], True),
        ]
        for question in questions:
            with pytest.raises(MalformedRecord):
                question()

    def test_times_that_no_database_takes_are_refused_alike(self, store: RunStore) -> None:
        """Beyond 63 bits."""
        for question in (store.purge_older_than, lambda time: store.list_finished_runs_before(time, 1)):
            with pytest.raises(MalformedRecord):
                question(2**63)

    def test_long_names_and_texts_are_kept(self, store: RunStore) -> None:
        """Names up to their limit, everything else of any length."""
        name = "é" * 256
        begin(
            store,
            name,
            skill_id=name,
            caller_id=name,
            channel_id=name,
            parent_run_id=name,
            inputs="x" * 10**6,
        )
        end(store, name, error="é" * 10**6)
        run = store.get_run(name)
        assert (run.skill_id, len(run.inputs), len(run.error or "")) == (name, 10**6, 10**6)

    # --- at once ---------------------------------------------------------------------------------

    def test_writers_at_once_lose_nothing(self, store: RunStore) -> None:
        """Threads that start, log and finish runs of the same kinds leave runs, logs and right counts."""

        def work(writer: int) -> None:
            for n in range(20):
                run_id = f"{writer}-{n}"
                begin(store, run_id, n, skill_id=f"skill-{n % 2}")
                note(store, run_id, 0)
                end(store, run_id, "ok" if n % 2 else "error", n)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
        assert store.count_runs_filtered(ALL) == 80
        assert store.count_runs_filtered(RunFilter(status=RunStatus.OK)) == 40
        assert store.count_runs_filtered(RunFilter(status=RunStatus.RUNNING)) == 0

    def test_close_is_idempotent(self, store: RunStore) -> None:
        """Closing twice is fine."""
        store.close()
        store.close()
