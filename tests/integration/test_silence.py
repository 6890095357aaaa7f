"""What no delivery told is read: after a silence, and after nobody was there to listen."""

from __future__ import annotations

from datetime import timedelta

import pytest

from inbox_kit import Told, deliver, drain_now, events_of, states_of
from kit import make_bench
from tieline.engine.silence import drop_handled_events, look_after_endpoints, note_served
from tieline.services.alerts import list_alerts
from tieline.services.connections import pause_connection
from tieline.store import endpoints, runs

HOUR = 3600


@pytest.fixture
def bench(database_url, tmp_path):
    made = make_bench(database_url, tmp_path, provider="ledger")
    made.ledger.clock = made.clock.now
    yield made
    made.installation.close()


def add_endpoint(bench, endpoint_id="whe_a", *, of=None, expects_every_s=HOUR):
    with bench.database.write() as connection:
        endpoints.add_endpoint(
            connection,
            endpoint_id=endpoint_id,
            provider="ledger",
            environment="live",
            connection_id=bench.connection_id if of is None else None,
            address="https://tieline.example.com/webhooks/ledger/whe_a",
            scheme_level="signature",
            expects_every_s=expects_every_s,
            now=bench.clock.now(),
        )


def hear(bench, endpoint_id="whe_a"):
    with bench.database.write() as connection:
        endpoints.note_received(connection, [endpoint_id], bench.clock.now())


def asked(bench) -> list[str]:
    with bench.database.read() as connection:
        return sorted(run.entity for run in runs.list_runs(connection) if run.state == "queued")


def end_runs(bench) -> None:
    with bench.database.read() as connection:
        waiting = [run.id for run in runs.list_runs(connection) if run.state == "queued"]
    for run_id in waiting:
        assert bench.help(run_id).state == "succeeded"


def silent(bench) -> list[str]:
    return [a.subject for a in list_alerts(bench.installation) if a.kind == "webhooks-silent"]


@pytest.mark.parametrize("of", [None, "the application"])
def test_a_silence_is_told_and_what_was_missed_is_read(bench, of):
    add_endpoint(bench, of=of)
    hear(bench)
    bench.clock.move(HOUR)
    assert (look_after_endpoints(bench.engine), silent(bench)) == (0, [])
    bench.ledger.put("a")
    bench.clock.move(1)
    assert look_after_endpoints(bench.engine) == 2
    assert silent(bench) == ["whe_a"]
    assert asked(bench) == ["listed", "rows"]
    assert len(bench.rung) == 2
    end_runs(bench)
    assert bench.stored_keys("rows") == ["a"]


def test_a_silence_is_told_once_and_read_again_every_such_while(bench):
    add_endpoint(bench)
    bench.clock.move(HOUR + 1)
    assert look_after_endpoints(bench.engine) == 2
    end_runs(bench)
    for _ in range(3):
        bench.clock.move(HOUR / 4)
        assert look_after_endpoints(bench.engine) == 0
    bench.clock.move(HOUR / 4 + 1)
    assert look_after_endpoints(bench.engine) == 2
    assert silent(bench) == ["whe_a"]


def test_a_delivery_ends_the_silence(bench):
    add_endpoint(bench)
    bench.clock.move(HOUR + 1)
    look_after_endpoints(bench.engine)
    hear(bench)
    look_after_endpoints(bench.engine)
    assert silent(bench) == []
    bench.clock.move(HOUR + 1)
    end_runs(bench)
    assert look_after_endpoints(bench.engine) == 2
    assert silent(bench) == ["whe_a"]


def test_the_alert_of_an_endpoint_that_was_removed_is_over(bench):
    add_endpoint(bench)
    bench.clock.move(HOUR + 1)
    look_after_endpoints(bench.engine)
    with bench.database.write() as connection:
        endpoints.remove_endpoint(connection, "whe_a")
    assert silent(bench) == []


def test_no_run_is_asked_for_a_connection_that_rests(bench):
    add_endpoint(bench)
    pause_connection(bench.installation, "shop", actor="test")
    bench.clock.move(HOUR + 1)
    assert look_after_endpoints(bench.engine) == 0
    assert silent(bench) == ["whe_a"]


def test_an_endpoint_that_may_be_silent_for_ever_is_left_alone(bench):
    add_endpoint(bench, expects_every_s=None)
    bench.clock.move(1000 * HOUR)
    assert look_after_endpoints(bench.engine) == 0
    assert silent(bench) == []


def test_who_serves_again_after_a_while_has_read_what_was_missed(bench):
    add_endpoint(bench, expects_every_s=None)
    assert note_served(bench.engine) == 0  # the first server there ever was
    for _ in range(9):
        bench.clock.move(60)
        assert note_served(bench.engine) == 0
    bench.ledger.put("a")
    bench.clock.move(301)
    assert note_served(bench.engine) == 2
    assert note_served(bench.engine) == 0
    end_runs(bench)
    assert bench.stored_keys("rows") == ["a"]


def test_events_are_forgotten_a_while_after_they_were_handled_and_no_other(bench, monkeypatch):
    monkeypatch.setattr("tieline.engine.silence._AT_ONCE", 3)
    record = {"id": "a", "name": "one", "created": 1}
    told = [Told(type="row.created", key="a", at=-n, record=record) for n in range(7)]
    deliver(bench, *told, Told(type="row.imagined", key="a"))
    drain_now(bench)
    bench.clock.move(29 * 24 * HOUR)
    [kept] = deliver(bench, Told(type="row.created", key="b", at=-1, record={**record, "id": "b"}))
    drain_now(bench)
    assert drop_handled_events(bench.engine) == 0
    [pending] = deliver(bench, Told(type="row.touched", key="c", at=-1))
    bench.clock.move(timedelta(days=1, seconds=1).total_seconds())
    assert drop_handled_events(bench.engine) == 8
    assert [row["id"] for row in events_of(bench)] == [kept, pending]
    bench.clock.move(60 * 24 * HOUR)
    assert drop_handled_events(bench.engine) == 1
    assert states_of(bench) == ["pending"]
    assert bench.stored_keys("rows") == ["a", "b"]
