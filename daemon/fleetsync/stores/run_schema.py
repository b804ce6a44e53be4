"""The tables of the run audit, version by version (see `migrations.py`).

`audit_runs` and `audit_logs` are the records. `audit_counts` is a summary, kept in the transaction
that changes a run: how many runs there are in all, of each skill, each caller and each channel, by
status and by whether they are at top level. So counting a million costs a few rows; a sum over two of
these dimensions would need as many rows as there are runs, and is counted by an index instead. The
comment beside an index names the questions that it answers; `status` and `top_level` stand at the end
of each, so that dry runs and children are passed over without a look at their rows.
"""

from __future__ import annotations

SCHEMA = "audit"


def _fill_counts(dimension: str, name: str) -> str:
    return f"""
    INSERT INTO audit_counts (dimension, name, status, top_level, runs)
    SELECT '{dimension}', {name}, status, top_level, count(*)
    FROM audit_runs GROUP BY 2, 3, 4
    """


VERSIONS = (
    (
        """
        CREATE TABLE audit_runs (
            id TEXT NOT NULL PRIMARY KEY, skill_id TEXT NOT NULL, caller_id TEXT NOT NULL,
            channel_id TEXT NOT NULL, inputs TEXT NOT NULL, started_at BIGINT NOT NULL, finished_at BIGINT,
            status TEXT NOT NULL, output TEXT NOT NULL, error TEXT, tool_calls_count BIGINT NOT NULL,
            runtime_seconds DOUBLE PRECISION, parent_run_id TEXT, total_input_tokens BIGINT NOT NULL,
            total_output_tokens BIGINT NOT NULL, total_thinking_tokens BIGINT NOT NULL,
            top_level BIGINT NOT NULL)
        """,
        """
        CREATE TABLE audit_logs (
            run_id TEXT NOT NULL REFERENCES audit_runs (id) ON DELETE CASCADE, sequence BIGINT NOT NULL,
            event_type TEXT NOT NULL, payload TEXT NOT NULL, created_at BIGINT NOT NULL,
            PRIMARY KEY (run_id, sequence))
        """,
        # unfiltered listings, a span of time, purges
        "CREATE INDEX audit_runs_by_start ON audit_runs (started_at, id, status, top_level)",
        # what `runs` shows: the top level, newest first
        "CREATE INDEX audit_runs_at_top ON audit_runs (started_at, id, status) WHERE top_level = 1",
        # by skill, also the last run of a skill
        "CREATE INDEX audit_runs_by_skill ON audit_runs (skill_id, started_at, id, status, top_level)",
        # by caller
        "CREATE INDEX audit_runs_by_caller ON audit_runs (caller_id, started_at, id, status, top_level)",
        # by channel (peer)
        "CREATE INDEX audit_runs_by_channel ON audit_runs (channel_id, started_at, id, status, top_level)",
        # by status: what failed, what still runs
        "CREATE INDEX audit_runs_by_status ON audit_runs (status, started_at, id, top_level)",
        # children
        """
        CREATE INDEX audit_runs_by_parent ON audit_runs (parent_run_id, started_at, id)
        WHERE parent_run_id IS NOT NULL
        """,
        # what has finished before
        "CREATE INDEX audit_runs_by_finish ON audit_runs (finished_at, id) WHERE finished_at IS NOT NULL",
    ),
    (
        """
        CREATE TABLE audit_counts (
            dimension TEXT NOT NULL, name TEXT NOT NULL, status TEXT NOT NULL, top_level BIGINT NOT NULL,
            runs BIGINT NOT NULL, PRIMARY KEY (dimension, name, status, top_level))
        """,
        _fill_counts("all", "''"),
        _fill_counts("skill", "skill_id"),
        _fill_counts("caller", "caller_id"),
        _fill_counts("channel", "channel_id"),
    ),
)
