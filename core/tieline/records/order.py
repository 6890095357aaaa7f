"""Order of truth: of two copies of one record, which one stands.

A copy's rank is its provider version where the entity has one; else, in
microseconds of the provider's clock, the time of the event that it came from,
or the time at which its read began. Providers tell times in whole seconds,
so ranks by time that are closer than two of them say nothing: the record is
read again.

What makes any interleaving end well is that a rank by time is never later than
the moment of which its copy tells, and at most two seconds earlier once the
record's last event is known. ``tests/property`` holds this up.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

__all__ = ["MARGIN_US", "Copy", "Known", "Order", "Verdict", "gone"]

MARGIN_US = 2_000_000
_SECOND_US = 1_000_000
_FRESH = frozenset({"list", "get", "verify", "write"})
_ANSWERS = frozenset({"get", "write"})
"""Sources that answer to one request about one record."""


class Copy(NamedTuple):
    """One copy of a record, as it came.

    Attributes:
        key: The record's key.
        text: Canonical JSON; empty for a deletion that brought none.
        digest: 128 bits over ``text``, in hex.
        rank: Orders copies of one record.
        source: ``list``, ``feed``, ``webhook``, ``write`` or ``get``.
        is_deleted: The record is gone.
        is_escaped: Characters of ``text`` were escaped.
    """

    key: str
    text: bytes
    digest: str
    rank: int
    source: str
    is_deleted: bool = False
    is_escaped: bool = False

    @property
    def is_fresh(self) -> bool:
        """Whether it tells how the record is now, not how it was at an event."""
        return self.source in _FRESH


def gone(key: str, rank: int, source: str) -> Copy:
    """Make the copy of a record that is gone."""
    return Copy(key, b"", "", rank, source, is_deleted=True)


class Known(NamedTuple):
    """What the database has of a record, as far as a comparison needs it."""

    digest: str
    rank: int
    is_deleted: bool
    revision: int


class Verdict(Enum):
    """What becomes of a copy."""

    WRITE = "write"
    """It is newer, and differs."""
    SAME = "same"
    """It says what is known."""
    NOTE = "note"
    """It says what is known, of a later event: the rank moves on."""
    OLDER = "older"
    """It is older, and differs."""
    ASK = "ask"
    """Nobody can tell: the record has to be read again."""


@dataclass(frozen=True, slots=True)
class Order:
    """Judges the copies of one page.

    Attributes:
        is_versioned: Ranks are the provider's versions, not times.
        can_ask: The record can be read again.
        now: The provider's present time as a rank: later ones are no times.
        read_until: Rank of the last list read; what an event tells of the time
            before may have been overtaken by a read that changed nothing.
    """

    is_versioned: bool
    can_ask: bool
    now: int
    read_until: int = 0

    def judge(self, known: Known, copy: Copy, asked: Known | None = None) -> Verdict:
        """Compare a copy with what the database has of the same record.

        Args:
            known: What the database has.
            copy: The copy.
            asked: What it had when the record was asked for again, if it was.
        """
        is_same = copy.is_deleted == known.is_deleted and (
            copy.is_deleted or copy.digest == known.digest
        )
        if is_same:
            return Verdict.NOTE if self._is_later(known, copy) else Verdict.SAME
        if copy.source == "get" or (copy.source == "write" and self.can_ask):
            return self._by_asking(known, copy, asked)
        if self.is_versioned:
            return self._by_version(known, copy)
        return self._by_time(known, copy)

    def _is_later(self, known: Known, copy: Copy) -> bool:
        """Whether a copy of what is known moves its rank; an unchanged list costs no write."""
        if self.is_versioned:  # a deletion's rank is a time, and would outrank all versions
            return False
        return copy.rank > known.rank and (copy.source in _ANSWERS or not copy.is_fresh)

    def _by_asking(self, known: Known, copy: Copy, asked: Known | None) -> Verdict:
        """An answer is newer than all that was known when it was asked for, and no more."""
        if asked != known:
            return Verdict.ASK
        is_behind = self.is_versioned and not copy.is_deleted and not known.is_deleted
        return Verdict.OLDER if is_behind and copy.rank < known.rank else Verdict.WRITE

    def _by_version(self, known: Known, copy: Copy) -> Verdict:
        if copy.is_deleted:  # an event of deletion has a time, and no version
            return Verdict.ASK if self.can_ask else Verdict.WRITE
        if copy.rank < known.rank:
            return Verdict.OLDER
        # A tombstone has the last version that we knew, which need not be the last.
        if self.can_ask and (known.is_deleted or copy.rank == known.rank):
            return Verdict.ASK
        return Verdict.WRITE if copy.is_fresh or not known.is_deleted else Verdict.OLDER

    def _by_time(self, known: Known, copy: Copy) -> Verdict:
        if known.rank > self.now + MARGIN_US and copy.is_fresh:  # its time was none
            return Verdict.ASK if self.can_ask else Verdict.WRITE
        if not self.can_ask:
            return self._by_time_alone(known, copy)
        if abs(copy.rank - known.rank) < MARGIN_US:
            return Verdict.ASK
        if copy.rank < known.rank:
            return Verdict.OLDER
        is_doubtful = known.is_deleted or self._is_overtaken(copy)
        return Verdict.ASK if is_doubtful and not copy.is_fresh else Verdict.WRITE

    def _by_time_alone(self, known: Known, copy: Copy) -> Verdict:
        """Of one second, a deletion is what came last."""
        is_between = abs(copy.rank - known.rank) < _SECOND_US
        if is_between and copy.is_deleted != known.is_deleted:
            return Verdict.WRITE if copy.is_deleted else Verdict.OLDER
        if copy.rank < known.rank:
            return Verdict.OLDER
        is_doubtful = known.is_deleted and self._is_overtaken(copy) and not copy.is_fresh
        return Verdict.OLDER if is_doubtful else Verdict.WRITE

    def _is_overtaken(self, copy: Copy) -> bool:
        return copy.rank < self.read_until + MARGIN_US
