"""Findings: where a verification found our records and the provider's to differ."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from tieline.store.database import Connection
from tieline.store.records import all_of
from tieline.store.rows import RunRow, plain
from tieline.store.tables import findings, records, runs

__all__ = [
    "Finding",
    "add",
    "all_found",
    "count",
    "drop",
    "drop_written_since",
    "list_findings",
]


_CHUNK = 500


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
    is_repaired: bool = False,
) -> None:
    """Keep findings; the same record twice is one.

    Args:
        connection: Open write transaction.
        run_id: The run that found them.
        found: What it found.
        now: Aware UTC.
        is_repaired: Whether the same transaction mends them.
    """
    if not found:
        return
    insert_into = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert
    rows = [
        {
            "run_id": run_id,
            "record_id": key,
            "kind": kind,
            "theirs": theirs,
            "found_at": now,
            "repaired_at": now if is_repaired else None,
        }
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


def all_found(connection: Connection, run_id: str) -> list[Finding]:
    """Read all that a run found, by key."""
    of = findings.c
    statement = select(of.record_id, of.kind, of.theirs).where(of.run_id == run_id)
    return [Finding(*row) for row in connection.execute(statement.order_by(of.record_id))]


def drop(connection: Connection, run_id: str, keys: Sequence[str]) -> None:
    """Forget findings of a run."""
    for start in range(0, len(keys), _CHUNK):
        connection.execute(
            delete(findings).where(
                findings.c.run_id == run_id,
                findings.c.record_id.in_(keys[start : start + _CHUNK]),
            )
        )


def drop_written_since(connection: Connection, run: RunRow) -> None:
    """Forget findings whose record we changed after their run began."""
    began = select(runs.c.start_position).where(runs.c.id == run.id).scalar_subquery()
    written = select(records.c.record_id).where(
        all_of(run.connection_id, run.entity), records.c.position > began
    )
    connection.execute(
        delete(findings).where(findings.c.run_id == run.id, findings.c.record_id.in_(written))
    )


def list_findings(connection: Connection, run_id: str, *, limit: int) -> list[dict[str, Any]]:
    """Read a run's findings by kind and key."""
    statement = (
        select(findings)
        .where(findings.c.run_id == run_id)
        .order_by(findings.c.kind, findings.c.record_id)
        .limit(limit)
    )
    return [plain(dict(row)) for row in connection.execute(statement).mappings()]
