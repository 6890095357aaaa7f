"""Wait for a turn before each call, and tell every process what its answer said."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tieline.clock import Clock
from tieline.contract import (
    Connection,
    Observation,
    ProviderUnavailableError,
    RateLimitedError,
    RateLimitPolicy,
    Reply,
    retry_after,
)
from tieline.coordination import Redis, redis_errors
from tieline.errors import DependencyError, StopRequested
from tieline.telemetry import get_logger
from tieline.throttle.keys import Pace, breaker_of, hosts_of, place_of, provider_of, rank_of
from tieline.throttle.policy import Scope, Window, endpoint_of, read_override, windows_of
from tieline.throttle.storage import storage_on

__all__ = ["BREAKER_OPEN", "Throttle"]

BREAKER_OPEN = "breaker-open"
"""Code of the error of a call that was not made, for the ones before it failed."""

_log = get_logger(__name__)
_TOO_MANY = 429
_SERVER_ERRORS = 500
# Who may hold a permit meanwhile books less far ahead: it is held while waiting.
_BOOK_AHEAD_S = 0.1
_BOOK_AHEAD_HOLDING_S = 0.05
_LONGEST_WAIT_S = 60.0
_PERMIT_LEASE_S = 60.0
_FULL_WAIT_S = 0.05
# Where nothing is counted, this is how late another process's trouble may be noticed.
_FREE_S = 0.1
_FAILURES_TO_OPEN = 5
_OPEN_S = 30.0
_KNOWN_PATHS = 1000
_RETRIES_KEPT_S = 86_400
_SCOPES: tuple[Scope, ...] = ("account", "endpoint", "application")


class _Asked(Protocol):
    """What a gate is told of a call."""

    @property
    def method(self) -> str: ...

    @property
    def host(self) -> str: ...

    @property
    def path(self) -> str: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class _Route:
    """What calls of one method and path have in common."""

    keys: Sequence[str]
    bounds: Sequence[str | float]
    scopes: frozenset[Scope]


@dataclass(kw_only=True, slots=True)
class _Turn:
    """One call that got its turn, until it has ended."""

    name: str
    sent: float = 0.0
    has_permit: bool = False
    had_failures: bool = False
    reply: Reply | None = None
    seen: Observation | None = None
    outcome: str = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Limits:
    """The policy that holds now, the settings' or an override, and what follows from it."""

    policy: RateLimitPolicy
    override: str = ""
    routes: dict[tuple[str, str, str], _Route] = field(default_factory=dict)


