"""Read the sync log: who asked, what happened, when."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tieline.services.connections import get_connection
from tieline.services.installation import Installation
from tieline.store import log

__all__ = ["Wanted", "list_audit"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Which entries are meant: all that fit everything that is given.

    Attributes:
        connection: Name or id.
        actor: Whoever did it, such as ``cli:ada`` or ``api:warehouse``.
        event: What happened, such as ``connection.paused``.
        entity: Of this entity.
        run_id: Of this run.
        since: Then or later, aware UTC.
        until: Before then.
    """

    connection: str | None = None
    actor: str | None = None
    event: str | None = None
    entity: str | None = None
    run_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def list_audit(
    installation: Installation,
    wanted: Wanted,
    *,
    visible: Collection[str] | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[dict[str, Any]]:
    """Return the newest entries first.

    Args:
        installation: Where.
        wanted: Which.
        visible: Ids of the connections that whoever asks may see; None: all,
            and entries of none.
        before: Number of the last entry of the page before.
        limit: The most to return.

    Raises:
        NotFoundError: There is no such connection.
    """
    asked = wanted.connection
    row = get_connection(installation, asked) if asked is not None else None
    with installation.database.read() as transaction:
        return log.newest_entries(
            transaction,
            connection_id=row.id if row else None,
            connection_ids=visible,
            actor=wanted.actor,
            event=wanted.event,
            entity=wanted.entity,
            run_id=wanted.run_id,
            since=wanted.since,
            until=wanted.until,
            before=before,
            limit=limit,
        )
