"""How far a run is, and how far it has to go, as well as that can be known."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tieline.contract import TielineError, Windows
from tieline.engine.help import most_attempts
from tieline.engine.pace import rest_in_pages
from tieline.services.installation import Installation
from tieline.store import connections, operations, partitions, records
from tieline.store.database import Connection
from tieline.store.rows import PartitionRow, RunRow

__all__ = ["Progress", "look_at"]

_WHOLE = frozenset({"full", "verify", "repair"})
_LEAST_PAGES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far an active run is.

    Attributes:
        seen: Records that its committed pages held.
        total: How many it will see, as far as can be told; None if nobody knows.
        basis: What ``total`` rests on: ``outbox``, how many operations are
            still to be sent; ``last run``, how many records there are
            since everything was last read; ``density``, the rest of each
            window at the density of its last pages; None if there is no total.
        attempts: With how many attempts in a row that made no headway it fails.
    """

    seen: int
    total: int | None
    basis: str | None
    attempts: int

    def facts(self) -> dict[str, Any]:
        """Return it by name."""
        return asdict(self)


def look_at(installation: Installation, run: RunRow) -> Progress | None:
    """Estimate how far a run is; None if it is over."""
    if run.is_over:
        return None
    windows = _windows(installation, run)
    with installation.database.read() as transaction:
        total, basis = _estimate(installation, transaction, run, windows)
    return Progress(
        seen=run.counts.seen,
        total=None if total is None else max(total, run.counts.seen),
        basis=basis,
        attempts=most_attempts(installation.settings, run.state),
    )


def _windows(installation: Installation, run: RunRow) -> Windows | None:
    try:
        return installation.registry.get(run.provider).entity(run.entity).windows
    except TielineError:  # a broken plugin makes no run unreadable
        return None


def _estimate(
    installation: Installation, transaction: Connection, run: RunRow, windows: Windows | None
) -> tuple[int | None, str | None]:
    if run.direction == "outbound":
        left = operations.count_unsent(transaction, run.connection_id, run.entity)
        return run.counts.seen + left, "outbox"
    state = connections.read_entity_state(transaction, run.connection_id, run.entity)
    if run.mode in _WHOLE and state is not None and state.synced_until is not None:
        known = records.count_live(transaction, run.connection_id, run.entity)
        return known - run.counts.created, "last run"
    parts = partitions.list_partitions(transaction, run.id)
    rest = _rest_in_records(installation, windows, parts)
    return (None, None) if rest is None else (run.counts.seen + rest, "density")


def _rest_in_records(
    installation: Installation, windows: Windows | None, parts: list[PartitionRow]
) -> int | None:
    """Weigh each window's rest by its own pages; None if one of them tells nothing yet."""
    if windows is None or not parts or sum(part.pages for part in parts) < _LEAST_PAGES:
        return None
    seen, pages = sum(part.counts.seen for part in parts), sum(part.pages for part in parts)
    rest = 0.0
    for part in parts:
        if part.state in {"done", "dropped"}:
            continue
        left = rest_in_pages(windows, part, installation.clock.now())
        if left is None or _may_be_empty(windows, part):
            return None
        rest += left
    return round(rest * seen / pages)


def _may_be_empty(windows: Windows, part: PartitionRow) -> bool:
    """Say whether a rest reaches into times of which nobody knows when they begin."""
    return windows.order == "newest first" and (part.split_at or part.window_start) is None
