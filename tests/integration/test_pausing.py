"""A paused connection: nothing is read, everything waits, and nothing is lost by it."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
from sqlalchemy import update

from kit import START, make_bench, names, second_engine
from tieline.contract import RateLimitedError
from tieline.engine import help_run
from tieline.errors import RefusedError
from tieline.services import connections as service
from tieline.services import schedules, syncs
from tieline.store import connections, log, sightings
from tieline.store.parking import PAUSED
from tieline.store.tables import partitions


@pytest.fixture
def bench(database_url, tmp_path):
    # Nothing ahead: the pages before the one that meets the pause are stored, however slow it is.
    made = make_bench(database_url, tmp_path, hands="1", read_ahead="0")
    yield made
    made.installation.close()


def pause(bench):
    return service.pause_connection(bench.installation, "shop", actor="test")


def resume(bench):
    return service.resume_connection(bench.installation, "shop", actor="test")


def pause_at(bench, *requests: int) -> None:
    """Pause while a page is being fetched, the first of ``requests`` and so on."""
    for number in requests:
        bench.shelf.faults[number] = lambda shelf, after: pause(bench) and None


def events(bench) -> list[str]:
    with bench.database.read() as transaction:
        return [entry["event"] for entry in log.list_entries(transaction)]


def test_schedules_are_parked_with_reason_and_hint(bench):
    schedules.set_schedule(
        bench.installation, "shop", "items", "every 15m", jitter_s=0, actor="test"
    )
    paused = pause(bench)
    assert paused.paused_at == START
    [parked] = schedules.list_schedules(bench.installation)
    assert (parked.state, parked.reason) == ("parked", "the connection is paused")
    assert parked.hint == "tieline connections resume shop"
    resumed = resume(bench)
    assert resumed.paused_at is None
    [active] = schedules.list_schedules(bench.installation)
    assert active.state == "active"
    assert events(bench)[-2:] == ["connection.paused", "connection.resumed"]


def test_no_sync_is_asked_for_meanwhile(bench):
    pause(bench)
    with pytest.raises(RefusedError) as caught:
        syncs.start_sync(bench.installation, "shop", "items", actor="test")
    assert caught.value.slug == PAUSED
    assert caught.value.hint == "tieline connections resume shop"


def test_neither_is_done_twice(bench):
    with pytest.raises(RefusedError, match="not paused"):
        resume(bench)
    pause(bench)
    with pytest.raises(RefusedError, match="paused already") as caught:
        pause(bench)
    assert caught.value.hint == "tieline connections resume shop"
    resume(bench)
    with pytest.raises(RefusedError, match="not paused"):
        resume(bench)
    assert events(bench).count("connection.paused") == 1
    assert events(bench).count("connection.resumed") == 1


def test_a_run_stops_within_its_page_and_the_page_is_read_again(bench):
    bench.shelf.put(*names(20))
    pause_at(bench, 4)
    run = bench.sync()
    assert (run.state, run.error_code) == ("waiting", PAUSED)
    assert run.error_hint == "tieline connections resume shop"
    assert len(bench.stored_keys()) == 9  # three pages; the fourth, at hand, was dropped
    assert bench.shelf.requests == 4
    asked = bench.shelf.requests
    bench.clock.move(3600)
    assert bench.sweep() == 0
    assert bench.help(run.id).state == "waiting"
    assert bench.shelf.requests == asked
    resume(bench)
    bench.clock.move(31)  # nobody heard the bell
    assert bench.sweep() == 1
    done = bench.help(run.id)
    assert done.state == "succeeded"
    assert bench.stored_keys() == names(20)
    assert (done.counts.seen, done.counts.created, done.counts.deleted) == (20, 20, 0)
    assert all(record.revision == 1 for record in bench.stored())


def test_a_page_that_overtakes_pause_and_resume_is_dropped_all_the_same(bench):
    """Else a hand that was told to leave might commit beside its successor."""
    bench.shelf.put(*names(9))

    def rest(shelf, after):
        pause(bench)
        resume(bench)

    bench.shelf.faults[2] = rest
    run = bench.sync()
    while run.state in {"queued", "running"}:
        run = bench.help(run.id)
    assert run.state == "succeeded"
    assert (run.counts.seen, run.counts.created) == (9, 9)


def test_pausing_again_and_again_on_one_page_is_no_worker_s_death(bench):
    bench.shelf.put(*names(9))
    pause_at(bench, 2)
    run = bench.sync()
    for _ in range(6):
        resume(bench)
        pause_at(bench, bench.shelf.requests + 1)
        run = bench.help(run.id)
        assert run.state == "waiting"
    resume(bench)
    assert bench.help(run.id).state == "succeeded"
    assert bench.stored_keys() == names(9)


def test_many_hands_leave_and_ask_for_nothing_more(database_url, tmp_path):
    bench = make_bench(database_url, tmp_path, provider="ledger", hands="4")
    for number in range(60):
        bench.ledger.put(f"r{number:02d}", created=int(START.timestamp()) - number * 86400)
    at_pause, hands, first = [], set(), threading.Lock()

    def slowly(ledger):
        hands.add(threading.current_thread().name)
        time.sleep(0.03)
        if len(hands) > 2 and first.acquire(blocking=False):
            pause(bench)  # takes its time where the machine is busy
            at_pause.append(ledger.count("list"))

    bench.ledger.before_page = slowly
    run = bench.sync("rows")
    assert run.state == "waiting"
    assert bench.ledger.count("list") <= at_pause[0] + 6  # what was under way, or read ahead
    resume(bench)
    assert bench.help(run.id).state == "succeeded"
    assert len(bench.stored_keys("rows")) == 60
    bench.installation.close()


def test_a_claim_that_crossed_the_pause_holds_nothing_up(bench):
    """On PostgreSQL a claim and the pause may both commit without sight of the other."""
    bench.shelf.put(*names(9))
    run_id = bench.ask().run.id
    pause(bench)
    with bench.database.write() as transaction:
        transaction.execute(
            update(partitions).values(
                state="running", lease_owner="elsewhere", lease_until=START + timedelta(hours=1)
            )
        )
    resume(bench)
    assert bench.help(run_id).state == "succeeded"
    assert bench.stored_keys() == names(9)


def test_runs_that_wait_their_turn_wait_on(bench):
    bench.shelf.put(*names(3))
    run_id = bench.ask().run.id
    pause(bench)
    waiting = bench.help(run_id)
    assert (waiting.state, waiting.error_code, bench.shelf.requests) == ("waiting", PAUSED, 0)
    resume(bench)
    assert bench.rung[-1] == run_id
    assert bench.run(run_id).error_code is None
    assert bench.help(run_id).state == "succeeded"


def test_a_run_that_the_provider_holds_back_goes_on_no_earlier(bench):
    bench.shelf.put(*names(3))
    bench.shelf.faults[1] = RateLimitedError("slow down", retry_after=600)
    run = bench.sync()
    assert run.state == "waiting"
    pause(bench)
    bench.clock.move(60)
    resume(bench)
    assert bench.help(run.id).state == "queued"
    assert bench.shelf.requests == 1
    bench.clock.move(600)
    assert bench.help(run.id).state == "succeeded"


def test_a_run_that_was_asked_for_at_the_last_moment_waits_too(bench):
    bench.shelf.put(*names(3))
    pause(bench)
    run_id = bench.ask().run.id  # whoever asked had looked before
    bench.clock.move(3600)
    assert bench.sweep() == 0
    assert bench.help(run_id).state == "queued"
    resume(bench)
    assert bench.sweep() == 1
    assert bench.help(run_id).state == "succeeded"


def test_a_run_may_be_cancelled_while_its_connection_rests(bench):
    bench.shelf.put(*names(20))
    bench.sync()  # so that the second run meets what stands, and notes it
    pause_at(bench, bench.shelf.requests + 3)
    run = bench.sync()
    assert run.state == "waiting"
    assert syncs.cancel_run(bench.installation, run.id, actor="test").state == "cancelled"
    with bench.database.read() as transaction:
        left = transaction.exec_driver_sql("SELECT COUNT(*) FROM sightings").scalar()
    assert left == 0
    resume(bench)
    assert bench.run(run.id).state == "cancelled"
    assert len(bench.stored()) == 20


def test_a_full_run_that_rested_takes_nothing_for_gone_that_it_met(bench):
    bench.shelf.put(*names(20))
    bench.sync()
    pause_at(bench, bench.shelf.requests + 4)
    run = bench.sync()
    assert run.state == "waiting"
    bench.shelf.records.pop("k0000")  # the last page is still to come
    resume(bench)
    done = bench.help(run.id)
    assert (done.state, done.counts.deleted) == ("succeeded", 1)
    assert bench.stored_keys() == names(20)[1:]


def test_a_worker_elsewhere_leaves_as_well(bench):
    """The pause is a row: no process has to be told."""
    bench.shelf.put(*names(30))
    other = second_engine(bench)
    reached, go_on = threading.Event(), threading.Event()

    def hold(shelf, after):
        reached.set()
        assert go_on.wait(20)

    bench.shelf.faults[3] = hold
    run_id = bench.ask().run.id
    worker = threading.Thread(target=help_run, args=(other, run_id, threading.Event()))
    worker.start()
    assert reached.wait(20)
    pause(bench)
    go_on.set()
    worker.join(20)
    assert not worker.is_alive()
    other.database.close()
    assert bench.run(run_id).state == "waiting"
    assert len(bench.stored_keys()) == 6
    resume(bench)
    assert bench.help(run_id).state == "succeeded"
    assert bench.stored_keys() == names(30)


def test_a_paused_connection_that_loses_its_credential_shows_both(bench):
    with bench.database.write() as transaction:
        connections.refuse_credential(
            transaction, bench.connection_id, generation=1, words="no", now=START
        )
    row = pause(bench)
    assert (row.state, row.paused_at) == ("needs_reauth", START)
    resumed = resume(bench)
    assert (resumed.state, resumed.paused_at) == ("needs_reauth", None)


def test_sightings_are_what_the_tests_above_believe(bench):
    """Without them the run that rested would have buried what it met before."""
    bench.shelf.put(*names(20))
    bench.sync()
    pause_at(bench, bench.shelf.requests + 4)
    run = bench.sync()
    with bench.database.write() as transaction:
        sightings.drop_sightings(transaction, run.id)
    resume(bench)
    assert bench.help(run.id).counts.deleted == 9
