"""Events that have to be read, over real HTTP: tokens, clocks, a connection that goes away."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from grants_kit import connect_grant, installed
from inbox_kit import Told, deliver, drain_now, events_of, states_of
from market import APPLICATION, open_market
from tieline.contract import Secret
from tieline.engine import drain as draining
from tieline.services import connections as service
from tieline.services.connect import connect_api_key
from tieline.store import connections, records

MODULES = {"market": "market_plugin"}


@pytest.fixture
def market():
    with open_market() as opened:
        opened.put("e0", 8)
        yield opened


@pytest.fixture
def made(database_url, tmp_path):
    opened = installed(database_url, tmp_path, modules=MODULES, **APPLICATION)
    yield opened
    opened.close()


def bench_of(made, row):
    return SimpleNamespace(
        clock=made.clock, connection_id=row.id, database=made.database, engine=made.engine
    )


def changed(number: int) -> Told:
    return Told(type="thing.changed", key=f"e0-{number:04d}", at=-30, entity="e0")


def stored(made, row) -> list[records.StoredRecord]:
    with made.database.read() as connection:
        return records.read_records(connection, row.id, "e0", with_deleted=False)


def test_a_token_refused_before_its_time_is_renewed_and_nobody_is_asked(made, market):
    row = connect_grant(made, "market", market.url, name="books", account=3)
    bench = bench_of(made, row)
    deliver(bench, *(changed(number) for number in range(8)))

    def before(path):
        if path == "/thing/e0/e0-0004" and market.calls[path] == 1:
            market.members.clear()  # the tokens alone: the grant stands

    market.before = before
    drain_now(bench)
    assert states_of(bench) == ["done"] * 8
    assert len(stored(made, row)) == 8
    assert market.calls["/token"] == 1
    assert market.calls["/thing/e0/e0-0004"] == 2
    assert service.get_connection(made, "books").state == "ok"


def test_a_grant_that_is_gone_marks_the_connection_and_keeps_the_events(made, market):
    row = connect_grant(made, "market", market.url, name="books", account=3)
    bench = bench_of(made, row)
    deliver(bench, *(changed(number) for number in range(8)))
    market.members.clear()
    market.grants.clear()
    drain_now(bench)
    assert states_of(bench) == ["pending"] * 8
    assert {event["attempts"] for event in events_of(bench)} == {0}
    assert service.get_connection(made, "books").state == "needs_reauth"


def test_a_key_that_was_replaced_meanwhile_marks_nobody(made, market):
    row = connect(made, market)
    bench = bench_of(made, row)
    deliver(bench, *(changed(number) for number in range(8)))

    def before(path):
        if path == "/thing/e0/e0-0004" and market.calls[path] == 1:
            market.members.clear()
            connect(made, market, key="another-key", is_replacing=True)

    market.before = before
    drain_now(bench)
    assert states_of(bench) == ["done"] * 8
    assert service.get_connection(made, "shop").state == "ok"


def connect(made, market, *, key="a-key", **options):
    market.members[key] = "m0"
    return connect_api_key(
        made, "market", name="shop", key=Secret(key), base_url=market.url, actor="test", **options
    )


@pytest.mark.parametrize("ahead_s", [-7200, 7200])
def test_a_record_that_was_read_is_of_the_provider_s_time_whatever_our_clock_says(
    made, market, ahead_s
):
    """Else a clock that is ahead would have later changes taken for older ones."""
    row = connect(made, market)
    made.clock.move((datetime.now(UTC) - made.clock.now()).total_seconds() + ahead_s)
    bench = bench_of(made, row)
    deliver(bench, changed(1))
    drain_now(bench)
    [record] = stored(made, row)
    now = datetime.now(UTC).timestamp()
    assert now - 10 < record.rank / 1e6 <= now


def test_a_connection_that_is_removed_under_a_drain_takes_its_events_along(
    made, market, monkeypatch
):
    row = connect(made, market)
    bench = bench_of(made, row)
    deliver(bench, *(changed(number) for number in range(4)))
    look = draining.Drain._next

    def look_and_remove(self, desk):
        found = look(self, desk)
        with made.database.write() as connection:
            connections.delete_connection(connection, row.id)
        return found

    monkeypatch.setattr(draining.Drain, "_next", look_and_remove)
    drain_now(bench)
    assert events_of(bench) == []
    assert stored(made, row) == []


def test_a_connection_is_removed_with_all_its_events(made, market):
    row = connect(made, market)
    bench = bench_of(made, row)
    deliver(bench, changed(1))
    drain_now(bench)
    deliver(bench, changed(2))
    service.remove_connection(made, "shop", actor="test", is_forced=True)
    assert events_of(bench) == []
    drain_now(bench)


def test_a_connection_that_is_disconnected_under_a_drain_keeps_its_records_as_they_were(
    made, market
):
    row = connect(made, market)
    bench = bench_of(made, row)
    deliver(bench, changed(1))
    drain_now(bench)

    def before(path):
        if path == "/thing/e0/e0-0002":
            service.remove_connection(made, "shop", actor="test", keeps_records=True)

    market.before = before
    deliver(bench, changed(2), changed(3))
    drain_now(bench)
    assert states_of(bench) == ["done", "ignored", "ignored"]
    assert [record.record_id for record in stored(made, row)] == ["e0-0001"]


def test_two_drains_at_once_handle_each_event_once(made, market):
    row = connect(made, market)
    bench = bench_of(made, row)
    deliver(bench, *(changed(number) for number in range(8)))
    hands = [threading.Thread(target=drain_now, args=(bench,)) for _ in range(4)]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join()
    assert states_of(bench) == ["done"] * 8
    assert sum(count for path, count in market.calls.items() if "/thing/" in path) == 8
    assert {event["handled_at"] - made.clock.now() for event in events_of(bench)} == {timedelta(0)}
