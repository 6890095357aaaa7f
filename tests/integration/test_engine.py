"""What a run does to the records, on both databases."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from kit import make_bench, names, second_engine
from tieline import failpoints
from tieline.contract import (
    CursorExpiredError,
    NeedsReauthError,
    Page,
    PermissionDeniedError,
    ProviderUnavailableError,
    RateLimitedError,
)
from tieline.engine import help_run
from tieline.failpoints import Crash, set_failpoints
from tieline.store import connections, log, quarantined


@pytest.fixture
def bench(database_url, tmp_path):
    made = make_bench(database_url, tmp_path)
    yield made
    set_failpoints("")
    made.installation.close()


def test_a_full_run_brings_over_everything_with_an_audit_trail(bench):
    bench.shelf.put(*names(10))
    run = bench.sync()
    assert run.state == "succeeded"
    assert bench.stored_keys() == names(10)
    assert run.counts.as_dict() == {
        "requests": 4,
        "seen": 10,
        "created": 10,
        "updated": 0,
        "unchanged": 0,
        "deleted": 0,
        "quarantined": 0,
    }
    with bench.database.read() as transaction:
        events = [entry["event"] for entry in log.list_entries(transaction, run_id=run.id)]
    assert events == ["run.asked", "run.started", "run.succeeded"]


def test_an_empty_provider_is_a_success_with_nothing(bench):
    assert bench.sync().counts.seen == 0


def test_a_second_run_writes_nothing(bench):
    bench.shelf.put(*names(7))
    bench.sync()
    before = [(record.position, record.revision, record.changed_at) for record in bench.stored()]
    run = bench.sync()
    assert (run.counts.unchanged, run.counts.created, run.counts.updated) == (7, 0, 0)
    after = [(record.position, record.revision, record.changed_at) for record in bench.stored()]
    assert after == before


def test_changes_and_deletions_are_seen_by_the_next_full_run(bench):
    bench.shelf.put(*names(9))
    bench.sync()
    bench.clock.move(60)
    bench.shelf.put("k0003", name="renamed")
    bench.shelf.put("new")
    del bench.shelf.records["k0005"]
    run = bench.sync()
    counts = run.counts
    assert (counts.created, counts.updated, counts.deleted, counts.unchanged) == (1, 1, 1, 7)
    assert "k0005" not in bench.stored_keys()
    [gone] = [record for record in bench.stored(with_deleted=True) if record.deleted_at]
    assert gone.record_id == "k0005"


def test_a_deleted_record_that_comes_back_lives_again(bench):
    bench.shelf.put(*names(3))
    bench.sync()
    bench.clock.move(60)
    kept = bench.shelf.records.pop("k0001")
    bench.sync()
    assert "k0001" not in bench.stored_keys()
    bench.clock.move(60)
    bench.shelf.records["k0001"] = kept
    assert bench.sync().counts.updated == 1
    assert "k0001" in bench.stored_keys()


def test_an_entity_without_deletes_keeps_what_is_gone(bench):
    bench.shelf.put(*names(3))
    bench.sync("kept")
    bench.clock.move(60)
    del bench.shelf.records["k0001"]
    bench.sync("kept")
    assert bench.stored_keys("kept") == names(3)


def test_a_run_that_would_delete_too_much_stops_and_asks(bench):
    bench.shelf.put(*names(60))
    bench.sync()
    bench.clock.move(60)
    for key in names(40):
        del bench.shelf.records[key]
    run = bench.sync()
    assert (run.state, run.error_code) == ("failed", "deletes-held")
    assert len(bench.stored_keys()) == 60
    bench.clock.move(60)
    run = bench.sync(allow_deletes=True)
    assert (run.state, run.counts.deleted) == ("succeeded", 40)
    assert len(bench.stored_keys()) == 20


def test_a_run_cut_short_deletes_nothing(bench):
    bench.shelf.put(*names(9))
    bench.sync()
    bench.clock.move(60)
    del bench.shelf.records["k0000"]
    bench.shelf.faults[bench.shelf.requests + 2] = PermissionDeniedError("no")
    run = bench.sync()
    assert run.state == "failed"
    assert bench.stored_keys() == names(9)


CRASH_POINTS = sorted(failpoints.NAMES)


@pytest.mark.parametrize("point", CRASH_POINTS)
@pytest.mark.parametrize("passage", [1, 2, 4])
def test_a_worker_that_dies_anywhere_costs_one_page_at_most(bench, point, passage):
    bench.shelf.put(*names(12))
    run_id = bench.ask().run.id
    set_failpoints(f"{point}=raise@{passage}")
    crashed = False
    try:
        bench.help(run_id)
    except Crash:
        crashed = True
    requests_before = bench.shelf.requests
    committed = bench.run(run_id).counts.seen // bench.shelf.page_size
    bench.clock.move(bench.engine.settings.lease_s + 1)
    run = bench.help(run_id)
    assert run.state == "succeeded"
    assert bench.stored_keys() == names(12)
    assert (run.counts.seen, run.counts.created, run.counts.quarantined) == (12, 12, 0)
    if crashed and not bench.run(run_id).is_over:
        assert bench.shelf.requests - requests_before <= 4 - committed


def test_a_lease_is_respected_until_it_lapses(bench):
    bench.shelf.put(*names(12))
    run_id = bench.ask().run.id
    set_failpoints("sync.page.after_commit=raise@2")
    with pytest.raises(Crash):
        bench.help(run_id)
    requests = bench.shelf.requests
    assert bench.help(run_id).state == "running"
    assert bench.shelf.requests == requests
    bench.clock.move(bench.engine.settings.lease_s + 1)
    assert bench.help(run_id).state == "succeeded"


def test_a_worker_that_slept_past_its_lease_changes_nothing(bench):
    bench.shelf.put(*names(12))
    run_id = bench.ask().run.id
    other = second_engine(bench)

    def sleep_while_another_works(shelf, _after):
        bench.clock.move(bench.engine.settings.lease_s + 1)
        help_run(other, run_id, threading.Event())

    bench.shelf.faults[2] = sleep_while_another_works
    run = bench.help(run_id)
    other.database.close()
    assert run.state == "succeeded"
    assert (run.counts.seen, run.counts.created) == (12, 12)
    assert bench.stored_keys() == names(12)
    assert max(record.revision for record in bench.stored()) == 1


def test_a_stop_gives_the_lease_back_and_rings_for_somebody_else(bench):
    bench.shelf.put(*names(12))
    run_id = bench.ask().run.id
    stop = threading.Event()
    bench.shelf.faults[2] = lambda shelf, after: stop.set()
    bench.rung.clear()
    run = bench.help(run_id, stop)
    assert run.state == "running"
    assert bench.rung == [run_id]
    assert bench.help(run_id).state == "succeeded"
    assert bench.stored_keys() == names(12)


def test_a_cancelled_run_stops_within_a_page_and_deletes_nothing(bench):
    from tieline.services.syncs import cancel_run

    bench.shelf.put(*names(30))
    run_id = bench.ask().run.id

    def cancel(shelf, _after):
        cancel_run(bench.installation, run_id, actor="test")

    bench.shelf.faults[3] = cancel
    run = bench.help(run_id)
    assert run.state == "cancelled"
    assert run.counts.seen < 30


def test_asking_twice_returns_the_run_that_is_active(bench):
    first = bench.ask()
    second = bench.ask()
    assert first.is_new
    assert not second.is_new
    assert second.run.id == first.run.id


def test_a_denied_permission_fails_the_run_and_names_the_right(bench):
    bench.shelf.put(*names(3))
    bench.shelf.faults[1] = PermissionDeniedError("Shelf answered 403")
    run = bench.sync()
    assert (run.state, run.error_code) == ("failed", "permission-denied")
    assert "Items: Read" in run.error_message
    assert bench.stored_keys() == []
    assert bench.sync().state == "succeeded"
    assert bench.stored_keys() == names(3)


def test_a_refused_credential_parks_the_connection(bench):
    bench.shelf.put(*names(3))
    bench.shelf.faults[1] = NeedsReauthError("Shelf answered 401")
    run = bench.sync()
    assert (run.state, run.error_code) == ("needs_reauth", "needs-reauth")
    with bench.database.read() as transaction:
        row = connections.find_connection(transaction, bench.connection_id)
    assert row.state == "needs_reauth"
    assert bench.sync().state == "needs_reauth"
    assert bench.shelf.requests == 1  # the refused credential is not tried again


def test_an_unavailable_provider_is_asked_again_with_growing_pauses(bench):
    bench.shelf.put(*names(3))
    slept: list[float] = []
    bench.clock._on_sleep = slept.append
    for number in (1, 2, 3):
        bench.shelf.faults[number] = ProviderUnavailableError("502")
    assert bench.sync().state == "succeeded"
    assert len(slept) == 3
    assert all(0 <= pause <= 30 for pause in slept)


def test_a_provider_that_stays_away_puts_the_run_off_then_fails_it(bench):
    for number in range(1, 200):
        bench.shelf.faults[number] = ProviderUnavailableError("502")
    run = bench.sync()
    seen = [run.state]
    while not run.is_over:
        assert run.state == "retrying"
        bench.clock.move((run.due_at - bench.clock.now()).total_seconds())
        run = bench.help(run.id)
        seen.append(run.state)
    assert seen == ["retrying"] * 4 + ["failed"]
    assert run.error_code == "provider-unavailable"


def test_a_long_retry_after_makes_the_run_wait_without_holding_a_worker(bench):
    bench.shelf.put(*names(3))
    bench.shelf.faults[1] = RateLimitedError("429", retry_after=120)
    run = bench.sync()
    assert run.state == "waiting"
    assert run.due_at - bench.clock.now() == timedelta(seconds=120)
    assert bench.sweep() == 0
    bench.clock.move(121)
    assert bench.sweep() == 1
    assert bench.help(run.id).state == "succeeded"


def test_an_expired_cursor_reads_the_window_again_and_loses_nothing(bench):
    bench.shelf.put(*names(12))
    bench.shelf.faults[3] = CursorExpiredError("gone")
    run = bench.sync()
    assert run.state == "succeeded"
    assert bench.stored_keys() == names(12)
    assert run.counts.created == 12
    assert max(record.revision for record in bench.stored()) == 1


def test_a_cursor_that_always_expires_ends_the_run(bench):
    bench.shelf.put(*names(12))
    for number in range(2, 60, 2):
        bench.shelf.faults[number] = CursorExpiredError("gone")
    run = bench.sync()
    assert (run.state, run.error_code) == ("failed", "cursor-expired")


@pytest.mark.parametrize("loop", ["self", "cycle"])
def test_pages_that_never_end_are_noticed(bench, loop):
    bench.shelf.put(*names(12))
    cursors = {None: "a", "a": "a" if loop == "self" else "b", "b": "a"}

    def page(shelf, after):
        return Page(records=[{"id": "x"}], next=cursors[after])

    for number in range(1, 20):
        bench.shelf.faults[number] = page
    run = bench.sync()
    assert (run.state, run.error_code) == ("failed", "cursor-loop")
    assert bench.shelf.requests <= 4


def test_repeated_and_overlapping_pages_end_in_the_same_set(bench):
    bench.shelf.put(*names(9))

    def overlapping(shelf, after):
        keys = sorted(shelf.records, reverse=True)
        return Page(records=[shelf.records[key] for key in [*keys[:5], keys[0]]], next="k0004")

    bench.shelf.faults[2] = overlapping
    run = bench.sync()
    assert bench.stored_keys() == names(9)
    assert run.counts.created == 9
    counts = run.counts
    assert counts.seen == counts.created + counts.updated + counts.unchanged + counts.quarantined


BAD = {
    "no id": ({"name": "x"}, None, "record-key"),
    "null id": ({"id": None}, None, "record-key"),
    "id of a wrong type": ({"id": ["a"]}, None, "record-key"),
    "id with NUL": ({"id": "a\x00b"}, None, "record-key"),
    "id too long": ({"id": "a" * 256}, None, "record-key"),
    "not an object": ("text", None, "record-not-object"),
    "a promise broken": ({"id": "bad", "name": 5}, "bad", "record-schema"),
}


@pytest.mark.parametrize("case", BAD, ids=list(BAD))
def test_one_bad_record_costs_one_record(bench, case):
    record, key, code = BAD[case]
    bench.shelf.put(*names(2))
    bench.shelf.faults[1] = lambda shelf, after: Page(
        records=[*shelf.records.values(), record], next=None
    )
    run = bench.sync()
    assert run.state == "succeeded_with_quarantine"
    assert (run.counts.created, run.counts.quarantined, run.counts.seen) == (2, 1, 3)
    with bench.database.read() as transaction:
        [row] = quarantined.list_quarantined(transaction, bench.connection_id)
    assert (row["record_id"], row["reason_code"]) == (key, code)


def test_a_record_that_comes_in_well_leaves_the_quarantine(bench):
    bench.shelf.put("a", name=5)
    assert bench.sync().state == "succeeded_with_quarantine"
    bench.shelf.put("a", name="five")
    assert bench.sync().state == "succeeded"
    with bench.database.read() as transaction:
        assert not quarantined.has_quarantined(transaction, bench.connection_id, "items")


def test_a_nameless_bad_record_keeps_a_full_run_from_deleting(bench):
    bench.shelf.put(*names(3))
    bench.sync()
    bench.clock.move(60)
    bench.shelf.faults[bench.shelf.requests + 1] = lambda shelf, after: Page(
        records=[shelf.records["k0000"], shelf.records["k0001"], {"name": "who?"}], next=None
    )
    assert bench.sync().counts.deleted == 0
    assert bench.stored_keys() == names(3)


def test_an_older_version_never_replaces_a_newer_one(bench):
    bench.shelf.put("a", name="new", version=7)
    bench.sync("versioned")
    bench.clock.move(60)
    bench.shelf.put("a", name="old", version=6)
    run = bench.sync("versioned")
    assert run.counts.updated == 0
    [record] = bench.stored("versioned")
    assert '"new"' in record.payload


def test_a_bug_of_a_plugin_is_named_with_its_place(bench):
    bench.shelf.faults[1] = KeyError("boom")
    run = bench.sync()
    assert (run.state, run.error_code) == ("failed", "plugin-broken")
    assert "KeyError" in run.error_message
    assert "shelf_plugin.py:" in run.error_message
    assert "boom" not in run.error_message  # an exception's text may hold anything


def test_a_step_that_returns_rubbish_is_named(bench):
    bench.shelf.faults[1] = lambda shelf, after: ["not", "a", "page"]
    run = bench.sync()
    assert (run.state, run.error_code) == ("failed", "plugin-declaration")


def test_positions_grow_with_every_change_and_are_never_used_twice(bench):
    bench.shelf.put(*names(5))
    bench.sync()
    first = {record.record_id: record.position for record in bench.stored()}
    assert sorted(first.values()) == [1, 2, 3, 4, 5]
    bench.clock.move(60)
    bench.shelf.put("k0002", name="renamed")
    bench.sync()
    second = {record.record_id: record.position for record in bench.stored()}
    assert second.pop("k0002") == 6
    first.pop("k0002")
    assert second == first


def test_the_sweep_rings_for_a_run_that_nobody_took_and_not_for_one_in_hand(bench):
    bench.shelf.put(*names(12))
    run_id = bench.ask().run.id
    assert bench.sweep() == 0  # it was rung for just now
    bench.clock.move(31)
    assert bench.sweep() == 1
    set_failpoints("sync.page.after_commit=raise@1")
    with pytest.raises(Crash):
        bench.help(run_id)
    assert bench.sweep() == 0
    bench.clock.move(bench.engine.settings.lease_s + 1)
    assert bench.sweep() == 1
    assert bench.help(run_id).state == "succeeded"
    assert bench.sweep() == 0
