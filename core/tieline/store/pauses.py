"""Queues that workers take no job from until somebody lets them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite

from tieline.store.database import Connection
from tieline.store.queue_tables import queue_pauses

__all__ = ["PausedQueue", "pause_queue", "paused_queues", "resume_queue"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PausedQueue:
    """A queue that is held.

    Attributes:
        queue: Its name.
        paused_at: Since when.
        paused_by: Who held it.
    """

    queue: str
    paused_at: datetime
    paused_by: str


def paused_queues(connection: Connection) -> dict[str, PausedQueue]:
    """Read the queues that are held, by name."""
    rows = connection.execute(select(queue_pauses).order_by(queue_pauses.c.queue)).mappings()
    return {row["queue"]: PausedQueue(**row) for row in rows}


def pause_queue(connection: Connection, queue: str, *, now: datetime, by: str) -> bool:
    """Hold a queue; False if it is held already."""
    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert
    statement = (
        insert(queue_pauses)
        .values(queue=queue, paused_at=now, paused_by=by[:80])
        .on_conflict_do_nothing(index_elements=["queue"])
        .returning(queue_pauses.c.queue)  # PostgreSQL's driver counts no rows of an INSERT
    )
    return connection.execute(statement).scalar() is not None


def resume_queue(connection: Connection, queue: str) -> bool:
    """Let a queue go on; False if it is not held."""
    statement = delete(queue_pauses).where(queue_pauses.c.queue == queue)
    return connection.execute(statement).rowcount == 1
