"""Deliveries that were accepted: many go in by one statement, each event once.

The statements are plain SQL, as those of records are: a batch goes to
PostgreSQL as one array a column.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import select, update

from tieline.store.database import Connection, run_plain
from tieline.store.tables import connections, sqlite_time, webhook_events

__all__ = ["NewEvent", "insert_events", "keep_bodies", "live_connections", "live_generations"]


class NewEvent(NamedTuple):
    """An event as it goes into the inbox.

    Attributes:
        event_key: The provider's id of it, or a hash: unique per endpoint.
        body: The delivery as it came; None if another event of it has that.
        headers: Those that are kept, as JSON text; None where the body is None.
        record: The snapshot as JSON text; None: it is read again.
        verified_with: What the secret is called that let it in.
    """

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
    body: bytes | None
    headers: str | None
    record: bytes | None
    verified_with: str | None = None


_EVENTS = webhook_events.c
_COLUMNS = ", ".join(NewEvent._fields)
_REST = "state, attempts, due_at, replays"
# Numbers are drawn in the order of arrival, and rows go in in the order of the unique
# key: two processes with the same events then wait for one another, never in a circle.
# Of two with one key the first stays: it may be the one that has the body.
_POSTGRESQL = f"""
INSERT INTO webhook_events (seq, {_COLUMNS}, {_REST})
SELECT n.*, 'pending', 0, n.received_at, 0 FROM (
  SELECT nextval('webhook_events_seq_seq') AS seq, u.*
  FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[],
    %b::timestamptz[], %b::timestamptz[], %b::text[], %b::bytea[], %b::jsonb[], %b::bytea[],
    %b::text[])
    AS u({_COLUMNS})
  OFFSET 0
) AS n
ORDER BY n.endpoint_id, n.event_key, n.seq
ON CONFLICT (endpoint_id, event_key) DO NOTHING
"""  # noqa: S608 - names of columns
_GENERATIONS_POSTGRESQL = """
SELECT id, generation FROM webhook_endpoints WHERE id = ANY(%b::text[]) AND state = 'active'
ORDER BY id FOR SHARE
"""
_GENERATIONS_SQLITE = """
SELECT id, generation FROM webhook_endpoints
WHERE id IN (SELECT value FROM json_each(?)) AND state = 'active'
"""
_SQLITE = f"""
INSERT INTO webhook_events ({_COLUMNS}, {_REST})
VALUES ({", ".join("?" * len(NewEvent._fields))}, 'pending', 0, ?, 0)
ON CONFLICT (endpoint_id, event_key) DO NOTHING
"""  # noqa: S608 - names of columns


def insert_events(connection: Connection, events: Sequence[NewEvent]) -> int:
    """Put events in, in order; one that is there already changes nothing.

    Args:
        connection: Open transaction.
        events: At least one.

    Returns:
        How many were new.

    Raises:
        IntegrityError: A connection is gone.
    """
    if connection.dialect.name == "postgresql":
        columns: list[list[Any]] = [list(column) for column in zip(*events, strict=True)]
        return int(run_plain(connection, _POSTGRESQL, columns).rowcount)
    driver: Any = connection.connection.driver_connection
    return int(driver.executemany(_SQLITE, [_sqlite_row(event) for event in events]).rowcount)


def keep_bodies(connection: Connection, events: Sequence[NewEvent]) -> None:
    """See that each body is there once with an event of its delivery, after some went in.

    The event that was to have it may have come before, in another delivery; then the
    first that is new has it.
    """
    of = {each.delivery_id: each for each in events if each.body is not None}
    ids = [each.id for each in events]
    chosen = select(_EVENTS.id, _EVENTS.delivery_id).where(_EVENTS.id.in_(ids))
    first: dict[str, str] = {}
    for event_id, delivery_id in connection.execute(chosen.order_by(_EVENTS.seq)):
        first.setdefault(delivery_id, event_id)
    for delivery_id, event_id in first.items():
        source = of[delivery_id]
        if source.id != event_id:
            headers = json.loads(source.headers or "{}")
            connection.execute(
                update(webhook_events)
                .where(_EVENTS.id == event_id)
                .values(body=source.body, headers=headers)
            )


def _sqlite_row(event: NewEvent) -> tuple[Any, ...]:
    received_at = sqlite_time(event.received_at)
    values: dict[str, Any] = event._asdict()
    values["received_at"] = received_at
    values["occurred_at"] = event.occurred_at and sqlite_time(event.occurred_at)
    return (*values.values(), received_at)


def live_generations(connection: Connection, endpoint_ids: Sequence[str]) -> dict[str, int]:
    """Read the generations of endpoints that are active, and keep them so for this transaction."""
    if connection.dialect.name == "postgresql":
        return dict(run_plain(connection, _GENERATIONS_POSTGRESQL, [list(endpoint_ids)]))
    return dict(run_plain(connection, _GENERATIONS_SQLITE, [json.dumps(list(endpoint_ids))]))


def live_connections(connection: Connection, connection_ids: Sequence[str]) -> set[str]:
    """Say which connections there still are."""
    statement = select(connections.c.id).where(connections.c.id.in_(connection_ids))
    return set(connection.execute(statement).scalars())
