"""Alerts: what somebody has to look at, once per crossing, and who was told of it.

A row is its own outbox: it is written by the transaction that finds the
trouble, ``due_at`` says when it is to be told next, and whoever tells it takes
it by moving that on. So a crash between the two loses nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Self

from sqlalchemy import Select, and_, delete, exists, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from tieline.store.choosing import Mark, among, older
from tieline.store.database import Connection
from tieline.store.ids import new_id
from tieline.store.tables import (
    alerts,
    connections,
    dead_letters,
    entity_states,
    grants,
    webhook_endpoints,
)

__all__ = [
    "AlertRow",
    "claim_due",
    "close_alert",
    "close_over",
    "drop_closed",
    "is_any_due",
    "list_alerts",
    "note_told",
    "open_alert",
]

_LATEST = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class AlertRow:
    """One crossing.

    Attributes:
        state: ``open`` while it lasts, then ``closed``.
        since: When it was first seen.
        seen_at: When it was last seen.
        times: How often it was seen while it was open.
        told: Names of the sinks that have it.
        due_at: When the others are to be told next; None: they have it, or
            were given up.
        attempts: How often telling was begun.
        delivered_at: When the last sink had it; None: not all have.
        trouble: What a sink said when it could not be told.
    """

    id: str
    kind: str
    subject: str
    state: str
    severity: str
    provider: str | None
    connection_id: str | None
    message: str
    hint: str
    facts: Mapping[str, Any]
    since: datetime
    seen_at: datetime
    times: int
    closed_at: datetime | None
    told: Sequence[str]
    due_at: datetime | None
    attempts: int
    delivered_at: datetime | None
    trouble: str | None
    connection_name: str | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Read a row of ``alerts``, with its connection's name where it was joined."""
        return cls(**{field.name: row[field.name] for field in fields(cls) if field.name in row})


def open_alert(
    connection: Connection,
    *,
    kind: str,
    subject: str,
    severity: str,
    provider: str | None,
    connection_id: str | None,
    message: str,
    hint: str,
    facts: Mapping[str, Any],
    now: datetime,
    is_once: bool = False,
) -> str | None:
    """Open an alert, to be told at once, unless it is open already.

    Args:
        connection: Open transaction.
        kind: What it is about.
        subject: Which one of its kind.
        severity: ``warning`` or ``error``.
        provider: Its provider; the connection's if None.
        connection_id: The connection that it is about; None for none.
        message: For people.
        hint: What to do.
        facts: For software.
        now: Aware UTC.
        is_once: A subject of this kind cannot cross again: not when it is closed, either.

    Returns:
        Its id if it is new; None if it was open, or the connection is gone.
    """
    if connection_id is not None:
        # Held until the commit: it may be removed at this very moment.
        found = select(connections.c.provider).where(connections.c.id == connection_id)
        of_it = connection.execute(found.with_for_update(read=True, key_share=True)).scalar()
        if of_it is None:
            return None
        provider = provider or of_it
    same = and_(alerts.c.kind == kind, alerts.c.subject == subject)
    if is_once and connection.execute(select(exists().where(same))).scalar():
        return None
    insert_into = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert
    statement = insert_into(alerts).values(
        id=new_id("alr"),
        kind=kind,
        subject=subject,
        state="open",
        severity=severity,
        provider=provider,
        connection_id=connection_id,
        message=message,
        hint=hint,
        facts=dict(facts),
        since=now,
        seen_at=now,
        times=1,
        told=[],
        due_at=now,
        attempts=0,
    )
    statement = statement.on_conflict_do_nothing(
        index_elements=["kind", "subject"], index_where=alerts.c.state == "open"
    )
    made = connection.execute(statement.returning(alerts.c.id)).scalar()
    if made is not None:
        return str(made)
    again = update(alerts).where(same, alerts.c.state == "open")
    connection.execute(again.values(seen_at=now, times=alerts.c.times + 1))
    return None


def close_alert(connection: Connection, *, kind: str, subject: str, now: datetime) -> bool:
    """Close an alert because what it was about is over; False if it is not open."""
    statement = update(alerts).where(
        alerts.c.kind == kind, alerts.c.subject == subject, alerts.c.state == "open"
    )
    return connection.execute(statement.values(state="closed", closed_at=now)).rowcount == 1


