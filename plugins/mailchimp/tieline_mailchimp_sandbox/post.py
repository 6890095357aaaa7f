"""Deliveries on their way: signed, repeated, and noted with what was answered.

Source: Mailchimp's guide "Sync Audience Data with Webhooks": an answer within
ten seconds; else it is tried again, at growing intervals, for 75 minutes; a
webhook that keeps failing may be silenced without a word. Its pauses and the
number of failures are told nowhere: see :class:`Rules`. There is no promise of
order, and several are sent at once.

All of it happens in the event loop of the server, in tasks that are there only
while something is on its way. Pauses are of the sandbox's clock.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from random import Random
from typing import Any

from tieline_mailchimp_sandbox.audiences import Audience
from tieline_mailchimp_sandbox.clock import Clock
from tieline_mailchimp_sandbox.contacts import Member
from tieline_mailchimp_sandbox.hooks import Hook, signature
from tieline_mailchimp_sandbox.news import News, news_of
from tieline_mailchimp_sandbox.wire import request

__all__ = ["ORDERS", "Post", "Rules"]

ORDERS = ("as made", "reversed", "shuffled")
"""In which order held deliveries can be let go."""

_MOST_WAITING = 20_000
_KEPT = 20_000
_LONGEST_REST_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How deliveries go.

    Attributes:
        hold: They pile up until they are let go.
        copies: How often each is delivered.
        lose: How many of the next are never sent.
        delay_s: Pause before the first attempt.
        at_once: How many are sent at the same time.
        timeout_s: How long an answer may take, by the machine's clock.
        pauses_s: Pauses before further attempts; after the last it is given up.
        most_missed: After so many given up in a row a webhook is silenced; 0: never.
        seed: Chooses the order when they are let go shuffled.
    """

    hold: bool = False
    copies: int = 1
    lose: int = 0
    delay_s: float = 0.0
    at_once: int = 4
    timeout_s: float = 10.0
    pauses_s: Sequence[float] = (60, 120, 300, 600, 1200, 2220)
    most_missed: int = 20
    seed: int = 0

    def changed(self, given: object) -> Rules:
        """Return the rules with some changed; ValueError says what is wrong."""
        names = {one.name for one in fields(self)}
        if not isinstance(given, dict) or given.keys() - names:
            raise ValueError(f"rules are an object with some of {', '.join(sorted(names))}")
        for name, value in given.items():
            if not _is_good(name, value):
                raise ValueError(f"{name} of the rules cannot be {value!r}")
        known = {one.name: getattr(self, one.name) for one in fields(self)} | given
        if min(known["copies"], known["at_once"]) < 1:
            raise ValueError("copies and at_once start at 1")
        return Rules(**known)


def _is_good(name: str, value: object) -> bool:
    if name == "hold":
        return isinstance(value, bool)
    if name == "pauses_s":
        return isinstance(value, list) and all(_is_good("delay_s", one) for one in value)
    is_number = type(value) is int or (name.endswith("_s") and type(value) is float)
    return is_number and value >= 0  # type: ignore[operator]


@dataclass(slots=True, kw_only=True)
class Delivery:
    """One event on its way to one webhook.

    Attributes:
        number: From 1.
        hook: The webhook.
        type: Of the event.
        body: The form.
        state: ``waiting``, ``taken``, ``given up``, ``lost`` on order, or
            ``dropped``: the webhook is gone or silenced.
        attempts: When (epoch), status (0: none), what went wrong, how long it took.
    """

    number: int
    hook: Hook
    type: str
    body: bytes
    state: str = "waiting"
    attempts: list[dict[str, Any]] = field(default_factory=list)

    def shown(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "number": self.number,
            "webhook": self.hook.id,
            "list_id": self.hook.list_id,
            "type": self.type,
            "body": self.body.decode(),
            "state": self.state,
            "attempts": list(self.attempts),
        }


