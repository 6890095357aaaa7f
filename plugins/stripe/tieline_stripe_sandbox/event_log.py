"""The event log: what changed in the last thirty days.

Its first part is not stored: the ``customer.created`` events of the customers
that exist from the start follow from the customers themselves. Position n is
the event of customer n, and recorded events come after them.
Source: Stripe API reference, "List all events" (30 days) and "The Event object".
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import orjson

from tieline_stripe_sandbox.ids import Ids

__all__ = ["RETENTION_S", "Change", "EventLog"]

RETENTION_S = 30 * 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One event's content.

    ``object_text`` is the object after the change (before it, for a deletion)
    as JSON, None when it still was as from the start. ``previous`` are the old
    values of what an update changed. ``account`` is the connected account that
    an event is about, None for the platform's own.
    """

    kind: str
    created: int
    index: int
    object_text: bytes | None = None
    previous: bytes | None = None
    request_id: str | None = None
    idempotency_key: str | None = None
    account: str | None = None


class EventLog:
    """All events of one account.

    Args:
        seed: Chooses the ids.
        api_version: Every event is rendered in the account's version at the
            time of the change, whatever version the reader asks for.
        seeded: How many customers exist from the start.
        seeded_text: Writes one of them as it was then.
        seeded_created: Their creation times.

    Attributes:
        when_recorded: Called with the position of each event that is recorded.
        pending: Position to how many deliveries of the event have not arrived.
    """

    def __init__(
        self,
        *,
        seed: int,
        api_version: str,
        seeded: int,
        seeded_text: Callable[[int], bytes],
        seeded_created: Callable[[int], int],
    ) -> None:
        self._ids = Ids("evt", seed, fill="1TieB7WZ01")
        self._api_version = api_version.encode()
        self._seeded = seeded
        self._seeded_text = seeded_text
        self._seeded_created = seeded_created
        self._recorded: list[Change] = []
        self.when_recorded: Callable[[int], None] = lambda _position: None
        self.pending: dict[int, int] = {}

    def __len__(self) -> int:
        """Count the positions, also those that are too old to be listed."""
        return self._seeded + len(self._recorded)

    def record(self, change: Change) -> None:
        """Append an event."""
        self._recorded.append(change)
        self.when_recorded(len(self) - 1)

    def created(self, position: int) -> int:
        """Return an event's second."""
        if position < self._seeded:
            return self._seeded_created(position)
        return self._recorded[position - self._seeded].created

    def position(self, name: str, *, now: int) -> int | None:
        """Find an event by id; None when it is unknown or older than thirty days."""
        position = self._ids.index(name)
        if position is None or position >= len(self):
            return None
        return position if self.created(position) > now - RETENTION_S else None

    def oldest(self, now: int) -> int:
        """Return the first position that is still kept."""
        return self.first_after(now - RETENTION_S)

    def first_after(self, moment: float) -> int:
        """Return the first position whose second lies after a moment."""
        return bisect_right(range(len(self)), moment, key=self.created)

    def matching(
        self, low: int, high: int, wanted: Callable[[str], bool], *, upwards: bool
    ) -> Iterator[int]:
        """Walk the positions whose type is wanted, from the newest or the oldest."""
        if not wanted("customer.created"):
            low = max(low, self._seeded)
        positions = range(low, high) if upwards else range(high - 1, low - 1, -1)
        return (position for position in positions if wanted(self.kind(position)))

    def kind(self, position: int) -> str:
        """Return an event's type."""
        return "customer.created" if position < self._seeded else self.change(position).kind

    def id(self, position: int) -> str:
        """Return an event's id."""
        return self._ids.of(position)

    def text(self, position: int, *, version: str = "", account: str = "", end: str = "") -> bytes:
        """Write one event as JSON.

        Args:
            position: Which.
            version: The API version that it says it is in; empty: the account's.
            account: The connected account that it says it is of; empty: the
                one that it is about, if any.
            end: What is put to its id.
        """
        change = self.change(position)
        previous = b',"previous_attributes":' + change.previous if change.previous else b""
        request = {"id": change.request_id, "idempotency_key": change.idempotency_key}
        of = account or change.account
        told = b',"account":"%b"' % of.encode() if of else b""
        return (
            b'{"id":"%b","object":"event"%b,"api_version":"%b","created":%d,'
            b'"data":{"object":%b%b},"livemode":false,"pending_webhooks":%d,'
            b'"request":%b,"type":"%b"}'
        ) % (
            (self._ids.of(position) + end).encode(),
            told,
            version.encode() or self._api_version,
            change.created,
            change.object_text or self._seeded_text(change.index),
            previous,
            self.pending.get(position, 0),
            orjson.dumps(request),
            change.kind.encode(),
        )

    def change(self, position: int) -> Change:
        """Return an event's content."""
        if position >= self._seeded:
            return self._recorded[position - self._seeded]
        created = self._seeded_created(position)
        return Change(kind="customer.created", created=created, index=position)
