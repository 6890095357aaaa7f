"""Events in an inbox, put there as ingest does, and what became of them."""

from __future__ import annotations

import itertools
import json
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select

from kit import Bench
from tieline.engine import drain_events
from tieline.store import deliveries
from tieline.store.ids import new_id
from tieline.store.tables import records, webhook_events

_numbers = itertools.count(1)
ENDPOINT = "whe_test"


@dataclass(frozen=True, kw_only=True)
class Told:
    """An event as a test tells it; ``at`` in seconds after the bench's start."""

    type: str
    key: str | None
    at: float | None = None
    record: dict | None = None
    entity: str | None = "rows"
    id: str = ""


def deliver(bench: Bench, *events: Told, start: datetime | None = None) -> list[str]:
    """Put events into the inbox, in order; return their ids."""
    received_at = bench.clock.now()
    start = start or received_at
    rows = []
    for event in events:
        occurred_at = None if event.at is None else start + timedelta(seconds=event.at)
        body = json.dumps({"type": event.type, "id": event.key}).encode()
        rows.append(
            deliveries.NewEvent(
                id=new_id("evt"),
                endpoint_id=ENDPOINT,
                event_key=event.id or f"key-{next(_numbers)}",
                connection_id=bench.connection_id,
                type=event.type,
                entity=event.entity,
                record_key=event.key,
                occurred_at=occurred_at,
                received_at=received_at,
                delivery_id=new_id("del"),
                body=body,
                headers="{}",
                record=None if event.record is None else json.dumps(event.record).encode(),
            )
        )
    with bench.database.write() as connection:
        # One by one: ingest numbers the events of a batch by its own order.
        for row in rows:
            deliveries.insert_events(connection, [row])
    return [row.id for row in rows]


def drain_now(bench: Bench, stop: threading.Event | None = None) -> None:
    drain_events(bench.engine, bench.connection_id, stop or threading.Event())


def events_of(bench: Bench, ids: list[str] | None = None) -> list[dict]:
    """Return the events in the order of arrival."""
    statement = select(webhook_events).order_by(webhook_events.c.seq)
    if ids is not None:
        statement = statement.where(webhook_events.c.id.in_(ids))
    with bench.database.read() as connection:
        return [dict(row) for row in connection.execute(statement).mappings()]


def states_of(bench: Bench, ids: list[str] | None = None) -> list[str]:
    return [row["state"] for row in events_of(bench, ids)]


def table_of(bench: Bench, entity: str = "rows") -> dict[str, tuple[str, bool]]:
    """Return what the table says of each record: its content, and whether it is deleted."""
    statement = select(records).where(records.c.entity == entity)
    with bench.database.read() as connection:
        rows = connection.execute(statement).mappings().all()
    return {
        row["record_id"]: (
            "" if row["deleted_at"] else row["content_hash"],
            row["deleted_at"] is not None,
        )
        for row in rows
    }
