"""Read records: a few to look at, all of them to take away."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import orjson

from tieline.errors import NotFoundError, PluginError
from tieline.records import restore
from tieline.services.connections import get_connection
from tieline.services.installation import Installation
from tieline.store import consumers, drift
from tieline.store import records as store
from tieline.store.connections import ConnectionRow
from tieline.store.records import StoredRecord

__all__ = [
    "all_records",
    "export_records",
    "get_record",
    "list_drift",
    "list_records",
    "record_line",
    "restored",
]

_CHUNK = 1000
# JSON leaves these as they are, and many readers of lines break at them.
_LINE_BREAKS = {
    "\u0085".encode(): rb"\u0085",
    "\u2028".encode(): rb"\u2028",
    "\u2029".encode(): rb"\u2029",
}


def list_records(
    installation: Installation,
    connection: str,
    entity: str,
    *,
    after: int = 0,
    limit: int = 20,
    with_deleted: bool = True,
) -> list[StoredRecord]:
    """Return records in the order of their last change, from a position on.

    Raises:
        NotFoundError: No such connection or entity.
    """
    row = get_connection(installation, connection)
    _require_entity(installation, row, entity)
    with installation.database.read() as transaction:
        found = store.read_records(
            transaction, row.id, entity, after=after, limit=limit, with_deleted=with_deleted
        )
    return [restored(record) for record in found]


def get_record(
    installation: Installation, connection: str, entity: str, record_id: str
) -> StoredRecord:
    """Return one record, a tombstone too.

    Raises:
        NotFoundError: No such connection, entity or record.
    """
    row = get_connection(installation, connection)
    _require_entity(installation, row, entity)
    with installation.database.read() as transaction:
        found = store.read_record(transaction, row.id, entity, record_id)
    if found is None:
        raise NotFoundError(
            f"{row.name} has no record {record_id!r} in {entity}", code="record-unknown"
        )
    return restored(found)


def export_records(
    installation: Installation, connection: str, entity: str, *, with_deleted: bool = True
) -> Iterator[bytes]:
    """Write all records, one JSON object a line, in the order of their last change.

    Returns:
        Lines, see :func:`record_line`; of one moment, as :func:`all_records`.

    Raises:
        NotFoundError: No such connection or entity.
    """
    found = all_records(installation, connection, entity, with_deleted=with_deleted)
    with closing(found):
        for record in found:
            yield record_line(restored(record))


def all_records(
    installation: Installation, connection: str, entity: str, *, with_deleted: bool = True
) -> Generator[StoredRecord, None, None]:
    """Read all records, as they are stored, in the order of their last change.

    All are of one moment, each comes once, and memory does not grow with their
    number. Until the generator ends or is closed it keeps a transaction open.

    Raises:
        NotFoundError: No such connection or entity.
    """
    row = get_connection(installation, connection)
    _require_entity(installation, row, entity)
    after = 0
    with installation.database.read() as transaction:
        consumers.hold_snapshot(transaction)
        while found := store.read_records(
            transaction, row.id, entity, after=after, limit=_CHUNK, with_deleted=with_deleted
        ):
            yield from found
            after = found[-1].position


def _require_entity(installation: Installation, row: ConnectionRow, entity: str) -> None:
    """Refuse an entity that there is not; without its plugin, what is stored can still be read."""
    try:
        plugin = installation.registry.get(row.provider)
    except (NotFoundError, PluginError):
        return
    plugin.entity(entity)


def list_drift(
    installation: Installation, connection: str, entity: str | None = None
) -> list[dict[str, Any]]:
    """Return the fields that a schema does not name, or names in vain.

    Returns:
        Of each: ``entity``, ``field``, ``kind`` (``unknown`` or ``missing``),
        ``records``, in how many written copies it was so, ``first_seen_at``,
        ``seen_at`` and ``run_id``, the run that met it last.

    Raises:
        NotFoundError: No such connection or entity.
    """
    row = get_connection(installation, connection)
    if entity is not None:
        installation.registry.get(row.provider).entity(entity)
    with installation.database.read() as transaction:
        found = drift.list_drift(transaction, row.id, entity)
    return [{name: each[name] for name in _DRIFT} for each in found]


_DRIFT = ("entity", "field", "kind", "records", "first_seen_at", "seen_at", "run_id")


def record_line(record: StoredRecord) -> bytes:
    """Write a record as one JSON object without a line break; the payload as it is."""
    rest = orjson.dumps(
        {
            "changed_at": record.changed_at,
            "deleted_at": record.deleted_at,
            "position": record.position,
            "revision": record.revision,
            "first_seen_at": record.first_seen_at,
        }
    )
    identity = orjson.dumps(record.record_id)
    line = b'{"id":%b,"payload":%b,%b' % (identity, record.payload.encode(), rest[1:])
    for raw, escaped in _LINE_BREAKS.items():
        if raw in line:
            line = line.replace(raw, escaped)
    return line


def restored(record: StoredRecord) -> StoredRecord:
    """Return a record with its payload as the provider sent it."""
    if not record.is_escaped:
        return record
    return replace(record, payload=restore(record.payload, is_escaped=True), is_escaped=False)
