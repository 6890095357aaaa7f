"""Events are handled once, in order per record, by the same order of truth as all copies."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from inbox_kit import Told, deliver, drain_now, events_of, states_of, table_of
from kit import START, make_bench, second_engine
from tieline.contract import (
    PermissionDeniedError,
)
from tieline.engine import drain as draining
from tieline.engine import drain_events
from tieline.errors import PluginLoadError
from tieline.services.connections import pause_connection, resume_connection
from tieline.store import dead_letters, drains, runs


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


def test_a_snapshot_becomes_a_record_without_a_call(bench):
    ids = deliver(bench, created("a", -30), created("b", -20))
    drain_now(bench)
    assert bench.stored_keys("rows") == ["a", "b"]
    assert {record.source for record in bench.stored("rows")} == {"webhook"}
    assert bench.ledger.calls == []
    assert states_of(bench, ids) == ["done", "done"]
    assert all(event["handled_at"] == START for event in events_of(bench))


def test_several_events_on_one_record_make_one_read(bench):
    put(bench, "a", "last")
    put(bench, "b")
    touched = [Told(type="row.touched", key="a", at=-60 + n) for n in range(20)]
    deliver(bench, *touched, Told(type="row.touched", key="b", at=-5), created("a", -3, "older"))
    drain_now(bench)
    assert sorted(key for kind, key in bench.ledger.calls if kind == "get") == ["a", "b"]
    assert set(states_of(bench)) == {"done"}
    assert '"last"' in {r.record_id: r.payload for r in bench.stored("rows")}["a"]


def test_a_deletion_becomes_a_tombstone_and_what_is_older_does_not_revive_it(bench):
    deliver(bench, created("a", -60), Told(type="row.deleted", key="a", at=-30))
    drain_now(bench)
    deliver(bench, created("a", -50, "late"))
    drain_now(bench)
    assert table_of(bench) == {"a": ("", True)}


def test_an_event_about_nothing_of_ours_is_ignored(bench):
    ids = deliver(
        bench,
        Told(type="row.created", key="a", at=-1, record=row("a"), entity=None),
        Told(type="row.created", key="a", at=-1, record=row("a"), entity="gone"),
        Told(type="row.imagined", key="a", at=-1, record=row("a")),
    )
    drain_now(bench)
    assert states_of(bench, ids) == ["ignored"] * 3
    assert table_of(bench) == {}


def test_an_event_that_holds_too_little_asks_for_a_run_of_its_entity(bench):
    put(bench, "a")
    ids = deliver(
        bench,
        Told(type="row.touched", key="a", at=-1, entity="listed"),
        Told(type="row.updated", key=None, at=-1, entity="listed"),
        Told(type="row.updated", key=None, at=-1),
    )
    drain_now(bench)
    with bench.database.read() as connection:
        asked = {run.entity: run for run in runs.list_runs(connection)}
    assert set(asked) == {"listed", "rows"}
    assert all(run.asked_by == "webhook" for run in asked.values())
    assert sorted(bench.rung) == sorted(run.id for run in asked.values())
    assert states_of(bench, ids) == ["done"] * 3
    assert bench.help(asked["listed"].id).state == "succeeded"
    assert bench.stored_keys("listed") == ["a"]


def test_a_run_that_is_under_way_may_be_past_the_change_so_another_is_asked_for(bench):
    first = bench.ask("listed")
    deliver(bench, Told(type="row.touched", key="a", at=-1, entity="listed"))
    drain_now(bench)
    assert states_of(bench) == ["pending"]
    bench.help(first.run.id)
    put(bench, "a")
    bench.clock.move(16)
    drain_now(bench)
    assert states_of(bench) == ["done"]
    assert bench.help(bench.rung[-1]).state == "succeeded"
    assert bench.stored_keys("listed") == ["a"]


def test_a_record_that_cannot_be_used_goes_to_quarantine_and_costs_its_event_nothing(bench):
    bad = Told(type="row.created", key="a", at=-9, record={"id": "a", "name": 7})
    deliver(bench, bad, created("b", -8))
    drain_now(bench)
    assert bench.stored_keys("rows") == ["b"]
    first, second = events_of(bench)
    assert (first["state"], second["state"]) == ("done", "done")
    assert first["error_message"].startswith("quarantined: ")
    assert second["error_code"] is None


def test_more_events_than_a_batch_holds_are_handled_by_one_drain(bench, monkeypatch):
    monkeypatch.setattr(draining, "_AT_ONCE", 7)
    deliver(bench, *(created(f"k{n:03}", -5) for n in range(40)))
    drain_now(bench)
    assert len(bench.stored_keys("rows")) == 40


def test_a_connection_that_is_paused_under_a_drain_has_the_rest_of_its_events_wait(
    bench, monkeypatch
):
    monkeypatch.setattr(draining, "_AT_ONCE", 2)
    put(bench, "k0")
    real = bench.ledger.get

    def pause(key):
        pause_connection(bench.installation, "shop", actor="test")
        return real(key)

    bench.ledger.get = pause
    deliver(
        bench, Told(type="row.touched", key="k0", at=-5), *(created(f"z{n}", -5) for n in "123")
    )
    drain_now(bench)
    assert states_of(bench) == ["done", "done", "pending", "pending"]


def test_a_drain_that_goes_on_for_a_minute_makes_room_for_others(bench, monkeypatch):
    monkeypatch.setattr(draining, "_AT_ONCE", 5)
    look = draining.Drain._next

    def slow(self, desk):
        bench.clock.move(25)
        deliver(bench, *(created(f"{bench.clock.monotonic()} {n}", -5) for n in range(5)))
        return look(self, desk)

    monkeypatch.setattr(draining.Drain, "_next", slow)
    deliver(bench, created("first", -5))
    drain_now(bench)
    assert states_of(bench) == ["done"] * 15 + ["pending"]
    monkeypatch.undo()
    assert bench.sweep() == 1
    drain_now(bench)
    assert set(states_of(bench)) == {"done"}


def test_one_drain_at_a_time_has_a_connection(bench):
    deliver(bench, created("a", -5))
    now = bench.clock.now()
    with bench.database.write() as connection:
        held = drains.claim(
            connection,
            bench.connection_id,
            holder="another:1",
            now=now,
            lease_until=now + timedelta(seconds=60),
        )
    drain_now(bench)
    assert states_of(bench) == ["pending"]
    assert bench.sweep() == 0
    bench.clock.move(61)  # it died: whoever comes after its lease takes over
    assert bench.sweep() == 1
    drain_now(bench)
    assert states_of(bench) == ["done"]
    with bench.database.write() as connection:
        assert not drains.hold(connection, bench.connection_id, fence=held.fence, lease_until=now)


def take_over(bench):
    """Have another worker take the drain, after the lease of the one at work has lapsed."""
    bench.clock.move(3600)
    now = bench.clock.now()
    with bench.database.write() as connection:
        assert drains.claim(
            connection,
            bench.connection_id,
            holder="another:1",
            now=now,
            lease_until=now + timedelta(seconds=60),
        )


@pytest.mark.parametrize(
    "event",
    [
        created("a", -5),
        Told(type="row.touched", key="a", at=-5),
        Told(type="row.touched", key="a", at=-5, entity="listed"),
        Told(type="row.imagined", key="a", at=-5),
        Told(type="row.touched", key="forbidden", at=-5),
    ],
    ids=["a snapshot", "a read", "a run", "an ignored one", "a dead one"],
)
def test_a_drain_that_was_asleep_commits_nothing(bench, monkeypatch, event):
    put(bench, "a")
    bench.ledger.refuses["get forbidden"] = PermissionDeniedError("403")
    deliver(bench, event)
    look, seen = draining.Drain._next, []

    def look_and_sleep(self, desk):
        found = look(self, desk)
        if not seen:
            seen.append(found)
            take_over(bench)
        return found

    monkeypatch.setattr(draining.Drain, "_next", look_and_sleep)
    drain_now(bench)
    assert seen[0] != []
    assert states_of(bench) == ["pending"]
    assert (table_of(bench), bench.rung) == ({}, [])
    with bench.database.read() as connection:
        assert dead_letters.list_dead_letters(connection) == []


def test_a_broken_plugin_fails_events_by_our_fault_and_only_who_holds_the_drain_may_say_so(
    bench, monkeypatch
):
    def broken(_provider):
        if is_overtaken:
            take_over(bench)
        raise PluginLoadError("it does not import")

    monkeypatch.setattr(bench.engine.registry, "get", broken)
    deliver(bench, created("a", -5), created("b", -5))
    is_overtaken = True
    drain_now(bench)
    assert [event["attempts"] for event in events_of(bench)] == [0, 0]
    is_overtaken = False
    bench.clock.move(61)
    for _ in range(5):
        drain_now(bench)
        bench.clock.move(900)
    assert {(event["state"], event["dead_kind"]) for event in events_of(bench)} == {
        ("dead", "ours")
    }
    with bench.database.read() as connection:
        [letter] = dead_letters.list_dead_letters(connection)
    assert (letter.kind, letter.reason_code) == ("events-ours", "plugin-load")


def test_two_drains_of_which_one_was_asleep_end_in_what_is_true(bench, monkeypatch):
    put(bench, "a", "now")
    deliver(bench, Told(type="row.touched", key="a", at=-5))
    other = second_engine(bench)
    get = bench.ledger.get

    def sleepy(key):
        monkeypatch.setattr(bench.ledger, "get", get)
        bench.clock.move(3600)  # its lease lapses while it waits for the provider
        drain_events(other, bench.connection_id, threading.Event())
        assert states_of(bench) == ["done"]
        return {"id": "a", "name": "stale", "created": 1}

    monkeypatch.setattr(bench.ledger, "get", sleepy)
    drain_now(bench)
    [record] = bench.stored("rows")
    assert ('"now"' in record.payload, record.revision) == (True, 1)
    other.database.close()


def test_what_comes_in_during_the_last_look_is_not_left_lying(bench, monkeypatch):
    """A bell that finds the drain held is not rung again: the holder looks once more."""
    deliver(bench, created("a", -5))
    look, late = draining.Drain._next, []

    def look_and_deliver(self, desk):
        found = look(self, desk)
        if not found and not late:
            late.append(True)
            deliver(bench, created("b", -4))
            drain_now(bench)  # who comes now finds the drain held, and leaves
            assert states_of(bench) == ["done", "pending"]
        return found

    monkeypatch.setattr(draining.Drain, "_next", look_and_deliver)
    drain_now(bench)
    assert states_of(bench) == ["done", "done"]


def test_who_has_to_leave_leaves_the_rest_and_rings(bench):
    stop = threading.Event()
    real = bench.ledger.get

    def leave(key):
        stop.set()
        return real(key)

    bench.ledger.get = leave
    put(bench, "a")
    put(bench, "b")
    deliver(bench, *(Told(type="row.touched", key=key, at=-5) for key in "ab"))
    drain_now(bench, stop)
    assert states_of(bench) == ["pending", "pending"]
    assert bench.drains_rung == [bench.connection_id]
    bench.ledger.get = real
    drain_now(bench)
    assert states_of(bench) == ["done", "done"]


def test_a_sweep_rings_for_what_nobody_handles_and_for_nobody_who_rests(bench):
    assert bench.sweep() == 0
    deliver(bench, created("a", -5))
    assert bench.sweep() == 1
    assert bench.drains_rung == [bench.connection_id]
    pause_connection(bench.installation, "shop", actor="test")
    assert bench.sweep() == 0
    drain_now(bench)
    assert states_of(bench) == ["pending"]
    resume_connection(bench.installation, "shop", actor="test")
    assert bench.sweep() == 1


def test_a_time_that_is_none_does_not_outrank_what_comes_later(bench):
    put(bench, "a", "true")
    deliver(bench, created("a", 10**7, "from the future"))
    drain_now(bench)
    assert '"true"' in bench.stored("rows")[0].payload  # read again
    bench.clock.move(60)
    deliver(bench, created("a", -1, "later"))
    put(bench, "a", "later")
    drain_now(bench)
    assert '"later"' in bench.stored("rows")[0].payload


@pytest.mark.parametrize("kind", ["row.created", "row.deleted"])
def test_what_has_no_time_is_read_again_where_it_can_be(bench, kind):
    put(bench, "a", "true")
    record = row("a", "untimed") if kind == "row.created" else None
    deliver(bench, Told(type=kind, key="a", record=record))
    drain_now(bench)
    assert '"true"' in bench.stored("rows")[0].payload
    assert bench.ledger.count("get") == 1
