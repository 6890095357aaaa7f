"""Grants that nobody uses are kept alive, and their ends are told in time, once."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest

from grants_kit import (
    application,
    calls_of,
    connect_grant,
    engine_of,
    installed,
    move,
    present,
    script,
    served,
    told,
)
from kit import entry_point
from market import APPLICATION, open_market
from tieline.clock import ManualClock
from tieline.engine import upkeep
from tieline.engine.upkeep import look_after_grants
from tieline.registry import Registry
from tieline.services import connections as service
from tieline.store import grants, log
from tieline.store.tables import grants as table

DAY = timedelta(days=1)
ALL = {"after": "", "limit": 1000}


@pytest.fixture
def market():
    with open_market() as opened:
        yield opened


@pytest.fixture
def made(database_url, tmp_path):
    opened = installed(database_url, tmp_path, modules={"market": "market_plugin"}, **APPLICATION)
    yield opened
    opened.close()


def grant_of(made, name="shop"):
    row = service.get_connection(made, name)
    return service.get_grant(made, row)


def warnings(made) -> list[str]:
    with made.database.read() as transaction:
        entries = log.list_entries(transaction, limit=1000)
    return [each["detail"] for each in entries if each["event"] == "connection.consent_ends"]


def ends_in(made, length: timedelta, name="shop") -> None:
    """Let a consent end at a certain time, whatever the provider said."""
    row = service.get_connection(made, name)
    with made.database.write() as transaction:
        transaction.execute(
            table.update()
            .where(table.c.connection_id == row.id)
            .values(refresh_expires_at=made.clock.now() + length)
        )


@pytest.mark.parametrize(
    ("provider", "every", "tokens"),
    [("square", 7, "/oauth2/token"), ("quickbooks", 30, "/oauth2/v1/tokens/bearer")],
)
def test_an_idle_grant_is_renewed_as_often_as_its_provider_wants(
    sqlite_url, tmp_path, provider, every, tokens
):
    with served(provider) as url:
        made = installed(sqlite_url, tmp_path, **application(provider))
        connect_grant(made, provider, url, name="shop")
        move(made, every * DAY, url)
        assert look_after_grants(made.engine) == 0
        move(made, 1, url)
        assert look_after_grants(made.engine) == 1
        assert look_after_grants(made.engine) == 0
        assert calls_of(url, tokens) == 1
        assert grant_of(made).refreshed_at == made.clock.now()
        for _ in range(12):  # a year, or three months, without a single sync
            move(made, every * DAY + timedelta(hours=1), url)
            assert look_after_grants(made.engine) == 1
        assert service.test_connection(made, "shop", actor="test").row.state == "ok"
        assert warnings(made) == []  # the end that moves on is none
        made.close()


@pytest.mark.parametrize("provider", ["stripe", "mailchimp"])
def test_what_never_ends_is_left_alone(sqlite_url, tmp_path, provider):
    with served(provider) as url:
        made = installed(sqlite_url, tmp_path, **application(provider))
        connect_grant(made, provider, url, name="shop")
        move(made, 400 * DAY, url)
        assert look_after_grants(made.engine) == 0
        assert told(url)["token_calls"] == 0
        made.close()


def test_a_paused_connection_is_kept_alive_too(made, market):
    connect_grant(made, "market", market.url, name="shop")
    service.pause_connection(made, "shop", actor="test")
    made.clock.move(8 * 86400)
    assert look_after_grants(made.engine) == 1


def test_three_schedulers_renew_each_grant_once(made, market):
    for number in range(10):
        connect_grant(made, "market", market.url, name=f"b{number}", account=number)
    made.clock.move(8 * 86400)
    engines = [engine_of(made, is_another=True) for _ in range(3)]
    counted, failed = [], []

    def look(engine):
        try:
            counted.append(look_after_grants(engine))
        except BaseException as error:  # noqa: BLE001 - for the test's own thread
            failed.append(error)

    hands = [threading.Thread(target=look, args=(engine,)) for engine in engines]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join(30)
    for engine in engines:
        engine.database.close()
    assert failed == []
    assert market.calls["/token"] == 10
    assert {grant_of(made, f"b{number}").generation for number in range(10)} == {2}


def test_people_are_warned_thirty_seven_and_one_days_before_the_end_each_time_once(made, market):
    connect_grant(made, "market", market.url, name="shop")
    ends_in(made, 40 * DAY)
    end = grant_of(made).refresh_expires_at
    engines = [made.engine, *(engine_of(made, is_another=True) for _ in range(2))]
    told_on = []
    for day in range(41):
        before = len(warnings(made))
        for engine in engines:
            look_after_grants(engine)
        if len(warnings(made)) > before:
            told_on.append(day)
        made.clock.move(86400)
    for engine in engines[1:]:
        engine.database.close()
    assert told_on == [10, 33, 39]
    assert warnings(made)[0] == (
        f"the consent ends at {end:%Y-%m-%d %H:%M} UTC, in 30 days; tieline connections reauth shop"
    )


def test_tokens_that_are_renewed_meanwhile_repeat_no_warning(made, market):
    """Those of QuickBooks are, every hour; the end of the consent stays where it is."""
    connect_grant(made, "market", market.url, name="shop")
    ends_in(made, 29 * DAY)
    look_after_grants(made.engine)
    assert len(warnings(made)) == 1
    end = grant_of(made).refresh_expires_at
    for hour in range(1, 6):
        made.clock.move(3600)
        _advance(made, end + timedelta(seconds=hour))  # as told in seconds from now
        look_after_grants(made.engine)
    assert len(warnings(made)) == 1
    _advance(made, end + 365 * DAY)
    ends_in(made, 29 * DAY)
    look_after_grants(made.engine)
    assert len(warnings(made)) == 2


def _advance(made, end):
    row = service.get_connection(made, "shop")
    with made.database.write() as transaction:
        found = grants.read_grant(transaction, row.id)
        assert grants.advance_grant(
            transaction,
            row.id,
            generation=found.generation,
            scopes=None,
            access_expires_at=made.clock.now() + timedelta(hours=1),
            refresh_expires_at=end,
            previous_until=None,
            now=made.clock.now(),
        )


def test_a_consent_that_ends_soon_but_is_renewed_is_not_warned_of(sqlite_url, tmp_path):
    """Nobody looked for three months; the refresh itself moves the end."""
    with served("quickbooks") as url:
        made = installed(sqlite_url, tmp_path, **application("quickbooks"))
        connect_grant(made, "quickbooks", url, name="shop")
        move(made, 95 * DAY, url)
        assert look_after_grants(made.engine) == 1
        assert warnings(made) == []
        assert look_after_grants(made.engine) == 0
        assert warnings(made) == []
        made.close()


def test_a_dead_grant_is_marked_once_and_holds_up_no_other(made, market):
    for number in range(4):
        connect_grant(made, "market", market.url, name=f"b{number}", account=number)
    ends_in(made, 20 * DAY, "b0")
    dead = next(token for token, account in market.grants.items() if account == "m0")
    del market.grants[dead]
    made.clock.move(8 * 86400)
    assert look_after_grants(made.engine) == 3
    assert service.get_connection(made, "b0").state == "needs_reauth"
    assert warnings(made) == []
    made.clock.move(8 * 86400)
    assert look_after_grants(made.engine) == 3
    assert market.calls["/token"] == 7


@pytest.mark.parametrize("provider", ["market", "gone"])
def test_a_plugin_that_breaks_holds_up_no_other_provider(made, market, provider):
    connect_grant(made, "market", market.url, name="b1", account=1)
    connect_grant(made, "market", market.url, name="b2", account=2)
    made.clock.move(8 * 86400)
    with made.database.write() as transaction:  # the first by its id
        transaction.exec_driver_sql(
            "UPDATE connections SET provider = 'gone' WHERE id ="
            " (SELECT MIN(connection_id) FROM grants)"
        )
    points = [entry_point("market", "market_plugin")]
    if provider == "market":
        points.append(entry_point("gone", "no_such_module"))
    object.__setattr__(made.engine, "registry", Registry(given=points))
    assert look_after_grants(made.engine) == 1


def test_a_bug_with_one_grant_holds_up_no_other(made, market, monkeypatch, caplog):
    for number in range(3):
        connect_grant(made, "market", market.url, name=f"b{number}", account=number)
    made.clock.move(8 * 86400)
    refresher = made.engine.opener.refresher
    renew, broken = refresher.renew, []

    def breaking(connection_id, **given):
        if not broken:
            broken.append(connection_id)
            raise ZeroDivisionError
        return renew(connection_id, **given)

    monkeypatch.setattr(refresher, "renew", breaking)
    assert look_after_grants(made.engine) == 2
    assert "ZeroDivisionError" in caplog.text


class RealSeconds(ManualClock):
    """Dates move when they are told to; durations are real."""

    def monotonic(self):
        return time.monotonic()


def test_a_provider_that_does_not_answer_is_waited_for_once_a_round(
    sqlite_url, tmp_path, monkeypatch
):
    monkeypatch.setattr(upkeep, "_SLOW_S", 0.2)
    with served("square") as slow, served("quickbooks") as well:
        made = installed(
            sqlite_url,
            tmp_path,
            clock=RealSeconds(present()),
            token_deadline_s="0.3",
            **application("square"),
            **application("quickbooks"),
        )
        for number in range(3):
            connect_grant(made, "square", slow, name=f"s{number}", account=number)
        connect_grant(made, "quickbooks", well, name="books")
        move(made, 31 * DAY, well)
        script(slow, {"kind": "delay", "path": "/oauth2/token", "times": 0, "seconds": 3})
        assert look_after_grants(made.engine) == 1
        assert grant_of(made, "books").generation == 2
        with made.database.read() as transaction:
            failures = [grant.failures for _, grant in grants.list_grants(transaction, **ALL)]
        assert sorted(failures) == [0, 0, 0, 1]  # one account's attempt, not three accounts'
        made.close()


def test_a_process_that_has_to_leave_takes_up_no_further_grant(made, market):
    for number in range(3):
        connect_grant(made, "market", market.url, name=f"b{number}", account=number)
    made.clock.move(8 * 86400)
    stop = threading.Event()
    market.before = lambda path: path == "/token" and stop.set()
    assert look_after_grants(made.engine, stop) == 1  # the one at hand is stored
    assert market.calls["/token"] == 1
