"""Say what a run does, as it does it, for whoever watches."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from tieline.contract import TielineError
from tieline.services.installation import Installation
from tieline.services.limits import show_limits
from tieline.store import partitions
from tieline.store.rows import Counts, RunRow

__all__ = ["Follower", "Step"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """Something that happened to a run since it was last looked at.

    Attributes:
        kind: ``resuming``: it had pages before; ``fetched``: further pages are
            committed; ``waiting``: for the provider's limit, or until it is tried again.
        pages: How many are committed.
        counts: What all of them did.
        at: For ``resuming``, when its last page was committed; for ``waiting``
            until when, None if that depends on a person.
        why: What it waits for.
    """

    kind: Literal["resuming", "fetched", "waiting"]
    pages: int
    counts: Counts
    at: datetime | None = None
    why: str = ""


class Follower:
    """Compares a run with what it was at the last look.

    Args:
        installation: Where.
        is_new: Whether it was asked for just now: then nothing is resumed.
    """

    def __init__(self, installation: Installation, *, is_new: bool) -> None:
        self._installation = installation
        self._pages = 0
        self._is_first = not is_new
        self._until: datetime | None = None
        self._rest: tuple[str, datetime] | None = None

    def look(self, run: RunRow) -> list[Step]:
        """Return what happened since the last look, in order."""
        with self._installation.database.read() as transaction:
            parts = partitions.list_partitions(transaction, run.id)
        pages = sum(part.pages for part in parts)
        is_first, self._is_first = self._is_first, False
        has_more, self._pages = pages > self._pages, pages
        if has_more and is_first:
            times = [part.checkpoint_at for part in parts if part.checkpoint_at]
            at = max(times, default=None)
            return [Step(kind="resuming", pages=pages, counts=run.counts, at=at)]
        if has_more:
            return [Step(kind="fetched", pages=pages, counts=run.counts)]
        return [] if run.is_over else self._waits(run, pages)

    def _waits(self, run: RunRow, pages: int) -> list[Step]:
        """Tell once of each time until which a run waits."""
        if run.state in {"waiting", "retrying"}:
            if self._rest == (run.state, run.due_at):
                return []
            self._rest = (run.state, run.due_at)
            why = run.error_message or run.state
            return [Step(kind="waiting", pages=pages, counts=run.counts, at=run.due_at, why=why)]
        until = self._paused_until(run)
        if until is None or until == self._until:
            return []
        self._until = until
        return [Step(kind="waiting", pages=pages, counts=run.counts, at=until,
                     why="the provider's limit")]  # fmt: skip

    def _paused_until(self, run: RunRow) -> datetime | None:
        with suppress(TielineError):  # whoever waits for the run finds out what is away
            for each in show_limits(self._installation, run.connection_id):
                if (until := each.standing.paused_until) is not None:
                    return until.replace(microsecond=0)
        return None
