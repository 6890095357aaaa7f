"""Races and odd turns: each of these lost or hid something before it was mended."""

from __future__ import annotations

import contextlib
import threading
import time
from datetime import timedelta

import pytest

from kit import START, make_bench, names, second_engine
from tieline.contract import NeedsReauthError, PermissionDeniedError, RateLimitedError
from tieline.engine import help_run
from tieline.engine.crew import Crew
from tieline.failpoints import Crash, set_failpoints
from tieline.store import connections, log


@pytest.fixture
def bench(database_url, tmp_path):
    made = make_bench(database_url, tmp_path)
    yield made
    set_failpoints("")
    made.installation.close()


def test_a_late_finisher_deletes_nothing(bench):
    from tieline.engine.finish import finish_if_done

    bench.shelf.put(*names(15))
    bench.sync()
    bench.clock.move(60)
    run_id = bench.ask().run.id
    late = {}

    def begin_late(shelf, _after):
        late["run"] = bench.run(run_id)

    bench.shelf.faults[bench.shelf.requests + 1] = begin_late
    assert bench.help(run_id).counts.unchanged == 15
    entity = bench.engine.registry.get("shelf").entity("items")
    finish_if_done(bench.engine, late["run"], entity)
    assert bench.stored_keys() == names(15)


def test_a_cancel_during_the_last_page_deletes_nothing(bench):
    from tieline.services.syncs import cancel_run

    bench.shelf.put(*names(15))
    bench.sync()
    bench.clock.move(60)
    run_id = bench.ask().run.id
    other = second_engine(bench)

    def cancel_and_let_another_end_it(shelf, _after):
        cancel_run(bench.installation, run_id, actor="test")
        help_run(other, run_id, threading.Event())

    bench.shelf.faults[bench.shelf.requests + 5] = cancel_and_let_another_end_it
    run = bench.help(run_id)
    other.database.close()
    assert run.state == "cancelled"
    assert bench.stored_keys() == names(15)


def test_a_record_with_a_version_comes_back_after_its_tombstone(bench):
    bench.shelf.put("a", version=3)
    bench.shelf.put("b", version=9)
    bench.sync("versioned")
    bench.clock.move(60)
    kept = bench.shelf.records.pop("a")
    bench.sync("versioned")
    assert bench.stored_keys("versioned") == ["b"]
    bench.clock.move(60)
    bench.shelf.records["a"] = kept
    bench.sync("versioned")
    assert bench.stored_keys("versioned") == ["a", "b"]


def test_a_clock_that_was_set_back_hides_nothing(bench):
    bench.shelf.put(*names(3))
    bench.clock.move(365 * 86400)
    bench.sync()
    bench.clock._now -= timedelta(days=365)
    bench.shelf.put("k0001", name="renamed")
    del bench.shelf.records["k0002"]
    run = bench.sync()
    assert (run.counts.updated, run.counts.deleted) == (1, 1)
    assert bench.stored_keys() == ["k0000", "k0001"]


def test_hostile_words_of_a_provider_end_the_run_and_are_told_plainly(bench):
    bench.shelf.faults[1] = PermissionDeniedError(
        "cut \ud83d, nul \x00, \x1b]0;title\x07" + "x" * 900
    )
    run = bench.sync()
    assert run.state == "failed"
    assert run.error_message.isprintable()
    assert len(run.error_message) <= 501


def test_a_key_that_the_provider_echoes_is_not_stored(bench):
    from tieline.telemetry import remember

    remember("sk_test_CANARYKEY123")
    bench.shelf.faults[1] = NeedsReauthError("Invalid key: Bearer sk_test_CANARYKEY123")
    run = bench.sync()
    with bench.database.read() as transaction:
        entries = log.list_entries(transaction, run_id=run.id)
    assert "CANARY" not in run.error_message + repr(entries)


def test_a_page_that_kills_worker_after_worker_ends_the_run(bench):
    bench.shelf.put(*names(3))
    run_id = bench.ask().run.id
    for _ in range(3):
        set_failpoints("sync.fetch.before=raise")
        with pytest.raises(Crash):
            bench.help(run_id)
        bench.clock.move(bench.engine.settings.lease_s + 1)
    for _ in range(2):
        set_failpoints("sync.fetch.before=raise")
        with contextlib.suppress(Crash):
            bench.help(run_id)
        bench.clock.move(bench.engine.settings.lease_s + 1)
    run = bench.run(run_id)
    assert (run.state, run.error_code) == ("failed", "worker-lost")


