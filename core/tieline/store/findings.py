"""Findings: where a verification found our records and the provider's to differ."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from tieline.store.database import Connection
from tieline.store.rows import plain
from tieline.store.tables import findings

__all__ = ["Finding", "add", "count", "list_findings", "mark_repaired"]


class Finding(NamedTuple):
    """One record that differs.

    Attributes:
        record_id: Its key.
        kind: ``missing`` here, ``stale`` here, or ``surplus``: gone there.
        theirs: Hash of the provider's content; None if it has none.
    """

    record_id: str
    kind: str
    theirs: str | None


def add(
    connection: Connection,
    run_id: str,
    found: Sequence[Finding],
    *,
    now: datetime,
) -> None:
    """Keep findings; the same record twice is one."""
    if not found:
        return
    insert_into = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert
    rows = [
        {"run_id": run_id, "record_id": key, "kind": kind, "theirs": theirs, "found_at": now}
        for key, kind, theirs in found
    ]
    connection.execute(insert_into(findings).on_conflict_do_nothing(), rows)


def count(connection: Connection, run_id: str) -> dict[str, int]:
    """Count a run's findings by kind."""
    statement = (
        select(findings.c.kind, func.count())
        .where(findings.c.run_id == run_id)
        .group_by(findings.c.kind)
    )
    found: dict[str, int] = dict(connection.execute(statement).all())
    return {kind: found.get(kind, 0) for kind in ("missing", "stale", "surplus")}


def mark_repaired(connection: Connection, run_id: str, *, now: datetime) -> None:
    """Note that all that a run found has been mended."""
    connection.execute(update(findings).where(findings.c.run_id == run_id).values(repaired_at=now))


def list_findings(connection: Connection, run_id: str, *, limit: int) -> list[dict[str, Any]]:
    """Read a run's findings by kind and key."""
    statement = (
        select(findings)
        .where(findings.c.run_id == run_id)
        .order_by(findings.c.kind, findings.c.record_id)
        .limit(limit)
    )
    return [plain(dict(row)) for row in connection.execute(statement).mappings()]
