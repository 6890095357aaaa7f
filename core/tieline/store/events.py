"""Events for people: listed, shown, handled once more, forgotten in the end."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Self

from sqlalchemy import (
    ColumnElement,
    Select,
    delete,
    exists,
    func,
    literal_column,
    or_,
    select,
    update,
)

from tieline.store import choosing
from tieline.store.database import Connection
from tieline.store.tables import (
    connections,
    webhook_endpoints,
    webhook_events,
    webhook_secrets,
)

__all__ = [
    "EventRow",
    "EventsWanted",
    "choose_events",
    "count_events",
    "drop_handled",
    "find_event",
    "forget_dead",
    "list_events",
    "oldest_pending_at",
    "replay_events",
    "revive_dead",
]

_EVENTS = webhook_events.c
_STATES = ("pending", "done", "ignored", "dead")
_HANDLED = ("done", "ignored")
_IS_BY_A_PRESENT_SECRET = exists().where(
    webhook_secrets.c.id == _EVENTS.verified_with, webhook_secrets.c.retires_at.is_(None)
)


@dataclass(frozen=True, kw_only=True, slots=True)
class EventRow:
    """An event in the inbox.

    Attributes:
        event_key: The provider's id of it.
        entity: What it is about; None: nothing of ours.
        record_key: Which record; None: it does not say.
        occurred_at: By the provider's clock; None: it does not say.
        delivery_id: Events of one delivery share it.
        state: ``pending``, ``done``, ``ignored`` or ``dead``.
        attempts: How often handling it failed.
        due_at: When it is handled at the earliest.
        dead_kind: Of a dead one, whose fault: ``theirs`` or ``ours``.
        replays: How often somebody had it handled once more.
        verified_with: What the secret is called that let its delivery in; None: it
            came before that was noted.
    """

    seq: int
    id: str
    endpoint_id: str
    event_key: str
    connection_id: str
    type: str
    entity: str | None
    record_key: str | None
    occurred_at: datetime | None
    received_at: datetime
    delivery_id: str
    state: str
    attempts: int
    due_at: datetime
    error_code: str | None
    error_message: str | None
    dead_kind: str | None
    handled_at: datetime | None
    replays: int
    verified_with: str | None
    connection_name: str = ""
    provider: str = ""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Read a row of ``webhook_events``, with its connection's name."""
        return cls(**{field.name: row[field.name] for field in fields(cls)})


