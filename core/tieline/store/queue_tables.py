"""The table of queues: the jobs themselves are Redis's, which may lose them."""

from __future__ import annotations

from sqlalchemy import Column, PrimaryKeyConstraint, String, Table

from tieline.store.types import UtcTime, metadata

__all__ = ["queue_pauses"]

# Here and not in Redis: a flush or a restart of it must not set held workers going.
queue_pauses = Table(
    "queue_pauses",
    metadata,
    Column("queue", String(80), nullable=False),
    Column("paused_at", UtcTime, nullable=False),
    Column("paused_by", String(80), nullable=False),
    PrimaryKeyConstraint("queue"),
)
