"""Events that cannot be handled now wait, and those behind them; others go on; some are dead."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from itertools import pairwise

import pytest

from inbox_kit import Told, deliver, drain_now, events_of, states_of
from kit import START, make_bench
from tieline.auth import note_recovered
from tieline.contract import (
    NeedsReauthError,
    PermissionDeniedError,
    ProviderUnavailableError,
    RateLimitedError,
)
from tieline.engine import drain as draining
from tieline.records import PageWriter
from tieline.store import alerts, connections, dead_letters, drains
from tieline.store.tables import webhook_events


@pytest.fixture
def bench(database_url, tmp_path):
    made = make_bench(database_url, tmp_path, provider="ledger")
    made.ledger.clock = made.clock.now
    yield made
    made.installation.close()


def row(key: str, name: str = "one") -> dict:
    return {"id": key, "name": name, "created": 1}


def created(key: str, at: float, name: str = "one") -> Told:
    return Told(type="row.created", key=key, at=at, record=row(key, name))


def put(bench, key: str, name: str = "one") -> None:
    bench.ledger.rows[key] = row(key, name)


def test_a_record_that_cannot_be_read_now_waits_and_the_others_go_on(bench):
    put(bench, "a", "new")
    bench.ledger.refuses["get a"] = ProviderUnavailableError("500")
    put(bench, "b")
    ids = deliver(bench, *(Told(type="row.touched", key=key, at=-5) for key in "ab"))
    drain_now(bench)
    assert states_of(bench, ids) == ["pending", "done"]
    waiting = events_of(bench, ids[:1])[0]
    assert (waiting["attempts"], waiting["error_code"]) == (1, "provider-unavailable")
    assert START < waiting["due_at"] <= START + timedelta(seconds=2)
    bench.ledger.refuses.clear()
    drain_now(bench)  # it is not due yet
    assert states_of(bench, ids[:1]) == ["pending"]
    bench.clock.move(2)
    drain_now(bench)
    assert states_of(bench) == ["done", "done"]
    assert bench.stored_keys("rows") == ["a", "b"]


def test_the_pauses_grow_and_in_the_end_the_event_is_given_up(bench):
    bench.ledger.refuses["get"] = ProviderUnavailableError("500")
    deliver(bench, Told(type="row.touched", key="a", at=-5))
    pauses = []
    for _ in range(12):
        drain_now(bench)
        due_at = events_of(bench)[0]["due_at"]
        pauses.append((due_at - bench.clock.now()).total_seconds())
        bench.clock.move(pauses[-1])
    assert 1 <= pauses[0] <= 2
    assert 450 <= pauses[-1] <= 900
    assert all(later >= before / 2 for before, later in pairwise(pauses))
    with bench.database.write() as connection:
        connection.execute(webhook_events.update().values(attempts=299))
    drain_now(bench)
    [event] = events_of(bench)
    assert (event["state"], event["dead_kind"]) == ("dead", "theirs")


def test_later_events_of_a_record_wait_behind_the_one_that_failed(bench):
    bench.ledger.refuses["get a"] = ProviderUnavailableError("500")
    deliver(bench, Told(type="row.touched", key="a", at=-50))
    drain_now(bench)
    deliver(bench, created("a", -40, "second"), created("b", -40))
    drain_now(bench)
    assert states_of(bench) == ["pending", "pending", "done"]
    assert bench.stored_keys("rows") == ["b"]
    first, second, _ = events_of(bench)
    assert second["due_at"] == first["due_at"]
    assert (first["attempts"], second["attempts"]) == (1, 0)
    assert bench.sweep() == 0  # nobody is woken for what waits
    bench.ledger.refuses.clear()
    put(bench, "a", "second")
    bench.clock.move(2)
    assert bench.sweep() == 1
    assert bench.drains_rung == [bench.connection_id]
    drain_now(bench)
    assert set(states_of(bench)) == {"done"}


def test_a_limit_stops_the_asking_and_costs_no_snapshot(bench):
    bench.ledger.refuses["get"] = RateLimitedError("429", retry_after=40)
    touched = [Told(type="row.touched", key=f"k{n}", at=-5) for n in range(10)]
    deliver(bench, *touched, created("z", -5))
    drain_now(bench)
    assert bench.ledger.count("get") == 1
    assert states_of(bench) == ["pending"] * 10 + ["done"]
    assert {event["due_at"] for event in events_of(bench)[:10]} == {START + timedelta(seconds=40)}


def test_a_provider_that_is_down_is_not_asked_for_every_record(bench):
    bench.ledger.refuses["get"] = ProviderUnavailableError("503")
    deliver(bench, *(Told(type="row.touched", key=f"k{n}", at=-5) for n in range(10)))
    drain_now(bench)
    assert bench.ledger.count("get") == 3
    assert states_of(bench) == ["pending"] * 10


def test_a_refused_credential_marks_the_connection_and_the_events_wait_for_a_person(bench):
    bench.ledger.refuses["get"] = NeedsReauthError("401")
    ids = deliver(bench, Told(type="row.touched", key="a", at=-5))
    drain_now(bench)
    with bench.database.read() as connection:
        marked = connections.find_connection(connection, bench.connection_id)
        assert drains.undrained(connection, bench.clock.now()) == []
    assert marked.state == "needs_reauth"
    assert states_of(bench, ids) == ["pending"]
    assert events_of(bench)[0]["attempts"] == 0
    deliver(bench, created("b", -5))
    drain_now(bench)
    assert bench.stored_keys("rows") == []

    bench.ledger.refuses.clear()
    put(bench, "a")
    with bench.database.write() as connection:
        note_recovered(connection, bench.connection_id, actor="test", now=bench.clock.now())
    assert bench.sweep() == 1
    drain_now(bench)
    assert bench.stored_keys("rows") == ["a", "b"]


def test_a_missing_right_is_one_dead_letter_of_theirs_however_many_events_meet_it(bench):
    bench.ledger.refuses["get"] = PermissionDeniedError("403")
    deliver(bench, *(Told(type="row.touched", key=f"k{n}", at=-5) for n in range(7)))
    drain_now(bench)
    assert states_of(bench) == ["dead"] * 7
    assert {event["dead_kind"] for event in events_of(bench)} == {"theirs"}
    with bench.database.read() as connection:
        [letter] = dead_letters.list_dead_letters(connection)
        [alert] = alerts.list_alerts(connection)
    assert (letter.kind, letter.entity, letter.reason_code) == (
        "events-theirs",
        "rows",
        PermissionDeniedError.code,
    )
    assert "Rows: Read" in letter.reason
    assert (alert.kind, alert.subject) == ("events-dead", letter.id)


def test_a_bug_is_tried_again_and_then_a_dead_letter_of_ours(bench):
    bench.ledger.refuses["get bad"] = ValueError("an SDK's own")
    deliver(bench, created("b", -5), Told(type="row.touched", key="bad", at=-5), created("c", -5))
    for _ in range(5):
        drain_now(bench)
        bench.clock.move(900)
    assert states_of(bench) == ["done", "dead", "done"]
    assert events_of(bench)[1]["dead_kind"] == "ours"
    assert bench.ledger.count("get") == 5


def test_a_record_that_the_database_refuses_is_found_among_its_neighbours(bench, monkeypatch):
    write = PageWriter.write

    def refuse(self, connection, plan, **given):
        if any(new.record_id == "k07" for new in plan.new):
            raise RuntimeError("refused")
        return write(self, connection, plan, **given)

    monkeypatch.setattr(PageWriter, "write", refuse)
    deliver(bench, *(created(f"k{n:02}", -5) for n in range(20)))
    drain_now(bench)
    assert states_of(bench) == ["done"] * 7 + ["pending"] + ["done"] * 12
    assert len(bench.stored_keys("rows")) == 19


def test_an_event_that_kills_worker_after_worker_is_given_up_alone(bench):
    class Killed(BaseException):
        """What no code of ours catches, and no lease is given back after."""

    real, deaths = bench.ledger.get, []

    def die(key):
        if key == "k3":
            deaths.append(key)
            raise Killed
        return real(key)

    bench.ledger.get = die
    for key in (f"k{n}" for n in range(8)):
        put(bench, key)
        deliver(bench, Told(type="row.touched", key=key, at=-5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(draining.Drain, "_give_back", lambda self: None)
        for _ in range(12):
            with contextlib.suppress(Killed):
                drain_now(bench)
            bench.clock.move(3600)
    assert states_of(bench) == ["done"] * 3 + ["dead"] + ["done"] * 4
    [event] = [row for row in events_of(bench) if row["state"] == "dead"]
    assert (event["error_code"], event["dead_kind"]) == ("worker-lost", "ours")
    assert len(deaths) < 10


def test_events_that_wait_do_not_hide_the_ones_behind_them(bench, monkeypatch):
    monkeypatch.setattr(draining, "_AT_ONCE", 3)
    bench.ledger.refuses["get a"] = ProviderUnavailableError("500")
    deliver(bench, Told(type="row.touched", key="a", at=-50))
    drain_now(bench)
    deliver(bench, *(created("a", -40 + n) for n in range(9)), created("b", -5))
    drain_now(bench)
    assert bench.stored_keys("rows") == ["b"]
    assert bench.ledger.count("get") == 1
