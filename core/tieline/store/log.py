"""The sync log: who asked, what happened, when. Rows are only ever added."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select

from tieline.store.choosing import among
from tieline.store.database import Connection
from tieline.store.rows import Counts, plain
from tieline.store.tables import sync_log

__all__ = ["add_entry", "list_entries", "newest_entries"]


def add_entry(
    connection: Connection,
    *,
    at: datetime,
    actor: str,
    event: str,
    connection_id: str | None = None,
    entity: str | None = None,
    run_id: str | None = None,
    counts: Counts | None = None,
    error_code: str | None = None,
    detail: str = "",
) -> None:
    """Add one entry, in the transaction that does what it says."""
    connection.execute(
        insert(sync_log).values(
            at=at,
            actor=actor[:80],
            event=event,
            connection_id=connection_id,
            entity=entity,
            run_id=run_id,
            counts=counts.as_dict() if counts else None,
            error_code=error_code,
            detail=detail,
        )
    )


def list_entries(
    connection: Connection,
    *,
    run_id: str | None = None,
    connection_id: str | None = None,
    limit: int = 200,
    after: int = 0,
) -> list[dict[str, Any]]:
    """Read the newest entries, oldest of them first; those of a number beyond ``after`` only."""
    statement = select(sync_log).order_by(sync_log.c.id.desc()).limit(limit)
    if run_id:
        statement = statement.where(sync_log.c.run_id == run_id)
    if connection_id:
        statement = statement.where(sync_log.c.connection_id == connection_id)
    if after:
        statement = statement.where(sync_log.c.id > after)
    rows = connection.execute(statement).mappings().all()
    return [plain(dict(row)) for row in reversed(rows)]


def newest_entries(
    connection: Connection,
    *,
    connection_ids: Collection[str] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    before: int | None = None,
    limit: int = 50,
    **equal: str | None,
) -> list[dict[str, Any]]:
    """Read the newest entries first.

    Args:
        connection: Open transaction.
        connection_ids: Of these connections; None: of all, and of none.
        since: Written then or later.
        until: Written before then.
        before: Whose number is smaller.
        limit: The most to return.
        **equal: Column to the value that it has to have; None: any.
    """
    statement = select(sync_log).order_by(sync_log.c.id.desc()).limit(limit)
    statement = statement.where(*among(sync_log.c.connection_id, connection_ids))
    for name, value in equal.items():
        if value is not None:
            statement = statement.where(sync_log.c[name] == value)
    if since is not None:
        statement = statement.where(sync_log.c.at >= since)
    if until is not None:
        statement = statement.where(sync_log.c.at < until)
    if before is not None:
        statement = statement.where(sync_log.c.id < before)
    return [plain(dict(row)) for row in connection.execute(statement).mappings()]
