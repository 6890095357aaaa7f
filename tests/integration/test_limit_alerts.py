"""What the throttles met becomes one alert per crossing; an operator corrects the limits."""

from __future__ import annotations

from datetime import timedelta

import orjson
import pytest

from kit import make_bench
from tieline.clock import SystemClock
from tieline.contract import RateLimitedError, RateLimitPolicy, Reply
from tieline.errors import DependencyError, InvalidInputError, NotFoundError
from tieline.services import limits as service
from tieline.services.limit_alerts import is_any_event, watch_limits
from tieline.store import alerts, log
from tieline.throttle import Ledger, Throttle, policy_of
from tieline.throttle.keys import EVENTS
from tieline.transport import Call


@pytest.fixture
def bench(database_url, redis_url, tmp_path):
    made = make_bench(
        database_url, tmp_path, redis_url=redis_url, shelf_rate_limits="20/minute; concurrency=3"
    )
    made.installation.clock = made.clock  # starts at the real time: Redis has its own
    made.clock.move((SystemClock().now() - made.clock.now()).total_seconds())
    yield made
    made.installation.close()


def throttle_of(bench) -> Throttle:
    [account] = service.accounts_of(bench.installation)
    client = bench.installation.redis
    return Throttle(client, account.connection, account.policy, clock=SystemClock())


CALL = Call(connection_id="c", method="GET", host="shelf.example.com", path="/items")


def call(throttle, status: int = 200, **headers: str) -> None:
    with throttle.passing(CALL):
        throttle.saw(CALL, Reply(status=status, headers=headers, content=b"", seconds=0.1))


def note(bench, kind: str, place: str, subject: str) -> None:
    event = {"kind": kind, "place": place, "subject": subject, "at": bench.clock.now().timestamp()}
    bench.installation.redis.rpush(EVENTS, orjson.dumps(event))


def place_of(bench) -> str:
    [account] = service.accounts_of(bench.installation)
    return account.place


def open_alerts(bench):
    with bench.database.read() as connection:
        return alerts.list_alerts(connection)


def test_a_limit_that_is_nearly_used_alerts_once_and_names_the_account(bench):
    throttle = throttle_of(bench)
    for _ in range(17):
        call(throttle)
    assert is_any_event(bench.installation)
    watch_limits(bench.installation)
    assert not is_any_event(bench.installation)
    watch_limits(bench.installation)
    [alert] = open_alerts(bench)
    assert (alert.kind, alert.connection_name, alert.times) == ("limit-near", "shop", 1)
    assert (alert.facts["limit"], alert.facts["used"]) == (20, 17)
    assert alert.facts["connections"] == ["shop"]
    assert alert.hint == "tieline limits shop"


def test_a_crossing_is_not_forgotten_before_its_alert_is_committed(bench, monkeypatch):
    note(bench, "near-limit", place_of(bench), "all calls")
    with monkeypatch.context() as patch:
        patch.setattr(bench.installation.database, "transact", refuse)
        with pytest.raises(DependencyError):
            watch_limits(bench.installation)
    assert is_any_event(bench.installation)
    watch_limits(bench.installation)
    assert [alert.kind for alert in open_alerts(bench)] == ["limit-near"]
    assert not is_any_event(bench.installation)


def refuse(*_: object) -> None:
    raise DependencyError("the database is away")


def test_a_limit_of_the_whole_application_alerts_once_whichever_account_made_it(bench):
    from dataclasses import replace

    from tieline.store import connections

    text = {"shelf": "20/minute application"}
    bench.installation.settings = replace(bench.installation.settings, rate_limits=text)
    [first] = service.accounts_of(bench.installation)
    with bench.database.write() as connection:
        other = replace(first.row, id="con_other", name="other", account_id="acct_other")
        connections.add_connection(connection, other)
    for account in service.accounts_of(bench.installation):
        client = bench.installation.redis
        throttle = Throttle(client, account.connection, account.policy, clock=SystemClock())
        for _ in range(9):
            call(throttle)
        note(bench, "near-limit", account.place, "all calls of the application")
    watch_limits(bench.installation)
    [alert] = open_alerts(bench)
    assert (alert.connection_id, alert.provider, alert.times) == (None, "shelf", 2)
    bench.clock.move(400)
    watch_limits(bench.installation, with_quiet_ones=True)
    assert len(open_alerts(bench)) == 1  # it is still used up


def test_a_refusal_alerts_once_however_many_there_are(bench):
    throttle = throttle_of(bench)
    for _ in range(2):
        call(throttle, 429, **{"retry-after": "0"})
        watch_limits(bench.installation)
    refused = [alert for alert in open_alerts(bench) if alert.kind == "limit-refused"]
    assert len(refused) == 1


@pytest.mark.parametrize("kind", ["near-limit", "refused"])
def test_a_crossing_of_a_limit_is_over_after_five_quiet_minutes(bench, kind):
    note(bench, kind, place_of(bench), "all calls")
    watch_limits(bench.installation)
    bench.clock.move(290)
    note(bench, kind, place_of(bench), "all calls")
    watch_limits(bench.installation, with_quiet_ones=True)
    [alert] = open_alerts(bench)
    assert alert.times == 2
    bench.clock.move(290)
    watch_limits(bench.installation, with_quiet_ones=True)
    assert len(open_alerts(bench)) == 1
    bench.clock.move(20)
    watch_limits(bench.installation, with_quiet_ones=True)
    assert open_alerts(bench) == []
    note(bench, kind, place_of(bench), "all calls")
    watch_limits(bench.installation)
    assert len(open_alerts(bench)) == 1