def close_over(connection: Connection, now: datetime) -> list[str]:
    """Close what the other tables say is over, whoever mended it; return the alerts' ids."""
    of_connection = connections.c.id == alerts.c.connection_id
    is_over = or_(
        and_(
            alerts.c.kind == "needs-reauth",
            exists().where(of_connection, connections.c.state != "needs_reauth"),
        ),
        and_(
            alerts.c.kind == "consent-ends",
            ~exists().where(
                grants.c.connection_id == alerts.c.connection_id, grants.c.warned_days.is_not(None)
            ),
        ),
        and_(
            alerts.c.kind == "run-dead",
            exists().where(
                dead_letters.c.run_id == alerts.c.subject, dead_letters.c.settled_at.is_not(None)
            ),
        ),
        and_(
            alerts.c.kind == "events-dead",
            exists().where(
                dead_letters.c.id == alerts.c.subject, dead_letters.c.settled_at.is_not(None)
            ),
        ),
        and_(
            alerts.c.kind == "webhooks-silent",
            alerts.c.subject.startswith("whe_", autoescape=True),
            ~exists().where(
                webhook_endpoints.c.id == alerts.c.subject, webhook_endpoints.c.state == "active"
            ),
        ),
        and_(
            alerts.c.kind == "quarantine-share",
            exists().where(
                entity_states.c.connection_id == alerts.c.connection_id,
                alerts.c.subject == entity_states.c.connection_id + "/" + entity_states.c.entity,
                entity_states.c.last_success_at > alerts.c.seen_at,
            ),
        ),
    )
    statement = (
        update(alerts)
        .where(alerts.c.state == "open", is_over)
        .values(state="closed", closed_at=now)
        .returning(alerts.c.id)
    )
    return list(connection.execute(statement).scalars())


def drop_closed(connection: Connection, before: datetime) -> int:
    """Forget what was over before a time, and was told; return how much that was."""
    statement = delete(alerts).where(alerts.c.closed_at < before, alerts.c.due_at.is_(None))
    return connection.execute(statement).rowcount


def is_any_due(connection: Connection, now: datetime) -> bool:
    """Say whether anything waits to be told."""
    return bool(connection.execute(select(exists().where(_is_due(now)))).scalar())


def claim_due(connection: Connection, now: datetime, *, lease: timedelta) -> AlertRow | None:
    """Take one alert that is to be told; nobody else takes it during the lease.

    Args:
        connection: Open transaction.
        now: Aware UTC.
        lease: After this it is due again, unless :func:`note_told` said otherwise.

    Returns:
        The one that waits for longest, its ``attempts`` counted on; None if none does.
    """
    statement = (
        select(alerts.c.id)
        .where(_is_due(now))
        .order_by(alerts.c.due_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    found = connection.execute(statement).scalar()
    if found is None:
        return None
    of_it = alerts.c.id == found
    connection.execute(
        update(alerts).where(of_it).values(due_at=now + lease, attempts=alerts.c.attempts + 1)
    )
    row = connection.execute(_select().where(of_it)).mappings().one()
    return AlertRow.of(dict(row))


def note_told(
    connection: Connection,
    row: AlertRow,
    *,
    told: Sequence[str],
    again_at: datetime | None,
    trouble: str | None,
    now: datetime,
) -> bool:
    """Note which sinks have an alert now.

    Args:
        connection: Open transaction.
        row: As it was claimed.
        told: All sinks that have it.
        again_at: When the others are tried again; None: nobody is left, or they
            are given up.
        trouble: Why some do not have it; None if all do.
        now: Aware UTC.

    Returns:
        False if somebody else took it since: then that one's word stands.
    """
    statement = update(alerts).where(alerts.c.id == row.id, alerts.c.attempts == row.attempts)
    is_done = again_at is None and trouble is None
    values = {"told": list(told), "due_at": again_at, "trouble": trouble}
    done = connection.execute(statement.values(**values, delivered_at=now if is_done else None))
    return done.rowcount == 1


def list_alerts(
    connection: Connection,
    *,
    connection_id: str | None = None,
    connection_ids: Collection[str] | None = None,
    with_closed: bool = False,
    before: Mark | None = None,
    limit: int = 100,
) -> list[AlertRow]:
    """Read the newest alerts first; only those that are open, unless all are asked for."""
    statement = (
        _select()
        .where(*among(alerts.c.connection_id, connection_ids))
        .where(*older(alerts.c.since, alerts.c.id, before))
        .order_by(alerts.c.since.desc(), alerts.c.id)
    )
    if connection_id is not None:
        statement = statement.where(alerts.c.connection_id == connection_id)
    if not with_closed:
        statement = statement.where(alerts.c.state == "open")
    rows = connection.execute(statement.limit(limit)).mappings()
    return [AlertRow.of(dict(row)) for row in rows]


def _is_due(now: datetime) -> Any:
    """What is due; and what seems to be due far ahead, by a clock that was set back since."""
    return or_(alerts.c.due_at <= now, alerts.c.due_at > now + 2 * _LATEST)


def _select() -> Select[Any]:
    return select(alerts, connections.c.name.label("connection_name")).outerjoin_from(
        alerts, connections, alerts.c.connection_id == connections.c.id
    )