class Throttle:
    """The gate of one connection: its limits and its breakers; threads share it.

    Args:
        client: Redis, or Valkey.
        connection: The connection.
        policy: What its provider allows.
        clock: For waits.
        stop: Cuts a wait short.
        pace: What the calls are for.
        observe: Reads what an answer tells of the limits; None: nothing does.
        call_s: Longest time of a call in seconds, which its permit outlives.
        run_id: The run whose retries are counted together; empty: none are.
        retries: How many it may have, over all processes.

    Source:
        One script reserves over all windows, the permit and the breaker, so
        that a call is counted in each or in none; a second one ends it, and is
        left out where there is nothing to tell. Time is the server's.
    """

    def __init__(
        self,
        client: Redis,
        connection: Connection,
        policy: RateLimitPolicy,
        *,
        clock: Clock,
        stop: threading.Event | None = None,
        pace: Pace = "live",
        observe: Callable[[Reply], Observation | None] | None = None,
        call_s: float = 30.0,
        run_id: str = "",
        retries: int = 100,
    ) -> None:
        self._client = client
        self._connection = connection
        self._declared = policy
        self._clock = clock
        self._stop = stop or threading.Event()
        self._rank = rank_of(pace)
        self._observe = observe
        self._retries = retries
        self._retries_key = f"tieline:retries:{run_id}" if run_id else ""
        self._lease_s = max(_PERMIT_LEASE_S, call_s + 30.0)
        self._place = place_of(connection, policy)
        self._limits = _Limits(policy=policy)
        self._here = threading.local()
        self._storage = storage_on(client)
        self._reserve = client.register_script(_script("reserve"))
        self._finish = client.register_script(_script("finish"))
        self._free_until: dict[str, float] = {}
        self.is_full = False

    @contextmanager
    def passing(self, call: _Asked) -> Iterator[None]:
        """Wait for a turn; hold a permit while the call is under way.

        Raises:
            RateLimitedError: There is no room within a minute.
            ProviderUnavailableError: The breaker is open (``breaker-open``).
            DependencyError: Redis is away: nobody may call without counting.
            StopRequested: This process is to leave.
        """
        if self._is_free(call):
            turn = _Turn(name="")
        else:
            turn = self._take_turn(call)
            if not turn.had_failures:
                self._free_until[call.host] = self._clock.monotonic() + _FREE_S
        self._here.turn = turn
        try:
            yield
        except ProviderUnavailableError:
            turn.outcome = "failed"
            raise
        finally:
            self._here.turn = None
            self._end(call, turn)

    def saw(self, call: _Asked, reply: Reply | None) -> None:
        """Learn from an answer; None if there was none."""
        turn: _Turn | None = getattr(self._here, "turn", None)
        is_late = turn is None
        turn = turn or _Turn(name="")
        if reply is not None:
            turn.reply = reply
            turn.seen = self._observed(reply)
            turn.outcome = "ok" if reply.status < _SERVER_ERRORS else "failed"
        if is_late:
            self._end(call, turn)

    def may_retry(self) -> bool:
        """Take one of the retries of the run; False if they are used up, or Redis is away."""
        if not self._retries_key:
            return True
        try:
            with redis_errors():
                taken = int(self._client.incr(self._retries_key))
                if taken == 1:
                    self._client.expire(self._retries_key, _RETRIES_KEPT_S)
        except DependencyError:
            return False
        return taken <= self._retries

    def _observed(self, reply: Reply) -> Observation | None:
        if self._observe is None:
            return None
        try:
            return self._observe(reply)
        except Exception as error:  # noqa: BLE001 - a plugin's fault must not cost the answer
            _log.warning("tieline_observe failed", error=type(error).__name__)
            return None

    def _is_free(self, call: _Asked) -> bool:
        """Say whether nothing is counted and nothing was wrong a moment ago."""
        is_fresh = self._clock.monotonic() < self._free_until.get(call.host, 0.0)
        return is_fresh and self._is_unlimited

    def _take_turn(self, call: _Asked) -> _Turn:
        name, asked, waited = secrets.token_hex(8), "0", 0.0
        while True:
            try:
                answer = self._ask(call, name, asked)
            except DependencyError as error:
                if self._is_unlimited:
                    return _Turn(name=name)
                raise self._uncounted(error) from error
            word = answer[0]
            if word == "override":
                self._hold_to(answer[1])
                continue
            seconds = float(answer[1])
            if word == "far":
                raise RateLimitedError(
                    f"{self._connection.provider} allows no call for {seconds:.0f} s",
                    retry_after=seconds,
                )
            if word == "open":
                raise ProviderUnavailableError(
                    f"{call.host} failed again and again: no calls for {seconds:.0f} s",
                    retry_after=seconds,
                    code=BREAKER_OPEN,
                )
            asked, waited = answer[2], waited + seconds
            self.is_full = word == "wait" or waited > _FULL_WAIT_S
            if seconds > 0 and self._clock.sleep(seconds, self._stop):
                self._leave(call, name, is_booked=word == "go")
                raise StopRequested
            if word == "go" and seconds > 0 and self._is_paused(call):
                self._leave(call, name, is_booked=True)
                continue
            if word == "go":
                return _Turn(
                    name=name,
                    sent=float(asked) + waited,
                    has_permit=self._limits.policy.concurrency is not None,
                    had_failures=answer[3] != "0",
                )

    def _is_paused(self, call: _Asked) -> bool:
        """Look again before a call that was booked ahead: somebody may have been refused since."""
        limits = self._limits
        states = self._route(limits, call).keys[: len(_SCOPES)]
        try:
            with redis_errors(), self._client.pipeline(transaction=False) as pipe:
                pipe.time()
                for state in states:
                    pipe.hget(state, "pause")
                now, *pauses = pipe.execute()
        except DependencyError:
            return False
        at = now[0] + now[1] / 1e6
        return any(float(pause or 0) > at for pause in pauses)

    @property
    def _is_unlimited(self) -> bool:
        return not self._limits.policy.rates and self._limits.policy.concurrency is None

    def _ask(self, call: _Asked, name: str, asked: str) -> list[str]:
        limits = self._limits
        route = self._route(limits, call)
        concurrency = limits.policy.concurrency or 0
        with redis_errors():
            answer: Any = self._reserve(
                keys=route.keys,
                args=[
                    name,
                    self._rank,
                    asked,
                    _BOOK_AHEAD_HOLDING_S if concurrency else _BOOK_AHEAD_S,
                    _LONGEST_WAIT_S,
                    limits.policy.alert_at,
                    limits.policy.reserve,
                    concurrency,
                    self._lease_s,
                    limits.override,
                    *route.bounds,
                ],
            )
        return [part.decode() for part in answer]

    def _route(self, limits: _Limits, call: _Asked) -> _Route:
        by = (call.method, call.host, call.path)
        known = limits.routes.get(by)
        if known is None:
            known = self._new_route(limits.policy, call)
            if len(limits.routes) < _KNOWN_PATHS:
                limits.routes[by] = known
        return known

    def _new_route(self, policy: RateLimitPolicy, call: _Asked) -> _Route:
        windows: list[Window] = windows_of(
            policy, self._connection, method=call.method, path=call.path
        )
        states = [
            self._place,
            f"{self._place}:at:{endpoint_of(call.method, call.path)}",
            provider_of(self._connection),
        ]
        bounds: list[str | float] = []
        for each in windows:
            state = _SCOPES.index(each.scope) + 1
            bounds += [each.item.amount, each.item.get_expiry(), state, each.scope, each.label]
        lists = [self._storage.prefixed_key(each.item.key_for(*each.by)) for each in windows]
        breaker = breaker_of(self._connection, call.host)
        return _Route(
            keys=[*states, breaker, f"{self._place}:permits", *lists],
            bounds=bounds,
            scopes=frozenset(each.scope for each in windows),
        )

    def _hold_to(self, override: str) -> None:
        """Obey other limits from now on, or the declared ones again."""
        policy = self._declared
        if override:
            policy = read_override(self._connection.provider, override, policy)
        self._limits = _Limits(policy=policy, override=override)

    def _leave(self, call: _Asked, name: str, *, is_booked: bool) -> None:
        """Give a permit back that will not be used."""
        if is_booked:
            self._end(call, _Turn(name=name, has_permit=True, had_failures=True))

    def _end(self, call: _Asked, turn: _Turn) -> None:
        """Tell Redis what came of a call, if anything did.

        An answer that is there is worth more than the telling: a permit comes
        back by its lease, and the next call meets the same trouble.
        """
        reply, seen = turn.reply, turn.seen
        is_refused = reply is not None and reply.status == _TOO_MANY
        if seen is not None and seen.is_refusal is not None:
            is_refused = seen.is_refusal
        if is_refused:
            turn.outcome = "ok"  # it is up, only too busy for us
        has_told = seen is not None and (seen.remaining is not None or seen.retry_after_s)
        is_failed = turn.outcome == "failed"
        if not (turn.has_permit or turn.had_failures or is_refused or is_failed or has_told):
            return
        self._free_until.clear()
        pause = self._pause_of(reply, seen, is_refused=is_refused)
        route = self._route(self._limits, call)
        about = route.keys[self._scope_of(seen, route)]
        try:
            with redis_errors():
                self._finish(
                    keys=[
                        self._place,
                        about,
                        route.keys[3],
                        hosts_of(self._connection),
                        route.keys[4],
                    ],
                    args=[
                        turn.name,
                        turn.sent,
                        self._lease_s if turn.has_permit else 0,
                        turn.outcome,
                        int(is_refused),
                        "" if pause is None else pause,
                        _told(seen.remaining if seen else None),
                        _told(seen.reset_after_s if seen else None),
                        _FAILURES_TO_OPEN,
                        _OPEN_S,
                        call.host,
                        self._connection.id,
                        f"{call.method} {call.path}",
                    ],
                )
        except DependencyError as error:
            _log.warning("a call's end is not told: Redis is away", error=error.slug)

    def _pause_of(
        self, reply: Reply | None, seen: Observation | None, *, is_refused: bool
    ) -> float | None:
        """Return for how long everybody has to stay away; None if nobody said."""
        if seen is not None and seen.retry_after_s is not None:
            return min(seen.retry_after_s, 900.0)
        if reply is None or not (is_refused or reply.status >= _SERVER_ERRORS):
            return None
        return retry_after(reply.headers)

    def _scope_of(self, seen: Observation | None, route: _Route) -> int:
        """Choose what an answer is about, among what the policy counts at all."""
        scope = seen.scope if seen is not None else "account"
        if route.scopes and scope not in route.scopes:
            # A bound on calls under way is the account's too.
            is_account = self._limits.policy.concurrency is not None or "account" in route.scopes
            scope = "account" if is_account else next(s for s in _SCOPES if s in route.scopes)
        elif not route.scopes:
            scope = "account"
        return _SCOPES.index(scope)

    def _uncounted(self, error: DependencyError) -> DependencyError:
        return DependencyError(
            f"no calls to {self._connection.provider} while Redis is away, for nobody would count"
            f" them: {error.message}",
            hint=error.hint,
            code=error.slug,
        )


def _told(number: float | None) -> str:
    return "" if number is None else str(number)


def _script(name: str) -> str:
    return (Path(__file__).parent / f"{name}.lua").read_text("utf-8")
