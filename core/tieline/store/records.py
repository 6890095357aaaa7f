"""Records: compared, put in, taken out; every change gets a position.

The hot statements are plain SQL: a page goes to PostgreSQL as one list a column
and to SQLite as one list of values, which the expression language would
compile anew for every page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import lru_cache, reduce
from itertools import chain
from typing import Any, NamedTuple

import orjson
from sqlalchemy import (
    ColumnElement,
    Text,
    and_,
    bindparam,
    case,
    cast,
    exists,
    func,
    select,
    update,
)

from tieline.store import copies
from tieline.store.database import Connection, run_plain
from tieline.store.named import FROM_NAMED, named
from tieline.store.tables import entity_states, records, sqlite_time
from tieline.store.wire import JsonTexts

__all__ = [
    "NewRecord",
    "Positions",
    "StoredRecord",
    "all_of",
    "bury",
    "count_live",
    "find_named",
    "is_empty",
    "move_ranks",
    "read_known",
    "read_payloads",
    "read_record",
    "read_records",
    "take_positions",
    "upsert",
]


class NewRecord(NamedTuple):
    """A row that is to be written.

    Attributes:
        record_id: Its key.
        payload: Canonical JSON, without anything that PostgreSQL refuses. Of a
            deletion it is kept only if there is no record yet.
        content_hash: 128 bits over the payload, in hex.
        rank: Orders copies of one record.
        source: Where the copy came from: ``list``, ``feed``, ``webhook``, …
        is_deleted: A tombstone.
        is_escaped: The payload's text was escaped.
        revision: The one that it becomes: what is known, and one; 1 if nothing
            is. It is written only if that still holds.
    """

    record_id: str
    payload: bytes
    content_hash: str
    rank: int
    source: str
    is_deleted: bool
    is_escaped: bool
    revision: int


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
    source: str
    rank: int
    run_id: str | None


_KNOWN = "SELECT r.record_id, content_hash, rank, deleted_at IS NOT NULL, revision"
_PAYLOADS = "SELECT r.record_id, content_hash, revision, CAST(payload AS TEXT), is_escaped"
_INTO = """
INSERT INTO records AS r (connection_id, entity, run_id, first_seen_at, changed_at, feed_id,
  record_id, payload, content_hash, rank, source, deleted_at, is_escaped, revision, position)
"""
# A revision that is not the one compared with leaves the row alone: see Overtaken.
_CONFLICT = """
ON CONFLICT (record_id, feed_id) DO UPDATE SET
  payload = CASE WHEN excluded.deleted_at IS NULL THEN excluded.payload ELSE r.payload END,
  content_hash = CASE WHEN excluded.deleted_at IS NULL THEN excluded.content_hash
    ELSE r.content_hash END,
  is_escaped = CASE WHEN excluded.deleted_at IS NULL THEN excluded.is_escaped
    ELSE r.is_escaped END,
  rank = excluded.rank, source = excluded.source, position = excluded.position,
  revision = excluded.revision, changed_at = excluded.changed_at,
  deleted_at = excluded.deleted_at, run_id = excluded.run_id
WHERE r.revision = excluded.revision - 1
"""
_TAKE = """
INSERT INTO entity_states AS s (connection_id, entity, position) VALUES (?, ?, ?)
ON CONFLICT (connection_id, entity) DO UPDATE SET position = s.position + excluded.position
RETURNING feed_id, position
"""
_TAKE_POSITIONS = {"sqlite": _TAKE, "postgresql": _TAKE.replace("?", "%s")}
# Counter and rows in one statement: a round trip less for every page.
_UPSERT_POSTGRESQL = (
    "WITH taken AS ("
    + _TAKE.replace("?, ?, ?", "%(connection_id)s, %(entity)s, %(count)s")
    + ")"
    + _INTO
    + """
SELECT %(connection_id)s, %(entity)s, %(run_id)s, %(now)s, %(now)s, taken.feed_id,
  n.k, n.p, n.h, n.r, n.s, CASE WHEN n.d THEN %(now)s::timestamptz END, n.x, n.v,
  taken.position - %(count)s + n.o
