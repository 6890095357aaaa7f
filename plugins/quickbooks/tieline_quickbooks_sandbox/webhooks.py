"""Deliveries to the application's endpoint: told, signed, tried again, and noted.

One body is under way at a time, and holds back all later ones until it is
answered with 200. Nothing of it costs the API anything while there is no
endpoint; with one, a task of the server's own loop sends, which ends when
nothing waits.

Source:
    Intuit, "Webhooks": 3 seconds for an answer, retries after 0, 10, 20 and 30
    seconds, 5 and 20 minutes, 2, 4 and 6 hours, then every 6 hours; later
    events may wait until the first is acknowledged (developer blog of 2025-10-14).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from hashlib import shake_256
from random import Random
from typing import Any
from uuid import UUID

from tieline_quickbooks_sandbox.clock import PACIFIC, Clock
from tieline_quickbooks_sandbox.notices import Notice, body_of, signature
from tieline_quickbooks_sandbox.portal import Portal, Rules, entered
from tieline_quickbooks_sandbox.post import post

__all__ = ["Webhooks"]

_WAITS = (0, 10, 20, 30, 300, 1_200, 7_200, 14_400, 21_600)
_MOST_WAITING = 10_000
_KEPT = 1_000
_PORTAL = frozenset({"url", "token", "entities", "form"})


@dataclass(slots=True, kw_only=True, eq=False)
class _Body:
    """One body on its way.

    Attributes:
        content: What is signed and sent.
        events: How many it holds.
        attempts: How many there were.
        due: When the next one is, in seconds of the sandbox's clock.
    """

    content: bytes
    events: int
    attempts: int = 0
    due: float = 0.0


@dataclass(slots=True, eq=False)
class _Waiting:
    """A change that is not told yet, from when on it is, and whether it was told before."""

    notice: Notice
    due: float
    is_copy: bool = False


class Webhooks:
    """Tells the application's one endpoint what changes in companies that are connected.

    Args:
        clock: Dates events, and tells when an attempt is due.
        seed: Chooses ids, tokens and chances.
        is_connected: Whether a company, by its id, is connected to the application.
    """

    def __init__(self, clock: Clock, seed: int, is_connected: Callable[[str], bool]) -> None:
        self._clock = clock
        self._seed = seed
        self._is_connected = is_connected
        self._chance = Random(seed)  # noqa: S311 - no secret
        self._portal = Portal()
        self._rules = Rules()
        self._told = 0
        self._tokens = 0
        self._lost = 0
        self._waiting: deque[_Waiting] = deque()
        self._line: deque[_Body] = deque()
        self._log: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._attempts = 0
        self._woken = asyncio.Event()
        self._sending: asyncio.Task[None] | None = None

    def tell(self, realm: str, kind: str, operation: str, of: str, gone: str = "") -> None:
        """Take note of a change, if somebody is to be told.

        Args:
            realm: The company.
            kind: Of the object.
            operation: What was done.
            of: The object's id.
            gone: Id of the one that was merged into it.
        """
        if not self._portal.url or operation not in self._portal.entities.get(kind, ()):
            return
        if not self._is_connected(realm):
            return
        self._told += 1
        is_full = len(self._waiting) >= _MOST_WAITING
        if is_full or self._chance.random() < self._rules.drop:
            self._lost += 1
            return
        notice = Notice(
            number=self._told,
            id=self._uuid(f"event:{self._told}"),
            realm=realm,
            kind=kind,
            operation=operation,
            of=of,
            gone=gone,
            at=self._clock.now(),
        )
        self._waiting.append(_Waiting(notice, notice.at + self._rules.delay_s))
        self.wake()

    def order(self, given: Any) -> dict[str, Any]:
        """Enter something in the portal, change a rule, or send a delivery again.

        Raises:
            ValueError: It makes no sense; then nothing of it is done.
        """
        known = _PORTAL | asdict(self._rules).keys() | {"resend"}
        if not isinstance(given, dict) or given.keys() - known:
            raise ValueError(f"expected an object with some of {', '.join(sorted(known))}")
        page = {name: each for name, each in given.items() if name in _PORTAL}
        rules = {name: given[name] for name in given.keys() - page.keys() - {"resend"}}
        again = self._numbered(given.get("resend", []))
        portal, changed = entered(self._portal, page, self._new_token), self._rules.changed(rules)
        self._portal, self._rules = portal, changed
        self._line.extend(again)
        if not portal.url:
            self._waiting.clear()
            self._line.clear()
        self.wake()
        return self.status()

    def status(self) -> dict[str, Any]:
        """Return what is entered, the rules, and how much waits."""
        counts = {"waiting": len(self._waiting), "unanswered": len(self._line), "lost": self._lost}
        return asdict(self._portal) | asdict(self._rules) | counts | {"due": self._due()}

    def log(self, after: int) -> dict[str, Any]:
        """Return the attempts whose number is greater, and how many there ever were."""
        kept = [each for each in self._log if each["number"] > after]
        return {"total": self._attempts, "deliveries": kept}

    def wake(self) -> None:
        """Look again: the clock was set, a rule changed, something happened."""
        self._woken.set()
        if (self._waiting or self._line) and (self._sending is None or self._sending.done()):
            self._sending = asyncio.get_running_loop().create_task(self._send_all())

    async def stop(self) -> None:
        """End the task that sends."""
        if self._sending is not None:
            self._sending.cancel()
            with suppress(asyncio.CancelledError):
                await self._sending

    async def _send_all(self) -> None:
        while self._waiting or self._line:
            self._woken.clear()
            due = self._due()
            now = self._clock.now()
            if due is None or due > now:
                is_standing = due is None or self._clock.is_frozen
                with suppress(TimeoutError):
                    await asyncio.wait_for(
                        self._woken.wait(), None if is_standing or due is None else due - now
                    )
            else:
                if not self._line:
                    self._line.append(self._gathered(now))
                await self._attempt(self._line[0])

    def _due(self) -> float | None:
        """Say when there is something to send; None: not before an order."""
        if self._rules.held:
            return None
        if self._line:
            return self._line[0].due
        return min((each.due for each in self._waiting), default=None)

    def _gathered(self, now: float) -> _Body:
        """Put what waited long enough into one body; some of it may be told once more."""
        ready = [each for each in self._waiting if each.due <= now]
        if self._rules.shuffle:
            self._chance.shuffle(ready)
        chosen = ready[: self._rules.most]
        taken = set(chosen)
        self._waiting = deque(each for each in self._waiting if each not in taken)
        for each in chosen:
            if not each.is_copy and self._chance.random() < self._rules.duplicate:
                self._waiting.append(_Waiting(each.notice, each.due, is_copy=True))
        notices = [each.notice for each in chosen]
        return _Body(content=body_of(notices, self._portal.form), events=len(notices), due=now)

    async def _attempt(self, body: _Body) -> None:
        """Send a body once. With 200 it is off the line, else it waits for its next turn."""
        portal, began = self._portal, time.monotonic()
        headers = self._headers(body.content)
        posted = await post(portal.url, headers, body.content, timeout_s=self._rules.timeout_s)
        body.attempts += 1
        self._attempts += 1
        self._log.append(
            {
                "number": self._attempts,
                "attempt": body.attempts,
                "at": self._clock.now(),
                "url": portal.url,
                "headers": headers,
                "body": body.content.decode(),
                "events": body.events,
                **asdict(posted),
                "took_ms": round((time.monotonic() - began) * 1000, 1),
            }
        )
        if posted.status == 200:
            with suppress(ValueError):  # it is gone if the endpoint was taken away meanwhile
                self._line.remove(body)
        else:
            wait = _WAITS[min(body.attempts, len(_WAITS)) - 1]
            body.due = self._clock.now() + wait * self._rules.scale

    def _headers(self, content: bytes) -> dict[str, str]:
        token = self._portal.token
        if self._rules.forge:
            self._rules = replace(self._rules, forge=self._rules.forge - 1)
            token = self._uuid("somebody else's")
        at = datetime.fromtimestamp(self._clock.now(), PACIFIC)
        return {
            "Content-Type": "application/json",
            "User-Agent": "intuit_notification_server/1.0",
            "Accept": "application/json",
            "intuit-signature": signature(token, content),
            "intuit-created-time": at.isoformat(timespec="milliseconds"),
            "intuit-t-id": self._uuid(f"attempt:{self._attempts}"),
            "intuit-notification-schema-version": "1.0",
        }

    def _numbered(self, numbers: Any) -> list[_Body]:
        """Find the bodies of deliveries that are in the log."""
        kept = {each["number"]: each for each in self._log}
        if not isinstance(numbers, list) or set(numbers) - kept.keys():
            raise ValueError("resend is a list of numbers that are in the log of deliveries")
        found = [kept[number] for number in numbers]
        return [_Body(content=each["body"].encode(), events=each["events"]) for each in found]

    def _new_token(self) -> str:
        self._tokens += 1
        return self._uuid(f"token:{self._tokens}")

    def _uuid(self, what: str) -> str:
        digest = shake_256(f"webhooks:{self._seed}:{what}".encode()).digest(16)
        return str(UUID(bytes=digest, version=4))
