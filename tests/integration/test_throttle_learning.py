"""What answers teach the throttle, what people tell it, and who comes first."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from throttle_kit import Asked, connection
from tieline.clock import SystemClock
from tieline.contract import (
    Observation,
    Rate,
    RateLimitedError,
    RateLimitPolicy,
    Reply,
    SettingsError,
)
from tieline.coordination import open_redis
from tieline.errors import DependencyError
from tieline.throttle import Ledger, Throttle, policy_of
from tieline.throttle.keys import place_of

A, B = Asked(path="/v1/a"), Asked(path="/v1/b")


@pytest.fixture
def client(redis_url):
    made = open_redis(redis_url)
    yield made
    made.close()


@pytest.fixture
def account(request):
    return connection(request.node.name)


@pytest.fixture
def new(client, account):
    def make(policy: RateLimitPolicy, **options) -> Throttle:
        options = {"pace": "sync"} | options
        return Throttle(client, account, policy, clock=SystemClock(), **options)

    return make


def rates(*limits: str, scope: str = "account", **options) -> RateLimitPolicy:
    return RateLimitPolicy(rates=[Rate(limit=limit, scope=scope) for limit in limits], **options)


def reply(status: int = 429, **headers: str) -> Reply:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(status=status, headers=named, content=b"<html>", seconds=0.1)


def far(gate: Throttle, call: Asked = A) -> float:
    """Return how long a gate says that there is no room."""
    with pytest.raises(RateLimitedError) as caught, gate.passing(call):
        raise AssertionError
    return caught.value.retry_after


def move(client, place: str, seconds: float) -> None:
    """Let time pass for what is known of a place."""
    for name in ("pause", "refused_at", "cut_at", "gap_until"):
        if client.hexists(place, name):
            client.hincrbyfloat(place, name, -seconds)


def refuse(client, gate: Throttle, call: Asked = A, **headers: str) -> None:
    """Have a call refused that was sent after all that was refused before."""
    move(client, gate._place, 40)
    for name in client.smembers(f"{gate._place}:endpoints"):
        move(client, name, 40)
    with gate.passing(call):
        gate.saw(call, reply(429, **headers))


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("120", 118, 120),
        ((datetime.now(UTC) + timedelta(hours=1)).strftime("%a, %d %b %Y %H:%M:%S GMT"), 880, 900),
        ("1e9", 898, 900),
    ],
    ids=["seconds", "date", "a thousand million"],
)
def test_retry_after_holds_everybody_back_for_a_quarter_of_an_hour_at_most(text, low, high, new):
    new(rates("5/second")).saw(A, reply(429, retry_after=text))
    assert low <= far(new(rates("5/second")), B) <= high


@pytest.mark.parametrize("text", [None, "-1", "soon", "nan", ""])
def test_a_refusal_that_does_not_say_for_how_long_means_a_second(text, new, client):
    gate = new(rates("5/second"))
    gate.saw(A, reply(429, **({} if text is None else {"retry_after": text})))
    assert 0.5 < float(client.hget(gate._place, "pause")) - time.time() <= 1.01


def test_a_server_that_is_overloaded_may_ask_for_a_pause_too(new):
    new(rates("5/second")).saw(A, reply(503, retry_after="300"))
    assert far(new(rates("5/second"))) > 290


def test_one_refusal_pauses_and_a_second_one_halves_until_quiet_time_gives_it_back(
    new, client, account
):
    policy = rates("100/second")
    gate, ledger = new(policy), Ledger(client)
    refuse(client, gate)
    assert ledger.standing(account, policy).share == 1
    refuse(client, gate)
    standing = ledger.standing(account, policy)
    assert standing.share == pytest.approx(0.5, abs=0.01)
    assert standing.share_whole_at - datetime.now(UTC) == pytest.approx(
        timedelta(minutes=5), abs=timedelta(seconds=5)
    )
    move(client, gate._place, 60)
    assert ledger.standing(account, policy).share == pytest.approx(0.6, abs=0.01)
    move(client, gate._place, 600)
    assert ledger.standing(account, policy).share == 1


def test_a_lowered_share_holds_for_every_process(new, client):
    gate = new(rates("10/2 second", alert_at=1.0, reserve=0.0))
    for _ in range(2):
        refuse(client, gate)
    move(client, gate._place, 40)
    client.delete(*client.keys(f"LIMITS*{gate._connection.account.id}*"))
    other, began = new(rates("10/2 second", alert_at=1.0, reserve=0.0)), time.monotonic()
    for _ in range(6):
        with other.passing(B):
            pass
    assert 1.8 < time.monotonic() - began < 3  # five at once, the sixth after the window


def test_calls_that_were_under_way_together_count_as_one_refusal(new, client, account):
    gate = new(rates("100/second"))
    turns = [gate._take_turn(A) for _ in range(8)]
    for turn in turns:
        turn.reply = reply(429)
        gate._end(A, turn)
    assert Ledger(client).standing(account, rates("100/second")).share == 1


def test_a_refusal_of_one_endpoint_leaves_the_others_alone(new, client, account):
    policy = RateLimitPolicy(
        rates=[Rate(limit="50/second"), Rate(limit="20/second", scope="endpoint")]
    )
    gate = new(policy, observe=lambda _reply: Observation(scope="endpoint"))
    refuse(client, gate, retry_after="120")
    assert far(gate, A) > 115
    with new(policy).passing(B):
        pass
    assert Ledger(client).standing(account, policy).paused_until is None


def test_a_refusal_that_is_no_matter_of_the_rate_slows_nobody(new):
    gate = new(rates("50/second"), observe=lambda _reply: Observation(is_refusal=False))
    gate.saw(A, reply(429, retry_after="120"))
    with gate.passing(A):
        pass


def test_what_is_told_to_be_left_is_spread_and_nothing_left_is_a_pause(new):
    told = Observation(remaining=4, reset_after_s=2)
    gate = new(rates("100/second"), observe=lambda _reply: told)
    began = time.monotonic()
    for _ in range(3):
        with gate.passing(A):
            gate.saw(A, reply(200))
    assert 0.9 < time.monotonic() - began < 2.5
    gate.saw(A, reply(200))
    told = Observation(remaining=0, reset_after_s=300)
    gate.saw(A, reply(200))
    assert far(new(rates("100/second"))) > 290


def test_a_plugin_that_fails_to_read_an_answer_costs_nothing(new):
    def fail(_reply):
        raise KeyError("x-remaining")

    gate = new(rates("100/second"), observe=fail)
    with gate.passing(A):
        gate.saw(A, reply(200))


def test_other_limits_hold_for_a_while_in_processes_that_run_already(new, client, account):
    policy = rates("100/second")
    gate, ledger = new(policy), Ledger(client)
    with gate.passing(A):
        pass
    until = datetime.now(UTC) + timedelta(seconds=2)
    ledger.set_override(account, policy, "1/hour", until=until)
    with gate.passing(A):
        pass
    assert far(gate) > 3000
    assert ledger.standing(account, policy).override == "1/hour"
    time.sleep(2.1)
    for _ in range(3):
        with gate.passing(A):
            pass
    assert ledger.standing(account, policy).override == ""


def test_an_override_can_be_taken_back_and_nonsense_is_refused(new, client, account):
    policy, ledger = rates("100/second"), Ledger(client)
    later = datetime.now(UTC) + timedelta(hours=2)
    ledger.set_override(account, policy, "1/hour; concurrency=2", until=later)
    assert ledger.standing(account, policy).in_flight.limit == 2
    assert ledger.clear_override(account, policy)
    assert not ledger.clear_override(account, policy)
    with pytest.raises(SettingsError):
        ledger.set_override(account, policy, "fast", until=later)


def test_what_was_learned_can_be_forgotten(new, client, account):
    policy = rates("100/second")
    gate = new(policy)
    refuse(client, gate)
    refuse(client, gate, retry_after="600")
    Ledger(client).reset_learned(account, policy)
    with gate.passing(A):
        pass


def test_the_ledger_tells_used_and_waiting_and_by_whom(new, client, account):
    policy = RateLimitPolicy(
        rates=[Rate(limit="4/hour"), Rate(limit="9/hour", scope="endpoint")],
        concurrency=3,
        reserve=0.0,
        alert_at=1.0,
    )
    live, backfill = new(policy, pace="live"), new(policy, pace="backfill")
    with live.passing(A), backfill.passing(B), backfill.passing(B):
        standing = Ledger(client).standing(account, policy)
    assert standing.in_flight.used == 3
    found = {window.label: window for window in standing.windows}
    assert set(found) == {"all calls", "GET /v1/a", "GET /v1/b"}
    assert (found["all calls"].limit, found["all calls"].used) == (4, 3)
    assert found["all calls"].by_class == {"live": 1, "sync": 0, "backfill": 2}
    assert found["all calls"].resets_at > datetime.now(UTC) + timedelta(minutes=59)
    assert found["GET /v1/b"].used == 2


def test_crossing_the_alert_level_is_told_once(new, client, account):
    policy = rates("10/minute", reserve=0.0)
    ledger, gate = Ledger(client), new(policy, pace="live")
    ledger.drop_events(ledger.events(1000))
    for _ in range(10):
        with gate.passing(A):
            pass
    told = [each for each in ledger.events() if each.place == place_of(account, policy)]
    assert [(each.kind, each.subject) for each in told] == [("near-limit", "all calls")]


def test_live_calls_go_first_then_syncs_then_backfills_each_in_order(new):
    policy = rates("4/second", reserve=0.0)
    order, lock = [], threading.Lock()

    def go(pace: str, number: int) -> None:
        with new(policy, pace=pace).passing(A), lock:
            order.append((pace, number))

    for _ in range(4):
        with new(policy).passing(A):
            time.sleep(0.1)  # so that their places come free one after the other, too
    threads = []
    for pace in ("backfill", "sync", "live"):
        for number in range(2):
            threads.append(threading.Thread(target=go, args=(pace, number)))
            threads[-1].start()
            time.sleep(0.05)
    for thread in threads:
        thread.join()
    # What was booked already when the live call came keeps its turn.
    assert [each for each in order if each[0] != "backfill"] == [
        ("live", 0),
        ("live", 1),
        ("sync", 0),
        ("sync", 1),
    ]
    assert order.index(("backfill", 1)) == 5


def test_a_share_of_a_long_window_is_kept_for_live_calls(new):
    policy = rates("10/hour", reserve=0.2, alert_at=1.0)
    backfill, live = new(policy, pace="backfill"), new(policy, pace="live")
    for _ in range(8):
        with backfill.passing(A):
            pass
    assert far(backfill) > 3000
    for _ in range(2):
        with live.passing(A):
            pass
    assert far(live) > 3000


def test_connections_of_one_key_share_one_budget(client):
    policy = rates("1/hour", key="user-7")
    one = Throttle(client, connection("a"), policy, clock=SystemClock())
    other = Throttle(client, connection("b"), policy, clock=SystemClock())
    with one.passing(A):
        pass
    assert far(other) > 3000


def test_a_run_has_so_many_retries_over_all_processes(new):
    gates = [new(rates("9/second"), run_id=f"run_{time.time_ns()}", retries=3)]
    gates.append(new(rates("9/second"), run_id=gates[0]._retries_key.rpartition(":")[2], retries=3))
    taken = [gates[number % 2].may_retry() for number in range(5)]
    assert taken == [True, True, True, False, False]
    assert new(rates("9/second")).may_retry()


def test_while_redis_is_away_it_says_that_nobody_calls():
    away = open_redis("redis://127.0.0.1:1", timeout_s=0.2)
    gate = Throttle(away, connection("x"), rates("5/second"), clock=SystemClock(), run_id="run_1")
    with pytest.raises(DependencyError) as caught, gate.passing(A):
        raise AssertionError
    assert "no calls to acme while Redis is away" in caught.value.message
    assert not gate.may_retry()


def test_an_answer_that_is_there_is_not_lost_with_redis(redis_url, account):
    client = open_redis(redis_url)
    gate = Throttle(client, account, RateLimitPolicy(concurrency=2), clock=SystemClock())
    with gate.passing(A):
        client.connection_pool.disconnect()
        gate._finish = _Away()
        gate.saw(A, reply(200))
    client.close()


class _Away:
    def __call__(self, **_given):
        raise ConnectionError


def test_a_setting_may_have_a_part_for_one_connection():
    text = {"acme": "80/second; concurrency=8; [shop] 20/second endpoint; [other] none"}
    declared = rates("5/second")

    def limits(name: str):
        policy = policy_of("acme", declared, text, name)
        return [(rate.limit, rate.scope) for rate in policy.rates], policy.concurrency

    assert limits("shop") == ([("20/second", "endpoint")], None)
    assert limits("elsewhere") == ([("80/second", "account")], 8)
    assert policy_of("acme", declared, {"acme": "[shop] 1/second"}, "elsewhere") is declared
