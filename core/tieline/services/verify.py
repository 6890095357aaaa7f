"""Verify: compare what is stored with the provider, and mend it on request."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tieline.contract import TielineError
from tieline.engine import Asked
from tieline.errors import InvalidInputError, RefusedError
from tieline.services.installation import Installation
from tieline.services.syncs import get_run, start_sync
from tieline.store import findings, partitions, records
from tieline.store.rows import PartitionRow, RunRow

__all__ = ["Outcome", "WindowCount", "read_outcome", "start_verify"]

_MODES = ("verify", "repair")


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowCount:
    """What one part of a run met.

    Attributes:
        since: Start of its window, included; None: from the beginning.
        until: Its end, excluded; None: up to now.
        records: How many records the provider has there.
        is_done: Whether it was read to its end.
    """

    since: datetime | None
    until: datetime | None
    records: int
    is_done: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a verification found.

    Attributes:
        run: The run, of mode ``verify`` or ``repair``.
        windows: What its parts met, the earliest window first.
        theirs: How many records the provider's list held.
        ours: How many live records are stored now.
        counts: Findings by kind: ``missing``, ``stale``, ``surplus``.
        findings: The first of them by kind and key: ``record_id``, ``kind``,
            ``found_at``, and ``repaired_at``, None if it was not mended.
    """

    run: RunRow
    windows: tuple[WindowCount, ...]
    theirs: int
    ours: int
    counts: dict[str, int]
    findings: tuple[dict[str, Any], ...]

    @property
    def differs(self) -> bool:
        """Whether there was a difference that the run left as it was."""
        return self.run.mode == "verify" and any(self.counts.values())


def start_verify(
    installation: Installation, connection: str, entity: str, *, repair: bool, actor: str
) -> Asked:
    """Ask for a run that compares an entity with the provider, or mends it too.

    Returns:
        The new run, or the one of the same mode that is active already.

    Raises:
        NotFoundError: No such connection or entity.
        RefusedError: A run of another mode is active.
        DependencyError: Database or Redis does not answer; nothing was asked.
    """
    mode = _MODES[repair]
    asked = start_sync(installation, connection, entity, mode=mode, actor=actor)
    if asked.run.mode != mode:
        raise RefusedError(
            f"a run of {entity} is active ({asked.run.mode}): {asked.run.id}",
            hint=f"wait until it is over: tieline runs show {asked.run.id}",
            code="run-active",
        )
    return asked


def read_outcome(installation: Installation, run_id: str, *, limit: int = 100) -> Outcome:
    """Return what a verification found so far.

    Args:
        installation: Where.
        run_id: The run.
        limit: The most findings to name; they are counted all the same.

    Raises:
        NotFoundError: There is no run of that id.
        InvalidInputError: It is a run of another mode.
    """
    run = get_run(installation, run_id)
    if run.mode not in _MODES:
        raise InvalidInputError(
            f"{run.id} is a {run.mode} run, which compares nothing",
            hint=f"tieline runs show {run.id}",
            code="run-no-verify",
        )
    with installation.database.read() as transaction:
        parts = partitions.list_partitions(transaction, run.id)
        counts = findings.count(transaction, run.id)
        found = findings.list_findings(transaction, run.id, limit=limit)
        ours = records.count_live(transaction, run.connection_id, run.entity)
    is_newest_first = _is_newest_first(installation, run)
    windows = [_counted(part, is_newest_first) for part in parts if part.state != "dropped"]
    return Outcome(
        run=run,
        windows=tuple(sorted(windows, key=lambda each: (each.since is not None, each.since))),
        theirs=run.counts.seen,
        ours=ours,
        counts=counts,
        findings=tuple(
            {name: each[name] for name in ("record_id", "kind", "found_at", "repaired_at")}
            for each in found
        ),
    )


def _is_newest_first(installation: Installation, run: RunRow) -> bool:
    try:
        windows = installation.registry.get(run.provider).entity(run.entity).windows
    except TielineError:  # what was found is shown even if the plugin is broken by now
        return False
    return windows is not None and windows.order == "newest first"


def _counted(part: PartitionRow, is_newest_first: bool) -> WindowCount:
    """Count one window, without what was cut off from it for another hand."""
    since, until = part.window_start, part.window_end
    if part.split_at is not None and is_newest_first:
        since = part.split_at
    elif part.split_at is not None:
        until = part.split_at
    return WindowCount(
        since=since, until=until, records=part.counts.seen, is_done=part.state == "done"
    )
