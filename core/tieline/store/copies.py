"""Copies: what stood before, and what came too late; for people who ask why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import and_, bindparam, delete, exists, insert, literal, select

from tieline.store.database import Connection, run_plain
from tieline.store.named import FROM_NAMED, named
from tieline.store.rows import plain
from tieline.store.tables import copies, sqlite_time

__all__ = ["LostCopy", "drop_before", "keep_replaced", "list_copies", "note_lost"]

_CHUNK = 500
_MOST_LISTED = 200


class LostCopy(NamedTuple):
    """A copy that was older than what was known.

    Attributes:
        record_id: The record's key.
        source: Where the copy came from.
        rank: Its rank.
        content_hash: Of its content; None for a deletion.
    """

    record_id: str
    source: str
    rank: int
    content_hash: str | None


def keep_replaced(
    connection: Connection, connection_id: str, entity: str, keys: Sequence[str], *, now: datetime
) -> None:
    """Note what stands of some records, just before it is replaced."""
    dialect = connection.dialect.name
    place = "%s" if dialect == "postgresql" else "?"
    at = sqlite_time(now) if dialect == "sqlite" else now
    statement = _KEEP.replace("?", place) + FROM_NAMED[dialect]
    for start in range(0, len(keys), _CHUNK):
        given = named(dialect, connection_id, entity, keys[start : start + _CHUNK])
        run_plain(connection, statement, (at, *given))


_COLUMNS = (
    "connection_id",
    "entity",
    "record_id",
    "outcome",
    "source",
    "run_id",
    "rank",
    "content_hash",
    "at",
)
_KEEP = f"""
INSERT INTO copies ({", ".join(_COLUMNS)})
SELECT r.connection_id, r.entity, r.record_id, 'replaced', r.source, r.run_id, r.rank,
  r.content_hash, ?
"""


def note_lost(
    connection: Connection,
    connection_id: str,
    entity: str,
    lost: Sequence[LostCopy],
    *,
    run_id: str | None,
    now: datetime,
) -> None:
    """Note copies that came too late, each once however often it comes."""
    of = copies.c
    is_known = exists().where(
        of.connection_id == connection_id,
        of.entity == entity,
        of.record_id == bindparam("key"),
        of.outcome == "older",
        of.rank == bindparam("its_rank"),
        of.content_hash.is_not_distinct_from(bindparam("its_hash")),
    )
    values = select(
        literal(connection_id),
        literal(entity),
        bindparam("key", type_=of.record_id.type),
        literal("older"),
        bindparam("its_source", type_=of.source.type),
        literal(run_id, type_=of.run_id.type),
        bindparam("its_rank", type_=of.rank.type),
        bindparam("its_hash", type_=of.content_hash.type),
        literal(now, type_=of.at.type),
    ).where(~is_known)
    rows = [
        {"key": key, "its_source": source, "its_rank": rank, "its_hash": digest}
        for key, source, rank, digest in lost
    ]
    connection.execute(insert(copies).from_select(_COLUMNS, values), rows)


def list_copies(
    connection: Connection, connection_id: str, entity: str, record_id: str
) -> list[dict[str, Any]]:
    """Read the newest copies of a record that do not stand, first the one noted last."""
    statement = (
        select(copies)
        .where(
            copies.c.connection_id == connection_id,
            copies.c.entity == entity,
            copies.c.record_id == record_id,
        )
        .order_by(copies.c.id.desc())
        .limit(_MOST_LISTED)
    )
    return [plain(dict(row)) for row in connection.execute(statement).mappings()]


def drop_before(connection: Connection, connection_id: str, entity: str, at: datetime) -> None:
    """Forget copies that were noted before a time."""
    connection.execute(
        delete(copies).where(
            and_(
                copies.c.connection_id == connection_id,
                copies.c.entity == entity,
                copies.c.at < at,
            )
        )
    )
