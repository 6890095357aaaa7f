"""The sync log: who asked, what happened, when. Rows are only ever added."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import insert, or_, select

from tieline.store.choosing import among
from tieline.store.database import Connection
from tieline.store.rows import Counts, plain
from tieline.store.tables import sync_log

__all__ = ["LEVELS", "add_entry", "level_of", "list_entries", "newest_entries"]

LEVELS = ("info", "warning", "error")
"""How much an entry matters, least first: as things should go; not so, and it goes on by
itself; a person is needed."""

_ERRORS = (
    "connection.needs_reauth",
    "events.dead",
    "operation.dead",
    "operation.held",
    "run.failed",
    "run.needs_reauth",
)
_WARNINGS = (
    "connection.consent_ends",
    "partition.resumed",
    "run.catch_up",
    "run.replanned",
    "run.retrying",
    "run.succeeded_with_quarantine",
    "run.waiting",
)


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
    level: str = LEVELS[0],
    limit: int = 200,
    after: int = 0,
) -> list[dict[str, Any]]:
    """Read the newest entries, oldest of them first.

    Args:
        connection: Open transaction.
        run_id: Of this run.
        connection_id: Of this connection.
        level: Those of this one of :data:`LEVELS`, and what matters more.
        limit: The most to return.
        after: Those of a number beyond this one only.
    """
    statement = select(sync_log).order_by(sync_log.c.id.desc()).limit(limit)
    if level == "error":
        statement = statement.where(sync_log.c.event.in_(_ERRORS))
    elif level == "warning":
        named = sync_log.c.event.in_((*_ERRORS, *_WARNINGS))
        statement = statement.where(or_(named, sync_log.c.error_code.is_not(None)))
    if run_id:
        statement = statement.where(sync_log.c.run_id == run_id)
    if connection_id:
        statement = statement.where(sync_log.c.connection_id == connection_id)
    if after:
        statement = statement.where(sync_log.c.id > after)
    rows = connection.execute(statement).mappings().all()
    return [plain(dict(row)) for row in reversed(rows)]


def level_of(entry: Mapping[str, Any]) -> str:
    """Say which of :data:`LEVELS` an entry is; one that names an error is a warning at least."""
    if entry["event"] in _ERRORS:
        return "error"
    return "warning" if entry["event"] in _WARNINGS or entry["error_code"] else "info"


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
