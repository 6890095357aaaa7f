"""Windows: read alone, cut up for idle hands, put together again without a gap."""

from __future__ import annotations

import json
import random
import threading
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from kit import make_bench, second_engine
from ledger_plugin import refused
from tieline.contract import Windows
from tieline.engine import help_run
from tieline.engine.pace import Reading, best_cut
from tieline.errors import RefusedError
from tieline.services.verify import read_outcome
from tieline.store import connections, partitions
from tieline.store.rows import Counts, PartitionRow

START = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def bench(database_url, tmp_path):
    made = make_bench(database_url, tmp_path, provider="ledger", hands="6")
    yield made
    made.installation.close()


def fill(ledger, count: int, *, seed: int = 1, slow_s: float = 0.02) -> None:
    """Put records of uneven ages on a ledger whose pages take a while."""
    chance = random.Random(seed)
    for number in range(count):
        age = chance.choice([chance.random(), chance.random() / 10, 0.5])
        created = START + timedelta(days=int(900 * age), seconds=chance.randrange(100))
        ledger.put(f"r{number:04d}", created=int(created.timestamp()))
    ledger.page_size = 5
    ledger.before_page = lambda _: time.sleep(slow_s)


def payloads(bench) -> dict[str, dict]:
    return {row.record_id: json.loads(row.payload) for row in bench.stored("rows")}


def parts_of(bench, run_id: str) -> list[tuple]:
    with bench.database.read() as connection:
        return connection.exec_driver_sql(
            f"SELECT number, state, pages, seen FROM partitions WHERE run_id = '{run_id}'"
        ).all()


def test_idle_hands_cut_a_long_window_up_and_nothing_is_missed(bench):
    fill(bench.ledger, 300)
    run = bench.sync("rows", "full")
    assert run.state == "succeeded"
    assert payloads(bench) == bench.ledger.rows
    parts = parts_of(bench, run.id)
    assert len(parts) >= 4
    assert sum(1 for part in parts if part[3]) >= 3
    assert run.counts == Counts(seen=300, created=300, requests=run.counts.requests)
    assert run.counts.requests <= bench.ledger.count("list") <= run.counts.requests + 1


def test_the_windows_of_a_verification_lie_side_by_side(bench):
    fill(bench.ledger, 300)
    bench.sync("rows", "full")
    run = bench.sync("rows", "verify")
    windows = read_outcome(bench.installation, run.id, limit=10).windows
    assert len(windows) >= 4
    assert (windows[0].since, windows[-1].until) == (None, None)
    for before, after in pairwise(windows):
        assert before.until == after.since
    assert sum(window.records for window in windows) == run.counts.seen == 300


@pytest.mark.parametrize("mode", ["full", "verify"])
def test_a_page_that_is_under_way_when_its_window_is_cut_is_counted_once(
    database_url, tmp_path, mode
):
    bench = make_bench(database_url, tmp_path, provider="ledger", hands="1")
    for day in range(20):
        bench.ledger.put(f"r{day:02d}", created=int((START + timedelta(days=day)).timestamp()))
    bench.ledger.page_size = 5
    if mode == "verify":
        bench.sync("rows", "full")
    pages = iter(range(1, 100))

    def cut_once(_ledger) -> None:
        if next(pages) == 3:  # the second page is stored or will be, and this one has days 5 to 9
            give_up_at = time.monotonic() + 30
            while not is_cut(bench, START + timedelta(days=7)):
                assert time.monotonic() < give_up_at
                time.sleep(0.01)

    bench.ledger.before_page = cut_once
    run = bench.sync("rows", mode)
    assert run.counts.seen == 20
    parts = parts_of(bench, run.id)
    assert sorted(part[3] for part in parts) == [7, 13]
    assert {part[1] for part in parts} == {"done"}
    assert payloads(bench) == bench.ledger.rows
    bench.installation.close()


def is_cut(bench, at: datetime) -> bool:
    """Cut the one window that is being read, once its reader has told how far it is."""

    def cut(connection) -> bool:
        (run_id,) = connection.exec_driver_sql("SELECT id FROM runs WHERE state = 'running'").one()
        parts = partitions.splittable(connection, run_id)
        return bool(parts) and partitions.split(connection, parts[0], at=at, newest_first=True)

    return bench.database.transact(cut)


def test_two_processes_help_the_same_run(bench):
    fill(bench.ledger, 300)
    asked = bench.ask("rows", "full").run
    other = second_engine(bench)
    helper = threading.Thread(target=help_run, args=(other, asked.id, threading.Event()))
    starter = threading.Thread(target=bench.help, args=(asked.id,))
    starter.start()
    time.sleep(0.1)
    helper.start()
    starter.join()
    helper.join()
    run = bench.help(asked.id)
    other.database.close()
    assert run.state == "succeeded"
    assert payloads(bench) == bench.ledger.rows
    assert run.counts.created == 300


def test_a_deletion_is_noticed_though_the_list_was_read_in_pieces(bench):
    fill(bench.ledger, 120, slow_s=0.01)
    bench.sync("rows", "full")
    bench.ledger.hears = False
    for key in ("r0003", "r0077"):
        bench.ledger.remove(key)
    bench.clock.move(60)
    run = bench.sync("rows", "full")
    assert run.counts.deleted == 2
    assert payloads(bench) == bench.ledger.rows


