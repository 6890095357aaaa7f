"""Group commit: what waits goes into one transaction, and is answered after its commit.

One thread a process commits. While it waits for the disk the next deliveries
gather, so that a busy process makes few large transactions and an idle one
makes them at once.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from tieline.errors import DependencyError
from tieline.failpoints import failpoint
from tieline.inbox.after import Afterwards
from tieline.inbox.delivery import Delivery, Outcome, rows_of
from tieline.store import deliveries, endpoints
from tieline.store.database import Connection as Transaction
from tieline.store.database import Database, Desk
from tieline.store.deliveries import NewEvent
from tieline.telemetry import get_logger

__all__ = ["Committer", "Told"]

Told = Callable[[Sequence[tuple[Any, Outcome]]], None]
"""Called after a commit with the tokens that were handed in beside deliveries, and outcomes."""

_log = get_logger(__name__)
_Waiting = tuple[Delivery, Any, Told]
_MOST_ROWS = 500
_MOST_WAITING = 2_000
_MOST_WAITING_BYTES = 64_000_000
_LEAVE_S = 30


class Committer:
    """Commits deliveries in a thread of its own.

    Args:
        database: Where to.
        after: Rings for the drain, and counts.
    """

    def __init__(self, database: Database, after: Afterwards) -> None:
        self._database = database
        self._after = after
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._is_over = False
        self._thread: threading.Thread | None = None

    def put(self, delivery: Delivery, token: Any, told: Told) -> bool:
        """Hand in a delivery; False if too many wait, or this is over.

        Args:
            delivery: Verified and read.
            token: Handed back with the outcome.
            told: Called in the committer's thread, once for all that one
                commit has of the same function; it must not block.
        """
        size = len(delivery.body)
        with self._changed:
            is_full = len(self._waiting) >= _MOST_WAITING or self._bytes > _MOST_WAITING_BYTES
            if self._is_over or is_full:
                return False
            self._waiting.append((delivery, token, told))
            self._bytes += size
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="inbox", daemon=True)
                self._thread.start()
            self._changed.notify()
        return True

    def commit(self, delivery: Delivery) -> Outcome:
        """Hand in a delivery and wait for what becomes of it."""
        done = threading.Event()
        found: list[Outcome] = []

        def told(pairs: Sequence[tuple[Any, Outcome]]) -> None:
            found.extend(outcome for _, outcome in pairs)
            done.set()

        if not self.put(delivery, None, told):
            return "full"
        done.wait()
        return found[0]

    def close(self) -> None:
        """Commit what waits, and end."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(_LEAVE_S)

    def _work(self) -> None:
        with self._database.desk(is_durable=True) as desk:
            while batch := self._take():
                try:
                    outcomes = _commit(desk, [each[0] for each in batch], self._after)
                except Exception as error:  # noqa: BLE001 - those who wait must hear of it
                    _log.error("deliveries were not committed", error=type(error).__name__)
                    outcomes = ["down"] * len(batch)
                _tell(batch, outcomes)

    def _take(self) -> list[_Waiting]:
        """Wait for deliveries; an empty list is the end."""
        with self._changed:
            while not self._waiting and not self._is_over:
                self._changed.wait()
            batch, rows = [], 0
            while self._waiting and rows < _MOST_ROWS:
                batch.append(self._waiting.popleft())
                rows += len(batch[-1][0].events)
            self._bytes -= sum(len(each[0].body) for each in batch)
            return batch


def _commit(desk: Desk, batch: Sequence[Delivery], after: Afterwards) -> list[Outcome]:
    """Commit a batch at once; if something in it is refused, each delivery alone."""
    try:
        found = desk.transact(partial(_store, batch=batch))
    except DependencyError:
        return ["down"] * len(batch)
    except Exception as error:  # noqa: BLE001 - one bad row must not spoil its neighbours
        if len(batch) == 1:
            _log.error(
                "a delivery cannot be stored",
                error=type(error).__name__,
                endpoint=batch[0].endpoint.id,
            )
            return ["down"]
        return [_commit(desk, [each], after)[0] for each in batch]
    failpoint("inbox.accept.after_commit")
    after.stored(*found[1:])
    return found[0]


def _store(
    transaction: Transaction, batch: Sequence[Delivery]
) -> tuple[list[Outcome], dict[str, str], dict[str | None, int], dict[str, int]]:
    """Store what is still to be accepted.

    Returns:
        An outcome for each delivery, the connections that have something to
        handle with the trace of the first of it, and by endpoint (None: one of
        several) how many events were there before, and how many are of an
        account that is not ours.
    """
    ids = sorted({each.endpoint.id for each in batch})
    generations = deliveries.live_generations(transaction, ids)
    good = [each for each in batch if generations.get(each.endpoint.id) == each.endpoint.generation]
    owners = _owners_of(transaction, good)
    rows: list[NewEvent] = []
    strangers: dict[str, int] = {}
    to_ring: dict[str, str] = {}
    for delivery in good:
        by_account = owners[delivery.endpoint.provider, delivery.endpoint.environment]
        own = delivery.endpoint.connection_id
        made, unknown = rows_of(delivery, by_account if own is None else {None: (own,)})
        rows += made
        for row in made:
            to_ring.setdefault(row.connection_id, delivery.asked_in)
        if unknown:
            strangers[delivery.endpoint.id] = strangers.get(delivery.endpoint.id, 0) + unknown
    new = deliveries.insert_events(transaction, rows) if rows else 0
    if new < len(rows) and any(row.body is None for row in rows):
        deliveries.keep_bodies(transaction, rows)
    failpoint("inbox.accept.before_commit")
    known = {row.endpoint_id for row in rows}  # of several endpoints nobody knows whose they are
    repeated = {known.pop() if len(known) == 1 else None: len(rows) - new}
    taken = {id(each) for each in good}
    outcomes: list[Outcome] = ["stored" if id(each) in taken else "stale" for each in batch]
    return outcomes, to_ring if new else {}, repeated, strangers


def _owners_of(
    transaction: Transaction, batch: Sequence[Delivery]
) -> Mapping[tuple[str, str], Mapping[str | None, Sequence[str]]]:
    """Find the connections of the accounts that applications' deliveries name."""
    found: dict[tuple[str, str], dict[str | None, Sequence[str]]] = {}
    wanted: dict[tuple[str, str], set[str]] = {}
    for each in batch:
        place = each.endpoint.provider, each.endpoint.environment
        found.setdefault(place, {})
        if each.endpoint.connection_id is None and each.accounts:
            wanted.setdefault(place, set()).update(each.accounts)
    for (provider, environment), accounts in wanted.items():
        known = endpoints.accounts_of(
            transaction, provider=provider, environment=environment, accounts=sorted(accounts)
        )
        found[provider, environment].update(known)
    return found


def _tell(batch: Sequence[_Waiting], outcomes: Sequence[Outcome]) -> None:
    """Call each function once with all that are its own."""
    by_told: dict[Told, list[tuple[Any, Outcome]]] = {}
    for (_, token, told), outcome in zip(batch, outcomes, strict=True):
        by_told.setdefault(told, []).append((token, outcome))
    for told, pairs in by_told.items():
        try:
            told(pairs)
        except RuntimeError:  # whoever waited is gone, with his loop
            _log.warning("nobody waits any more", deliveries=len(pairs))
