"""What is mutated, and which tests may notice: those that are about it, so that a mutant costs seconds."""

from __future__ import annotations

from typing import NamedTuple


class Area(NamedTuple):
    """Globs of modules below `fleetsync/`, and tests. `without` are tests that measure time, which a
    mutated module has more of.
    """

    modules: tuple[str, ...]
    tests: tuple[str, ...]
    without: tuple[str, ...] = ()


AREAS = {
    "merge": Area(
        tuple(f"merge/{name}.py" for name in ("register", "union", "counters", "participants", "manifest")),
        (
            "tests/unit/merge/test_register.py",
            "tests/unit/merge/test_union.py",
            "tests/unit/merge/test_counters.py",
            "tests/unit/merge/test_participants.py",
            "tests/unit/merge/test_manifest.py",
            "tests/conformance/test_lww.py",
            "tests/conformance/test_stats.py",
        ),
        ("tests/unit/merge/test_register.py::test_thousands_of_rivals_are_told_apart_at_once",),
    ),
    "reconcile": Area(
        tuple(f"merge/{name}.py" for name in ("fingerprint", "negentropy_wire", "ranges", "reconcile")),
        (
            "tests/unit/merge/test_fingerprint.py",
            "tests/unit/merge/test_reconcile.py",
            "tests/unit/merge/test_reconcile_wire.py",
            "tests/properties/test_reconcile.py",
            "tests/properties/test_selection.py",
            "tests/conformance/test_negentropy.py",
        ),
        ("tests/unit/merge/test_reconcile_wire.py::test_a_flood_of_empty_ranges_ends_early",),
    ),
    "journal": Area(
        ("replica/journal.py", "replica/ledger.py", "replica/jsonl.py", "replica/counting.py"),
        (
            "tests/unit/replica",
            "tests/contracts/test_replica.py",
            "tests/conformance/test_stats.py",
            "tests/model",
        ),
    ),
    "records": Area(
        ("records/timestamps.py", "records/names.py", "records/skills.py", "records/stats.py"),
        (
            "tests/unit/records/test_timestamps.py",
            "tests/unit/records/test_skills.py",
            "tests/unit/records/test_stats.py",
            "tests/conformance/test_timestamps.py",
            "tests/conformance/test_skill_events.py",
            "tests/conformance/test_skill_files.py",
            "tests/conformance/test_stats.py",
            "tests/properties/test_merge_laws.py",
        ),
    ),
}