class Post:
    """Tells webhooks of changes.

    Args:
        clock: The sandbox's.

    Attributes:
        source: Whose doing the changes are that happen now: ``api`` or ``admin``.
        rules: How deliveries go.
    """

    def __init__(self, clock: Clock) -> None:
        self.source = "admin"
        self.rules = Rules()
        self._clock = clock
        self._log: deque[Delivery] = deque(maxlen=_KEPT)
        self._total = 0
        self._refused = 0
        self._held: list[Delivery] = []
        self._waiting: list[tuple[float, int, Delivery]] = []
        self._places = 0
        self._sending: set[asyncio.Task[None]] = set()
        self._sender: asyncio.Task[None] | None = None
        self._bell = asyncio.Event()

    @contextmanager
    def acting(self, source: str) -> Iterator[None]:
        """Have what changes meanwhile be somebody's doing."""
        before, self.source = self.source, source
        try:
            yield
        finally:
            self.source = before

    def tell(self, audience: Audience, before: Member | None, after: Member | None) -> None:
        """Tell an audience's webhooks of a change, if there are any who want to know."""
        for each in news_of(before, after) if audience.hooks else ():
            self.publish(audience, each)

    def publish(self, audience: Audience, news: News) -> None:
        """Deliver an event to whoever wants it."""
        source = "user" if news.is_own else self.source
        fired_at = datetime.fromtimestamp(int(self._clock.now()), UTC)
        body = news.form(f"{fired_at:%Y-%m-%d %H:%M:%S}")
        for hook in audience.hooks.values():
            if hook.wants(news.type, source):
                self._add(hook, news.type, body)

    def order(self, rules: object) -> None:
        """Change the rules; ValueError says what is wrong with them."""
        self.rules = self.rules.changed(rules)
        self.ring()

    def let_go(self, order: object) -> None:
        """Send what was held, in one of :data:`ORDERS`."""
        if order not in ORDERS:
            raise ValueError(f"release is one of {', '.join(ORDERS)}")
        going, self._held = self._held, []
        if order == "reversed":
            going.reverse()
        if order == "shuffled":
            Random(self.rules.seed).shuffle(going)  # noqa: S311 - test data, nothing to guess
        for delivery in going:
            self._put(delivery, self._clock.now())

    def resend(self, numbers: object) -> None:
        """Deliver earlier ones once more: the same bodies, signed anew."""
        if not isinstance(numbers, list) or not all(type(one) is int for one in numbers):
            raise ValueError("resend is a list of numbers of deliveries")
        known = {each.number: each for each in self._log}
        if unknown := set(numbers) - known.keys():
            raise ValueError(f"there is no delivery {min(unknown)}")
        for number in numbers:
            self._enter(known[number].hook, known[number].type, known[number].body)

    def report(self) -> dict[str, Any]:
        """Say how things stand."""
        return {
            "rules": {one.name: getattr(self.rules, one.name) for one in fields(self.rules)},
            "held": len(self._held),
            "waiting": len(self._waiting),
            "sending": len(self._sending),
            "overflowed": self._refused,
        }

    def read(self, after: int) -> dict[str, Any]:
        """Return the deliveries whose number is greater, and how many there ever were."""
        kept = [each.shown() for each in self._log if each.number > after]
        return {"total": self._total, "deliveries": kept}

    def ring(self) -> None:
        """Have the sender look again: time or rules have changed."""
        self._bell.set()

    async def close(self) -> None:
        """Stop sending; what waits stays where it is."""
        running = [*self._sending, *([self._sender] if self._sender else [])]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    # --- on the way -------------------------------------------------------------------------------

    def _add(self, hook: Hook, event: str, body: bytes) -> None:
        if self.rules.lose:
            self.rules = self.rules.changed({"lose": self.rules.lose - 1})
            self._note(hook, event, body).state = "lost"
            return
        for _ in range(self.rules.copies):
            self._enter(hook, event, body)

    def _enter(self, hook: Hook, event: str, body: bytes) -> None:
        if len(self._waiting) + len(self._held) >= _MOST_WAITING:
            self._refused += 1
            return
        delivery = self._note(hook, event, body)
        if self.rules.hold:
            self._held.append(delivery)
        else:
            self._put(delivery, self._clock.now() + self.rules.delay_s)

    def _note(self, hook: Hook, event: str, body: bytes) -> Delivery:
        self._total += 1
        delivery = Delivery(number=self._total, hook=hook, type=event, body=body)
        self._log.append(delivery)
        return delivery

    def _put(self, delivery: Delivery, due_at: float) -> None:
        self._places += 1
        heapq.heappush(self._waiting, (due_at, self._places, delivery))
        self.ring()
        if self._sender is None or self._sender.done():
            self._sender = asyncio.get_running_loop().create_task(self._send_all())

    async def _send_all(self) -> None:
        while self._waiting:
            self._bell.clear()
            while self._may_send():
                _, _, delivery = heapq.heappop(self._waiting)
                task = asyncio.create_task(self._attempt(delivery))
                self._sending.add(task)
                task.add_done_callback(self._sent)
            await self._rest()

    def _may_send(self) -> bool:
        is_due = bool(self._waiting) and self._waiting[0][0] <= self._clock.now()
        return is_due and len(self._sending) < self.rules.at_once

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self.ring()

    async def _rest(self) -> None:
        """Wait for the next that is due, or for the bell."""
        due_in = self._waiting[0][0] - self._clock.now() if self._waiting else 0.0
        is_stuck = due_in <= 0 or self._clock.is_frozen
        rest_s = _LONGEST_REST_S if is_stuck else min(due_in, _LONGEST_REST_S)
        if not self._waiting:
            return
        try:
            async with asyncio.timeout(rest_s):
                await self._bell.wait()
        except TimeoutError:
            pass

    async def _attempt(self, delivery: Delivery) -> None:
        hook = delivery.hook
        if not hook.is_live or self._is_silenced(hook):
            delivery.state = "dropped"
            return
        status, error, began = 0, "", time.monotonic()
        noted = {"at": self._clock.now(), "status": 0, "error": "", "ms": 0.0}
        try:
            status = await request(
                "POST",
                hook.url,
                self._headers(hook, delivery.body),
                delivery.body,
                timeout_s=self.rules.timeout_s,
            )
        except (OSError, ValueError) as failed:
            error = type(failed).__name__
        noted |= {"status": status, "error": error, "ms": (time.monotonic() - began) * 1000}
        delivery.attempts.append(noted)
        if 200 <= status < 300:
            delivery.state, hook.missed = "taken", 0
        elif len(delivery.attempts) > len(self.rules.pauses_s):
            delivery.state, hook.missed = "given up", hook.missed + 1
        else:
            pause_s = self.rules.pauses_s[len(delivery.attempts) - 1]
            self._put(delivery, self._clock.now() + pause_s)

    def _is_silenced(self, hook: Hook) -> bool:
        return 0 < self.rules.most_missed <= hook.missed

    def _headers(self, hook: Hook, body: bytes) -> dict[str, str]:
        headers = {
            "User-Agent": "MailChimp.com",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        if hook.secret:
            at = int(self._clock.stamp())
            headers["X-Mailchimp-Signature"] = signature(hook.secret, at, body)
        return headers
