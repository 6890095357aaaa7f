"""What is stuck, and what waits for a person: counted, for `doctor` and `status`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, literal_column, select, text, update

from tieline.store.database import Connection, Database
from tieline.store.operations import WAITING_STATES
from tieline.store.tables import (
    alerts,
    connections,
    dead_letters,
    entity_states,
    metadata,
    operations,
    partitions,
    quarantine,
    runs,
    schedules,
    webhook_drains,
    webhook_events,
)

__all__ = [
    "Stuck",
    "count_by_connection",
    "count_rows",
    "last_successes",
    "overdue_schedules",
    "require_writable",
    "server_time",
    "stuck_leases",
    "undelivered_alerts",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stuck:
    """Work that nobody does, though somebody claimed it.

    Attributes:
        what: ``run`` or ``drain``.
        id: Of the run, or of the connection whose events are drained.
        connection_name: Whose.
        entity: Of the run; empty for a drain.
        holder: Who claimed it.
        since: When the claim ended.
    """

    what: str
    id: str
    connection_name: str
    entity: str
    holder: str
    since: datetime


def require_writable(database: Database) -> None:
    """Make sure that the database takes writes; changes nothing.

    Raises:
        DependencyError: It does not: a read-only file, disk, replica or role.
    """
    with database.write() as connection:
        nothing = update(connections).where(connections.c.id == "").values(name="")
        connection.execute(nothing)


def server_time(database: Database) -> datetime | None:
    """Return the time by the database's clock; None where it has none of its own.

    Raises:
        DependencyError: It does not answer.
    """
    if database.dialect == "sqlite":
        return None
    with database.read() as connection:
        at: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
        return at


def stuck_leases(connection: Connection, before: datetime) -> list[Stuck]:
    """Find claims that ended before a time and that nobody took over."""
    of_runs = (
        select(
            runs.c.id,
            connections.c.name,
            runs.c.entity,
            partitions.c.lease_owner,
            partitions.c.lease_until,
        )
        .join_from(partitions, runs, runs.c.id == partitions.c.run_id)
        .join(connections, connections.c.id == runs.c.connection_id)
        .where(
            runs.c.state == "running",
            partitions.c.state == literal_column("'running'"),  # SQLite finds its index so
            partitions.c.lease_until < before,
            connections.c.state == "ok",
            connections.c.paused_at.is_(None),
        )
        .order_by(partitions.c.lease_until)
        .limit(100)
    )
    # Whoever is done gives a drain back; one whose holder died has events left, or not.
    of_drains = (
        select(
            connections.c.id,
            connections.c.name,
            literal_column("''").label("entity"),
            webhook_drains.c.holder,
            webhook_drains.c.lease_until,
        )
        .join_from(webhook_drains, connections)
        .where(
            webhook_drains.c.lease_until < before,
            connections.c.state == "ok",
            connections.c.paused_at.is_(None),
            select(webhook_events.c.seq)
            .where(
                webhook_events.c.connection_id == webhook_drains.c.connection_id,
                webhook_events.c.state == literal_column("'pending'"),
                webhook_events.c.due_at < before,
            )
            .exists(),
        )
        .limit(100)
    )
    found = []
    for what, statement in (("run", of_runs), ("drain", of_drains)):
        for its_id, name, entity, holder, since in connection.execute(statement):
            found.append(
                Stuck(
                    what=what,
                    id=its_id,
                    connection_name=name,
                    entity=entity,
                    holder=holder or "nobody",
                    since=since,
                )
            )
    return found


def overdue_schedules(connection: Connection, before: datetime) -> list[tuple[str, str, datetime]]:
    """Find schedules whose tick nobody took: connection's name, entity, when it was due."""
    statement = (
        select(connections.c.name, schedules.c.entity, schedules.c.next_at)
        .join_from(schedules, connections)
        .where(
            schedules.c.paused_at.is_(None),
            connections.c.state == "ok",
            connections.c.paused_at.is_(None),
            schedules.c.next_at < before,
        )
        .order_by(schedules.c.next_at)
        .limit(100)
    )
    return [(name, entity, at) for name, entity, at in connection.execute(statement)]


def undelivered_alerts(connection: Connection) -> list[tuple[str, str]]:
    """Find alerts that could not be told: kind, and what the sink said."""
    statement = (
        select(alerts.c.kind, alerts.c.trouble)
        .where(alerts.c.trouble.is_not(None), alerts.c.state == "open")
        .order_by(alerts.c.since)
        .limit(100)
    )
    return [(kind, trouble) for kind, trouble in connection.execute(statement)]


def count_by_connection(connection: Connection) -> Mapping[str, Mapping[str, int]]:
    """Count what waits for a person, and what is under way.

    Returns:
        ``quarantined``, ``dead_letters``, ``operations`` (those that wait for a
        person), ``runs`` (those that are not over), ``events`` (those to be
        handled); each the connection's id to a number, none of them 0.
    """
    finished = operations.c.finished_at
    counted: dict[str, tuple[Any, Sequence[Any]]] = {
        "quarantined": (quarantine.c.connection_id, ()),
        "dead_letters": (dead_letters.c.connection_id, (dead_letters.c.settled_at.is_(None),)),
        "operations": (
            operations.c.connection_id,
            (operations.c.state.in_(WAITING_STATES), finished.is_(None)),
        ),
        "runs": (
            runs.c.connection_id,
            # A literal: SQLite finds no partial index by a bound value.
            (literal_column("runs.state IN ('queued', 'running', 'waiting', 'retrying')"),),
        ),
        "events": (
            webhook_events.c.connection_id,
            (webhook_events.c.state == literal_column("'pending'"),),
        ),
    }
    return {
        name: _pairs(connection, select(column, func.count()).where(*conditions).group_by(column))
        for name, (column, conditions) in counted.items()
    }


def _pairs(connection: Connection, statement: Select[Any]) -> dict[str, Any]:
    return {row[0]: row[1] for row in connection.execute(statement)}


def count_rows(connection: Connection) -> dict[str, int]:
    """Count the rows of every table."""
    return {
        table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
        for table in metadata.sorted_tables
    }


def last_successes(connection: Connection) -> dict[str, datetime]:
    """Say of each connection when a run of it last succeeded."""
    at = entity_states.c.last_success_at
    statement = (
        select(entity_states.c.connection_id, func.max(at, type_=at.type))
        .where(at.is_not(None))
        .group_by(entity_states.c.connection_id)
    )
    return _pairs(connection, statement)
