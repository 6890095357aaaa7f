"""Deliveries: sent at once or as ordered, again until they are taken, and written down.

An answer of 2xx within ten seconds takes a delivery, a redirect does not. What
was not taken is sent again after 1, 2, 4, 8, 16 and 32 minutes, then every hour,
for 24 hours in all (Square documentation, "Webhooks", in its newest form). Times are
those of the sandbox's clock, so that advancing it makes retries due.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import deque
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from random import Random
from typing import Any, NamedTuple

from tieline_square_sandbox.clock import Clock
from tieline_square_sandbox.posting import post
from tieline_square_sandbox.subscriptions import Subscription
from tieline_square_sandbox.times import whole_ms, write_time

__all__ = ["Courier", "Handling", "Told"]

_AT_ONCE = 8
_MOST_WAITING = 10_000
_KEPT = 5_000
_FIRST_RETRY_S, _LONGEST_WAIT_S = 60.0, 3600.0
_LAST_RETRY_S = 86_400.0


class Told(NamedTuple):
    """An event as it is sent.

    Attributes:
        id: The event's, the same in every delivery of it.
        type: Its type.
        account: Id of the merchant.
        body: JSON.
    """

    id: str
    type: str
    account: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Handling:
    """How the next events are handled.

    Attributes:
        copies: How often each is delivered.
        delay_s: For how long each is kept back.
        disorder_s: Each copy waits for a further part of so many seconds, by
            chance: events overtake one another.
        drop: How many more are never delivered.
        hold: Nothing leaves.
        timeout_s: For how long an answer is waited for, by the machine's clock.
        seed: Chooses the parts.
    """

    copies: int = 1
    delay_s: float = 0.0
    disorder_s: float = 0.0
    drop: int = 0
    hold: bool = False
    timeout_s: float = 10.0
    seed: int = 1

    def changed(self, given: dict[str, Any]) -> Handling:
        """Return it with other values; ValueError for those that make no sense."""
        for name, value in given.items():
            known = type(getattr(self, name))
            is_right = type(value) is known or (known is float and type(value) is int)
            if not is_right or value < 0:
                raise ValueError(f"{name} of deliveries cannot be {value!r}")
        changed = replace(self, **given)
        if changed.copies < 1 or changed.timeout_s <= 0:
            raise ValueError("copies start at 1, and timeout_s above 0")
        return changed


@dataclass(slots=True, kw_only=True)
class _Delivery:
    told: Told
    subscription: Subscription
    first_at: float
    attempt: int = 0
    reason: str = ""


class Courier:
    """Sends, in the loop of whoever asks; at rest it has no task.

    Args:
        clock: The sandbox's.
    """

    def __init__(self, clock: Clock) -> None:
        self.handling = Handling()
        self._clock = clock
        self._chance = Random(self.handling.seed)  # noqa: S311 - the same disorder for the same seed
        self._waiting: list[tuple[float, int, _Delivery]] = []
        self._flying: set[asyncio.Task[None]] = set()
        self._log: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._counts = {"total": 0, "lost": 0, "given_up": 0}
        self._queued = 0
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    def order(self, given: dict[str, Any]) -> None:
        """Change how events are handled; ValueError if that makes no sense."""
        self.handling = self.handling.changed(given)
        if "seed" in given:
            self._chance = Random(self.handling.seed)  # noqa: S311
        self.ring()

    def send(self, told: Told, subscription: Subscription) -> None:
        """Deliver an event to a subscription, as often and as late as ordered."""
        if self.handling.drop:
            self.handling = replace(self.handling, drop=self.handling.drop - 1)
            self._counts["lost"] += 1
            return
        now = self._clock.now()
        for _ in range(self.handling.copies):
            late = self.handling.delay_s + self._chance.random() * self.handling.disorder_s
            delivery = _Delivery(told=told, subscription=subscription, first_at=now + late)
            self._queue(now + late, delivery)
        self.ring()

    async def test(self, told: Told, subscription: Subscription) -> int:
        """Deliver a test event now, once; return the answer's status, 0 for none."""
        delivery = _Delivery(told=told, subscription=subscription, first_at=self._clock.now())
        return await self._post(delivery)

    def ring(self) -> None:
        """Look again at what is due: something was added, or the clock was set."""
        self._wake.set()
        if self._waiting and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._run())

    def tell(self, after: int) -> dict[str, Any]:
        """Return the deliveries whose number is greater, and what is still to come."""
        return {
            **self._counts,
            "waiting": len(self._waiting),
            "in_flight": len(self._flying),
            "handling": asdict(self.handling),
            "deliveries": [entry for entry in self._log if entry["number"] > after],
        }

    async def _run(self) -> None:
        try:
            while self._waiting or self._flying:
                self._wake.clear()
                for delivery in self._due():
                    task = asyncio.get_running_loop().create_task(self._deliver(delivery))
                    self._flying.add(task)
                    task.add_done_callback(self._landed)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), self._pause_s())
        finally:
            for task in self._flying:
                task.cancel()

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._flying.discard(task)
        self._wake.set()

    def _due(self) -> list[_Delivery]:
        """Take what can be sent now."""
        found: list[_Delivery] = []
        now = self._clock.now()
        while not self.handling.hold and self._waiting and self._waiting[0][0] <= now:
            if len(found) + len(self._flying) >= _AT_ONCE:
                break
            delivery = heapq.heappop(self._waiting)[2]
            if delivery.subscription.is_live:
                found.append(delivery)
        return found

    def _pause_s(self) -> float | None:
        """Say when to look again; None: when something happens."""
        is_full = len(self._flying) >= _AT_ONCE
        if self.handling.hold or self._clock.is_frozen or is_full or not self._waiting:
            return None
        return max(0.0, self._waiting[0][0] - self._clock.now())

    def _queue(self, due: float, delivery: _Delivery) -> None:
        if len(self._waiting) >= _MOST_WAITING:
            self._counts["lost"] += 1
            return
        self._queued += 1
        heapq.heappush(self._waiting, (due, self._queued, delivery))

    async def _deliver(self, delivery: _Delivery) -> None:
        is_taken = 200 <= await self._post(delivery) < 300
        now = self._clock.now()
        delivery.subscription.heard(now, is_taken=is_taken)
        if is_taken:
            return
        due = now + min(_FIRST_RETRY_S * 2**delivery.attempt, _LONGEST_WAIT_S)
        if due > delivery.first_at + _LAST_RETRY_S:
            self._counts["given_up"] += 1
            return
        delivery.attempt += 1
        self._queue(due, delivery)

    async def _post(self, delivery: _Delivery) -> int:
        told, subscription = delivery.told, delivery.subscription
        began, at, url, status = time.monotonic(), self._clock.now(), subscription.url, 0
        headers = {
            "content-type": "application/json",
            "user-agent": "Square Connect v2",
            "x-square-hmacsha256-signature": subscription.sign(told.body),
            "square-environment": "Sandbox",
            "square-initial-delivery-timestamp": write_time(whole_ms(delivery.first_at)),
        }
        if delivery.attempt:
            headers["square-retry-number"] = str(delivery.attempt)
            headers["square-retry-reason"] = delivery.reason
        try:
            status = await post(url, headers, told.body, self.handling.timeout_s)
            delivery.reason = "" if 200 <= status < 300 else "http_error"
        except TimeoutError:
            delivery.reason = "http_timeout"
        except OSError:
            delivery.reason = "other_error"
        self._counts["total"] += 1
        self._log.append(
            {
                "number": self._counts["total"],
                "event_id": told.id,
                "type": told.type,
                "merchant_id": told.account,
                "subscription_id": subscription.id,
                "url": url,
                "attempt": delivery.attempt,
                "at": at,
                "seconds": round(time.monotonic() - began, 3),
                "status": status,
                "reason": delivery.reason,
                "body": told.body.decode(),
            }
        )
        return status
