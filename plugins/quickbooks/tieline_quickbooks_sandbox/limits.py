"""Limits of each company: calls a second, calls and batches a minute, calls at once.

Source:
    Intuit, "API call limits and throttles": 10 a second, 500 a minute, and 40
    batches of these; ten at once: developer blog of 2016-08-08. The three forms of a refusal are
    those that integrators have quoted (python-quickbooks, #43 and #83).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from tieline_quickbooks_sandbox.answers import ApiError, throttled, throttled_service, throttled_xml
from tieline_quickbooks_sandbox.clock import Clock

__all__ = ["Limits", "Rates"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What one company may do; 0: no limit."""

    per_second: int = 0
    per_minute: int = 0
    batches_per_minute: int = 0
    at_once: int = 0


@dataclass(slots=True)
class _Usage:
    """Calls of one company, by the monotonic clock, and the most that there ever were."""

    calls: deque[float] = field(default_factory=deque)
    batches: deque[float] = field(default_factory=deque)
    at_once: int = 0
    most: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("per_second", "per_minute", "batches_per_minute", "at_once"), 0
        )
    )
    reads: int = 0
    refused: int = 0

    def within(self, now: float, seconds: float) -> int:
        return sum(1 for _ in takewhile(lambda call: call > now - seconds, reversed(self.calls)))


class Limits:
    """Counts every company's calls, and refuses those beyond the limits.

    Args:
        rates: What each company may do.
        clock: Stamps refusals.
        monotonic: Seconds that only grow; not the sandbox's clock, which jumps.
    """

    def __init__(
        self, rates: Rates, clock: Clock, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._rates = rates
        self._clock = clock
        self._monotonic = monotonic
        self._used: dict[str, _Usage] = {}
        self._refused = 0

    @contextmanager
    def under_way(self, realm: str) -> Iterator[None]:
        """Count a call of a company as one of those at once."""
        used = self._used.setdefault(realm, _Usage())
        used.at_once += 1
        used.most["at_once"] = max(used.most["at_once"], used.at_once)
        try:
            yield
        finally:
            used.at_once -= 1

    def take(self, realm: str, *, is_metered: bool = True, is_batch: bool = False) -> None:
        """Count a call that is to be answered; a refused one costs nothing.

        Args:
            realm: The company.
            is_metered: It counts against the month's reads, as writes do not.
            is_batch: It counts as one of the batches, too.

        Raises:
            ApiError: There are too many.
        """
        used, now = self._used.setdefault(realm, _Usage()), self._monotonic()
        for calls in (used.calls, used.batches):
            while calls and calls[0] <= now - 60:
                calls.popleft()
        counts = {
            "per_second": used.within(now, 1) + 1,
            "per_minute": len(used.calls) + 1,
            "batches_per_minute": len(used.batches) + is_batch,
            "at_once": used.at_once,
        }
        limits = {name: getattr(self._rates, name) for name in counts}
        if any(limits[name] and count > limits[name] for name, count in counts.items()):
            used.refused += 1
            raise self._refusal()
        used.calls.append(now)
        if is_batch:
            used.batches.append(now)
        used.reads += is_metered
        used.most |= {name: max(used.most[name], count) for name, count in counts.items()}

    def status(self) -> dict[str, Any]:
        """Return the most that there ever was, the reads and the refusals, by company."""
        return {
            realm: {"most": used.most, "reads": used.reads, "refused": used.refused}
            for realm, used in self._used.items()
        }

    def _refusal(self) -> ApiError:
        """Refuse in one of the forms that are known, each in its turn."""
        self._refused += 1
        forms = (throttled, throttled_service, throttled_xml)
        return forms[self._refused % len(forms)](self._clock.now())
