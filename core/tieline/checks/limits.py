"""Checks of limits: declared below the provider's, kept by eight workers, learned from answers."""

from __future__ import annotations

import re
import threading
import time
from bisect import bisect_left
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tieline.checks.case import Case
from tieline.checks.kinds import DoesNotApplyError, WrongError, check
from tieline.clock import SystemClock
from tieline.contract import RateLimitPolicy, RetryLaterError
from tieline.errors import DependencyError, StopRequested

__all__: list[str] = []

_WORKERS = 8
_SECONDS = 1.5
_SLOW_S = 0.03
_PATIENCE_S = 30.0
_FEWEST = 3
_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


def _policy(case: Case, site: Any) -> RateLimitPolicy:
    policy = case.plugin.rate_limits(site.connection)
    if policy is None:
        raise DoesNotApplyError("no limits are declared")
    return policy


def _rates(policy: RateLimitPolicy) -> list[tuple[int, float, str]]:
    """Return the rates of a whole account: calls, seconds, as written."""
    found = []
    for rate in policy.rates:
        if rate.scope == "account" and not rate.match:
            said = re.fullmatch(r"(\d+) ?/ ?(\d+)? ?(second|minute|hour|day)s?", rate.limit)
            if said:
                seconds = float(said[2] or 1) * _UNITS[said[3]]
                found.append((int(said[1]), seconds, rate.limit))
    return found


@check(
    "limits-are-the-providers",
    "silver",
    "What is declared is not more than what the provider allows.",
    do="declare a little less than the provider's page says, for other applications may share it",
)
def _below(case: Case) -> None:
    allowed = case.guide.limits
    if not allowed:
        raise DoesNotApplyError("the sandbox's guide names no limits")
    with case.site() as site:
        policy = _policy(case, site)
    where = case.subject.find(r"def tieline_rate_limits")
    at_once, per_second = allowed.get("at_once"), allowed.get("per_second")
    if at_once and (policy.concurrency or 0) > at_once:
        raise WrongError(
            f"{policy.concurrency} calls at once are declared; {at_once} are allowed", where=where
        )
    if at_once and not policy.concurrency:
        raise WrongError(
            f"{at_once} calls at once are allowed, and no concurrency is declared", where=where
        )
    if per_second:
        rates = [amount / seconds for amount, seconds, _ in _rates(policy)]
        if not rates:
            raise WrongError(
                f"{per_second} calls a second are allowed, and no rate is declared", where=where
            )
        if min(rates) > per_second:
            raise WrongError(
                f"{min(rates):g} calls a second are declared; {per_second} are allowed", where=where
            )


@check(
    "eight-workers-stay-inside",
    "silver",
    "Eight workers at once stay inside of the rates and the calls at once that are declared.",
    do="send every call over the transport that tieline_client is handed: no other one is counted",
)
def _eight(case: Case) -> None:
    with ExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory(prefix="tieline-check-")))
        url = _redis(stack, home)
        site = stack.enter_context(case.site(redis_url=url, clock=SystemClock()))
        policy = _policy(case, site)
        counter = site.stand.counter
        app = site.stand.app

        async def slowly(scope: Any, receive: Any, send: Any) -> None:
            import asyncio  # noqa: PLC0415 - here alone

            if not scope.get("path", "").startswith("/_sandbox"):
                await asyncio.sleep(_SLOW_S)
            await app(scope, receive, send)

        site.stand.app = slowly
        counter.at.clear()
        counter.most = 0
        _call_side_by_side(case, site)
        where = case.subject.find(r"def tieline_(rate_limits|client)")
        if len(counter.at) < _FEWEST:
            raise WrongError(
                f"only {len(counter.at)} calls were made in {_SECONDS:g} s", where=where
            )
        if policy.concurrency and counter.most > policy.concurrency:
            raise WrongError(
                f"{counter.most} calls were under way at once; {policy.concurrency} are declared",
                where=where,
            )
        times = sorted(counter.at)
        for amount, seconds, text in _rates(policy):
            most = max(
                (bisect_left(times, at + seconds) - place for place, at in enumerate(times)),
                default=0,
            )
            # Counted is when a call leaves: on a slow machine those of two windows arrive in one.
            if most > 2 * amount:
                raise WrongError(f"{most} calls came within {text}", where=where)


def _call_side_by_side(case: Case, site: Any) -> None:
    until = time.monotonic() + _SECONDS
    entity, calls = case.entities[0], site.stand.counter.at
    stop = threading.Event()
    errors: list[Exception] = []

    def work() -> None:
        opened = site.made.engine.opener.open(site.row.id, stop=stop, pace="sync")
        try:
            while not stop.is_set():
                case.read(opened, entity, None)
        except (StopRequested, RetryLaterError):  # a wait that was cut short
            pass
        except Exception as error:  # noqa: BLE001 - it is told below
            errors.append(error)
        finally:
            opened.transport.close()

    hands = [threading.Thread(target=work) for _ in range(_WORKERS)]
    for hand in hands:
        hand.start()
    while time.monotonic() < until or (
        len(calls) < _FEWEST and time.monotonic() < until + _PATIENCE_S
    ):
        time.sleep(0.01)
    stop.set()
    for hand in hands:
        hand.join(30)
    if errors:
        raise WrongError(
            f"one of {_WORKERS} workers met {type(errors[0]).__name__}: {errors[0]}",
            where=case.subject.place_in(errors[0]) or case.place(entity),
        )


def _redis(stack: ExitStack, home: Path) -> str:
    from tieline.coordination import EmbeddedServer  # noqa: PLC0415 - it starts a program

    server = EmbeddedServer(home)
    try:
        url = server.ensure()
    except DependencyError as error:
        raise DoesNotApplyError(f"there is no Redis to try it with: {error.message}") from None
    stack.callback(server.stop)
    return url


@check(
    "limits-are-learned",
    "gold",
    "What answers tell of the limits is read.",
    do="write the hook tieline_observe, and return Observation(remaining=…, reset_after_s=…)",
    needs="plugin",
)
def _learned(case: Case) -> None:
    if not case.plugin.has_observe:
        raise WrongError(
            "there is no tieline_observe",
            where=case.subject.find(r"def tieline_rate_limits"),
            do="write the hook tieline_observe; or exempt the plugin, if the provider's answers"
            " tell nothing",
        )
