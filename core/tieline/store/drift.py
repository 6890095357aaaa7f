"""Drift: fields that a schema does not name, and fields that it names in vain."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite

from tieline.store.database import Connection
from tieline.store.rows import plain
from tieline.store.tables import drift

__all__ = ["add", "list_drift"]

_MOST_FIELDS = 1000
_MAX_NAME = 255


def add(
    connection: Connection,
    connection_id: str,
    entity: str,
    fields: Mapping[tuple[str, str], int],
    *,
    run_id: str | None,
    now: datetime,
) -> None:
    """Add to the counts of an entity's fields.

    Args:
        connection: Open write transaction.
        connection_id: The connection.
        entity: The entity.
        fields: ``(field, "unknown" | "missing")`` to the number of records.
        run_id: The run that met them.
        now: Aware UTC.
    """
    upsert_into = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert
    rows = [
        {
            "connection_id": connection_id,
            "entity": entity,
            "field": name,
            "kind": kind,
            "records": count,
            "first_seen_at": now,
            "seen_at": now,
            "run_id": run_id,
        }
        for (name, kind), count in sorted(fields.items())[:_MOST_FIELDS]
        if len(name) <= _MAX_NAME and name.isprintable()
    ]
    if not rows:
        return
    statement = upsert_into(drift)
    statement = statement.on_conflict_do_update(
        index_elements=["connection_id", "entity", "field", "kind"],
        set_={
            "records": drift.c.records + statement.excluded.records,
            "seen_at": statement.excluded.seen_at,
            "run_id": statement.excluded.run_id,
        },
    )
    connection.execute(statement, rows)


def list_drift(
    connection: Connection, connection_id: str, entity: str | None = None
) -> list[dict[str, Any]]:
    """Read the counts by entity, kind and field."""
    statement = (
        select(drift)
        .where(drift.c.connection_id == connection_id)
        .order_by(drift.c.entity, drift.c.kind, drift.c.field)
    )
    if entity:
        statement = statement.where(drift.c.entity == entity)
    return [plain(dict(row)) for row in connection.execute(statement).mappings()]