FROM taken, ROWS FROM (
  jsonb_array_elements_text(%(keys)s::jsonb),
  unnest(%(payloads)b::jsonb[]),
  unnest(%(hashes)s::text[]), unnest(%(ranks)s::bigint[]), unnest(%(sources)s::text[]),
  unnest(%(deleted)s::boolean[]), unnest(%(escaped)s::boolean[]), unnest(%(revisions)s::int[])
) WITH ORDINALITY AS n(k, p, h, r, s, d, x, v, o)
"""
    + _CONFLICT
)
# SQLite's own JSON functions take twice as long as bound values (benchmarks/README.md).
_CHUNK = 500


def read_known(
    connection: Connection, connection_id: str, entity: str, keys: Sequence[str]
) -> Sequence[tuple[str, str, int, bool, int]]:
    """Read what a comparison needs of the records that the database has of ``keys``.

    Returns:
        Key, hash, rank, whether it is deleted, and revision of each.
    """
    dialect = connection.dialect.name
    given = named(dialect, connection_id, entity, keys)
    found: list[tuple[str, str, int, bool, int]] = run_plain(
        connection, _KNOWN + FROM_NAMED[dialect], given
    ).fetchall()
    return found


def read_payloads(
    connection: Connection, connection_id: str, entity: str, keys: Sequence[str]
) -> Sequence[tuple[str, str, int, str, bool]]:
    """Read the payloads that stand of some records, to compare them themselves.

    Returns:
        Key, hash, revision, payload as JSON text, and whether it is escaped, of each.
    """
    dialect = connection.dialect.name
    given = named(dialect, connection_id, entity, keys)
    found: list[tuple[str, str, int, str, bool]] = run_plain(
        connection, _PAYLOADS + FROM_NAMED[dialect], given
    ).fetchall()
    return found


def find_named(
    connection: Connection,
    connection_id: str,
    entity: str,
    fields: Sequence[str],
    names: Sequence[str],
) -> list[tuple[str, str]]:
    """Find the live records that have some fields, with colons between their texts, as a name.

    It looks through all records of the entity: for what is rare.

    Args:
        connection: Open transaction.
        connection_id: The connection.
        entity: The entity.
        fields: Paths of the fields.
        names: At most some hundred.

    Returns:
        Name and key of each.
    """
    texts = [records.c.payload[tuple(path.split("."))].as_string() for path in fields]
    name = reduce(lambda found, text: found + ":" + text, texts)
    statement = select(name, records.c.record_id).where(
        all_of(connection_id, entity), records.c.deleted_at.is_(None), name.in_(names)
    )
    return [tuple(row) for row in connection.execute(statement)]


def is_empty(connection: Connection, connection_id: str, entity: str) -> bool:
    """Say whether an entity has no record yet, not even a tombstone."""
    statement = select(~exists().where(all_of(connection_id, entity)))
    return bool(connection.execute(statement).scalar())


class Positions(NamedTuple):
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
    statement = _TAKE_POSITIONS[connection.dialect.name]
    feed_id, end = run_plain(connection, statement, (connection_id, entity, count)).fetchone()
    return Positions(feed_id, end - count)


def upsert(
    connection: Connection,
    connection_id: str,
    entity: str,
    new: Sequence[NewRecord],
    *,
    run_id: str | None,
    now: datetime,
) -> int:
    """Write rows, each only if its record is still at the revision before, in one statement.

    They get the next positions of the entity's change feed, as from
    :func:`take_positions`. What a row replaces goes on in ``copies``.

    Args:
        connection: Open write transaction.
        connection_id: The connection.
        entity: The entity.
        new: The rows, no key twice, sorted by key.
        run_id: The run that brought them.
        now: Aware UTC.

    Returns:
        How many were written.
    """
    if replaced := [row.record_id for row in new if row.revision > 1]:
        copies.keep_replaced(connection, connection_id, entity, replaced, now=now)
    count = 0
    for start in range(0, len(new), _CHUNK):
        chunk = new[start : start + _CHUNK]
        common = (connection_id, entity, run_id, now)
        if connection.dialect.name == "postgresql":
            count += _upsert_postgresql(connection, common, chunk)
        else:
            count += _upsert_sqlite(connection, common, chunk)
    return count


def _upsert_postgresql(
    connection: Connection, common: Sequence[Any], new: Sequence[NewRecord]
) -> int:
    """Send the rows column by column: written by C, where a row at a time took a µs each."""
    keys, payloads, hashes, ranks, sources, deleted, escaped, revisions = zip(*new, strict=True)
    given = dict(zip(_COMMON, common, strict=True))
    given |= {
        "count": len(new),
        "keys": orjson.dumps(keys).decode(),
        "payloads": JsonTexts(payloads),
        "hashes": _array(hashes),
        "ranks": _array(ranks),
        "sources": _array(sources),
        "deleted": _array(deleted),
        "escaped": _array(escaped),
        "revisions": _array(revisions),
    }
    count: int = run_plain(connection, _UPSERT_POSTGRESQL, given, is_kept=True).rowcount
    return count


def _array(values: Sequence[object]) -> str:
    """Write numbers, truth values or words of ours as PostgreSQL's array."""
    if values.count(values[0]) == len(values):  # most rows are of lists, and have much in common
        texts: Iterable[str] = [str(values[0])] * len(values)
    else:
        texts = map(str, values)
    return f"{{{','.join(texts)}}}"


_COMMON = ("connection_id", "entity", "run_id", "now")


