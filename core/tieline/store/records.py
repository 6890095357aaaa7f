"""Records: compared, put in, taken out; every change gets a position.

The hot statements are plain SQL: a page goes to PostgreSQL as one JSON text
and to SQLite as one list of values, which the expression language would
compile anew for every page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson
from sqlalchemy import (
    ColumnElement,
    Text,
    and_,
    bindparam,
    cast,
    delete,
    func,
    select,
    text,
    update,
)

from tieline.store.database import Connection
from tieline.store.tables import entity_states, records, sightings

__all__ = [
    "Known",
    "NewRecord",
    "Positions",
    "StoredRecord",
    "add_sighting",
    "count_live",
    "drop_sightings",
    "latest_rank",
    "read_known",
    "read_record",
    "read_records",
    "take_positions",
    "tombstone",
    "unseen_keys",
    "upsert",
]


@dataclass(frozen=True, slots=True)
class Known:
    """What the database has of a record, as far as a comparison needs it."""

    content_hash: str
    rank: int
    is_deleted: bool


@dataclass(frozen=True, slots=True)
class NewRecord:
    """A record that is to be written.

    Attributes:
        record_id: Its key.
        payload: Canonical JSON, without anything that PostgreSQL refuses.
        content_hash: 128 bits over the payload, in hex.
        rank: Orders copies of one record.
        is_escaped: The payload's text was escaped.
    """

    record_id: str
    payload: bytes
    content_hash: str
    rank: int
    is_escaped: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredRecord:
    """A record as it stands; ``payload`` is JSON text."""

    record_id: str
    payload: str
    is_escaped: bool
    revision: int
    first_seen_at: datetime
    changed_at: datetime
    deleted_at: datetime | None
    position: int


_KNOWN = {
    "postgresql": text(
        "SELECT record_id, content_hash, rank, deleted_at IS NOT NULL FROM records"
        " WHERE connection_id = :connection_id AND entity = :entity"
        " AND record_id = ANY(CAST(:keys AS text[]))"
    ),
    "sqlite": text(
        "SELECT record_id, content_hash, rank, deleted_at IS NOT NULL FROM records"
        " WHERE connection_id = :connection_id AND entity = :entity"
        " AND record_id IN (SELECT value FROM json_each(:keys))"
    ),
}
_CONFLICT = """
ON CONFLICT (connection_id, entity, record_id) DO UPDATE SET
  payload = excluded.payload, content_hash = excluded.content_hash, rank = excluded.rank,
  is_escaped = excluded.is_escaped, position = excluded.position, revision = r.revision + 1,
  changed_at = excluded.changed_at, deleted_at = NULL, run_id = excluded.run_id
WHERE (excluded.rank > r.rank
    OR (excluded.rank = r.rank AND (r.deleted_at IS NULL OR r.deleted_at < :read_at)))
  AND (excluded.content_hash <> r.content_hash OR r.deleted_at IS NOT NULL)
RETURNING record_id, revision
"""
_INTO = """
INSERT INTO records AS r (connection_id, entity, run_id, first_seen_at, changed_at, feed_id,
  revision, record_id, payload, content_hash, rank, is_escaped, position)
"""
_UPSERT_POSTGRESQL = text(
    _INTO
    + """
SELECT :connection_id, :entity, :run_id, :now, :now, :feed_id, 1,
  n.k, n.p, n.h, n.r, n.x, :base + n.o
FROM jsonb_to_recordset(CAST(:rows AS jsonb))
  AS n(k text, p jsonb, h text, r bigint, x boolean, o bigint)
