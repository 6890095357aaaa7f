"""The tables. The migrations make them; a test holds the two together."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from tieline.store.api_tables import api_answers, api_tokens, console_sessions
from tieline.store.queue_tables import queue_pauses
from tieline.store.types import Entity, Id, JsonValue, Serial, UtcTime, metadata, sqlite_time
from tieline.store.webhook_tables import (
    webhook_drains,
    webhook_endpoints,
    webhook_events,
    webhook_secrets,
)

__all__ = [
    "ACTIVE_STATES",
    "SCHEMA_REVISION",
    "STOPPED_STATES",
    "alerts",
    "api_answers",
    "api_tokens",
    "connections",
    "console_sessions",
    "consumers",
    "copies",
    "credentials",
    "dead_letters",
    "drift",
    "entity_states",
    "findings",
    "grants",
    "metadata",
    "operations",
    "partitions",
    "quarantine",
    "queue_pauses",
    "records",
    "runs",
    "schedules",
    "sightings",
    "sqlite_time",
    "sync_log",
    "views",
    "webhook_drains",
    "webhook_endpoints",
    "webhook_events",
    "webhook_secrets",
]

SCHEMA_REVISION = "0011"
"""The migration that this code was written for."""

ACTIVE_STATES = ("queued", "running", "waiting", "retrying")
"""States of a run that is not over."""

STOPPED_STATES = ("failed", "cancelled")
"""States of a run that did not do what it was asked for."""


def _counts() -> list[Column[int]]:
    names = ("requests", "seen", "created", "updated", "unchanged", "deleted", "quarantined")
    return [
        Column(name, BigInteger, nullable=False, server_default=text("0"), default=0)
        for name in names
    ]


connections = Table(
    "connections",
    metadata,
    Column("id", Id, nullable=False),
    Column("name", String(80), nullable=False),
    Column("provider", String(40), nullable=False),
    Column("environment", String(40), nullable=False),
    Column("base_url", Text, nullable=False),
    Column("auth_kind", String(20), nullable=False),
    Column("account_id", Text),
    Column("account_name", Text, nullable=False),
    Column("settings", JsonValue, nullable=False),
    Column("state", String(20), nullable=False),
    Column("trouble", Text),
    Column("trouble_at", UtcTime),
    Column("paused_at", UtcTime),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("id"),
    UniqueConstraint("name"),
)

credentials = Table(
    "credentials",
    metadata,
    Column("connection_id", Id, nullable=False),
    Column("field", String(40), nullable=False),
    Column("sealed", Text, nullable=False),
    Column("key_id", String(80), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("connection_id", "field"),
    ForeignKeyConstraint(["connection_id"], ["connections.id"], ondelete="CASCADE"),
)

grants = Table(
    "grants",
    metadata,
    Column("connection_id", Id, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("scopes", JsonValue),
    Column("access_expires_at", UtcTime),
    Column("refresh_expires_at", UtcTime),
    Column("refreshed_at", UtcTime, nullable=False),
    Column("previous_until", UtcTime),
    Column("lease_owner", String(120)),
    Column("lease_until", UtcTime),
    Column("retry_at", UtcTime),
    Column("failures", Integer, nullable=False),
    Column("warned_days", Integer),
    PrimaryKeyConstraint("connection_id"),
    ForeignKeyConstraint(["connection_id"], ["connections.id"], ondelete="CASCADE"),
)

entity_states = Table(
    "entity_states",
    metadata,
    Column("feed_id", Serial, nullable=False, autoincrement=True),
    Column("connection_id", Id, nullable=False),
    Column("entity", Entity, nullable=False),
    Column("position", BigInteger, nullable=False, server_default=text("0"), default=0),
    Column("synced_until", UtcTime),
    Column("last_full_run_id", Id),
    Column("last_success_at", UtcTime),
    PrimaryKeyConstraint("feed_id"),
    UniqueConstraint("connection_id", "entity"),
    ForeignKeyConstraint(["connection_id"], ["connections.id"], ondelete="CASCADE"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Id, nullable=False),
    Column("connection_id", Id, nullable=False),
    Column("entity", Entity, nullable=False),
    Column("direction", String(10), nullable=False),
    Column("mode", String(20), nullable=False),
    Column("state", String(30), nullable=False),
    Column("asked_by", String(80), nullable=False),
    Column("reason", Text, nullable=False),
    Column("window_start", UtcTime),
    Column("window_end", UtcTime),
    Column("attempt", Integer, nullable=False),
    Column("due_at", UtcTime, nullable=False),
    Column("rings", Integer, nullable=False),
    Column("rung_at", UtcTime),
    Column("created_at", UtcTime, nullable=False),
    Column("started_at", UtcTime),
    Column("finished_at", UtcTime),
    Column("cancel_requested_at", UtcTime),
    Column("allow_deletes", Boolean(name="allow_deletes"), nullable=False),
    Column(
        "may_split",
        Boolean(name="may_split"),
        nullable=False,
        server_default=text("true"),
        default=True,
    ),
    Column("start_position", BigInteger),
    Column("error_code", String(60)),
    Column("error_message", Text),
    Column("error_hint", Text),
    *_counts(),
    PrimaryKeyConstraint("id"),
    ForeignKeyConstraint(["connection_id"], ["connections.id"], ondelete="CASCADE"),
)
_is_active = text("state IN ('queued', 'running', 'waiting', 'retrying')")
Index(
    "uq_runs_active",
    runs.c.connection_id,
    runs.c.entity,
    runs.c.direction,
    unique=True,
    sqlite_where=_is_active,
    postgresql_where=_is_active,
)
Index("ix_runs_due", runs.c.due_at, sqlite_where=_is_active, postgresql_where=_is_active)
Index(None, runs.c.connection_id, runs.c.created_at)
Index(None, runs.c.created_at)
Index("ix_runs_active", runs.c.created_at, sqlite_where=_is_active, postgresql_where=_is_active)
_has_stopped = text("direction = 'outbound' AND state IN ('failed', 'cancelled')")
Index(
    "ix_runs_stopped_pushes",
    runs.c.connection_id,
    runs.c.entity,
    runs.c.finished_at,
    sqlite_where=_has_stopped,
    postgresql_where=_has_stopped,
)

partitions = Table(
    "partitions",
    metadata,
    Column("id", Id, nullable=False),
    Column("run_id", Id, nullable=False),
    Column("number", Integer, nullable=False),
    Column("state", String(10), nullable=False),
    Column("source", String(10), nullable=False),
    Column("window_start", UtcTime),
    Column("window_end", UtcTime),
    Column("reached_at", UtcTime),
    Column("split_at", UtcTime),
    Column("page_span_s", Float),
    Column("checkpoint", Text),
    Column("checkpoint_at", UtcTime),
    Column("as_of", UtcTime),
    Column("pages", Integer, nullable=False),
    Column("restarts", Integer, nullable=False),
    Column("rescues", Integer, nullable=False),
    Column("lease_owner", String(120)),
    Column("lease_until", UtcTime),
    Column("fence", BigInteger, nullable=False),
    *_counts(),
    PrimaryKeyConstraint("id"),
    UniqueConstraint("run_id", "number"),
    ForeignKeyConstraint(["run_id"], ["runs.id"], ondelete="CASCADE"),
)
_is_held = text("state = 'running'")
Index(
    "ix_partitions_held",
    partitions.c.lease_owner,
    sqlite_where=_is_held,
    postgresql_where=_is_held,
)

records = Table(
    "records",
    metadata,
    Column("connection_id", Id, nullable=False),
    Column("entity", Entity, nullable=False),
    Column("record_id", String(255), nullable=False),
    Column("payload", JsonValue, nullable=False),
    Column("is_escaped", Boolean(name="is_escaped"), nullable=False),
    Column("content_hash", String(32), nullable=False),
    Column("rank", BigInteger, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("first_seen_at", UtcTime, nullable=False),
    Column("changed_at", UtcTime, nullable=False),
    Column("deleted_at", UtcTime),
    Column("feed_id", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("run_id", Id),
    Column("source", String(10), nullable=False, server_default=text("'list'"), default="list"),
    # Short, and what differs comes first: both databases put a page in by a third quicker.
    PrimaryKeyConstraint("record_id", "feed_id"),
    # No foreign key, which is looked up for every record: `feed_id` is the counter's, and
    # whoever writes a record holds that row, which goes with its connection.
)
# Look-ups by key name no feed: without statistics, as in a table's first hours,
# PostgreSQL took this index for those too, and read it all.
Index(None, records.c.feed_id, records.c.position, unique=True)

sightings = Table(
    "sightings",
    metadata,
    Column("run_id", Id, nullable=False),
    Column("partition_id", Id, nullable=False),
    Column("page", Integer, nullable=False),
    Column("record_ids", JsonValue, nullable=False),
    PrimaryKeyConstraint("run_id", "partition_id", "page"),
    ForeignKeyConstraint(["run_id"], ["runs.id"], ondelete="CASCADE"),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", Id, nullable=False),
    Column("connection_id", Id, nullable=False),
    Column("entity", Entity, nullable=False),
    Column("record_id", String(255)),
    Column("run_id", Id),
    Column("fingerprint", String(32), nullable=False),
    Column("reason_code", String(60), nullable=False),
    Column("reason", Text, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("rank", BigInteger, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("seen_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("id"),
    UniqueConstraint("connection_id", "entity", "fingerprint"),
    ForeignKeyConstraint(["connection_id"], ["connections.id"], ondelete="CASCADE"),
)
Index(None, quarantine.c.connection_id, quarantine.c.seen_at)
_is_nameless = text("record_id IS NULL")
Index(
    "ix_quarantine_nameless",
    quarantine.c.run_id,
    sqlite_where=_is_nameless,
    postgresql_where=_is_nameless,
)

sync_log = Table(
    "sync_log",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), nullable=False, autoincrement=True),
    Column("at", UtcTime, nullable=False),
    Column("actor", String(80), nullable=False),
    Column("event", String(40), nullable=False),
    Column("connection_id", Id),
    Column("entity", Entity),
    Column("run_id", Id),
    Column("counts", JsonValue),
    Column("error_code", String(60)),
    Column("detail", Text, nullable=False),
    PrimaryKeyConstraint("id"),
)
Index(None, sync_log.c.run_id)
Index(None, sync_log.c.connection_id, sync_log.c.at)

copies = Table(
    "copies",
    metadata,
    Column("id", Serial, nullable=False, autoincrement=True),
    Column("connection_id", Id, nullable=False),
    Column("entity", Entity, nullable=False),
    Column("record_id", String(255), nullable=False),
    Column("outcome", String(10), nullable=False),
    Column("source", String(10), nullable=False),
    Column("run_id", Id),
    Column("rank", BigInteger, nullable=False),
    Column("content_hash", String(32)),
    Column("at", UtcTime, nullable=False),
    PrimaryKeyConstraint("id"),
    ForeignKeyConstraint(["connection_id"], ["connections.id"], ondelete="CASCADE"),
)
Index(None, copies.c.connection_id, copies.c.entity, copies.c.record_id)

drift = Table(
    "drift",
    metadata,
    Column("connection_id", Id, nullable=False),
    Column("entity", Entity, nullable=False),
    Column("field", String(255), nullable=False),
    Column("kind", String(10), nullable=False),
    Column("records", BigInteger, nullable=False),
    Column("first_seen_at", UtcTime, nullable=False),
    Column("seen_at", UtcTime, nullable=False),
    Column("run_id", Id),
    PrimaryKeyConstraint("connection_id", "entity", "field", "kind"),
    ForeignKeyConstraint(["connection_id"], ["connections.id"], ondelete="CASCADE"),
)

findings = Table(
    "findings",
    metadata,
    Column("run_id", Id, nullable=False),
    Column("record_id", String(255), nullable=False),
    Column("kind", String(10), nullable=False),
    Column("ours", String(32)),
    Column("theirs", String(32)),
    Column("found_at", UtcTime, nullable=False),
    Column("repaired_at", UtcTime),
    PrimaryKeyConstraint("run_id", "record_id"),
    ForeignKeyConstraint(["run_id"], ["runs.id"], ondelete="CASCADE"),
)

consumers = Table(
    "consumers",
    metadata,
    Column("connection_id", Id, nullable=False),
    Column("entity", Entity, nullable=False),
    Column("name", String(80), nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("connection_id", "entity", "name"),
    ForeignKeyConstraint(["connection_id"], ["connections.id"], ondelete="CASCADE"),
)

schedules = Table(
    "schedules",
    metadata,
    Column("id", Id, nullable=False),
    Column("connection_id", Id, nullable=False),
    Column("entity", Entity, nullable=False),
    Column("rule", String(120), nullable=False),
    Column("zone", String(64), nullable=False),
    Column("jitter_s", Integer, nullable=False),
    Column("full_every_s", BigInteger),
    Column("next_at", UtcTime, nullable=False),
    Column("paused_at", UtcTime),
    Column("last_tick_at", UtcTime),
    Column("last_run_id", Id),
    Column("ticks", BigInteger, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("id"),
    UniqueConstraint("connection_id", "entity"),
    ForeignKeyConstraint(["connection_id"], ["connections.id"], ondelete="CASCADE"),
)
Index(None, schedules.c.next_at)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", Id, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("connection_id", Id, nullable=False),
    Column("entity", Entity),
    Column("run_id", Id),
    Column("reason_code", String(60), nullable=False),
    Column("reason", Text, nullable=False),
    Column("facts", JsonValue, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("settled_at", UtcTime),
    Column("settled_how", String(20)),
    PrimaryKeyConstraint("id"),
    ForeignKeyConstraint(["connection_id"], ["connections.id"], ondelete="CASCADE"),
)
Index(None, dead_letters.c.created_at)
Index(None, dead_letters.c.connection_id, dead_letters.c.created_at)
_waits = text("settled_at IS NULL")
Index(
    "ix_dead_letters_waiting",
    dead_letters.c.connection_id,
    dead_letters.c.entity,
    dead_letters.c.id,
    sqlite_where=_waits,
    postgresql_where=_waits,
)

operations = Table(
    "operations",
    metadata,
    Column("number", Serial, nullable=False, autoincrement=True),
    Column("id", Id, nullable=False),
    Column("connection_id", Id, nullable=False),
    Column("entity", Entity, nullable=False),
    Column("kind", String(10), nullable=False),
    Column("record_id", String(255)),
    Column("payload", JsonValue, nullable=False),
    Column("idempotency_key", String(40), nullable=False),
    Column("policy", String(20), nullable=False),
    Column("based_on", Text),
    Column("state", String(10), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("turn", Integer, nullable=False),
    Column("due_at", UtcTime, nullable=False),
    Column("sent_at", UtcTime),
    Column("lease_owner", String(120)),
    Column("lease_until", UtcTime),
    Column("fence", BigInteger, nullable=False),
    Column("run_id", Id),
    Column("reason_code", String(60)),
    Column("reason", Text),
    Column("asked_by", String(80), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("finished_at", UtcTime),
    PrimaryKeyConstraint("number"),
    UniqueConstraint("id"),
    ForeignKeyConstraint(["connection_id"], ["connections.id"], ondelete="CASCADE"),
)
Index(None, operations.c.connection_id, operations.c.number)
_is_unfinished = text("finished_at IS NULL")
Index(
    "ix_operations_unfinished",
    operations.c.connection_id,
    operations.c.entity,
    operations.c.record_id,
    sqlite_where=_is_unfinished,
    postgresql_where=_is_unfinished,
)
Index(
    "ix_operations_next",
    operations.c.connection_id,
    operations.c.entity,
    operations.c.turn,
    operations.c.number,
    sqlite_where=_is_unfinished,
    postgresql_where=_is_unfinished,
)

views = Table(
    "views",
    metadata,
    Column("name", String(63), nullable=False),
    Column("provider", String(40), nullable=False),
    Column("entity", Entity, nullable=False),
    Column("fingerprint", String(32), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("name"),
    UniqueConstraint("provider", "entity"),
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", Id, nullable=False),
    Column("kind", String(40), nullable=False),
    Column("subject", String(255), nullable=False),
    Column("state", String(10), nullable=False),
    Column("severity", String(10), nullable=False),
    Column("provider", String(40)),
    Column("connection_id", Id),
    Column("message", Text, nullable=False),
    Column("hint", Text, nullable=False),
    Column("facts", JsonValue, nullable=False),
    Column("since", UtcTime, nullable=False),
    Column("seen_at", UtcTime, nullable=False),
    Column("times", Integer, nullable=False),
    Column("closed_at", UtcTime),
    Column("told", JsonValue, nullable=False),
    Column("due_at", UtcTime),
    Column("attempts", Integer, nullable=False),
    Column("delivered_at", UtcTime),
    Column("trouble", Text),
    PrimaryKeyConstraint("id"),
    ForeignKeyConstraint(["connection_id"], ["connections.id"], ondelete="CASCADE"),
)
_is_open = text("state = 'open'")
Index(
    "uq_alerts_open",
    alerts.c.kind,
    alerts.c.subject,
    unique=True,
    sqlite_where=_is_open,
    postgresql_where=_is_open,
)
_is_due = text("due_at IS NOT NULL")
Index("ix_alerts_due", alerts.c.due_at, sqlite_where=_is_due, postgresql_where=_is_due)
Index(None, alerts.c.connection_id)
Index(None, alerts.c.since)
