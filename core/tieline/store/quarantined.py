"""Quarantine: records that could not be used, kept as they came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, exists, func, select
from sqlalchemy.dialects import postgresql, sqlite

from tieline.store.database import Connection
from tieline.store.ids import new_id
from tieline.store.rows import plain
from tieline.store.tables import quarantine

__all__ = [
    "BadRecord",
    "add_quarantined",
    "drop_recovered",
    "has_quarantined",
    "list_quarantined",
    "nameless_in",
]


_CHUNK = 500


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
                set_={"seen_at": now, "run_id": run_id, "rank": record.rank},
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


def list_quarantined(
    connection: Connection, connection_id: str, entity: str | None = None, *, limit: int = 100
) -> list[dict[str, Any]]:
    """Read the newest quarantined records first."""
    statement = (
        select(quarantine)
        .where(quarantine.c.connection_id == connection_id)
        .order_by(quarantine.c.seen_at.desc(), quarantine.c.id)
        .limit(limit)
    )
    if entity:
        statement = statement.where(quarantine.c.entity == entity)
    return [plain(dict(row)) for row in connection.execute(statement).mappings()]
