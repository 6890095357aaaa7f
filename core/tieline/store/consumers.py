"""Consumers: who reads a change feed under a name, and how far each one is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Self

from sqlalchemy import ColumnElement, and_, delete, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from tieline.store.database import Connection
from tieline.store.tables import consumers

__all__ = [
    "ConsumerRow",
    "add_consumer",
    "delete_consumer",
    "find_consumer",
    "hold_snapshot",
    "list_consumers",
    "move_consumer",
    "reset_consumer",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsumerRow:
    """A named reader of one change feed.

    Attributes:
        position: That of the last change which it has dealt with; 0 before
            the first.
        updated_at: When it last moved.
    """

    connection_id: str
    entity: str
    name: str
    position: int
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Read a row of ``consumers``."""
        return cls(**{field.name: row[field.name] for field in fields(cls)})


def list_consumers(connection: Connection, connection_id: str, entity: str) -> list[ConsumerRow]:
    """Read all consumers of a feed by name."""
    statement = (
        select(consumers)
        .where(consumers.c.connection_id == connection_id, consumers.c.entity == entity)
        .order_by(consumers.c.name)
    )
    return [ConsumerRow.of(dict(row)) for row in connection.execute(statement).mappings()]


def find_consumer(
    connection: Connection, connection_id: str, entity: str, name: str
) -> ConsumerRow | None:
    """Read one consumer; None if there is none of that name."""
    statement = select(consumers).where(_is(connection_id, entity, name))
    row = connection.execute(statement).mappings().first()
    return None if row is None else ConsumerRow.of(dict(row))


def add_consumer(
    connection: Connection,
    connection_id: str,
    entity: str,
    name: str,
    *,
    position: int,
    now: datetime,
) -> None:
    """Add a consumer, unless there is one of that name."""
    insert_into = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert
    statement = insert_into(consumers).values(
        connection_id=connection_id,
        entity=entity,
        name=name,
        position=position,
        created_at=now,
        updated_at=now,
    )
    connection.execute(statement.on_conflict_do_nothing())


def move_consumer(
    connection: Connection,
    connection_id: str,
    entity: str,
    name: str,
    *,
    after: int,
    to: int,
    now: datetime,
) -> bool:
    """Move a consumer on, if it still stands where its reader began.

    Returns:
        False, changing nothing, if somebody else moved or dropped it.
    """
    statement = (
        update(consumers)
        .where(_is(connection_id, entity, name), consumers.c.position == after)
        .values(position=to, updated_at=now)
    )
    return connection.execute(statement).rowcount == 1


def reset_consumer(
    connection: Connection,
    connection_id: str,
    entity: str,
    name: str,
    *,
    position: int,
    now: datetime,
) -> bool:
    """Put a consumer to a position, wherever it stands; False if there is none."""
    statement = (
        update(consumers)
        .where(_is(connection_id, entity, name))
        .values(position=position, updated_at=now)
    )
    return connection.execute(statement).rowcount == 1


def delete_consumer(connection: Connection, connection_id: str, entity: str, name: str) -> bool:
    """Remove a consumer; False if there is none."""
    statement = delete(consumers).where(_is(connection_id, entity, name))
    return connection.execute(statement).rowcount == 1


def hold_snapshot(connection: Connection) -> None:
    """Let a transaction that reads see the database as it is now until it ends.

    Args:
        connection: Open transaction in which nothing was read yet. SQLite
            does it without being asked.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        # Whoever reads may be slow: nothing is locked that somebody could wait for.
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))


def _is(connection_id: str, entity: str, name: str) -> ColumnElement[bool]:
    return and_(
        consumers.c.connection_id == connection_id,
        consumers.c.entity == entity,
        consumers.c.name == name,
    )
