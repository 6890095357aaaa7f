"""Quarantine: records that could not be used, kept as they came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import delete, exists, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from tieline.store.choosing import Mark, older
from tieline.store.database import Connection
from tieline.store.ids import new_id
from tieline.store.rows import plain
from tieline.store.tables import quarantine

__all__ = [
    "BadRecord",
    "Kept",
    "Listed",
    "add_quarantined",
    "choose_quarantined",
    "drop_quarantined",
    "drop_recovered",
    "find_quarantined",
    "has_quarantined",
    "last_seen",
    "list_quarantined",
    "nameless_in",
    "of_record",
    "read_quarantined",
    "set_reason",
]


_CHUNK = 500
_MOST_OF_ONE = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class BadRecord:
    """A record that could not be used.

    Attributes:
        record_id: Its key; None if it has none that can be used.
        fingerprint: 128 bits over ``raw``, in hex: the same record twice is
            one row.
        reason_code: Stable slug.
        reason: What is wrong with it, in words.
        raw: The record as JSON text, hostile characters escaped.
        rank: As of the page that held it.
    """

    record_id: str | None
    fingerprint: str
    reason_code: str
    reason: str
    raw: bytes
    rank: int


def add_quarantined(
    connection: Connection,
    connection_id: str,
    entity: str,
    bad: Sequence[BadRecord],
    *,
    run_id: str | None,
    now: datetime,
) -> None:
    """Keep bad records; one that is there already is only seen again."""
    upsert_into = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert
    for record in bad:
        statement = upsert_into(quarantine).values(
            id=new_id("bad"),
            connection_id=connection_id,
            entity=entity,
            record_id=record.record_id,
            run_id=run_id,
            fingerprint=record.fingerprint,
            reason_code=record.reason_code,
            reason=record.reason,
            raw=record.raw,
            rank=record.rank,
            created_at=now,
            seen_at=now,
        )
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["connection_id", "entity", "fingerprint"],
                set_={
                    "seen_at": now,
                    "run_id": run_id,
                    "rank": record.rank,
                    "reason_code": record.reason_code,
                    "reason": record.reason,
                },
            )
        )


def has_quarantined(connection: Connection, connection_id: str, entity: str) -> bool:
    """Say whether an entity has anything in quarantine."""
    statement = select(
        exists().where(quarantine.c.connection_id == connection_id, quarantine.c.entity == entity)
    )
    return bool(connection.execute(statement).scalar())


def drop_recovered(
    connection: Connection, connection_id: str, entity: str, keys: Sequence[str]
) -> None:
    """Forget the bad copies of records that have come in well since."""
    for start in range(0, len(keys), _CHUNK):
        connection.execute(
            delete(quarantine).where(
                quarantine.c.connection_id == connection_id,
                quarantine.c.entity == entity,
                quarantine.c.record_id.in_(keys[start : start + _CHUNK]),
            )
        )


def nameless_in(connection: Connection, run_id: str) -> int:
    """Count a run's bad records whose key is unknown."""
    statement = select(func.count()).where(
        quarantine.c.run_id == run_id, quarantine.c.record_id.is_(None)
    )
    return connection.execute(statement).scalar_one()


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A row of the quarantine.

    Attributes:
        id: ``bad_…``.
        connection_id: The connection.
        entity: The entity.
        record_id: Its key; None if it has none that can be used.
        run_id: The run that met it last.
        reason_code: Stable slug.
        reason: What is wrong with it, in words.
        raw: The record as JSON text, ASCII.
        rank: As of the page that held it last.
        created_at: When it was met first, aware UTC.
        seen_at: When it was met last, aware UTC.
    """

    id: str
    connection_id: str
    entity: str
    record_id: str | None
    run_id: str | None
    reason_code: str
    reason: str
    raw: bytes
    rank: int
    created_at: datetime
    seen_at: datetime


_KEPT = tuple(quarantine.c[field.name] for field in fields(Kept))


def find_quarantined(connection: Connection, bad_id: str) -> Kept | None:
    """Read one row of the quarantine by its id."""
    return next(iter(read_quarantined(connection, [bad_id])), None)


def read_quarantined(connection: Connection, ids: Sequence[str]) -> list[Kept]:
    """Read rows of the quarantine by their ids; those that are gone are left out.

    Args:
        connection: Open transaction.
        ids: At most a few hundred.

    Returns:
        The newest rank first, so that an older copy of a record comes after.
    """
    statement = (
        select(*_KEPT)
        .where(quarantine.c.id.in_(ids))
        .order_by(quarantine.c.rank.desc(), quarantine.c.id)
    )
    return [Kept(**row) for row in connection.execute(statement).mappings()]


class Listed(NamedTuple):
    """A row of the quarantine without its raw text.

    Attributes:
        id: ``bad_…``.
        connection_id: The connection.
        entity: The entity.
        record_id: Its key; None if it has none that can be used.
        size_bytes: Length of the raw text.
        reason_code: Stable slug.
        reason: What is wrong with it, in words.
        run_id: The run that met it last.
        created_at: When it was met first, aware UTC.
        seen_at: When it was met last, aware UTC.
    """

    id: str
    connection_id: str
    entity: str
    record_id: str | None
    size_bytes: int
    reason_code: str
    reason: str
    run_id: str | None
    created_at: datetime
    seen_at: datetime


def choose_quarantined(
    connection: Connection,
    *,
    ids: Sequence[str] = (),
    connection_id: str | None = None,
    entity: str | None = None,
) -> list[Listed]:
    """Read rows of the quarantine without their raw text, the newest rank first.

    Args:
        connection: Open transaction.
        ids: These rows; empty for all.
        connection_id: Of this connection; None for any.
        entity: Of this entity; None for any.
    """
    of = quarantine.c
    chosen = [
        *([of.connection_id == connection_id] if connection_id else []),
        *([of.entity == entity] if entity else []),
    ]
    wanted: list[list[Any]] = [[]]
    if ids:
        wanted = [[of.id.in_(ids[at : at + _CHUNK])] for at in range(0, len(ids), _CHUNK)]
    return [
        Listed(*row)
        for part in wanted
        for row in connection.execute(select(*_LISTED).where(*chosen, *part).order_by(*_NEWEST))
    ]


_NEWEST = (quarantine.c.rank.desc(), quarantine.c.id)
_LISTED = tuple(
    func.length(quarantine.c.raw) if name == "size_bytes" else quarantine.c[name]
    for name in Listed._fields
)


def of_record(
    connection: Connection, connection_id: str, entity: str, record_id: str
) -> list[Kept]:
    """Read what the quarantine has of one record, the last seen first."""
    statement = (
        select(*_KEPT)
        .where(
            quarantine.c.connection_id == connection_id,
            quarantine.c.entity == entity,
            quarantine.c.record_id == record_id,
        )
        .order_by(quarantine.c.seen_at.desc(), quarantine.c.id)
        .limit(_MOST_OF_ONE)
    )
    return [Kept(**row) for row in connection.execute(statement).mappings()]


def drop_quarantined(connection: Connection, ids: Sequence[str]) -> int:
    """Forget rows of the quarantine; return how many were there."""
    count = 0
    for start in range(0, len(ids), _CHUNK):
        chunk = ids[start : start + _CHUNK]
        count += connection.execute(delete(quarantine).where(quarantine.c.id.in_(chunk))).rowcount
    return count


def set_reason(connection: Connection, bad_id: str, *, code: str, reason: str) -> None:
    """Say anew what is wrong with a quarantined record."""
    connection.execute(
        update(quarantine).where(quarantine.c.id == bad_id).values(reason_code=code, reason=reason)
    )


def list_quarantined(
    connection: Connection, connection_id: str, entity: str | None = None, *, limit: int = 100
) -> list[dict[str, Any]]:
    """Read the quarantined records that were seen last first, with their raw text."""
    statement = (
        select(quarantine)
        .where(quarantine.c.connection_id == connection_id)
        .order_by(quarantine.c.seen_at.desc(), quarantine.c.id)
        .limit(limit)
    )
    if entity:
        statement = statement.where(quarantine.c.entity == entity)
    return [plain(dict(row)) for row in connection.execute(statement).mappings()]


def last_seen(
    connection: Connection,
    connection_id: str,
    entity: str | None,
    *,
    before: Mark | None = None,
    limit: int,
) -> list[Listed]:
    """Read the rows that were seen last first, without their raw text."""
    statement = (
        select(*_LISTED)
        .where(quarantine.c.connection_id == connection_id)
        .where(*older(quarantine.c.seen_at, quarantine.c.id, before))
        .order_by(quarantine.c.seen_at.desc(), quarantine.c.id)
        .limit(limit)
    )
    if entity:
        statement = statement.where(quarantine.c.entity == entity)
    return [Listed(*row) for row in connection.execute(statement)]