def test_a_provider_that_refuses_windows_is_read_in_one_piece(bench):
    fill(bench.ledger, 120)
    bench.ledger.refuses["window"] = refused()
    run = bench.sync("rows", "full")
    assert run.state == "succeeded"
    assert "cannot be bounded by time" in run.reason
    assert payloads(bench) == bench.ledger.rows


def test_a_list_that_is_not_in_the_declared_order_is_still_read_whole(bench):
    fill(bench.ledger, 120, slow_s=0.01)
    shuffled = random.Random(3)
    stamps = [row["created"] for row in bench.ledger.rows.values()]
    shuffled.shuffle(stamps)
    page = bench.ledger.page

    def lying(window, after):
        found = page(window, after)
        shuffled.shuffle(found.records)
        return found

    bench.ledger.page = lying
    assert bench.sync("rows", "full").state == "succeeded"
    assert payloads(bench) == bench.ledger.rows


def test_only_the_window_that_was_asked_for_is_read(bench):
    fill(bench.ledger, 60, slow_s=0)
    window = (START + timedelta(days=100), START + timedelta(days=400))
    run = bench.sync("rows", "window", window=window)
    assert (run.state, run.mode, run.counts.deleted) == ("succeeded", "window", 0)
    low, high = (int(edge.timestamp()) for edge in window)
    wanted = {k: r for k, r in bench.ledger.rows.items() if low <= r["created"] < high}
    assert wanted
    assert payloads(bench) == wanted
    with bench.database.read() as connection:
        state = connections.read_entity_state(connection, bench.connection_id, "rows")
    assert state.synced_until is None


def test_a_window_of_a_list_without_windows_is_refused(bench):
    with pytest.raises(RefusedError) as caught:
        bench.ask("listed", "window", window=(START, None))
    assert caught.value.slug == "no-windows"


def part(**given) -> PartitionRow:
    values = {
        "id": "par_x",
        "run_id": "run_x",
        "number": 1,
        "state": "running",
        "source": "list",
        "window_start": None,
        "window_end": None,
        "reached_at": None,
        "split_at": None,
        "page_span_s": 86_400.0,
        "checkpoint": None,
        "checkpoint_at": None,
        "as_of": None,
        "pages": 1,
        "restarts": 0,
        "rescues": 0,
        "fence": 1,
        "counts": Counts(seen=100),
    }
    return PartitionRow(**values | given)


NEWEST = Windows(field="created", order="newest first", earliest=START)
OLDEST = Windows(field="created", order="oldest first", earliest=START)
NOW = START + timedelta(days=1000)


def day(number: int) -> datetime:
    return START + timedelta(days=number)


@pytest.mark.parametrize(
    ("windows", "given", "middle"),
    [
        (NEWEST, {"reached_at": day(800)}, day(400)),
        (NEWEST, {"reached_at": day(800), "split_at": day(400)}, day(600)),
        (NEWEST, {"reached_at": day(800), "window_start": day(200)}, day(500)),
        (OLDEST, {"reached_at": day(200)}, day(600)),
        (OLDEST, {"reached_at": day(200), "split_at": day(600)}, day(400)),
        (OLDEST, {"reached_at": day(200), "window_end": day(400)}, day(300)),
    ],
)
def test_a_rest_is_cut_in_the_middle(windows, given, middle):
    found = best_cut(windows, [part(**given)], now=NOW, page_s=1.0)
    assert found is not None
    assert found[1] == middle


@pytest.mark.parametrize(
    "given",
    [
        {"reached_at": None},
        {"reached_at": START + timedelta(seconds=1)},
        {"reached_at": day(2)},
        {"reached_at": day(800), "page_span_s": None},
    ],
)
def test_what_is_short_or_unknown_is_not_cut(given):
    assert best_cut(NEWEST, [part(**given)], now=NOW, page_s=1.0) is None


def test_a_cut_has_to_save_time():
    parts = [part(reached_at=day(10))]
    assert best_cut(NEWEST, parts, now=NOW, page_s=0.1) is not None
    assert best_cut(NEWEST, parts, now=NOW, page_s=0.001) is None


def stamped(*days: int) -> list[dict]:
    return [{"id": str(n), "created": int(day(n).timestamp())} for n in days]


def test_reading_notes_how_far_it_came_and_leaves_the_rest_to_others():
    reading = Reading(NEWEST, part())
    reading.meet([*stamped(9, 9, 7), {"id": "odd", "created": None}])
    assert reading.reached_at == day(7)
    assert not reading.has_passed(day(7))
    reading.meet(stamped(6, 4))
    assert reading.has_passed(day(5))
    assert reading.within(stamped(6, 4), day(5)) == stamped(6)
    assert reading.within(stamped(6, 4), None) == stamped(6, 4)
    reading.meet(stamped(8))
    assert (reading.is_ordered, reading.reached_at) == (False, None)
    assert not reading.has_passed(day(5))
    for odd in ((9, 3, 7), (9, 10, 7)):
        reading = Reading(NEWEST, part())
        reading.meet(stamped(*odd))
        assert not reading.is_ordered


def test_reading_follows_a_time_inside_of_an_object():
    def nested(*days: int) -> list[dict]:
        return [{"id": str(n), "meta": {"created": day(n).isoformat()}} for n in days]

    reading = Reading(Windows(field="meta.created", epoch=False, order="oldest first"), part())
    reading.meet(nested(4, 6, 6, 7))
    assert (reading.reached_at, reading.has_passed(day(7))) == (day(7), True)
    assert reading.within(nested(4, 6, 7), day(6)) == nested(4)
    reading.meet(nested(5))
    assert not reading.is_ordered
