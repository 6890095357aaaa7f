"""Wait for a turn before each call, and hold every process back after a refusal."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from limits.storage import RedisStorage

from tieline.clock import Clock
from tieline.contract import Connection, RateLimitedError, RateLimitPolicy, Reply, retry_after
from tieline.coordination import Redis, redis_errors
from tieline.errors import StopRequested
from tieline.throttle.policy import Windows, windows_of

__all__ = ["Throttle"]

_TOO_MANY = 429
_BOOK_AHEAD_S = 2.0
_LONGEST_WAIT_S = 60.0
_PERMIT_LEASE_S = 60.0
_PERMIT_POLL_S = 0.02
_UNTOLD_PAUSE_S = 1.0
_FULL_WAIT_S = 0.05


class _Asked(Protocol):
    """What a gate is told of a call."""

    @property
    def method(self) -> str: ...

    @property
    def path(self) -> str: ...


class Throttle:
    """The gate of one connection; threads share it.

    Args:
        client: Redis, or Valkey.
        connection: The connection.
        policy: What its provider allows.
        clock: For waits.
        stop: Cuts a wait short.

    Source:
        The reservation is one script over all windows, so that a call is
        counted in each or in none; time is the server's.
    """

    def __init__(
        self,
        client: Redis,
        connection: Connection,
        policy: RateLimitPolicy,
        *,
        clock: Clock,
        stop: threading.Event | None = None,
    ) -> None:
        self._client = client
        self._connection = connection
        self._policy = policy
        self._clock = clock
        self._stop = stop or threading.Event()
        self._windows: dict[tuple[str, str], Windows] = {}
        account = connection.account.id or connection.id
        self._place = f"tieline:throttle:{connection.provider}:{account}"
        self._storage = RedisStorage("redis://", connection_pool=client.connection_pool)
        self._reserve = client.register_script(_script("reserve"))
        self._permit = client.register_script(_script("permit"))
        self._pause = client.register_script(_script("pause"))
        self.is_full = False

    @contextmanager
    def passing(self, call: _Asked) -> Iterator[None]:
        """Wait for a turn; hold a permit while the call is under way.

        Raises:
            RateLimitedError: There is no room within a minute.
            DependencyError: Redis is away: nobody may call without counting.
            StopRequested: This process is to leave.
        """
        if not self._policy.rates and self._policy.concurrency is None:
            yield
            return
        self._take_turn(self._windows_of(call))
        if self._policy.concurrency is None:
            yield
            return
        name = self._take_permit(self._policy.concurrency)
        try:
            yield
        finally:
            with redis_errors():
                self._client.zrem(f"{self._place}:permits", name)

    def saw(self, call: _Asked, reply: Reply | None) -> None:  # noqa: ARG002 - a gate is told both
        """Hold everybody back for as long as the provider asked."""
        if reply is None or reply.status != _TOO_MANY:
            return
        seconds = retry_after(reply.headers)
        with redis_errors():
            self._pause(
                keys=[f"{self._place}:pause"],
                args=[_UNTOLD_PAUSE_S if seconds is None else seconds],
            )

    def _windows_of(self, call: _Asked) -> Windows:
        known = self._windows.get((call.method, call.path))
        if known is None:
            known = windows_of(self._policy, self._connection, method=call.method, path=call.path)
            if len(self._windows) < 1000:
                self._windows[call.method, call.path] = known
        return known

    def _take_turn(self, windows: Windows) -> None:
        keys = [self._storage.prefixed_key(item.key_for(*by)) for item, by in windows]
        bounds = [bound for item, _ in windows for bound in (item.amount, item.get_expiry())]
        waited = 0.0
        while True:
            with redis_errors():
                wait, is_booked = self._ask(keys, bounds)
            if waited + wait > _LONGEST_WAIT_S:
                raise RateLimitedError(
                    f"{self._connection.provider} allows no call for {wait:.0f} s",
                    retry_after=wait,
                )
            self.is_full = wait > _FULL_WAIT_S
            nap = wait if is_booked else min(wait - _BOOK_AHEAD_S / 2, _BOOK_AHEAD_S)
            if nap > 0 and self._clock.sleep(nap, self._stop):
                raise StopRequested
            if is_booked:
                return
            waited += nap

    def _ask(self, keys: Sequence[str], bounds: Sequence[float]) -> tuple[float, bool]:
        answer: Any = self._reserve(
            keys=[f"{self._place}:pause", *keys],
            args=[_BOOK_AHEAD_S, self._policy.alert_at, *bounds],
        )
        return float(answer[0]), bool(answer[1])

    def _take_permit(self, most: int) -> str:
        name = secrets.token_hex(8)
        for _ in range(int(_LONGEST_WAIT_S / _PERMIT_POLL_S)):
            with redis_errors():
                has_one = self._permit(
                    keys=[f"{self._place}:permits"], args=[most, name, _PERMIT_LEASE_S]
                )
            if has_one:
                return name
            self.is_full = True
            if self._clock.sleep(_PERMIT_POLL_S, self._stop):
                raise StopRequested
        raise RateLimitedError(
            f"{self._connection.provider} has {most} calls in flight, and may have no more",
            retry_after=_PERMIT_LEASE_S,
        )


def _script(name: str) -> str:
    return (Path(__file__).parent / f"{name}.lua").read_text("utf-8")
