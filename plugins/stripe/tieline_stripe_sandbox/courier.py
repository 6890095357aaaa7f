"""Deliveries of events to webhook endpoints, with what goes wrong on the way.

Source: Stripe documentation, "Receive events in your webhook endpoint": any
answer of 2xx is success, a redirect is none; no order is promised, and one
event may come twice. Sandboxes try again three times over a few hours; when
exactly is not told, and neither is how long an answer is waited for, so both
can be ordered. Intervals go by the sandbox's clock. Endpoints that fail for
days are not disabled here.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from random import Random
from typing import Any

import orjson

from tieline_stripe_sandbox.clock import Clock
from tieline_stripe_sandbox.event_log import Change, EventLog
from tieline_stripe_sandbox.posting import post, signature
from tieline_stripe_sandbox.webhook_endpoints import Endpoint, Endpoints

__all__ = ["Courier", "Manner"]

_MOST_WAITING = 10_000
_AT_ONCE = 8
_FLUSH_S = 60.0
_LOOK_S = 0.005
_HEADERS = {
    "Content-Type": "application/json; charset=utf-8",
    "Cache-Control": "no-cache",
    "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
    "Accept": "*/*; q=0.5, application/xml",
}


@dataclass(slots=True, kw_only=True)
class Manner:
    """How deliveries leave.

    Args:
        hold: None leaves until it is over.
        shuffle: What waits leaves in an order by chance.
        delay_s: Each waits for a time up to so many seconds, by chance.
        duplicate: Share of deliveries that come a second time.
        drop: Share that never arrives, and of which Stripe knows nothing.
        skew_s: How far the time of signing is off.
        sign_by: Whose time is signed: "machine", or "sandbox".
        retry_s: Seconds until each further try.
        timeout_s: How long an answer is waited for, in real time.
        seed: Of chance; given, chance begins anew.
    """

    hold: bool = False
    shuffle: bool = False
    delay_s: float = 0.0
    duplicate: float = 0.0
    drop: float = 0.0
    skew_s: float = 0.0
    sign_by: str = "machine"
    retry_s: tuple[float, ...] = (300.0, 3_600.0, 10_800.0)
    timeout_s: float = 10.0
    seed: int = 0

    def ordered(self, given: dict[str, Any]) -> Manner:
        """Return it with some things changed; ValueError says what makes no sense."""
        names = {each.name for each in fields(self)}
        if unknown := given.keys() - names:
            raise ValueError(f"no {', '.join(sorted(unknown))}: one of {', '.join(sorted(names))}")
        made = Manner(**(asdict(self) | given))
        made.retry_s = tuple(float(each) for each in made.retry_s)
        numbers = (made.delay_s, made.duplicate, made.drop, made.timeout_s, *made.retry_s)
        if any(float(each) < 0 for each in numbers) or max(made.duplicate, made.drop) > 1:
            raise ValueError("times and shares are not below nothing, and shares at most 1")
        if made.sign_by not in {"machine", "sandbox"}:
            raise ValueError('sign_by is "machine" or "sandbox"')
        return made


@dataclass(slots=True, kw_only=True)
class Parcel:
    """One event on its way to one endpoint; ``account`` is told with it, if any.

    What chance does to it is decided when it sets out: who arrives first varies.
    """

    position: int
    endpoint_id: str
    account: str
    end: str
    due: float
    is_lost: bool
    is_doubled: bool
    attempt: int = 1
    is_copy: bool = False


class Courier:
    """Carries events to endpoints, in the event loop of whoever serves the sandbox.

    Args:
        log: The events.
        endpoints: Who is told.
        clock: The sandbox's time.
        connected: Returns the accounts that are connected to the platform now.
        log_size: How many deliveries are remembered.
    """

    def __init__(
        self,
        *,
        log: EventLog,
        endpoints: Endpoints,
        clock: Clock,
        connected: Callable[[], list[str]],
        log_size: int,
    ) -> None:
        self.manner = Manner()
        self._log = log
        self._endpoints = endpoints
        self._clock = clock
        self._connected = connected
        self._chance = Random(0)  # noqa: S311 - nothing to guess
        self._waiting: list[Parcel] = []
        self._under_way = 0
        self._done: deque[dict[str, Any]] = deque(maxlen=log_size)
        self._total = 0
        self._task: asyncio.Task[None] | None = None
        self._wake: asyncio.Event | None = None
        log.when_recorded = self.happened

    def happened(self, position: int) -> None:
        """Have an event delivered to whoever wants it."""
        if self._endpoints:
            self.send(position)

    def send(self, position: int, only: Endpoint | None = None) -> int:
        """Have an event delivered, once more if it was before; return to how many."""
        change = self._log.change(position)
        count = 0
        for endpoint in [only] if only else self._endpoints.all():
            if not endpoint.wants(change.kind):
                continue
            for end, account in self._accounts(endpoint, change):
                self._put(
                    Parcel(
                        position=position,
                        endpoint_id=endpoint.id,
                        account=account,
                        end=end,
                        due=self._clock.now() + self._chance.uniform(0, self.manner.delay_s),
                        is_lost=self._chance.random() < self.manner.drop,
                        is_doubled=self._chance.random() < self.manner.duplicate,
                    )
                )
                count += 1
        self.wake()
        return count

    def order(self, given: dict[str, Any]) -> None:
        """Change the manner; ValueError says what makes no sense."""
        self.manner = self.manner.ordered(given)
        if "seed" in given:
            self._chance = Random(self.manner.seed)  # noqa: S311 - nothing to guess
        self.wake()

    def wake(self) -> None:
        """Look again at what is due: something new waits, or time has moved."""
        if not self._waiting:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # nobody serves yet
        if self._task is None or self._task.done() or self._task.get_loop() is not loop:
            self._wake = asyncio.Event()
            self._task = loop.create_task(self._run(self._wake))
        elif self._wake is not None:
            self._wake.set()

    async def flush(self) -> None:
        """Wait until nothing is due and nothing is under way; a minute at most."""
        self.wake()
        until = time.monotonic() + _FLUSH_S
        # What is due changes with the clock, too, which tells nobody.
        while (self._has_due() or self._under_way) and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)

    async def close(self) -> None:
        """Carry nothing more."""
        self._waiting.clear()
        self._under_way = 0
        if self._task is not None and self._task.get_loop() is asyncio.get_running_loop():
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def facts(self, after: int) -> dict[str, Any]:
        """Return what was delivered after a number, and what waits."""
        done = [each for each in self._done if each["number"] > after]
        waiting = len(self._waiting) + self._under_way
        return {
            "manner": asdict(self.manner),
            "waiting": waiting,
            "total": self._total,
            "deliveries": done,
        }

    def _accounts(self, endpoint: Endpoint, change: Change) -> list[tuple[str, str]]:
        """Say of whose event an endpoint is told, each with what its id ends in.

        Connected accounts show what the platform's own has, so each change
        happens in all of them: events of their own, with ids of their own.
        """
        if not endpoint.is_connect:
            return [] if change.account else [("", "")]
        if change.account:
            return [("", change.account)]
        return [(str(number or ""), name) for number, name in enumerate(self._connected())]

    def _put(self, parcel: Parcel) -> None:
        if len(self._waiting) >= _MOST_WAITING:
            self._note(parcel, "", 0, "too many wait")
            return
        if not parcel.is_copy and parcel.attempt == 1:
            pending = self._log.pending
            pending[parcel.position] = pending.get(parcel.position, 0) + 1
        self._waiting.append(parcel)

    def _has_due(self) -> bool:
        now = self._clock.now()
        return not self.manner.hold and any(each.due <= now for each in self._waiting)

    async def _run(self, wake: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            slots = asyncio.Semaphore(_AT_ONCE)
            while True:
                wake.clear()
                for parcel in self._take_due():
                    await slots.acquire()
                    group.create_task(self._carry(parcel, slots))
                if self._has_due():
                    continue
                try:
                    async with asyncio.timeout(self._seconds_to_next()):
                        await wake.wait()
                except TimeoutError:
                    continue

    def _take_due(self) -> list[Parcel]:
        if self.manner.hold:
            return []
        now = self._clock.now()
        due = [each for each in self._waiting if each.due <= now]
        self._waiting = [each for each in self._waiting if each.due > now]
        due.sort(key=lambda each: each.due)
        if self.manner.shuffle:
            self._chance.shuffle(due)
        self._under_way += len(due)
        return due

    def _seconds_to_next(self) -> float | None:
        """Return the real seconds until something is due; None: not before something happens."""
        if self.manner.hold or self._clock.is_frozen or not self._waiting:
            return None
        return max(0.0, min(each.due for each in self._waiting) - self._clock.now())

    async def _carry(self, parcel: Parcel, slots: asyncio.Semaphore) -> None:
        try:
            endpoint = self._endpoints.find(parcel.endpoint_id)
            if endpoint is None or endpoint.is_disabled:
                self._arrived(parcel)  # nobody waits for it any more
                return
            if parcel.is_lost:
                self._note(parcel, endpoint.url, 0, "dropped")
                self._arrived(parcel)
                return
            status, error = await self._tried(parcel, endpoint)
            self._note(parcel, endpoint.url, status, error)
            if 200 <= status < 300:
                self._succeeded(parcel)
            elif not parcel.is_copy and parcel.attempt <= len(self.manner.retry_s):
                parcel.due = self._clock.now() + self.manner.retry_s[parcel.attempt - 1]
                parcel.attempt += 1
                self._put(parcel)
        finally:
            self._under_way -= 1
            slots.release()
            self.wake()

    async def _tried(self, parcel: Parcel, endpoint: Endpoint) -> tuple[int, str]:
        version = endpoint.api_version or ""
        text = self._log.text(
            parcel.position, version=version, account=parcel.account, end=parcel.end
        )
        body = orjson.dumps(orjson.loads(text), option=orjson.OPT_INDENT_2)  # as Stripe sends it
        now = self._clock.now() if self.manner.sign_by == "sandbox" else time.time()
        at = int(now + self.manner.skew_s)
        signed = signature(endpoint.secrets(self._clock.now()), at, body)
        headers = _HEADERS | {"Stripe-Signature": signed}
        try:
            return await post(endpoint.url, headers, body, timeout_s=self.manner.timeout_s), ""
        except (OSError, ValueError, UnicodeError) as error:  # TimeoutError is an OSError
            return 0, type(error).__name__

    def _succeeded(self, parcel: Parcel) -> None:
        self._arrived(parcel)
        if parcel.is_doubled and not parcel.is_copy:
            parcel.is_copy, parcel.due = True, self._clock.now()
            self._put(parcel)

    def _arrived(self, parcel: Parcel) -> None:
        """Count that nothing more is to come of it."""
        if parcel.is_copy:
            return
        pending = self._log.pending
        left = pending.get(parcel.position, 0) - 1
        pending[parcel.position] = left
        if left <= 0:
            del pending[parcel.position]

    def _note(self, parcel: Parcel, url: str, status: int, error: str) -> None:
        self._total += 1
        self._done.append(
            {
                "number": self._total,
                "event": self._log.id(parcel.position) + parcel.end,
                "type": self._log.kind(parcel.position),
                "endpoint": parcel.endpoint_id,
                "account": parcel.account or None,
                "url": url,
                "attempt": parcel.attempt,
                "is_copy": parcel.is_copy,
                "status": status,
                "error": error,
            }
        )
