"""The tables of the inbox: endpoints, their secrets, events, who drains."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
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

from tieline.store.types import Entity, Id, JsonValue, Serial, UtcTime, metadata

__all__ = ["webhook_drains", "webhook_endpoints", "webhook_events", "webhook_secrets"]

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", Id, nullable=False),
    Column("provider", String(40), nullable=False),
    Column("environment", String(40), nullable=False),
    Column("connection_id", Id),  # None: the application's, whose events name their account
    Column("address", Text, nullable=False),  # as the provider was told it, less a path secret
    Column("state", String(10), nullable=False),
    Column("scheme_level", String(20), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("remote_id", Text),
    Column("expects_every_s", BigInteger),
    Column("last_received_at", UtcTime),
    Column("served_at", UtcTime),
    Column("caught_up_at", UtcTime),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("id"),
    ForeignKeyConstraint(["connection_id"], ["connections.id"], ondelete="CASCADE"),
)
Index(None, webhook_endpoints.c.connection_id)

# A row each, so that a rotation of keys can seal one anew from what it read.
webhook_secrets = Table(
    "webhook_secrets",
    metadata,
    Column("id", Id, nullable=False),
    Column("endpoint_id", Id, nullable=False),
    Column("kind", String(10), nullable=False),
    Column("sealed", Text),
    Column("key_id", String(80)),
    Column("digest", String(64)),
    Column("made_at", UtcTime, nullable=False),
    Column("retires_at", UtcTime),
    PrimaryKeyConstraint("id"),
    ForeignKeyConstraint(["endpoint_id"], ["webhook_endpoints.id"], ondelete="CASCADE"),
)
Index(None, webhook_secrets.c.endpoint_id)

# Endpoints come and go, what was acknowledged stays: hence no foreign key to them.
webhook_events = Table(
    "webhook_events",
    metadata,
    Column("seq", Serial, nullable=False, autoincrement=True),
    Column("id", Id, nullable=False),
    Column("endpoint_id", Id, nullable=False),
    Column("event_key", String(255), nullable=False),
    Column("connection_id", Id, nullable=False),
    Column("type", String(255), nullable=False),
    Column("entity", Entity),
    Column("record_key", String(255)),
    Column("occurred_at", UtcTime),
    Column("received_at", UtcTime, nullable=False),
    Column("delivery_id", Id, nullable=False),
    Column("body", LargeBinary),
    Column("headers", JsonValue),
    Column("record", LargeBinary),  # JSON text: JSONB would refuse a NUL, and cost its parsing
    Column("state", String(10), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", UtcTime, nullable=False),
    Column("error_code", String(60)),
    Column("error_message", Text),
    Column("dead_kind", String(10)),
    Column("handled_at", UtcTime),
    Column("replays", Integer, nullable=False),
    Column("verified_with", Id),  # which secret let it in; it may be gone since
    PrimaryKeyConstraint("seq"),
    UniqueConstraint("id"),
    UniqueConstraint("endpoint_id", "event_key"),
    ForeignKeyConstraint(["connection_id"], ["connections.id"], ondelete="CASCADE"),
)
_is_pending = text("state = 'pending'")
Index(
    "ix_webhook_events_pending",
    webhook_events.c.connection_id,
    webhook_events.c.seq,
    sqlite_where=_is_pending,
    postgresql_where=_is_pending,
)
_is_handled = text("handled_at IS NOT NULL")
Index(
    "ix_webhook_events_handled",
    webhook_events.c.handled_at,
    sqlite_where=_is_handled,
    postgresql_where=_is_handled,
)
_is_dead = text("state = 'dead'")
Index(
    "ix_webhook_events_dead",
    webhook_events.c.seq,
    sqlite_where=_is_dead,
    postgresql_where=_is_dead,
)

webhook_drains = Table(
    "webhook_drains",
    metadata,
    Column("connection_id", Id, nullable=False),
    Column("lease_until", UtcTime),
    Column("fence", BigInteger, nullable=False),
    Column("holder", String(120)),
    Column("rescues", Integer, nullable=False),
    PrimaryKeyConstraint("connection_id"),
    ForeignKeyConstraint(["connection_id"], ["connections.id"], ondelete="CASCADE"),
)
