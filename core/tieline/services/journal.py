"""Read the sync log."""

from __future__ import annotations

from typing import Any

from tieline.services.connections import get_connection
from tieline.services.installation import Installation
from tieline.services.syncs import get_run
from tieline.store import connections, log

__all__ = ["read_journal"]


def read_journal(
    installation: Installation,
    *,
    connection: str | None = None,
    run_id: str | None = None,
    level: str = "info",
    limit: int = 20,
    after: int = 0,
) -> list[dict[str, Any]]:
    """Return the newest entries, the oldest of them first.

    Args:
        installation: Where.
        connection: Only of this one, by name or id.
        run_id: Only of this run.
        level: Only of this one of ``info``, ``warning`` and ``error``, and what
            matters more.
        limit: The most to return.
        after: Only entries of a greater number.

    Raises:
        NotFoundError: There is no such connection or run.
    """
    row = get_connection(installation, connection) if connection is not None else None
    if run_id is not None:
        get_run(installation, run_id)
    with installation.database.read() as transaction:
        entries = log.list_entries(
            transaction,
            run_id=run_id,
            connection_id=row.id if row else None,
            level=level,
            limit=limit,
            after=after,
        )
        names = {each.id: each.name for each in connections.list_connections(transaction)}
    return [
        {
            **entry,
            "connection_name": names.get(entry["connection_id"] or ""),
            "level": log.level_of(entry),
        }
        for entry in entries
    ]
