"""Read what the throttle keeps of an account, and correct it for a while.

Everything is in Redis, so that each process obeys at its next call.

- ``Ledger(client).standing(connection, policy)`` -> :class:`Standing`: ``windows``
  (:class:`Usage` each), ``in_flight`` (:class:`InFlight` or None), ``waiting`` by class,
  ``paused_until``, ``share`` and ``share_whole_at``, ``override`` and ``override_until``,
  ``breakers`` (:class:`BreakerState` each).
- ``Ledger.set_override(connection, policy, text, until=...)``, ``Ledger.clear_override(...)``;
  ``text`` is written as ``TIELINE_<PROVIDER>_RATE_LIMITS`` is.
- ``Ledger.reset_breaker(connection, host=None)``, ``Ledger.reset_learned(connection, policy)``.
- ``Ledger.events(most)`` -> :class:`Event` list: each crossing of the alert level, refusal, and
  turn of a breaker, until ``Ledger.drop_events(events)`` says that it was dealt with.

``policy`` is what settings and plugin say (``policy_of``), without the override.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from tieline.contract import Connection, RateLimitPolicy
from tieline.coordination import Redis, redis_errors
from tieline.throttle.keys import (
    EVENTS,
    PACES,
    Pace,
    breaker_at,
    breaker_of,
    breakers_at,
    place_of,
    provider_of,
)
from tieline.throttle.policy import read_override

__all__ = ["BreakerState", "Event", "InFlight", "Ledger", "Standing", "Usage"]

RECOVERY_PER_S = 0.1 / 60
_KEPT_S = 86_400


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """One window of an account.

    Attributes:
        label: What it counts: ``all calls`` or such as ``GET /v1/customers``.
        scope: ``account``, ``application`` or ``endpoint``.
        limit: Calls that the policy allows in it.
        period_s: Its length in seconds.
        lowered: Calls allowed now; less than ``limit`` after refusals.
        used: Calls in it now, those booked for the next moments included.
        waiting: Calls that wait for room in it.
        by_class: ``used`` by what the calls were for.
        resets_at: When it will be empty if nobody calls, aware UTC; None: it is.
    """

    label: str
    scope: str
    limit: int
    period_s: int
    lowered: int
    used: int
    waiting: int
    by_class: Mapping[Pace, int]
    resets_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class InFlight:
    """Calls under way, over all processes.

    Attributes:
        limit: As many may be.
        lowered: As many may be now.
        used: As many are.
        waiting: As many wait for one to end.
    """

    limit: int
    lowered: int
    used: int
    waiting: int


@dataclass(frozen=True, kw_only=True, slots=True)
class BreakerState:
    """One breaker that is not as it is in good times.

    Attributes:
        host: Where it is.
        state: ``closed``: calls pass, though the last ones failed; ``open``:
            none does; ``half-open``: the next one is a probe, or it is under way.
        failures: In a row.
        until: When the next probe may go, aware UTC; None if closed.
    """

    host: str
    state: Literal["closed", "open", "half-open"]
    failures: int
    until: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something that people may want to be told.

    Attributes:
        kind: ``near-limit``, ``refused``, ``breaker-opened`` or ``breaker-closed``.
        place: The account's place in Redis; a connection's id for a breaker.
        subject: The window's label, or the breaker's host.
        at: When, aware UTC.
        text: As it is kept.
    """

    kind: str
    place: str
    subject: str
    at: datetime
    text: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How one account stands.

    Attributes:
        place: Its name in Redis; connections of one account share it.
        windows: The policy's, and those of every endpoint that was called lately.
        in_flight: None where the policy sets no bound.
        paused_until: Nobody calls before, aware UTC; None: no pause.
        share: Part of the policy that is allowed now; 1 unless refusals lowered it.
        share_whole_at: When it is 1 again if nothing more is refused; None: it is.
        override: Limits that hold for a while instead of the policy; empty: none.
        override_until: Until when, aware UTC.
        breakers: Those that met failures lately.
        calls: Calls that got their turn, by what they were for. It begins anew
            after a day without any.
        refused: Calls that the provider refused for its limit, likewise.
    """

    place: str
    windows: Sequence[Usage]
    in_flight: InFlight | None
    paused_until: datetime | None
    share: float
    share_whole_at: datetime | None
    override: str = ""
    override_until: datetime | None = None
    breakers: Sequence[BreakerState] = field(default=())
    calls: Mapping[Pace, int] = field(default_factory=dict)
    refused: int = 0


class Ledger:
    """Reads and corrects what the throttles of all processes keep.

    Args:
        client: Redis, or Valkey.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client

    def breakers(self, connection_ids: Iterable[str]) -> dict[str, list[BreakerState]]:
        """Tell of connections, by id, which breakers are not as in good times; asks no plugin.

        Raises:
            DependencyError: Redis is away.
        """
        ids = list(connection_ids)
        with redis_errors():
            now = self._now()
            with self._client.pipeline(transaction=False) as pipe:  # of thousands few have any
                for each in ids:
                    pipe.exists(breakers_at(each))
                known = [
                    each for each, is_there in zip(ids, pipe.execute(), strict=True) if is_there
                ]
            found = {each: self._breakers(each, now) for each in known}
        return {each: states for each, states in found.items() if states}

    def standing(self, connection: Connection, policy: RateLimitPolicy) -> Standing:
        """Tell how an account stands now.

        Raises:
            DependencyError: Redis is away.
        """
        place = place_of(connection, policy)
        with redis_errors():
            now = self._now()
            state = _State(self._client.hgetall(place), now)
            whole = _State(self._client.hgetall(provider_of(connection)), now)
            known: Any = self._client.hgetall(f"{place}:windows")
            windows = [self._usage(key, place, state, whole, now) for key in sorted(known)]
            if state.override:
                policy = read_override(connection.provider, state.override, policy)
            return Standing(
                place=place,
                windows=[window for window in windows if window is not None],
                in_flight=self._in_flight(place, policy.concurrency, state, now),
                paused_until=state.time("pause") or whole.time("pause"),
                share=state.share,
                share_whole_at=state.whole_at,
                override=state.override,
                override_until=state.time("override_until"),
                breakers=self._breakers(connection.id, now),
                calls={pace: state.count(f"calls:{n}") for n, pace in enumerate(PACES, 1)},
                refused=state.count("refused"),
            )

    def set_override(
        self, connection: Connection, policy: RateLimitPolicy, text: str, *, until: datetime
    ) -> None:
        """Let other limits hold for a while; every process obeys at its next call.

        Args:
            connection: Any connection of the account.
            policy: What holds otherwise.
            text: Such as ``40/second; 10/second endpoint; concurrency=4``, or ``none``.
            until: Aware; by the clock of Redis.

        Raises:
            SettingsError: The text makes no sense.
            DependencyError: Redis is away.
        """
        read_override(connection.provider, text, policy)
        place = place_of(connection, policy)
        with redis_errors():
            left = max(1, int(until.timestamp() - self._now()))
            self._client.hset(
                place, mapping={"override": text, "override_until": until.timestamp()}
            )
            self._client.expire(place, max(left + 60, _KEPT_S))

    def clear_override(self, connection: Connection, policy: RateLimitPolicy) -> bool:
        """Let the policy hold again; False if it did."""
        place = place_of(connection, policy)
        with redis_errors():
            return bool(self._client.hdel(place, "override", "override_until"))

    def reset_learned(self, connection: Connection, policy: RateLimitPolicy) -> None:
        """Forget the pauses and the lowered share of an account, its endpoints included.

        Raises:
            DependencyError: Redis is away.
        """
        place = place_of(connection, policy)
        fields = ("pause", "share", "cut_at", "refused_at", "streak", "gap", "gap_until")
        with redis_errors():
            places = [place, *self._client.smembers(f"{place}:endpoints")]
            for each in places:
                self._client.hdel(each, *fields)

    def reset_breaker(self, connection: Connection, host: str | None = None) -> bool:
        """Close a breaker at once, or all of a connection; False if none was there.

        Raises:
            DependencyError: Redis is away.
        """
        with redis_errors():
            hosts = [host] if host else self._hosts(connection.id)
            keys = [breaker_of(connection, each) for each in hosts]
            return bool(keys and self._client.delete(*keys))

    def events(self, most: int = 100) -> list[Event]:
        """Read the oldest events; others may read them too until they are dropped.

        Raises:
            DependencyError: Redis is away.
        """
        with redis_errors():
            found: Any = self._client.lrange(EVENTS, 0, most - 1)
        return [_event(text) for text in found]

    def drop_events(self, events: Iterable[Event]) -> None:
        """Forget events, once what follows from them is committed.

        Raises:
            DependencyError: Redis is away; they will be read again.
        """
        with redis_errors(), self._client.pipeline(transaction=False) as pipe:
            for event in events:
                pipe.lrem(EVENTS, 1, event.text)  # type: ignore[arg-type]
            pipe.execute()

    def _now(self) -> float:
        seconds, micro = self._client.time()
        return float(seconds) + float(micro) / 1e6

    def _usage(
        self, key: bytes, place: str, account: _State, whole: _State, now: float
    ) -> Usage | None:
        about: Any = self._client.hget(f"{place}:windows", key)
        scope, limit, period, state_key, label = about.decode().split("|", 4)
        entries: Any = self._client.lrange(key, 0, -1)
        inside = [entry for entry in entries if float(entry) > now - int(period)]
        if not entries:
            return None
        state = {"account": account, "application": whole}.get(scope)
        state = state or _State(self._client.hgetall(state_key), now)
        # The last digit of an entry, beyond the microseconds, says what the call was for.
        ranks = [int(entry[-1:]) for entry in inside]
        return Usage(
            label=label,
            scope=scope,
            limit=int(limit),
            period_s=int(period),
            lowered=max(1, int(int(limit) * state.share)),
            used=len(inside),
            waiting=self._waiting(key.decode(), now),
            by_class={pace: ranks.count(n) for n, pace in enumerate(PACES, 1)},
            resets_at=_time(float(inside[0]) + int(period)) if inside else None,
        )

    def _in_flight(
        self, place: str, concurrency: int | None, state: _State, now: float
    ) -> InFlight | None:
        if concurrency is None:
            return None
        return InFlight(
            limit=concurrency,
            lowered=max(1, int(concurrency * state.share)),
            used=int(self._client.zcount(f"{place}:permits", now, "+inf")),
            waiting=self._waiting(f"{place}:permits", now),
        )

    def _waiting(self, key: str, now: float) -> int:
        return int(self._client.zcount(f"{key}:due", now, "+inf"))

    def _hosts(self, connection_id: str) -> list[str]:
        found: Any = self._client.smembers(breakers_at(connection_id))
        return sorted(host.decode() for host in found)

    def _breakers(self, connection_id: str, now: float) -> list[BreakerState]:
        found = []
        for host in self._hosts(connection_id):
            values: Any = self._client.hgetall(breaker_at(connection_id, host))
            if not values:
                continue
            until = float(values.get(b"until", 0))
            found.append(
                BreakerState(
                    host=host,
                    state="closed" if not until else "open" if until > now else "half-open",
                    failures=int(values.get(b"failures", 0)),
                    until=_time(until) if until else None,
                )
            )
        return found


class _State:
    """What is learned of an account, an application or an endpoint."""

    def __init__(self, values: Any, now: float) -> None:
        self._values = values
        self._now = now
        self.share = min(
            1.0, self._number("share", 1.0) + (now - self._number("cut_at", now)) * RECOVERY_PER_S
        )
        self.whole_at = (
            _time(now + (1.0 - self.share) / RECOVERY_PER_S) if self.share < 1.0 else None
        )
        is_overridden = self._number("override_until", 0.0) > now
        self.override = values.get(b"override", b"").decode() if is_overridden else ""

    def time(self, name: str) -> datetime | None:
        """Return a moment that is yet to come."""
        found = self._number(name, 0.0)
        return _time(found) if found > self._now else None

    def count(self, name: str) -> int:
        """Return how often something happened."""
        return int(self._number(name, 0.0))

    def _number(self, name: str, missing: float) -> float:
        return float(self._values.get(name.encode(), missing))


def _event(text: bytes) -> Event:
    kept = orjson.loads(text)
    at = datetime.fromtimestamp(float(kept["at"]), UTC)
    return Event(kind=kept["kind"], place=kept["place"], subject=kept["subject"], at=at, text=text)


def _time(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(float(seconds), UTC) if seconds else None