def _upsert_sqlite(connection: Connection, common: Sequence[Any], new: Sequence[NewRecord]) -> int:
    connection_id, entity, run_id, now = common
    feed_id, base = take_positions(connection, connection_id, entity, len(new))
    at = sqlite_time(now)
    keys, payloads, hashes, ranks, sources, deleted, escaped, revisions = zip(*new, strict=True)
    deleted_at = tuple(at if is_deleted else None for is_deleted in deleted)
    rest = (ranks, sources, deleted_at, escaped, revisions)
    shared = [connection_id, entity, run_id, at, feed_id, base]
    columns: list[Sequence[Any]] = [keys, payloads, hashes]
    # What the rows of a list have in common is bound once, and most rows are of lists.
    is_uniform = all(column.count(column[0]) == len(new) for column in rest)
    if is_uniform:
        shared += [column[0] for column in rest]
    else:
        columns += rest
    values = [*shared, *chain.from_iterable(zip(*columns, strict=True))]
    statement = _sqlite_upsert(len(new), is_uniform)
    count: int = run_plain(connection, statement, values).rowcount
    return count


@lru_cache(maxsize=100)  # a page's size and a few others: a statement has up to 50 kB
def _sqlite_upsert(count: int, is_uniform: bool) -> str:
    # A text bound as bytes need not be made a str, and then bytes again.
    own, each, rest = (11, 3, "?7, ?8, ?9, ?10, ?11") if is_uniform else (6, 8, "")
    rows = []
    for number in range(count):
        first = own + 1 + each * number
        key, payload, content_hash, *others = range(first, first + each)
        rest = rest if is_uniform else ", ".join(f"?{at}" for at in others)
        rows.append(
            f"(?1, ?2, ?3, ?4, ?4, ?5, ?{key}, CAST(?{payload} AS TEXT), ?{content_hash}, {rest},"
            f" ?6 + {number + 1})"
        )
    return f"{_INTO} VALUES {', '.join(rows)} {_CONFLICT}"


def move_ranks(
    connection: Connection, connection_id: str, entity: str, later: Sequence[tuple[str, int]]
) -> None:
    """Note that records are still as they were at a later event; nothing else changes."""
    statement = (
        update(records)
        .where(
            _named(connection_id, entity, bindparam("key")),
            records.c.rank < bindparam("later"),
        )
        .values(rank=bindparam("later"))
    )
    connection.execute(statement, [{"key": key, "later": rank} for key, rank in sorted(later)])


def bury(
    connection: Connection,
    connection_id: str,
    entity: str,
    keys: Sequence[str],
    *,
    rank: int | None,
    run_id: str | None,
    now: datetime,
) -> int:
    """Make tombstones of live records that a full run did not meet.

    Args:
        connection: Open write transaction.
        connection_id: The connection.
        entity: The entity.
        keys: Their keys; any number.
        rank: The deletions' rank, unless a record's own is higher; None keeps
            each record's own, for those that the provider gives versions.
        run_id: The run that noticed.
        now: Aware UTC.

    Returns:
        How many were made.
    """
    if not keys:
        return 0
    copies.keep_replaced(connection, connection_id, entity, keys, now=now)
    base = take_positions(connection, connection_id, entity, len(keys)).base
    own = records.c.rank
    statement = (
        update(records)
        .where(
            _named(connection_id, entity, bindparam("key")),
            records.c.deleted_at.is_(None),
        )
        .values(
            deleted_at=now,
            changed_at=now,
            rank=own if rank is None else case((own > rank, own), else_=rank),
            revision=records.c.revision + 1,
            source="sweep",
            run_id=run_id,
            position=bindparam("at"),
        )
    )
    connection.execute(
        statement, [{"key": key, "at": base + number} for number, key in enumerate(sorted(keys), 1)]
    )
    return len(keys)


def count_live(connection: Connection, connection_id: str, entity: str) -> int:
    """Count the records that are not deleted."""
    statement = select(func.count()).where(
        all_of(connection_id, entity), records.c.deleted_at.is_(None)
    )
    return connection.execute(statement).scalar_one()


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
        .where(all_of(connection_id, entity), records.c.position > after)
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
    statement = select(*_STORED).where(_named(connection_id, entity, record_id))
    row = connection.execute(statement).mappings().first()
    return None if row is None else StoredRecord(**row)


def all_of(connection_id: str, entity: str) -> ColumnElement[bool]:
    """Mean all records of an entity; goes by the feed's index.

    No join: PostgreSQL would read all behind a position, and sort it.
    """
    feed = select(entity_states.c.feed_id).where(
        entity_states.c.connection_id == connection_id, entity_states.c.entity == entity
    )
    return records.c.feed_id == feed.scalar_subquery()


def _named(
    connection_id: str, entity: str, record_id: str | ColumnElement[str]
) -> ColumnElement[bool]:
    """Mean one record; goes by its key."""
    return and_(
        records.c.record_id == record_id,
        records.c.connection_id == connection_id,
        records.c.entity == entity,
    )
