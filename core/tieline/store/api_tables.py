"""The tables of HTTP API and console: who may use them, what was answered, who is signed in."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from tieline.store.types import Id, JsonValue, UtcTime, metadata

__all__ = ["api_answers", "api_tokens", "console_sessions"]

api_tokens = Table(
    "api_tokens",
    metadata,
    Column("id", Id, nullable=False),
    Column("name", String(60), nullable=False),
    Column("digest", String(64), nullable=False),  # SHA-256; the token itself is kept nowhere
    Column("scope", String(10), nullable=False),
    Column("connection_ids", JsonValue),  # None: all, those to come included
    Column("created_by", String(80), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime),
    Column("last_used_at", UtcTime),
    Column("revoked_at", UtcTime),
    PrimaryKeyConstraint("id"),
    UniqueConstraint("name"),
    UniqueConstraint("digest"),
)

api_answers = Table(
    "api_answers",
    metadata,
    Column("token_id", Id, nullable=False),
    Column("key", String(255), nullable=False),
    Column("request_hash", String(64), nullable=False),  # keyed with the token, which we forget
    Column("state", String(10), nullable=False),
    Column("status", Integer),
    Column("answer", Text),
    Column("is_sealed", Boolean(name="is_sealed"), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("token_id", "key"),
    ForeignKeyConstraint(["token_id"], ["api_tokens.id"], ondelete="CASCADE"),
)
Index(None, api_answers.c.expires_at)

console_sessions = Table(
    "console_sessions",
    metadata,
    Column("digest", String(64), nullable=False),  # SHA-256 of what the browser keeps
    Column("kind", String(10), nullable=False),
    Column("token_id", Id, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("digest"),
    ForeignKeyConstraint(["token_id"], ["api_tokens.id"], ondelete="CASCADE"),
)
Index(None, console_sessions.c.expires_at)
