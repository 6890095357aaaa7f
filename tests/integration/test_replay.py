"""Events are handled once more when somebody asks, and it changes nothing that is newer."""

from __future__ import annotations

from datetime import timedelta

import pytest

from inbox_kit import ENDPOINT, Told, deliver, drain_now, events_of, states_of, table_of
from kit import START, make_bench
from tieline.errors import InvalidInputError, NotFoundError
from tieline.services import events as service
from tieline.store import log, records
from tieline.store.events import EventsWanted


@pytest.fixture
def bench(database_url, tmp_path):
    made = make_bench(database_url, tmp_path, provider="ledger")
    made.ledger.clock = made.clock.now
    yield made
    made.installation.close()


def created(key: str, at: float, name: str = "one", **more) -> Told:
    record = {"id": key, "name": name, "created": 1}
    return Told(type="row.created", key=key, at=at, record=record, **more)


def replay(bench, **wanted) -> int:
    connection = wanted.pop("connection", None)
    return service.replay_events(
        bench.installation, EventsWanted(**wanted), connection=connection, actor="me"
    )


def test_a_replay_of_everything_again_and_again_changes_nothing(bench):
    bench.ledger.rows = {key: {"id": key, "name": "last", "created": 1} for key in "abc"}
    deliver(bench, *(created(key, -90, "first") for key in "abc"))
    deliver(bench, *(created(key, -60, "last") for key in "abc"))
    deliver(bench, created("d", -50), Told(type="row.deleted", key="d", at=-40))
    drain_now(bench)
    replay_and_compare(bench, times=100)


@pytest.mark.slow
def test_an_event_that_is_replayed_a_thousand_times_changes_nothing(bench):
    deliver(bench, created("a", -90, "first"), created("a", -60, "last"))
    drain_now(bench)
    replay_and_compare(bench, times=1000)


def replay_and_compare(bench, *, times: int) -> None:
    count, before, position = len(events_of(bench)), table_of(bench), position_of(bench)
    for _ in range(times):
        assert replay(bench, connection="shop") == count
        drain_now(bench)
    assert table_of(bench) == before
    assert position_of(bench) == position  # nobody who reads the feed sees any of it
    assert set(states_of(bench)) == {"done"}
    assert {event["replays"] for event in events_of(bench)} == {times}


def position_of(bench) -> int:
    with bench.database.read() as connection:
        found = records.read_records(connection, bench.connection_id, "rows")
    return max(record.position for record in found)


def test_a_replay_brings_back_what_was_lost_here(bench):
    deliver(bench, created("a", -5), created("b", -5))
    drain_now(bench)
    with bench.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM records")
    assert replay(bench, states=["done"]) == 2
    assert bench.drains_rung == [bench.connection_id]
    drain_now(bench)
    assert bench.stored_keys("rows") == ["a", "b"]
    assert [event["replays"] for event in events_of(bench)] == [1, 1]
    with bench.database.read() as connection:
        entries = [each for each in log.list_entries(connection) if each["actor"] == "me"]
    assert [each["event"] for each in entries] == ["events.replayed"]


@pytest.mark.parametrize(
    ("wanted", "keys"),
    [
        ({"since": START + timedelta(seconds=60)}, "cd"),
        ({"until": START + timedelta(seconds=60)}, "ab"),
        ({"types": ["row.touched"]}, "d"),
        ({"types": ["row.touched", "row.imagined"]}, "bd"),
        ({"states": ["ignored"]}, "b"),
        ({"entity": "rows"}, "abcd"),
        ({"endpoint_id": "whe_other"}, ""),
        ({"endpoint_id": ENDPOINT, "states": ["done"], "until": START + timedelta(1)}, "acd"),
    ],
)
def test_a_range_is_what_fits_everything_that_is_said(bench, wanted, keys):
    deliver(bench, created("a", -5), Told(type="row.imagined", key="b", at=-5))
    bench.clock.move(60)
    deliver(bench, created("c", -5), Told(type="row.touched", key="d", at=-5))
    drain_now(bench)
    listed = service.list_events(bench.installation, EventsWanted(**wanted))
    assert "".join(reversed([row.record_key for row in listed])) == keys
    assert replay(bench, **wanted) == len(keys)
    pending = [row["record_key"] for row in events_of(bench) if row["state"] == "pending"]
    assert "".join(pending) == keys


def test_events_that_are_pending_are_left_as_they_are(bench):
    ids = deliver(bench, created("a", -5))
    assert replay(bench, ids=ids) == 0
    assert events_of(bench)[0]["replays"] == 0


def test_a_replay_of_nothing_in_particular_is_refused(bench):
    with pytest.raises(InvalidInputError) as caught:
        replay(bench)
    assert caught.value.slug == "events-choice"


@pytest.mark.parametrize("event_id", ["evt_x", "", "x" * 10**6, "a\0b", "é", "'; --"])
def test_an_unknown_event_is_not_found(bench, event_id):
    with pytest.raises(NotFoundError):
        service.get_event(bench.installation, event_id)
    ids = deliver(bench, created("a", -5))
    with pytest.raises(NotFoundError):
        replay(bench, ids=[*ids, event_id])
    assert events_of(bench)[0]["replays"] == 0


def test_an_event_is_shown_with_its_delivery(bench):
    [event_id] = deliver(bench, created("a", -5))
    shown = service.get_event(bench.installation, event_id)
    assert (shown.row.record_key, shown.row.state) == ("a", "pending")
    assert shown.text == '{"type": "row.created", "id": "a"}'
    assert shown.headers == {}


def test_more_than_a_part_of_a_range_is_replayed(bench, monkeypatch):
    monkeypatch.setattr(service, "_AT_ONCE", 7)
    deliver(bench, *(created(f"k{n:02}", -5) for n in range(21)))
    drain_now(bench)
    assert replay(bench, connection="shop") == 21
    assert set(states_of(bench)) == {"pending"}
