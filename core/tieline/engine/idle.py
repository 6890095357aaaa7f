"""What a worker does that has nothing to do: it helps with a run that others read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from tieline.contract import TielineError, Windows
from tieline.engine.ask import ring_for
from tieline.engine.kit import Engine
from tieline.engine.pace import rest_in_pages
from tieline.store import partitions, runs
from tieline.store.rows import PartitionRow, RunRow
from tieline.telemetry import get_logger

__all__ = ["Idle"]

_log = get_logger(__name__)
# No more than one helper is asked for in this time; each looks whether one more is worth it.
_JOIN_ONE_BY_ONE = timedelta(seconds=0.25)
# A run that began so long ago, and stored a page so lately, is seen to go on at the first look.
# Many are over in less than that, which nobody can tell before: the rest is a guess.
_YOUNG = (timedelta(seconds=0.25), timedelta(seconds=10))
_LATELY = timedelta(seconds=0.5)
_WORTH_HELPING_S = 5.0
_LEAST_PAGES = 4


class Idle:
    """An idle worker's looks around, one after the other.

    It takes two to see a run go on: one whose worker has died stands still
    until its leases lapse, and needs no second reader. Of a run that is young
    its beginning is the first of the two.

    Args:
        engine: The parts.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._seen: dict[str, tuple[datetime, int]] = {}

    def offer_help(self) -> bool:
        """Ring for a run that would be over sooner with one hand more.

        This worker, or another idle one, takes a part that is free, or cuts one
        off the longest.

        Returns:
            Whether there is such a run, and no job that waits.

        Raises:
            DependencyError: The database or Redis does not answer.
        """
        engine = self._engine
        if engine.count_waiting():
            return False
        now = engine.clock.now()
        before, self._seen = self._seen, {}
        wanted = None
        with engine.database.read() as connection:
            for run in runs.runs_in_hand(connection, now, rung_before=now - _JOIN_ONE_BY_ONE):
                parts = partitions.list_partitions(connection, run.id)
                self._seen[run.id] = now, sum(part.pages for part in parts)
                first = before.get(run.id) or _beginning(run, parts, now)
                if wanted is None and first is not None:
                    page_s = _page_time_s(parts, first, self._seen[run.id])
                    wanted = run.id if self._is_worth_it(run, parts, page_s, now) else None
        return wanted is not None and ring_for(engine, wanted)

    def _is_worth_it(
        self, run: RunRow, parts: Sequence[PartitionRow], page_s: float | None, now: datetime
    ) -> bool:
        windows = self._windows_of(run)
        if page_s is None or windows is None:
            return False
        if any(part.state == "ready" for part in parts):
            return True
        reading = [part for part in parts if part.state == "running"]
        longest = max((rest_in_pages(windows, part, now) or 0 for part in reading), default=0)
        return longest >= _LEAST_PAGES and longest * page_s >= _WORTH_HELPING_S

    def _windows_of(self, run: RunRow) -> Windows | None:
        try:
            return self._engine.registry.get(run.provider).entity(run.entity).windows
        except TielineError as error:  # it does not load here; another worker may have it
            _log.debug("a run that this worker cannot help", run=run.id, reason=error.message)
            return None


def _beginning(
    run: RunRow, parts: Sequence[PartitionRow], now: datetime
) -> tuple[datetime, int] | None:
    """Return a young run's first look, at which it had no page; None if it may stand still."""
    latest = max((part.checkpoint_at for part in parts if part.checkpoint_at), default=None)
    if run.started_at is None or latest is None:
        return None
    is_young = _YOUNG[0] <= now - run.started_at <= _YOUNG[1]
    return (run.started_at, 0) if is_young and now - latest <= _LATELY else None


def _page_time_s(
    parts: Sequence[PartitionRow], before: tuple[datetime, int], now: tuple[datetime, int]
) -> float | None:
    """Return how long a page takes each hand, in seconds; None if none came."""
    pages = now[1] - before[1]
    hands = sum(part.state == "running" for part in parts)
    return (now[0] - before[0]).total_seconds() * max(hands, 1) / pages if pages > 0 else None
