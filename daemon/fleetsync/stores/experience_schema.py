"""The tables of the experience index, version by version (see `migrations.py`).

All of it is a cache of the logs under home, kept apart by source: one home on one device. Texts that
are longer than an index takes stand as a digest (`experience_sql.column`); `line` is always exact.
`micros` and `rest` are the instant (null: unknown). The comment beside an index names the questions
that it answers.
"""

from __future__ import annotations

SCHEMA = "experience"

VERSIONS = (
    (
        """
        CREATE TABLE experience_sources (
            name TEXT NOT NULL PRIMARY KEY, id BIGINT NOT NULL UNIQUE, epoch TEXT NOT NULL,
            last BIGINT NOT NULL)
        """,
        """
        CREATE TABLE experience_marks (
            source BIGINT NOT NULL, stream TEXT NOT NULL, file TEXT NOT NULL, size BIGINT NOT NULL,
            tail TEXT NOT NULL, PRIMARY KEY (source, stream))
        """,
        """
        CREATE TABLE experience_events (
            source BIGINT NOT NULL, position BIGINT NOT NULL, stream TEXT NOT NULL, identity TEXT NOT NULL,
            copy BIGINT NOT NULL, event_id TEXT NOT NULL, occurred_at TEXT NOT NULL, micros BIGINT,
            rest BIGINT, tenant_id TEXT, correlation_id TEXT, kind TEXT NOT NULL, chain_id TEXT,
            trace_link_id TEXT, proposal_id TEXT, content TEXT NOT NULL, hidden BIGINT NOT NULL,
            disputed BIGINT NOT NULL, line TEXT NOT NULL, PRIMARY KEY (source, position))
        """,
        """
        CREATE TABLE experience_artifacts (
            source BIGINT NOT NULL, tenant_id TEXT NOT NULL, artifact_id TEXT NOT NULL, whole_tenant TEXT,
            whole_id TEXT NOT NULL, kind TEXT, state TEXT NOT NULL, since TEXT NOT NULL,
            irregular BIGINT NOT NULL,
            PRIMARY KEY (source, tenant_id, artifact_id))
        """,
        # whether a line is there already
        "CREATE UNIQUE INDEX experience_by_line ON experience_events (source, stream, identity, copy)",
        # repeats and conflicts, going on from an event
        "CREATE INDEX experience_by_id ON experience_events (source, event_id, position)",
        # a tenant, in order
        """
        CREATE INDEX experience_by_tenant ON experience_events (source, tenant_id, position)
        WHERE tenant_id IS NOT NULL
        """,
        # a kind of a tenant, in order
        """
        CREATE INDEX experience_by_tenant_kind ON experience_events (source, tenant_id, kind, position)
        WHERE tenant_id IS NOT NULL
        """,
        # a kind, in order
        "CREATE INDEX experience_by_kind ON experience_events (source, kind, position)",
        # a correlation
        """
        CREATE INDEX experience_by_correlation ON experience_events (source, correlation_id, position)
        WHERE correlation_id IS NOT NULL
        """,
        # a chain
        """
        CREATE INDEX experience_by_chain ON experience_events (source, chain_id, position)
        WHERE chain_id IS NOT NULL
        """,
        # a trace
        """
        CREATE INDEX experience_by_trace ON experience_events (source, trace_link_id, position)
        WHERE trace_link_id IS NOT NULL
        """,
        # what became of a proposal
        """
        CREATE INDEX experience_by_proposal ON experience_events (source, proposal_id, position)
        WHERE proposal_id IS NOT NULL
        """,
        # a span of time
        "CREATE INDEX experience_by_time ON experience_events (source, micros, rest)",
        # an artifact of any tenant
        "CREATE INDEX experience_by_artifact ON experience_artifacts (source, artifact_id)",
        # conflicts
        """
        CREATE INDEX experience_disputed ON experience_events (source, stream, event_id, position)
        WHERE disputed = 1
        """,
    ),
)
