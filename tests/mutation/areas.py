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
            "tests/unit/merge/test_ranges.py",
            "tests/unit/merge/test_reconcile.py",
            "tests/unit/merge/test_reconcile_wire.py",
            "tests/properties/test_reconcile.py",
            "tests/properties/test_selection.py",
            "tests/conformance/test_negentropy.py",
        ),
        (
            "tests/unit/merge/test_reconcile.py::test_a_flood_of_bogus_fingerprints_is_answered_in_linear_time",
            "tests/unit/merge/test_reconcile_wire.py::test_a_flood_of_empty_ranges_ends_early",
        ),
    ),
    "journal": Area(
        ("replica/journal.py", "replica/ledger.py", "replica/jsonl.py", "replica/counting.py"),
        (
            "tests/unit/replica/test_journal.py",
            "tests/unit/replica/test_ledger.py",
            "tests/unit/replica/test_jsonl.py",
            "tests/unit/replica/test_counting.py",
            "tests/unit/replica/test_replica.py",
        ),
    ),
    "logs": Area(
        ("replica/logs.py",),
        (
            "tests/unit/replica/test_appending.py",
            "tests/unit/replica/test_logs.py",
            "tests/unit/replica/test_replica.py",
        ),
    ),
    "appending": Area(
        ("replica/appending.py", "replica/losers.py"),
        (
            "tests/unit/replica/test_appending.py",
            "tests/unit/replica/test_losers.py",
            "tests/unit/replica/test_replica.py",
        ),
    ),
    "skills": Area(
        tuple(
            f"records/{name}.py"
            for name in (
                "addresses",
                "execution",
                "loglines",
                "manifests",
                "names",
                "open_items",
                "skills",
                "stats",
                "strictjson",
                "timestamps",
            )
        ),
        (
            "tests/unit/records/test_addresses.py",
            "tests/unit/records/test_execution.py",
            "tests/unit/records/test_loglines.py",
            "tests/unit/records/test_manifests.py",
            "tests/unit/records/test_names.py",
            "tests/unit/records/test_open_items.py",
            "tests/unit/records/test_part_names.py",
            "tests/unit/records/test_skills.py",
            "tests/unit/records/test_stats.py",
            "tests/unit/records/test_strictjson.py",
            "tests/unit/records/test_timestamps.py",
            "tests/conformance/test_env_class.py",
            "tests/conformance/test_numbers.py",
            "tests/conformance/test_record_run.py",
            "tests/conformance/test_skill_events.py",
            "tests/conformance/test_skill_files.py",
            "tests/conformance/test_stats.py",
            "tests/conformance/test_timestamps.py",
            "tests/properties/test_merge_laws.py",
            "tests/security/test_names.py",
        ),
        (
            "tests/unit/records/test_loglines.py::test_a_hostile_line_costs_no_more_than_its_length",
            "tests/unit/records/test_loglines.py::test_a_line_of_many_records_costs_no_more_than_its_length",
        ),
    ),
    "channels": Area(
        tuple(
            f"records/{name}.py"
            for name in ("actors", "channel_logs", "channel_manifests", "channels", "hitl")
        ),
        (
            "tests/unit/records/test_channel_logs.py",
            "tests/unit/records/test_channel_manifests.py",
            "tests/unit/records/test_channels.py",
            "tests/unit/records/test_hitl.py",
            "tests/conformance/test_channel_events.py",
            "tests/conformance/test_channel_files.py",
            "tests/conformance/test_channel_manifests.py",
            "tests/conformance/test_sign_inputs.py",
        ),
    ),
    "signing": Area(
        tuple(
            f"records/{name}.py" for name in ("ed25519", "keyrings", "multibase", "rotations", "signatures")
        ),
        (
            "tests/unit/records/test_ed25519.py",
            "tests/unit/records/test_keyrings.py",
            "tests/unit/records/test_multibase.py",
            "tests/unit/records/test_rotations.py",
            "tests/unit/records/test_signatures.py",
            "tests/conformance/test_ed25519_edge.py",
            "tests/conformance/test_rotations.py",
            "tests/conformance/test_sign_inputs.py",
        ),
        ("tests/unit/records/test_signatures.py::test_no_cryptography_is_loaded",),
    ),
    "yaml": Area(
        tuple(
            f"records/{name}.py"
            for name in ("model_entries", "models", "profiles", "yamlscalars", "yamlsplices", "yamltree")
        ),
        (
            "tests/unit/records/test_model_entries.py",
            "tests/unit/records/test_models.py",
            "tests/unit/records/test_profiles.py",
            "tests/unit/records/test_yamlscalars.py",
            "tests/unit/records/test_yamlsplices.py",
            "tests/unit/records/test_yamltree.py",
        ),
        (
            "tests/unit/records/test_models.py::test_a_large_file_takes_no_time",
            "tests/unit/records/test_yamltree.py::test_hostile_text_is_refused_in_no_time",
            "tests/unit/records/test_yamltree.py::test_the_digest_of_many_keys_takes_no_time",
        ),
    ),
    "experiences": Area(
        ("records/artifacts.py", "records/audits.py", "records/experience*.py", "records/governance.py"),
        (
            "tests/unit/records/test_artifacts.py",
            "tests/unit/records/test_audits.py",
            "tests/unit/records/test_experiences.py",
            "tests/conformance/test_experience_examples.py",
            "tests/unit/records/test_experience_intake.py",
            "tests/unit/records/test_experience_json.py",
            "tests/unit/records/test_experience_shapes.py",
            "tests/unit/records/test_experience_queries.py",
            "tests/contracts/test_experience_memory.py",
            "tests/contracts/test_runs_memory.py",
        ),
    ),
}
