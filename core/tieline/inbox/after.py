"""What follows a commit and nobody waits for: bells, counts, when an endpoint last heard.

All of it may be lost without harm: who drains is found by a sweep, too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from tieline.clock import Clock
from tieline.errors import DependencyError
from tieline.inbox.counts import Counts
from tieline.store import endpoints
from tieline.store.database import Database
from tieline.telemetry import get_logger, span

__all__ = ["Afterwards", "RingDrain"]

RingDrain = Callable[[str], None]
"""Wakes a worker that drains a connection. Raises DependencyError if Redis is away."""

_log = get_logger(__name__)
_COUNTS_EVERY_S = 1.0
_NOTED_EVERY_S = 15.0
_AWAY_S = 5.0
_RINGS_EVERY_S = 0.05
_LEAVE_S = 10


class Afterwards:
    """Does it in a thread of its own, so that a slow Redis holds up no commit.

    Args:
        database: Where endpoints are.
        counts: What was counted.
        ring: Wakes a worker.
        clock: Now.
    """

    def __init__(self, database: Database, counts: Counts, ring: RingDrain, clock: Clock) -> None:
        self._database = database
        self._counts = counts
        self._ring = ring
        self._clock = clock
        self._to_ring: dict[str, str] = {}
        self._heard: set[str] = set()
        self._noted: dict[str, float] = {}
        self._ring_after = 0.0
        self._changed = threading.Condition()
        self._is_over = False
        self._thread: threading.Thread | None = None

    def stored(
        self,
        to_ring: Mapping[str, str],
        repeated: Mapping[str | None, int],
        strangers: Mapping[str, int],
    ) -> None:
        """Take what a commit was about.

        Args:
            to_ring: Connections that have events to handle, each with the trace of
                one that brought some, as its ``traceparent``; empty: of none.
            repeated: Endpoint to how many events were there before; None to
                those of a commit of several endpoints.
            strangers: Endpoint to how many events were of accounts that are not ours.
        """
        for endpoint_id, count in repeated.items():
            if count:
                self._counts.add(endpoint_id, "repeated", count)
        for endpoint_id, count in strangers.items():
            self._counts.add(endpoint_id, "account-unknown", count)
        if to_ring:
            with self._changed:
                if not self._to_ring:
                    self._changed.notify()
                self._to_ring = {**to_ring, **self._to_ring}

    def accepted(self, endpoint_id: str) -> None:
        """Count a delivery that was answered with success."""
        self._counts.add(endpoint_id, "accepted")
        self._heard.add(endpoint_id)

    def used_old_secret(self, endpoint_id: str, at: float) -> None:
        """Note that a delivery was signed with a secret that is about to end, at an epoch time."""
        self._counts.note_old_secret(endpoint_id, at)

    def refused(self, endpoint_id: str | None, reason: str) -> None:
        """Count a delivery that was not."""
        self._counts.add(endpoint_id, reason)

    def start(self) -> None:
        """Begin; until then what comes is kept."""
        self._thread = threading.Thread(target=self._work, name="inbox-after", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Do what is left, once, and end."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(_LEAVE_S)
        self.do()

    def do(self) -> None:
        """Ring, write counts, note who heard; what fails is left for the next time."""
        self._ring_all()
        self._write()

    def _work(self) -> None:
        written_at = self._clock.monotonic()
        while not self._is_over:
            with self._changed:
                if not self._to_ring or self._clock.monotonic() < self._ring_after:
                    self._changed.wait(_COUNTS_EVERY_S)
            if self._to_ring and self._clock.monotonic() >= self._ring_after:
                self._ring_all()
                self._rest()
            if self._clock.monotonic() - written_at >= _COUNTS_EVERY_S:
                self._write()
                written_at = self._clock.monotonic()

    def _rest(self) -> None:
        """Let rings gather: the first is heard at once, and one for many commits is enough."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_over, _RINGS_EVERY_S)

    def _ring_all(self) -> None:
        """Ring for all; while Redis is away once in a while, and a sweep rings as well."""
        with self._changed:
            wanted, self._to_ring = self._to_ring, {}
        for connection_id, asked_in in sorted(wanted.items()):
            try:
                with span("ring", parent=asked_in, connection=connection_id):
                    self._ring(connection_id)
            except DependencyError as error:
                _log.warning("ring failed", connection=connection_id, reason=error.message)
                self._ring_after = self._clock.monotonic() + _AWAY_S
                with self._changed:
                    self._to_ring = {**self._to_ring, **wanted}
                return
            except Exception as error:  # noqa: BLE001 - this thread must go on
                _log.error("ring failed", connection=connection_id, error=type(error).__name__)

    def _write(self) -> None:
        try:
            self._counts.flush()
        except DependencyError:
            pass  # they are kept; Redis has been complained about by others
        except Exception as error:  # noqa: BLE001 - this thread must go on
            _log.error("counts were not written", error=type(error).__name__)
        now = self._clock.monotonic()
        due = {
            each
            for each in tuple(self._heard)
            if now - self._noted.get(each, -_NOTED_EVERY_S) >= _NOTED_EVERY_S
        }
        if not due:
            return
        self._heard -= due
        self._noted.update(dict.fromkeys(due, now))
        try:
            with self._database.write() as transaction:
                endpoints.note_received(transaction, sorted(due), self._clock.now())
        except DependencyError:
            self._heard |= due
