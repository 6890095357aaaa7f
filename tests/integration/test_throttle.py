"""The throttle against a real server: nobody calls too often, whoever counts."""

from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from throttle_kit import Asked, connection
from tieline.clock import SystemClock
from tieline.contract import (
    Rate,
    RateLimitedError,
    RateLimitPolicy,
    Reply,
    SettingsError,
)
from tieline.coordination import open_redis
from tieline.errors import DependencyError, StopRequested
from tieline.throttle import Throttle, policy_of, read_override
from tieline.throttle import throttle as module
from tieline.throttle.policy import windows_of


@pytest.fixture
def new(redis_url, request):
    """Make throttles of one account, each with a client of its own as another process has."""
    clients = []

    def make(policy: RateLimitPolicy, **options) -> Throttle:
        clients.append(open_redis(redis_url))
        account = connection(request.node.name)
        options = {"pace": "sync"} | options
        return Throttle(clients[-1], account, policy, clock=SystemClock(), **options)

    yield make
    for client in clients:
        client.close()


def rates(*limits: str, **options) -> RateLimitPolicy:
    return RateLimitPolicy(rates=[Rate(limit=limit) for limit in limits], **options)


def passages(throttles, count: int) -> list[float]:
    """Pass the gates ``count`` times in all, side by side; return when."""
    times: list[float] = []

    def go(number: int) -> None:
        with throttles[number % len(throttles)].passing(Asked()):
            times.append(time.monotonic())

    with ThreadPoolExecutor(len(throttles) * 2) as pool:
        list(pool.map(go, range(count)))
    return sorted(times)


def most_within(times: list[float], seconds: float) -> int:
    return max(sum(1 for t in times if start <= t < start + seconds) for start in times)


def test_many_processes_together_stay_within_the_rate_and_use_it(new):
    policy = rates("40/second")
    times = passages([new(policy) for _ in range(4)], 100)
    # A thread that wakes late may push a call over an edge by a little.
    assert most_within(times, 0.95) <= 41
    assert times[-1] - times[0] < 2.6


def test_past_the_alert_level_calls_are_spread(new):
    times = passages([new(rates("20/second", alert_at=0.5))], 20)
    gaps = [after - before for before, after in itertools.pairwise(times[10:])]
    assert min(gaps) > 0.02


def test_all_windows_hold_at_once(new):
    times = passages([new(rates("100/second", "12/2 second"))], 18)
    assert most_within(times, 1.9) <= 13


def test_a_refusal_holds_everybody_back(new):
    one, other = new(rates("100/second")), new(rates("100/second"))
    refusal = Reply(status=429, headers={"retry-after": "1"}, content=b"", seconds=0.1)
    one.saw(Asked(), refusal)
    began = time.monotonic()
    with other.passing(Asked()):
        assert 0.9 < time.monotonic() - began < 3
    assert other.is_full


def test_an_answer_that_is_no_refusal_holds_nobody_back(new):
    gate = new(rates("100/second"))
    gate.saw(Asked(), Reply(status=500, headers={}, content=b"", seconds=0.1))
    gate.saw(Asked(), None)
    began = time.monotonic()
    with gate.passing(Asked()):
        assert time.monotonic() - began < 0.5


def test_no_more_calls_are_in_flight_than_allowed(new):
    gates = [new(RateLimitPolicy(concurrency=3)) for _ in range(2)]
    inside, most = [], []

    def go(number: int) -> None:
        with gates[number % 2].passing(Asked()):
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.02)
            inside.remove(number)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(go, range(24)))
    assert max(most) == 3


def test_the_permit_of_a_holder_that_died_comes_back(new, monkeypatch):
    monkeypatch.setattr(module, "_PERMIT_LEASE_S", 0.3)
    gate = new(RateLimitPolicy(concurrency=1), call_s=-30)
    gate._take_turn(Asked())  # and its holder is never heard of again
    began = time.monotonic()
    with gate.passing(Asked()):
        assert 0.2 < time.monotonic() - began < 5


def test_a_wait_is_cut_short_when_the_process_has_to_leave(new):
    stop = threading.Event()
    gate = new(rates("1/minute"), stop=stop)
    with gate.passing(Asked()):
        pass
    threading.Timer(0.1, stop.set).start()
    began = time.monotonic()
    with pytest.raises((StopRequested, RateLimitedError)), gate.passing(Asked()):
        raise AssertionError
    assert time.monotonic() - began < 2


def test_a_wait_beyond_a_minute_is_left_to_the_run(new):
    gate = new(rates("1/hour"))
    with gate.passing(Asked()):
        pass
    with pytest.raises(RateLimitedError) as caught, gate.passing(Asked()):
        raise AssertionError
    assert caught.value.retry_after > 3000


def test_nobody_calls_without_counting(new):
    client = open_redis("redis://127.0.0.1:1", timeout_s=0.2)
    gate = Throttle(client, connection("x"), rates("5/second"), clock=SystemClock())
    with pytest.raises(DependencyError), gate.passing(Asked()):
        raise AssertionError


def test_what_has_no_limit_needs_no_redis():
    client = open_redis("redis://127.0.0.1:1", timeout_s=0.2)
    gate = Throttle(client, connection("x"), RateLimitPolicy(), clock=SystemClock())
    with gate.passing(Asked()):
        pass


def test_endpoints_are_counted_apart_and_ids_together():
    policy = RateLimitPolicy(
        rates=[Rate(limit="10/second"), Rate(limit="5/second", scope="endpoint")]
    )
    account = connection("acct")

    def keys(path: str) -> list[tuple[str, ...]]:
        windows = windows_of(policy, account, method="GET", path=path)
        return [window.by for window in windows]

    assert keys("/v1/customers/cus_1234567") == keys("/v1/customers/cus_7654321")
    assert keys("/v1/customers") != keys("/v1/products")
    assert keys("/v1/customers")[0] == keys("/v1/products")[0]


def test_settings_go_before_what_the_plugin_declares():
    declared = rates("20/second", concurrency=8)
    policy = policy_of("acme", declared, {"acme": "95/second; 50/minute endpoint; concurrency=16"})
    assert [(rate.limit, rate.scope) for rate in policy.rates] == [
        ("95/second", "account"),
        ("50/minute", "endpoint"),
    ]
    assert policy.concurrency == 16
    assert policy_of("acme", declared, {"other": "none"}) is declared
    assert policy_of("acme", declared, {"acme": "none"}).rates == []


NO_LIMITS = [
    "fast",
    "10/fortnight",
    "concurrency=0",
    "5/second nowhere",
    # What no counter holds would break off each job that calls.
    "concurrency=99999999999999999999",
    "99999999999999999999/second",
    "5/0 seconds",
    "1/99999999999999999999 seconds",
]


@pytest.mark.parametrize("text", NO_LIMITS)
def test_limits_that_make_no_sense_are_refused_by_name(text):
    with pytest.raises(SettingsError) as caught:
        read_override("acme", text, RateLimitPolicy())
    assert "TIELINE_ACME_RATE_LIMITS" in caught.value.message