@dataclass(frozen=True, kw_only=True, slots=True)
class EventsWanted:
    """Which events are meant: all that fit everything that is given.

    Attributes:
        ids: These.
        keys: Those that the provider, or Tieline for one account of several, gave these ids.
        connection_id: Of this connection.
        endpoint_id: Through this endpoint.
        entity: About this entity.
        types: Of these types, as the provider names them.
        states: In these states.
        since: Received then or later, aware UTC.
        until: Received before then.
        error_code: Whose last error was this.
        dead_kind: Dead by this fault.
        connection_ids: Of one of these connections.
        before: That came before the one of this number.
        verified_with: Let in by the secret of this name.
        not_verified_with: Let in by a secret that is no present one of any endpoint, nor
            named here. None: by whichever.
    """

    ids: Sequence[str] = ()
    keys: Sequence[str] = ()
    connection_id: str | None = None
    endpoint_id: str | None = None
    entity: str | None = None
    types: Sequence[str] = ()
    states: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None
    error_code: str | None = None
    dead_kind: str | None = None
    connection_ids: Collection[str] | None = None
    before: int | None = None
    verified_with: str | None = None
    not_verified_with: Collection[str] | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return what an event has to fulfil."""
        equal = (
            "connection_id",
            "endpoint_id",
            "entity",
            "error_code",
            "dead_kind",
            "verified_with",
        )
        found: list[ColumnElement[bool]] = [
            _EVENTS[name] == value for name in equal if (value := getattr(self, name)) is not None
        ]
        if self.states:
            found.append(or_(*(_is_in(state) for state in self.states)))
        among = ((_EVENTS.id, self.ids), (_EVENTS.event_key, self.keys), (_EVENTS.type, self.types))
        found += [column.in_(values) for column, values in among if values]
        found += choosing.among(_EVENTS.connection_id, self.connection_ids)
        if self.not_verified_with is not None:
            found += [
                _EVENTS.verified_with.is_not(None),
                _EVENTS.verified_with.not_in(sorted(self.not_verified_with)),
                ~_IS_BY_A_PRESENT_SECRET,
            ]
        if self.before is not None:
            found.append(_EVENTS.seq < self.before)
        if self.since is not None:
            found.append(_EVENTS.received_at >= self.since)
        if self.until is not None:
            found.append(_EVENTS.received_at < self.until)
        return found


def _is_in(state: str) -> ColumnElement[bool]:
    """Compare with a literal: SQLite finds no partial index by a bound value."""
    if state not in _STATES:
        raise ValueError(f"there is no state {state!r}")
    return _EVENTS.state == literal_column(f"'{state}'")


def list_events(connection: Connection, wanted: EventsWanted, *, limit: int) -> list[EventRow]:
    """Read the newest events first."""
    statement = _select().where(*wanted.conditions()).order_by(_EVENTS.seq.desc()).limit(limit)
    return [EventRow.of(dict(row)) for row in connection.execute(statement).mappings()]


def find_event(
    connection: Connection, event_id: str
) -> tuple[EventRow, bytes | None, Mapping[str, str], bool] | None:
    """Read one event, the body of its delivery, and those headers of it that are kept.

    Last comes whether the delivery came to an endpoint of the event's own
    connection, so that it tells of no other.
    """
    row = connection.execute(_select().where(_EVENTS.id == event_id)).mappings().first()
    if row is None:
        return None
    found = EventRow.of(dict(row))
    delivery = connection.execute(
        select(_EVENTS.body, _EVENTS.headers)
        .where(_EVENTS.delivery_id == found.delivery_id, _EVENTS.body.is_not(None))
        .where(_EVENTS.connection_id == found.connection_id)
        .limit(1)
    ).first()
    body, headers = delivery or (None, None)
    is_own = exists().where(
        webhook_endpoints.c.id == found.endpoint_id,
        webhook_endpoints.c.connection_id == found.connection_id,
    )
    return found, body, headers or {}, bool(connection.execute(select(is_own)).scalar())


def count_events(connection: Connection, wanted: EventsWanted) -> int:
    """Count the events that are meant."""
    statement = select(func.count()).select_from(webhook_events).where(*wanted.conditions())
    return connection.execute(statement).scalar_one()


def oldest_pending_at(connection: Connection) -> datetime | None:
    """Say when the oldest pending event came; None if none is pending."""
    at = _EVENTS.received_at
    statement = select(func.min(at, type_=at.type)).where(_is_in("pending"))
    return connection.execute(statement).scalar()


def choose_events(
    connection: Connection, wanted: EventsWanted, *, after: int, limit: int
) -> list[tuple[int, str]]:
    """Choose events that are not pending, after a place in the order of arrival.

    Returns:
        The place and the connection of each, in order.
    """
    statement = (
        select(_EVENTS.seq, _EVENTS.connection_id)
        .where(*wanted.conditions(), _EVENTS.state != "pending", _EVENTS.seq > after)
        .order_by(_EVENTS.seq)
        .limit(limit)
    )
    return [(row[0], row[1]) for row in connection.execute(statement)]


def replay_events(connection: Connection, seqs: Sequence[int], *, now: datetime) -> int:
    """Have events handled once more, but those that are pending; return how many."""
    result = connection.execute(
        update(webhook_events)
        .where(_EVENTS.seq.in_(seqs), _EVENTS.state != "pending")
        .values(_anew(now))
    )
    return result.rowcount


def revive_dead(connection: Connection, wanted: EventsWanted, *, now: datetime) -> int:
    """Have dead events handled once more; return how many there were."""
    result = connection.execute(
        update(webhook_events)
        .where(*wanted.conditions(), _EVENTS.state == "dead")
        .values(_anew(now))
    )
    return result.rowcount


def _anew(now: datetime) -> dict[str, Any]:
    return {
        "state": "pending",
        "attempts": 0,
        "due_at": now,
        "handled_at": None,
        "error_code": None,
        "error_message": None,
        "dead_kind": None,
        "replays": _EVENTS.replays + 1,
    }


def forget_dead(connection: Connection, wanted: EventsWanted, *, now: datetime) -> int:
    """Note that dead events shall not be handled; return how many there were."""
    result = connection.execute(
        update(webhook_events)
        .where(*wanted.conditions(), _EVENTS.state == "dead")
        .values(state="ignored", handled_at=now)
    )
    return result.rowcount


def drop_handled(connection: Connection, before: datetime, *, limit: int) -> int:
    """Delete events that were handled before a time, a bounded number; return how many.

    What is pending or dead stays.
    """
    chosen = (
        select(_EVENTS.seq)
        .where(_EVENTS.handled_at.is_not(None), _EVENTS.handled_at < before)
        .where(_EVENTS.state.in_(_HANDLED))
        .order_by(_EVENTS.handled_at)
        .limit(limit)
    )
    seqs = list(connection.execute(chosen).scalars())
    if not seqs:
        return 0
    gone = delete(webhook_events).where(
        _EVENTS.seq.in_(seqs), _EVENTS.handled_at < before, _EVENTS.state.in_(_HANDLED)
    )
    return connection.execute(gone).rowcount


def _select() -> Select[Any]:
    own = [
        _EVENTS[field.name]
        for field in fields(EventRow)
        if field.name not in {"connection_name", "provider"}
    ]
    return select(
        *own, connections.c.name.label("connection_name"), connections.c.provider
    ).join_from(webhook_events, connections, _EVENTS.connection_id == connections.c.id)