def test_a_limit_that_is_still_nearly_used_stays_open(bench):
    throttle = throttle_of(bench)
    for _ in range(17):
        call(throttle)
    watch_limits(bench.installation)
    bench.clock.move(600)  # ours; the window is in the time of Redis
    watch_limits(bench.installation, with_quiet_ones=True)
    assert len(open_alerts(bench)) == 1


def test_a_breaker_alerts_when_it_opens_and_is_over_when_it_closes(bench):
    for kind in ("breaker-opened", "breaker-opened", "breaker-closed", "breaker-opened"):
        note(bench, kind, bench.connection_id, "shelf.example.com")
    watch_limits(bench.installation)
    with bench.database.read() as connection:
        every = alerts.list_alerts(connection, with_closed=True)
    assert sorted(alert.state for alert in every) == ["closed", "open"]
    assert {alert.kind for alert in every} == {"breaker-open"}
    watch_limits(bench.installation, with_quiet_ones=True)  # none is open: its event was lost
    assert open_alerts(bench) == []


def test_a_breaker_that_a_provider_opens_is_alerted_to_until_somebody_closes_it(bench):
    throttle = throttle_of(bench)
    for _ in range(5):
        call(throttle, 503)
    watch_limits(bench.installation, with_quiet_ones=True)
    [alert] = open_alerts(bench)
    assert (alert.kind, alert.facts["host"]) == ("breaker-open", "shelf.example.com")
    [shown] = service.show_limits(bench.installation)
    assert [each.state for each in shown.standing.breakers] == ["open"]
    assert service.reset_breaker(bench.installation, "shop", actor="test")
    assert not service.reset_breaker(bench.installation, "shop", actor="test")
    watch_limits(bench.installation, with_quiet_ones=True)
    assert open_alerts(bench) == []
    call(throttle)


@pytest.mark.parametrize("place", ["tieline:throttle:gone:acct", "con_gone"])
def test_what_is_met_of_a_connection_that_is_gone_alerts_nobody(bench, place):
    note(bench, "near-limit", place, "all calls")
    note(bench, "breaker-opened", place, "host")
    note(bench, "some-later-kind", place, "x")
    watch_limits(bench.installation)
    assert open_alerts(bench) == []


def test_redis_that_is_away_is_said(database_url, tmp_path):
    bench = make_bench(database_url, tmp_path)
    with pytest.raises(DependencyError):
        watch_limits(bench.installation)
    bench.installation.close()


def test_limits_that_are_set_hold_at_the_next_call_and_end_by_themselves(bench):
    throttle = throttle_of(bench)
    call(throttle)
    [shown] = service.set_limits(bench.installation, "shop", "2/hour", lasting="2h", actor="ops")
    assert shown.standing.override == "2/hour"
    left = shown.standing.override_until - SystemClock().now()
    assert timedelta(hours=1, minutes=59) < left <= timedelta(hours=2, seconds=5)
    call(throttle)
    call(throttle)
    with pytest.raises(RateLimitedError):
        call(throttle)
    with bench.database.read() as connection:
        entries = log.list_entries(connection)
    assert [entry["actor"] for entry in entries if entry["event"] == "limits.set"] == ["ops"]

    [shown] = service.reset_limits(bench.installation, "shop", actor="ops")
    assert shown.standing.override == ""
    call(throttle)


def test_a_provider_s_name_sets_all_its_accounts(bench):
    [shown] = service.set_limits(bench.installation, "shelf", "8/s", lasting="30m", actor="ops")
    assert (shown.names, shown.standing.override) == ("shop", "8/second")


MISTAKES = {
    "no limit": (("shop", "fast"), "2h", InvalidInputError, "limits"),
    "nothing": (("shop", " "), "2h", InvalidInputError, "none"),
    "no time": (("shop", "8/second"), "soon", InvalidInputError, "for: 'soon'"),
    "too long": (("shop", "8/second"), "31d", InvalidInputError, "30 d"),
    "unknown": (("shp", "8/second"), "2h", NotFoundError, "shp"),
}


@pytest.mark.parametrize("case", MISTAKES, ids=MISTAKES)
def test_what_makes_no_sense_sets_nothing(bench, case):
    given, lasting, error, words = MISTAKES[case]
    with pytest.raises(error) as caught:
        service.set_limits(bench.installation, *given, lasting=lasting, actor="ops")
    assert words in caught.value.message + caught.value.hint
    [shown] = service.show_limits(bench.installation)
    assert shown.standing.override == ""


def test_what_was_learned_is_forgotten_when_somebody_says_so(bench):
    throttle = throttle_of(bench)
    call(throttle, 429, **{"retry-after": "60"})
    [shown] = service.show_limits(bench.installation, "shop")
    assert shown.standing.paused_until is not None
    [shown] = service.reset_limits(bench.installation, "shop", actor="ops")
    assert (shown.standing.paused_until, shown.standing.share) == (None, 1.0)


def test_the_policy_is_the_settings_and_the_ledger_knows_it(bench):
    [account] = service.accounts_of(bench.installation)
    text = "20/minute; concurrency=3"
    assert account.policy == policy_of("shelf", RateLimitPolicy(), {"shelf": text})
    standing = Ledger(bench.installation.redis).standing(account.connection, account.policy)
    assert standing.in_flight is not None
    assert standing.in_flight.limit == 3