"""
    + _CONFLICT
)
# SQLite's own JSON functions take twice as long as bound values (benchmarks/upsert.md).
_CHUNK = 500


def read_known(
    connection: Connection, connection_id: str, entity: str, keys: Sequence[str]
) -> dict[str, Known]:
    """Read what a comparison needs of the records that the database has of ``keys``."""
    is_postgresql = connection.dialect.name == "postgresql"
    wanted = list(keys) if is_postgresql else orjson.dumps(keys).decode()
    given = {"connection_id": connection_id, "entity": entity, "keys": wanted}
    rows = connection.execute(_KNOWN[connection.dialect.name], given)
    return {key: Known(digest, rank, bool(gone)) for key, digest, rank, gone in rows}


@dataclass(frozen=True, slots=True)
class Positions:
    """A stretch of an entity's change feed.

    Attributes:
        feed_id: The feed.
        base: The position before the first one of the stretch.
    """

    feed_id: int
    base: int


def take_positions(
    connection: Connection, connection_id: str, entity: str, count: int
) -> Positions:
    """Take the next ``count`` positions of an entity's change feed.

    The counter's row stays locked until the transaction ends, so a smaller
    position can never be committed after a larger one was read.
    """
    given = {"connection_id": connection_id, "entity": entity, "count": count}
    feed_id, end = connection.execute(_TAKE_POSITIONS, given).one()
    return Positions(feed_id, end - count)


_TAKE_POSITIONS = text(
    "INSERT INTO entity_states AS s (connection_id, entity, position)"
    " VALUES (:connection_id, :entity, :count) ON CONFLICT (connection_id, entity)"
    " DO UPDATE SET position = s.position + excluded.position RETURNING feed_id, position"
)


def upsert(
    connection: Connection,
    connection_id: str,
    entity: str,
    new: Sequence[NewRecord],
    *,
    at: Positions,
    run_id: str | None,
    read_at: datetime,
    now: datetime,
) -> dict[str, int]:
    """Write the records that are new or newer and differ, in one statement.

    Args:
        connection: Open write transaction.
        connection_id: The connection.
        entity: The entity.
        new: The records, no key twice, sorted by key.
        at: Where in the feed, from :func:`take_positions`.
        run_id: The run that brought them.
        read_at: When their reading began: a tombstone that is younger stays.
        now: Aware UTC.

    Returns:
        Key to revision for each record that was written; 1 means created.
    """
    written: dict[str, int] = {}
    for start in range(0, len(new), _CHUNK):
        chunk = new[start : start + _CHUNK]
        common = (connection_id, entity, run_id, now, at.feed_id, read_at)
        if connection.dialect.name == "postgresql":
            written |= _upsert_postgresql(connection, common, chunk, at.base + start)
        else:
            written |= _upsert_sqlite(connection, common, chunk, at.base + start)
    return written


def _upsert_postgresql(
    connection: Connection, common: Sequence[Any], new: Sequence[NewRecord], base: int
) -> dict[str, int]:
    rows = b",".join(
        b'{"k":%b,"p":%b,"h":"%b","r":%d,"x":%b,"o":%d}'
        % (
            orjson.dumps(record.record_id),
            record.payload,
            record.content_hash.encode(),
            record.rank,
            b"true" if record.is_escaped else b"false",
            number,
        )
        for number, record in enumerate(new, 1)
    )
    names = ("connection_id", "entity", "run_id", "now", "feed_id", "read_at")
    given = dict(zip(names, common, strict=True))
    given |= {"base": base, "rows": f"[{rows.decode()}]"}
    return dict(connection.execute(_UPSERT_POSTGRESQL, given).all())


def _upsert_sqlite(
    connection: Connection, common: Sequence[Any], new: Sequence[NewRecord], base: int
) -> dict[str, int]:
    connection_id, entity, run_id, now, feed_id, read_at = common
    values: list[Any] = [connection_id, entity, run_id, _text(now), feed_id]
    for number, record in enumerate(new, base + 1):
        payload = record.payload.decode()
        values += (record.record_id, payload, record.content_hash, record.rank)
        values += (record.is_escaped, number)
    values.append(_text(read_at))
    result = connection.exec_driver_sql(_sqlite_upsert(len(new)), tuple(values))
    return dict(result.all())


@lru_cache(maxsize=_CHUNK)
def _sqlite_upsert(count: int) -> str:
    rows = ", ".join(["(?1, ?2, ?3, ?4, ?4, ?5, 1, ?, ?, ?, ?, ?, ?)"] * count)
    return f"{_INTO} VALUES {rows} {_CONFLICT}".replace(":read_at", "?")


def _text(time: datetime) -> str:
    """Write a time as SQLite's columns have it."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def tombstone(
    connection: Connection,
    connection_id: str,
    entity: str,
    keys: Sequence[str],
    *,
    rank: int | None,
    run_id: str | None,
    now: datetime,
) -> int:
    """Mark records as deleted, unless a newer copy is there.

    Args:
        connection: Open write transaction.
        connection_id: The connection.
        entity: The entity.
        keys: Keys of the records; any number.
        rank: Rank of the deletion; None keeps each record's own, for those
            that the provider gives versions.
        run_id: The run that noticed.
        now: Aware UTC.

    Returns:
        How many were marked.
    """
    live: list[str] = []
    for start in range(0, len(keys), _CHUNK):
        statement = select(records.c.record_id).where(
            _of(connection_id, entity),
            records.c.record_id.in_(keys[start : start + _CHUNK]),
            records.c.deleted_at.is_(None),
        )
        if rank is not None:
            statement = statement.where(records.c.rank <= rank)
        live += connection.execute(statement).scalars()
    return _delete(connection, connection_id, entity, sorted(live), rank, run_id, now)


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


