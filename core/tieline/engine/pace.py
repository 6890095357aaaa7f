"""How far a window was read, and where its rest is best cut in two."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from operator import ge, le

from tieline.contract import Record, Windows
from tieline.store.rows import PartitionRow

__all__ = ["Reading", "best_cut", "page_time_s", "rest_in_pages"]

_LEAST_PAGES = 2.5
_LEAST_S = 0.3


class Reading:
    """Follows the pages of one partition in the order that the entity declares.

    Args:
        windows: The entity's declaration; None if its list has no windows.
        partition: As it was claimed; a resumed one is followed from here on.
    """

    def __init__(self, windows: Windows | None, partition: PartitionRow) -> None:
        self._windows = windows
        is_list = partition.source == "list"
        self.is_ordered = is_list and windows is not None and bool(windows.order)
        self.reached_at: datetime | None = partition.reached_at if self.is_ordered else None
        self.page_span_s = partition.page_span_s

    def meet(self, records: Sequence[Record]) -> None:
        """Take in a page; one that is out of order ends all following for good."""
        if not self.is_ordered or self._windows is None:
            return
        forward = self._windows.order == "oldest first"
        began = self.reached_at
        for record in _ends(self._windows, records, forward=forward):
            time = self._windows.time_of(record)
            if time is None:
                continue
            began = began or time
            before = self.reached_at
            if before is not None and (time < before if forward else time > before):
                self.is_ordered, self.reached_at = False, None
                return
            self.reached_at = time
        if began is not None and self.reached_at is not None:
            span = abs((self.reached_at - began).total_seconds())
            known = self.page_span_s
            self.page_span_s = span if known is None else (span + known) / 2

    def within(self, records: list[Record], split_at: datetime | None) -> list[Record]:
        """Leave out what lies beyond the cut: another hand reads it."""
        windows = self._windows
        if split_at is None or windows is None or not self.has_passed(split_at):
            return records
        forward = windows.order == "oldest first"
        return [
            record
            for record in records
            if (time := windows.time_of(record)) is None or (time < split_at) is forward
        ]

    def has_passed(self, split_at: datetime | None) -> bool:
        """Say whether all before the cut has been met."""
        if split_at is None or self.reached_at is None or self._windows is None:
            return False
        if self._windows.order == "oldest first":
            return self.reached_at >= split_at
        return self.reached_at < split_at


def _ends(windows: Windows, records: Sequence[Record], *, forward: bool) -> Sequence[Record]:
    """Leave out what lies between the first and the last of a page that is in order."""
    try:
        times = [record[windows.field] for record in records]
    except (KeyError, TypeError):
        return records
    is_plain = windows.epoch and len(times) > 2 and set(map(type, times)) == {int}
    in_order = le if forward else ge
    if is_plain and all(map(in_order, times, islice(times, 1, None))):
        return (records[0], records[-1])
    return records


def best_cut(
    windows: Windows, parts: Sequence[PartitionRow], *, now: datetime, page_s: float
) -> tuple[PartitionRow, datetime] | None:
    """Choose the partition with the longest rest, and the middle of that.

    How dense the rest is nobody knows; it is taken to be as dense as the last
    pages that were read of the same partition.

    Args:
        windows: The entity's declaration.
        parts: Partitions that are being read in order.
        now: The end of a window without one, aware UTC.
        page_s: How long a page takes, in seconds: a cut costs about one.

    Returns:
        Partition and time, a whole number of the provider's steps; None if no
        rest is worth a cut.
    """
    found = [cut for part in parts if (cut := _cut(windows, part, now)) is not None]
    if not found:
        return None
    pages, part, at = max(found, key=lambda cut: cut[0])
    return (part, at) if pages >= max(_LEAST_PAGES, _LEAST_S / max(page_s, 0.001)) else None


def page_time_s(parts: Sequence[PartitionRow], *, since: datetime, now: datetime) -> float:
    """Estimate how long a page of a run takes the hand that reads it, in seconds; 0: no telling.

    Args:
        parts: All of the run's partitions.
        since: When it began, aware UTC.
        now: Aware UTC.
    """
    hands = sum(part.state == "running" for part in parts)
    pages = sum(part.pages for part in parts)
    return (now - since).total_seconds() * max(hands, 1) / pages if pages else 0.0


def rest_in_pages(windows: Windows, part: PartitionRow, now: datetime) -> float | None:
    """Estimate how many pages a partition has left, at the density of its last ones.

    Args:
        windows: The entity's declaration.
        part: The partition.
        now: The end of a window without one, aware UTC.

    Returns:
        Pages; None if it has not been read far enough to tell.
    """
    if part.reached_at is None or part.page_span_s is None:
        return None
    low, high = _rest(windows, part, part.reached_at, now)
    span = max(part.page_span_s, windows.step.total_seconds())
    return max((high - low).total_seconds(), 0.0) / span


def _cut(
    windows: Windows, part: PartitionRow, now: datetime
) -> tuple[float, PartitionRow, datetime] | None:
    """Estimate a rest in pages, and find its middle."""
    pages = rest_in_pages(windows, part, now)
    if pages is None or part.reached_at is None:
        return None
    low, high = _rest(windows, part, part.reached_at, now)
    middle = low + windows.step * int((high - low) / windows.step / 2)
    return (pages, part, middle) if low < middle < high else None


def _rest(
    windows: Windows, part: PartitionRow, reached: datetime, now: datetime
) -> tuple[datetime, datetime]:
    if windows.order == "newest first":
        return part.split_at or part.window_start or windows.earliest, reached
    return reached, part.split_at or part.window_end or now
