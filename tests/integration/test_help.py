"""Idle workers help those that read, and leave when somebody else needs them."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from kit import make_bench, names, second_engine
from tieline.engine import Idle, crew, help_run
from tieline.store import partitions

START = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def bench(database_url, tmp_path):
    made = make_bench(database_url, tmp_path, provider="ledger", hands="1", read_ahead="0")
    for day in range(200):
        made.ledger.put(f"r{day:03d}", created=int((START + timedelta(days=day)).timestamp()))
    made.ledger.page_size = 5
    yield made
    made.installation.close()


@pytest.fixture
def idle(bench):
    """The engine of another process, which notes for what it rings."""
    rung: list[str] = []
    made = replace(second_engine(bench), ring=lambda run_id, _number: rung.append(run_id))
    yield made, rung
    made.database.close()


def wait_until_stored(bench) -> None:
    give_up_at = time.monotonic() + 30
    while not any(part.pages for part in held(bench)):
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def held(bench):
    with bench.database.read() as connection:
        found = connection.exec_driver_sql("SELECT id FROM runs WHERE state = 'running'").scalar()
        return partitions.list_partitions(connection, found) if found else []


def test_a_run_that_lasts_is_offered_one_hand_more_at_a_time(bench, idle):
    engine, rung = idle
    worker, late, busy = Idle(engine), Idle(engine), Idle(replace(engine, count_waiting=lambda: 1))
    offers = []

    def offer(*workers: Idle) -> None:
        offers.append([each.offer_help() for each in workers])

    def look(_ledger) -> None:
        page = next(pages)
        if page == 4:
            wait_until_stored(bench)
            offer(worker, busy)  # seen for the first time
            bench.clock.move(10)
            offer(worker)  # and it stands still
        elif page == 8:
            bench.clock.move(10)
            offer(worker, busy)
            offer(worker, late)  # nobody has come yet
            bench.clock.move(0.2)
        elif page == 9:
            offer(worker, late)  # and nobody can have
            bench.clock.move(1.1)
        elif page == 12:
            offer(worker, late)
            bench.clock.move(10)
        elif page == 16:
            offer(worker)

    pages = iter(range(1, 1_000))
    bench.ledger.before_page = look
    run = bench.sync("rows", "full")
    assert offers == [
        [False, False],
        [False],
        [True, False],
        [False, False],
        [False, False],
        [False, False],
        [True],
    ]
    assert rung == [run.id, run.id]
    bench.clock.move(10)
    assert worker.offer_help() is False  # it is over


@pytest.mark.parametrize(
    ("page", "page_s", "since_s", "is_offered"),
    [(8, 0.25, 0, True), (8, 0.25, 0.6, False), (8, 0.15, 0, False), (2, 0.2, 0, False),
     (8, 2, 0, False)],
    ids=["lasts", "stands still", "is soon over", "has just begun", "is not young"],
)  # fmt: skip
def test_a_young_run_that_goes_on_is_offered_a_hand_at_the_first_look(
    bench, idle, page, page_s, since_s, is_offered, monkeypatch
):
    # That somebody was asked for at its start is not what keeps anybody away here.
    monkeypatch.setattr("tieline.engine.idle._JOIN_ONE_BY_ONE", timedelta(0))
    engine, rung = idle
    pages, offers = iter(range(1, 1_000)), []

    def look(_ledger) -> None:
        if next(pages) == page:
            bench.clock.move(since_s)
            offers.append(Idle(engine).offer_help())
        bench.clock.move(page_s)

    bench.ledger.before_page = look
    run = bench.sync("rows", "window", window=(START, START + timedelta(days=200)))
    assert run.counts.seen == 200
    assert offers == [is_offered]
    assert rung == [run.id] * is_offered


@pytest.mark.parametrize(("until", "is_offered"), [(4, False), (30, True)])
def test_nobody_is_rung_for_at_the_end_of_a_run(bench, idle, until, is_offered):
    engine, rung = idle
    worker = Idle(engine)
    pages = iter(range(1, 1_000))

    def look(_ledger) -> None:
        if (40 - next(pages)) in {until, until + 2, until + 4}:
            worker.offer_help()
            bench.clock.move(1.1)  # half a second for a page

    bench.ledger.before_page = look
    window = (START, START + timedelta(days=200))
    assert bench.sync("rows", "window", window=window).counts.seen == 200
    assert bool(rung) == is_offered


def test_a_list_that_cannot_be_cut_is_left_to_its_reader(database_url, tmp_path):
    bench = make_bench(database_url, tmp_path, hands="1")
    bench.shelf.put(*names(60))
    worker, offers = Idle(bench.engine), []

    def look(*_given) -> None:
        if any(part.pages for part in held(bench)):
            bench.clock.move(5)
            offers.append(worker.offer_help())

    bench.shelf.faults = dict.fromkeys(range(2, 15), look)
    bench.sync()
    bench.installation.close()
    assert offers
    assert not any(offers)


def test_who_helps_leaves_when_a_job_waits_and_rings_for_somebody_else(bench, idle, monkeypatch):
    engine, rung = idle
    waiting, has_left = threading.Event(), threading.Event()
    engine = replace(engine, count_waiting=lambda: int(waiting.is_set()))
    monkeypatch.setattr(crew, "_LOOK_AROUND_S", 0.0)
    owners = {}  # two processes, each with a name of its own
    monkeypatch.setattr(
        crew, "this_worker", lambda: owners.get(threading.current_thread(), "the reader")
    )
    helped = []

    def help_it(run_id: str) -> None:
        owners[threading.current_thread()] = "the helper"
        help_run(engine, run_id, threading.Event())
        helped.extend(part for part in held(bench) if part.number > 1)
        has_left.set()

    def slowly(_ledger) -> None:
        time.sleep(0.02)
        if any(part.pages > 2 and part.number > 1 for part in held(bench)):
            waiting.set()

    asked = bench.ask("rows", "full").run
    bench.ledger.before_page = slowly
    reader = threading.Thread(target=bench.help, args=(asked.id,))
    reader.start()
    wait_until_stored(bench)
    bench.clock.move(20)
    helper = threading.Thread(target=help_it, args=(asked.id,))
    helper.start()
    assert has_left.wait(30)
    assert helped[-1].state == "ready"  # given back within, for the reader to go on with
    assert rung == [asked.id]
    reader.join()
    helper.join()
    run = bench.run(asked.id)
    assert (run.state, run.counts.seen) == ("succeeded", 200)
    found = {row.record_id: json.loads(row.payload) for row in bench.stored("rows")}
    assert found == bench.ledger.rows