def count_live(connection: Connection, connection_id: str, entity: str) -> int:
    """Count the records that are not deleted."""
    statement = select(func.count()).where(
        _of(connection_id, entity), records.c.deleted_at.is_(None)
    )
    return connection.execute(statement).scalar_one()


def latest_rank(connection: Connection, connection_id: str, entity: str) -> int:
    """Return the rank of the record that changed last; 0 if there is none."""
    statement = (
        select(records.c.rank)
        .join(entity_states, entity_states.c.feed_id == records.c.feed_id)
        .where(entity_states.c.connection_id == connection_id, entity_states.c.entity == entity)
        .order_by(records.c.position.desc())
        .limit(1)
    )
    return connection.execute(statement).scalar() or 0


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
    "SELECT record_id FROM records r WHERE connection_id = :connection_id AND entity = :entity"
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


_STORED: tuple[ColumnElement[Any], ...] = (
    *(records.c[field.name] for field in fields(StoredRecord) if field.name != "payload"),
    cast(records.c.payload, Text).label("payload"),
)


def read_records(
    connection: Connection,
    connection_id: str,
    entity: str,
    *,
    after: int = 0,
    limit: int = 1000,
    with_deleted: bool = True,
) -> list[StoredRecord]:
    """Read records in the order of their last change.

    Args:
        connection: Open transaction.
        connection_id: The connection.
        entity: The entity.
        after: The position after which to begin.
        limit: The most to return.
        with_deleted: Whether tombstones are wanted too.
    """
    statement = (
        select(*_STORED)
        .join(entity_states, entity_states.c.feed_id == records.c.feed_id)
        .where(
            entity_states.c.connection_id == connection_id,
            entity_states.c.entity == entity,
            records.c.position > after,
        )
        .order_by(records.c.position)
        .limit(limit)
    )
    if not with_deleted:
        statement = statement.where(records.c.deleted_at.is_(None))
    return [StoredRecord(**row) for row in connection.execute(statement).mappings()]


def read_record(
    connection: Connection, connection_id: str, entity: str, record_id: str
) -> StoredRecord | None:
    """Read one record, a tombstone too."""
    statement = select(*_STORED).where(_of(connection_id, entity), records.c.record_id == record_id)
    row = connection.execute(statement).mappings().first()
    return None if row is None else StoredRecord(**row)


def _delete(
    connection: Connection,
    connection_id: str,
    entity: str,
    keys: Sequence[str],
    rank: int | None,
    run_id: str | None,
    now: datetime,
) -> int:
    if not keys:
        return 0
    base = take_positions(connection, connection_id, entity, len(keys)).base
    statement = (
        update(records)
        .where(
            _of(connection_id, entity),
            records.c.record_id == bindparam("key"),
            records.c.deleted_at.is_(None),
        )
        .values(
            deleted_at=now,
            changed_at=now,
            rank=records.c.rank if rank is None else rank,
            revision=records.c.revision + 1,
            run_id=run_id,
            position=bindparam("at"),
        )
    )
    connection.execute(
        statement, [{"key": key, "at": base + number} for number, key in enumerate(keys, 1)]
    )
    return len(keys)


def _of(connection_id: str, entity: str) -> ColumnElement[bool]:
    return and_(records.c.connection_id == connection_id, records.c.entity == entity)