def test_an_old_credential_s_refusal_does_not_park_a_new_one(bench):
    from tieline.contract import Secret
    from tieline.services.connect import connect_api_key

    bench.shelf.put(*names(3))

    def replace_then_refuse(shelf, _after):
        connect_api_key(
            bench.installation,
            "shelf",
            name="shop",
            key=Secret("k-2"),
            actor="test",
            is_replacing=True,
        )
        raise NeedsReauthError("the old key is gone")

    bench.shelf.faults[1] = replace_then_refuse
    assert bench.sync().state == "succeeded"  # at once, with the new key
    assert bench.stored_keys() == sorted(bench.shelf.records)


def test_cancelling_a_run_that_rests_ends_it_at_once(bench):
    from tieline.services.syncs import cancel_run

    bench.shelf.faults[1] = RateLimitedError("429", retry_after=600)
    run = bench.sync()
    assert run.state == "waiting"
    assert cancel_run(bench.installation, run.id, actor="test").state == "cancelled"
    assert bench.ask().is_new


def test_replacing_a_credential_keeps_the_address(bench):
    from tieline.contract import Secret
    from tieline.services.connect import connect_api_key

    with bench.database.read() as transaction:
        before = connections.find_connection(transaction, "shop")
    after = connect_api_key(
        bench.installation, "shelf", name="shop", key=Secret("k-2"), actor="t", is_replacing=True
    )
    assert (after.id, after.base_url) == (before.id, before.base_url)


def test_hundreds_of_thousands_of_deletions_are_one_transaction(bench):
    bench.shelf.page_size = 5000
    bench.shelf.put(*(f"k{number:06d}" for number in range(40_000)))
    bench.sync()
    bench.clock.move(60)
    bench.shelf.records.clear()
    run = bench.sync(allow_deletes=True)
    assert (run.state, run.counts.deleted) == ("succeeded", 40_000)


def test_a_bug_of_ours_ends_a_run_in_the_end(bench, monkeypatch):
    monkeypatch.setattr("tieline.engine.work.PageWriter", None)
    bench.shelf.put(*names(3))
    run = bench.sync()
    while not run.is_over:
        bench.clock.move((run.due_at - bench.clock.now()).total_seconds())
        run = bench.help(run.id)
    assert (run.state, run.error_code) == ("failed", "bug")


@pytest.mark.parametrize(
    "error",
    [RateLimitedError("429", retry_after=120), PermissionDeniedError("no")],
    ids=["put-off", "failed"],
)
def test_a_worker_that_lost_its_lease_decides_nothing_about_the_run(bench, error):
    bench.shelf.put(*names(15))
    run_id = bench.ask().run.id
    other = second_engine(bench)

    def lose_the_lease_and_meet_an_error(shelf, _after):
        bench.clock.move(bench.engine.settings.lease_s + 1)
        set_failpoints("sync.page.after_commit=raise")  # it goes on to hold the lease
        with pytest.raises(Crash):
            help_run(other, run_id, threading.Event())
        raise error

    bench.shelf.faults[bench.shelf.requests + 2] = lose_the_lease_and_meet_an_error
    late = bench.help(run_id)
    other.database.close()
    assert (late.state, late.error_code) == ("running", None)
    bench.clock.move(bench.engine.settings.lease_s + 1)
    assert bench.help(run_id).state == "succeeded"


def test_a_hand_that_ends_while_it_is_asked_whether_to_help_leaves_nothing_unread(
    database_url, tmp_path, monkeypatch
):
    """Its crew saw that it was at work, then that nobody was, and left what had been cut off."""
    bench = make_bench(database_url, tmp_path, provider="ledger", hands="4")
    for number in range(60):
        bench.ledger.put(f"r{number:02d}", created=int(START.timestamp()) - number * 86400)
    bench.ledger.before_page = lambda _ledger: time.sleep(0.01)
    has_use, cuts = Crew._has_use_for_more, []

    def slowly(crew: Crew) -> bool:
        if not crew._hands:
            return has_use(crew)
        while crew._hands:
            if not cuts and crew._cut():
                cuts.append(1)
            time.sleep(0.005)
        return False

    monkeypatch.setattr(Crew, "_has_use_for_more", slowly)
    assert bench.sync("rows").state == "succeeded"
    assert len(bench.stored_keys("rows")) == 60
    assert cuts
    bench.installation.close()
