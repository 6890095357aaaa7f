"""Sightings: what a full run met, so that it can tell what is gone."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from sqlalchemy import delete, text

from tieline.store.database import Connection
from tieline.store.tables import sightings

__all__ = ["add_sighting", "drop_sightings", "unseen_keys"]


def add_sighting(
    connection: Connection, *, run_id: str, partition_id: str, page: int, keys: Sequence[str]
) -> None:
    """Note which records a full run met on one page."""
    given = {
        "run_id": run_id,
        "partition_id": partition_id,
        "page": page,
        "keys": orjson.dumps(keys).decode(),
    }
    connection.execute(_ADD_SIGHTING[connection.dialect.name], given)


_INTO_SIGHTINGS = "INSERT INTO sightings (run_id, partition_id, page, record_ids) VALUES "
# A commit whose answer was lost is tried again before anybody can tell.
_ADD_SIGHTING = {
    "postgresql": text(
        _INTO_SIGHTINGS
        + "(:run_id, :partition_id, :page, CAST(:keys AS jsonb)) ON CONFLICT DO NOTHING"
    ),
    "sqlite": text(
        _INTO_SIGHTINGS + "(:run_id, :partition_id, :page, :keys) ON CONFLICT DO NOTHING"
    ),
}


def unseen_keys(
    connection: Connection,
    connection_id: str,
    entity: str,
    *,
    run_id: str,
    limit: int,
) -> list[str]:
    """Find live records, unchanged since a full run began, that no page of it held.

    Args:
        connection: Open transaction.
        connection_id: The connection.
        entity: The entity.
        run_id: The full run, all of whose partitions are done.
        limit: The most to return, smallest keys first.
    """
    given = {
        "connection_id": connection_id,
        "entity": entity,
        "run_id": run_id,
        "limit": limit,
    }
    return list(connection.execute(_UNSEEN[connection.dialect.name], given).scalars())


_UNSEEN_WHERE = (
    "SELECT record_id FROM records r WHERE feed_id ="
    " (SELECT feed_id FROM entity_states WHERE connection_id = :connection_id AND entity = :entity)"
    " AND deleted_at IS NULL AND (run_id IS NULL OR run_id <> :run_id)"
    " AND position <= (SELECT start_position FROM runs WHERE id = :run_id)"
)
# Each database gets the form that it plans as one pass over both sides.
_NOT_MET = {
    "postgresql": "AND NOT EXISTS (SELECT FROM sightings s, jsonb_array_elements_text(s.record_ids)"
    " e WHERE s.run_id = :run_id AND e = r.record_id)",
    "sqlite": "AND record_id NOT IN (SELECT e.value FROM sightings s, json_each(s.record_ids) e"
    " WHERE s.run_id = :run_id)",
}
_UNSEEN = {
    dialect: text(_UNSEEN_WHERE + " " + not_met + " ORDER BY record_id LIMIT :limit")
    for dialect, not_met in _NOT_MET.items()
}


def drop_sightings(connection: Connection, run_id: str) -> None:
    """Forget what a run met, once it is over."""
    connection.execute(delete(sightings).where(sightings.c.run_id == run_id))
