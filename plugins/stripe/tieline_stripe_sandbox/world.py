"""The account's customers: what exists from the start, and what changed since.

A customer is its index. Indices below the start's count are functions of the
seed; changed and created ones are kept as JSON in an overlay, deleted ones in
a set. An index is never used twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from random import Random
from typing import Any

import orjson

from tieline_stripe_sandbox.clock import Clock
from tieline_stripe_sandbox.event_log import Change, EventLog
from tieline_stripe_sandbox.history import History
from tieline_stripe_sandbox.ids import Ids
from tieline_stripe_sandbox.people import Customer, People, blank_customer
from tieline_stripe_sandbox.request import Cause

__all__ = ["World"]


class World:
    """All state of one account.

    Args:
        customers: How many exist from the start.
        seed: Another seed, other customers and ids.
        skew: See :class:`~.history.History`.
        edge_cases: Whether awkward customers are among them.
        api_version: The account's default API version.
        clock: The sandbox's time.

    Attributes:
        when_deleted: Called with the id of each customer that is being deleted.
    """

    def __init__(
        self,
        *,
        customers: int,
        seed: int,
        skew: float,
        edge_cases: bool,
        api_version: str,
        clock: Clock,
    ) -> None:
        history = History(customers=customers, skew=skew, edge_cases=edge_cases)
        self.clock = clock
        self.seed = seed
        self.ids = Ids("cus", seed)
        self._people = People(seed=seed, ids=self.ids, history=history, edge_cases=edge_cases)
        self._seeded = customers
        self.when_deleted: list[Callable[[str], None]] = []
        self._seeded_created = history.created
        self._created_since: list[int] = []
        self._changed: dict[int, bytes] = {}
        self._deleted: set[int] = set()
        self._on_test_clock: dict[int, str] = {}
        self.events = EventLog(
            seed=seed,
            api_version=api_version,
            seeded=customers,
            seeded_text=self._people.text,
            seeded_created=history.created,
        )

    def __len__(self) -> int:
        """Count the indices, deleted ones included."""
        return self._seeded + len(self._created_since)

    @property
    def seeded(self) -> int:
        """How many customers existed from the start."""
        return self._seeded

    @property
    def live(self) -> int:
        """How many customers there are."""
        return len(self) - len(self._deleted)

    def text(self, index: int) -> bytes:
        """Write a customer as JSON, also a deleted one as it was last."""
        return self._changed.get(index) or self._people.text(index)

    def created(self, index: int) -> int:
        """Return the second in which a customer was created."""
        if index < self._seeded:
            return self._seeded_created(index)
        return self._created_since[index - self._seeded]

    def find(self, name: str) -> int | None:
        """Turn an id into an index; None when no such customer ever existed."""
        index = self.ids.index(name)
        return index if index is not None and index < len(self) else None

    def is_deleted(self, index: int) -> bool:
        """Whether a customer is gone."""
        return index in self._deleted

    def listed(self, low: int, high: int, *, upwards: bool) -> Iterator[int]:
        """Walk a range as lists show it.

        Customers of a test clock are left out of lists that do not name the
        clock (Stripe API reference, "List all customers", ``test_clock``).
        """
        indices = range(low, high) if upwards else range(high - 1, low - 1, -1)
        if not self._deleted and not self._on_test_clock:
            return iter(indices)
        gone, clocked = self._deleted, self._on_test_clock
        return (index for index in indices if index not in gone and index not in clocked)

    def with_email(self, email: str, *, test_clock: str | None) -> list[int]:
        """Return the live customers of exactly this address, oldest first."""
        candidates = set(self._changed)
        guess = self._people.index_by_email(email)
        if guess is not None and guess < self._seeded:
            candidates.add(guess)
        return sorted(
            index
            for index in candidates - self._deleted
            if self._on_test_clock.get(index) == test_clock and self._has_email(index, email)
        )

    def with_test_clock(self, name: str) -> list[int]:
        """Return the live customers of a test clock, oldest first."""
        return sorted(index for index, clock in self._on_test_clock.items() if clock == name)

    def create(self, fill: Callable[[Customer], Customer], cause: Cause) -> int:
        """Make a customer and write its event."""
        index = len(self)
        now = self.clock.second()
        unique = {
            "id": self.ids.of(index),
            "created": now,
            "invoice_prefix": f"{self.ids.spread(index) & 0xFFFFFFFF:08X}",
        }
        customer = fill(blank_customer() | unique)
        self._created_since.append(now)
        self._changed[index] = _dump(customer)
        if customer["test_clock"]:
            self._on_test_clock[index] = customer["test_clock"]
        self._record("customer.created", index, cause)
        return index

    def update(self, index: int, change: Callable[[Customer], Customer], cause: Cause) -> None:
        """Change a customer; a change that changes nothing writes no event."""
        before: Customer = orjson.loads(self.text(index))
        after = change(before)
        if previous := _previous(before, after):
            self._changed[index] = _dump(after)
            self._record("customer.updated", index, cause, _dump(previous))

    def delete(self, index: int, cause: Cause) -> None:
        """Delete a customer; its last state stays in the event."""
        for tell in self.when_deleted:
            tell(self.ids.of(index))
        self._deleted.add(index)
        self._on_test_clock.pop(index, None)
        self._record("customer.deleted", index, cause)
        self._changed.pop(index, None)

    def tell_of_access(self, kind: str, account: str, application: bytes) -> None:
        """Write an event about the platform's access to a connected account.

        Args:
            kind: Such as ``account.application.deauthorized``.
            account: Whose account it is.
            application: The platform's application as JSON.
        """
        self.events.record(
            Change(
                kind=kind,
                created=self.clock.second(),
                index=-1,
                object_text=application,
                account=account,
            )
        )

    def pick(self, chance: Random) -> int | None:
        """Choose a live customer; None when there is none."""
        if not self.live:
            return None
        for _ in range(64):
            index = chance.randrange(len(self))
            if index not in self._deleted:
                return index
        # Nearly all are gone: walk on from a random place instead of guessing.
        start = chance.randrange(len(self))
        order = chain(range(start, len(self)), range(start))
        return next(index for index in order if index not in self._deleted)

    def _has_email(self, index: int, email: str) -> bool:
        text = self.text(index)
        # Searching the text first spares parsing; a metadata key may be called email too.
        likely = b'"email":' + orjson.dumps(email) in text
        return likely and bool(orjson.loads(text)["email"] == email)

    def _record(self, kind: str, index: int, cause: Cause, previous: bytes | None = None) -> None:
        self.events.record(
            Change(
                kind=kind,
                created=self.clock.second(),
                index=index,
                object_text=self._changed.get(index),
                previous=previous,
                request_id=cause.request_id,
                idempotency_key=cause.idempotency_key,
            )
        )


def _dump(value: Customer) -> bytes:
    """Write JSON to be kept: orjson's own result holds on to a buffer of 8 kB."""
    return bytes(memoryview(orjson.dumps(value)))


def _previous(before: Customer, after: Customer) -> Customer:
    """Return the old values of what changed, inside hashes too.

    What was not there before is null in ``previous_attributes``
    (Stripe API reference, "The Event object", ``data.previous_attributes``).
    """
    changed: dict[str, Any] = {}
    for name in before | after:
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            old = _previous(old, new)
        changed[name] = old
    return changed
