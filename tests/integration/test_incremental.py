"""Incremental runs: by the provider's log of changes, and everything when that cannot be had."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from kit import make_bench, names
from ledger_plugin import refused
from tieline.contract import Change, PermissionDeniedError, RateLimitedError
from tieline.records import rank_of
from tieline.store import connections, copies


@pytest.fixture
def bench(database_url, tmp_path):
    made = make_bench(database_url, tmp_path, provider="ledger")
    yield made
    made.installation.close()


def sync(bench, mode="incremental", entity="rows", **options):
    run = bench.sync(entity, mode, **options)
    bench.clock.move(60)
    return run


def put(bench, *keys, **extra):
    for key in keys:
        bench.ledger.put(key, **extra)


def payloads(bench, entity="rows") -> dict[str, dict]:
    return {row.record_id: json.loads(row.payload) for row in bench.stored(entity)}


def synced_until(bench, entity="rows"):
    with bench.database.read() as connection:
        return connections.read_entity_state(connection, bench.connection_id, entity).synced_until


def test_the_first_run_reads_everything_and_says_why(bench):
    put(bench, *names(7))
    run = sync(bench)
    assert (run.mode, run.state, run.counts.created) == ("full", "succeeded", 7)
    assert "nothing was synced" in run.reason


def test_a_second_run_reads_the_log_alone_and_writes_what_changed(bench):
    put(bench, *names(40))
    sync(bench)
    bench.clock.move(3600)
    bench.ledger.put("k0001", name="other")
    bench.ledger.put("new", name="new")
    bench.ledger.remove("k0002")
    bench.ledger.calls.clear()
    run = sync(bench)
    assert (run.mode, run.state, run.reason) == ("incremental", "succeeded", "")
    assert {kind for kind, _ in bench.ledger.calls} == {"feed"}
    assert (run.counts.created, run.counts.updated, run.counts.deleted) == (1, 1, 1)
    assert payloads(bench) == bench.ledger.rows


def test_a_run_in_which_nothing_changed_writes_no_record(bench):
    put(bench, *names(20))
    sync(bench)
    bench.clock.move(3600)
    sync(bench)
    before = [(r.position, r.revision, r.rank, r.changed_at) for r in bench.stored()]
    bench.ledger.calls.clear()
    run = sync(bench)
    assert run.counts.created == run.counts.updated == run.counts.deleted == 0
    assert len(bench.ledger.calls) == 1
    assert [(r.position, r.revision, r.rank, r.changed_at) for r in bench.stored()] == before


def test_the_log_is_read_from_a_little_before_the_last_run(bench):
    put(bench, "a")
    sync(bench)
    until = synced_until(bench)
    sync(bench)
    assert bench.ledger.calls[-1] == ("feed", until - timedelta(minutes=10))


def test_a_log_that_does_not_reach_back_is_no_reason_to_lose_a_record(bench):
    put(bench, *names(5))
    sync(bench)
    bench.ledger.hears = False
    bench.ledger.put("unheard")
    bench.ledger.remove("k0001")
    bench.ledger.hears = True
    bench.clock.move(31 * 24 * 3600)
    run = sync(bench)
    assert run.mode == "full"
    assert "reaches back 30 days" in run.reason
    assert payloads(bench) == bench.ledger.rows


def test_a_log_that_moved_on_while_the_run_waited_is_not_trusted(bench):
    """The plan was good when the run was asked for; ``layer 1, seed 930`` lost records by it."""
    put(bench, *names(5))
    sync(bench)
    bench.ledger.hears = False  # by the time it is read, the log has forgotten this
    bench.ledger.put("forgotten")
    bench.ledger.remove("k0001")
    bench.ledger.hears = True
    asked = bench.ask("rows", "incremental").run
    assert asked.mode == "incremental"
    bench.clock.move(31 * 24 * 3600)
    run = bench.help(asked.id)
    assert (run.mode, run.state) == ("full", "succeeded")
    assert "waited for longer than it reaches" in run.reason
    assert payloads(bench) == bench.ledger.rows


def test_a_call_that_waited_for_its_turn_dates_nothing_into_the_future(bench, monkeypatch):
    """The wait was taken for a clock that is ahead; ``layer 2, seed 79`` missed a change by it."""
    put(bench, "a", name="one")
    sync(bench)
    bench.clock.move(3600)
    bench.ledger.put("a", name="two")
    bench.ledger.log[-1] = Change(key="a", at=bench.ledger.now())  # it has to be read
    bench.clock.move(900)  # and is not seen again
    told, read = [RateLimitedError("429", retry_after=25)], bench.ledger.changes

    def changes(window, cursor):
        if told:
            raise told.pop()
        return read(window, cursor)

    monkeypatch.setattr(bench.ledger, "changes", changes)
    bench.sync("rows", "incremental")
    bench.clock.move(10)
    bench.ledger.put("a", name="three")
    bench.clock.move(60)
    sync(bench)
    assert payloads(bench) == bench.ledger.rows


def test_a_record_that_is_read_again_after_a_wait_has_the_time_of_its_reading(bench, monkeypatch):
    put(bench, "a", name="one")
    sync(bench)
    bench.clock.move(3600)
    bench.ledger.put("a", name="two")
    bench.ledger.log[-1] = Change(key="a", at=bench.ledger.now())  # it has to be read
    told, get, read_at = [RateLimitedError("429", retry_after=25)], bench.ledger.get, []

    def wait_and_get(key):
        if told:
            raise told.pop()
        read_at.append(bench.clock.now())
        return get(key)

    monkeypatch.setattr(bench.ledger, "get", wait_and_get)
    bench.sync("rows", "incremental")
    (stored,) = bench.stored("rows")
    assert abs(stored.rank - rank_of(read_at[0])) <= 2_000_000


def test_an_entity_without_a_log_is_read_whole(bench):
    put(bench, *names(4))
    sync(bench, entity="listed")
    run = sync(bench, entity="listed")
    assert run.mode == "full"
    assert "no log of changes" in run.reason


@pytest.mark.parametrize("error", [refused(), PermissionDeniedError("no right to events")])
def test_a_log_that_is_refused_is_no_reason_to_fail(bench, error):
    put(bench, *names(5))
    sync(bench)
    bench.ledger.put("k0003", name="changed")
    bench.ledger.refuses["feed"] = error
    run = sync(bench)
    assert (run.mode, run.state) == ("full", "succeeded")
    assert "log of changes cannot be read" in run.reason
    assert payloads(bench) == bench.ledger.rows


def test_a_first_run_that_was_denied_leaves_the_cursor_and_is_made_up_for(bench):
    put(bench, *names(9))
    bench.ledger.refuses["list"] = PermissionDeniedError("not permitted")
    run = sync(bench)
    assert (run.state, run.error_code) == ("failed", "permission-denied")
    assert "Rows: Read" in run.error_message
    with bench.database.read() as connection:
        assert connections.read_entity_state(connection, bench.connection_id, "rows") is None
    del bench.ledger.refuses["list"]
    run = sync(bench)
    assert (run.mode, run.counts.created) == ("full", 9)
    assert payloads(bench) == bench.ledger.rows


def test_a_cut_short_first_run_is_never_taken_for_a_whole_one(bench):
    """A peer resumed into its event log and skipped 2,447 of 3,000 customers."""
    put(bench, *names(12))
    asked = bench.ask("rows", "incremental").run

    def cancel(ledger):
        if ledger.count("list") == 2:
            from tieline.services import syncs

            syncs.cancel_run(bench.installation, asked.id, actor="test")

    bench.ledger.before_page = cancel
    assert bench.help(asked.id).state == "cancelled"
    bench.ledger.before_page = lambda ledger: None
    run = sync(bench)
    assert run.mode == "full"
    assert payloads(bench) == bench.ledger.rows


def test_changes_while_a_full_run_reads_are_caught_by_the_next_run(bench):
    put(bench, *names(12))

    def change(ledger):
        turn = ledger.count("list")
        bench.clock.move(1)
        ledger.put(f"k{turn:04d}", name=f"turn {turn}")
        ledger.put(f"new{turn}")
        if turn < 3:
            ledger.remove(f"k{11 - turn:04d}")

    bench.ledger.before_page = change
    sync(bench, "full")
    bench.ledger.before_page = lambda ledger: None
    sync(bench)
    assert payloads(bench) == bench.ledger.rows


def test_two_states_of_one_second_are_settled_by_reading(bench):
    put(bench, "a", name="first")
    sync(bench)
    bench.clock.move(3600)
    bench.ledger.put("a", name="second")
    bench.ledger.put("a", name="third")
    bench.ledger.log[-2:] = reversed(bench.ledger.log[-2:])
    sync(bench)
    assert payloads(bench)["a"]["name"] == "third"
    assert bench.ledger.count("get") == 1


def test_a_change_without_its_record_is_read(bench):
    put(bench, "a", name="first")
    sync(bench)
    bench.clock.move(3600)
    bench.ledger.put("a", name="second")
    last = bench.ledger.log[-1]
    bench.ledger.log[-1] = type(last)(key=last.key, at=last.at, record=None)
    run = sync(bench)
    assert payloads(bench)["a"]["name"] == "second"
    assert run.counts.requests == 2


def test_a_deletion_that_comes_before_the_record_keeps_it_out(bench):
    put(bench, "a", "b")
    sync(bench)
    bench.clock.move(3600)
    bench.ledger.put("short lived")
    bench.clock.move(60)
    bench.ledger.remove("short lived")
    sync(bench)
    assert sorted(payloads(bench)) == ["a", "b"]


def test_what_a_replaced_copy_was_is_kept_for_people_who_ask(bench):
    put(bench, "a", name="first")
    sync(bench)
    bench.clock.move(3600)
    bench.ledger.put("a", name="second")
    run = sync(bench)
    with bench.database.read() as connection:
        [old] = copies.list_copies(connection, bench.connection_id, "rows", "a")
    assert (old["outcome"], old["source"]) == ("replaced", "list")
    [now] = bench.stored("rows")
    assert (now.source, now.run_id) == ("feed", run.id)


def test_a_provider_whose_clock_is_ten_minutes_off_loses_nothing(bench):
    for skew in (600, -600):
        bench.ledger.clock = lambda skew=skew: bench.clock.now() + timedelta(seconds=skew)
        put(bench, "a", name=f"at {skew}")
        sync(bench, "full")
        bench.clock.move(3600)
        bench.ledger.put("a", name=f"later at {skew}")
        sync(bench)
        assert payloads(bench) == bench.ledger.rows
        bench.clock.move(3600)
