"""Schedules: any number of schedulers, each tick once; parked, paused, spread."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from kit import START, make_bench, second_engine
from tieline.engine.tick import MOST_AT_ONCE, tick, timetable_of
from tieline.errors import InvalidInputError, NotFoundError, RefusedError
from tieline.failpoints import Crash, set_failpoints
from tieline.services import overview
from tieline.services import schedules as service
from tieline.store import connections, log, schedules

MINUTE = timedelta(minutes=1)


@pytest.fixture
def bench(database_url, tmp_path):
    made = make_bench(database_url, tmp_path)
    yield made
    set_failpoints("")
    made.installation.close()


def put(bench, rule="every 15m", entity="items", **options):
    options = {"jitter_s": 0, "actor": "test"} | options
    made = service.set_schedule(bench.installation, "shop", entity, rule, **options)
    return made.row


def row_of(bench, entity="items"):
    with bench.database.read() as transaction:
        return schedules.find_schedule(transaction, bench.connection_id, entity)


def state_of(bench, entity="items"):
    [found] = [
        each
        for each in service.list_schedules(bench.installation)
        if each.row.entity == entity and each.row.connection_name == "shop"
    ]
    return found


def runs_of(bench, schedule_id):
    """Return (mode, created_at) of every run that a schedule asked for, oldest first."""
    from tieline.store import runs

    with bench.database.read() as transaction:
        found = runs.list_runs(transaction, limit=10**6)
    mine = [run for run in found if run.asked_by == f"schedule:{schedule_id}"]
    return [(run.mode, run.created_at) for run in reversed(mine)]


def end_all(bench):
    """End every active run, as workers would."""
    with bench.database.write() as transaction:
        transaction.exec_driver_sql("UPDATE runs SET state = 'succeeded', finished_at = due_at")


def move_to(bench, time):
    bench.clock.move((time - bench.clock.now()).total_seconds())


# --- each tick once ---------------------------------------------------------------------------


def add_connections(bench, count):
    """Add connections that have what the bench's own has but for the name."""
    with bench.database.write() as transaction:
        own = connections.find_connection(transaction, bench.connection_id)
        from dataclasses import replace

        for number in range(count):
            connections.add_connection(
                transaction, replace(own, id=f"con_{number:05d}", name=f"shop{number:05d}")
            )


def add_schedules(bench, count, rule="every 1m", **options):
    """Give ``count`` new connections a schedule each; return their ids."""
    options = {"actor": "test"} | options
    add_connections(bench, count)
    return [
        service.set_schedule(
            bench.installation, f"shop{number:05d}", "items", rule, **options
        ).row.id
        for number in range(count)
    ]


def tick_until_done(engine, errors):
    try:
        while tick(engine):
            pass
    except BaseException as error:  # noqa: BLE001 - for the test's own thread
        errors.append(error)


def test_three_schedulers_take_each_of_a_thousand_ticks_once(bench):
    ids, steps = add_schedules(bench, 20), 50
    engines = [bench.engine, second_engine(bench), second_engine(bench)]
    errors = []
    move_to(bench, START + timedelta(seconds=30))  # past every jitter of the first tick
    for _ in range(steps):
        hands = [threading.Thread(target=tick_until_done, args=(e, errors)) for e in engines]
        for hand in hands:
            hand.start()
        for hand in hands:
            hand.join()
        assert errors == []
        tick(bench.engine)  # one that was passed over because another held it
        end_all(bench)
        bench.clock.move(60)
    for engine in engines[1:]:
        engine.database.close()
    with bench.database.read() as transaction:
        rows = schedules.list_schedules(transaction)
        asked = transaction.exec_driver_sql("SELECT asked_by, created_at FROM runs").all()
    assert {row.ticks for row in rows} == {steps}
    assert Counter(by for by, _ in asked) == {f"schedule:{each}": steps for each in ids}
    assert len(set(asked)) == 20 * steps
    assert len(bench.rung) <= 20 * steps  # by this engine; the others' bells are not counted


@pytest.mark.parametrize("place", ["before_commit", "after_commit"])
def test_a_scheduler_that_dies_inside_a_tick_is_followed_by_another(bench, place):
    schedule = put(bench)
    set_failpoints(f"schedule.tick.{place}=raise")
    with pytest.raises(Crash):
        tick(bench.engine)
    other = second_engine(bench)
    assert tick(other) == (1 if place == "before_commit" else 0)
    other.database.close()
    assert row_of(bench).ticks == 1
    assert len(runs_of(bench, schedule.id)) == 1
    if place == "after_commit":  # nobody was rung for: a worker's sweep does it
        assert bench.rung == []
        assert bench.sweep() == 1


def test_a_bell_that_nobody_hears_costs_no_tick(bench):
    from tieline.errors import DependencyError

    rung = []

    def ring(run_id, number):
        rung.append(run_id)
        raise DependencyError("away")

    add_schedules(bench, 5, jitter_s=0)
    object.__setattr__(bench.engine, "ring", ring)
    assert tick(bench.engine) == 5
    assert len(rung) == 1  # Redis is not waited for again and again
    object.__setattr__(bench.engine, "ring", lambda run_id, number: rung.append(run_id))
    bench.clock.move(31)
    assert bench.sweep() == 5


def test_a_schedule_whose_connection_is_being_removed_is_passed_over(postgres_url, tmp_path):
    bench = make_bench(postgres_url, tmp_path)
    put(bench)
    other = second_engine(bench)
    with other.database.write() as transaction:
        connections.delete_connection(transaction, bench.connection_id)
        assert tick(bench.engine) == 0  # and does not wait, or lock itself up with the other
    assert tick(bench.engine) == 0
    other.database.close()
    bench.installation.close()


# --- what a tick asks for ---------------------------------------------------------------------


def test_an_interval_begins_now_and_keeps_to_its_grid(bench):
    schedule = put(bench)
    for late in (0, 400, 3, 899, 1):
        noticed = row_of(bench).next_at + timedelta(seconds=late)
        move_to(bench, noticed)
        assert tick(bench.engine) == 1
        assert tick(bench.engine) == 0
        end_all(bench)
    assert row_of(bench).next_at == START + 5 * 15 * MINUTE
    assert [at for _, at in runs_of(bench, schedule.id)][:2] == [
        START,
        START + 15 * MINUTE + timedelta(seconds=400),
    ]


def test_after_downtime_there_is_one_run_and_no_burst(bench):
    schedule = put(bench)
    tick(bench.engine)
    end_all(bench)
    move_to(bench, START + timedelta(days=3, minutes=7))
    assert tick(bench.engine) == 1
    assert tick(bench.engine) == 0
    assert len(runs_of(bench, schedule.id)) == 2
    assert row_of(bench).next_at == START + timedelta(days=3, minutes=15)


def test_a_run_that_is_active_is_the_tick_s_run(bench):
    active = bench.ask().run.id
    schedule = put(bench)
    assert tick(bench.engine) == 1
    assert runs_of(bench, schedule.id) == []
    after = row_of(bench)
    assert (after.ticks, after.last_run_id) == (1, active)
    assert after.next_at == START + 15 * MINUTE


def test_a_run_asked_for_by_a_schedule_is_logged_with_it(bench):
    schedule = put(bench)
    tick(bench.engine)
    run_id = row_of(bench).last_run_id
    assert bench.rung == [run_id]
    with bench.database.read() as transaction:
        [entry] = log.list_entries(transaction, run_id=run_id)
        said = [each["event"] for each in log.list_entries(transaction)]
    assert (entry["event"], entry["actor"]) == ("run.asked", f"schedule:{schedule.id}")
    assert "schedule.set" in said


def test_a_full_run_is_asked_for_when_the_last_is_too_old(bench):
    asked = []
    from tieline.engine import tick as module

    def plan(engine, connection, row, entity, *, mode, **options):
        asked.append(mode)
        return plan_run(engine, connection, row, entity, mode=mode, **options)

    plan_run = module.plan_run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "plan_run", plan)
        bench.shelf.put("a", "b")
        put(bench, "every 1h", full_every="3h")
        for _ in range(6):
            tick(bench.engine)
            assert bench.help(row_of(bench).last_run_id).state == "succeeded"
            bench.clock.move(3600)
        assert asked[0] == "full"  # there never was one
        # The shelf has no log of changes, so whatever was asked for became a full run.
        assert asked[1:] == ["incremental"] * 5
        with bench.database.write() as transaction:
            transaction.exec_driver_sql("UPDATE entity_states SET last_full_run_id = NULL")
        tick(bench.engine)
        assert asked[-1] == "full"
        assert bench.help(row_of(bench).last_run_id).state == "succeeded"
        bench.clock.move(3 * 3600 + 1)
        tick(bench.engine)
        assert asked[-1] == "full"


# --- clocks -----------------------------------------------------------------------------------


def test_a_clock_set_forward_an_hour_makes_one_extra_run_at_most(bench):
    schedule = put(bench)
    for minute in range(0, 120, 5):
        if minute == 30:
            bench.clock.move(3600)
        tick(bench.engine)
        end_all(bench)
        bench.clock.move(300)
    # 24 looks at 5 min are 8 intervals of 15 min; the hour that was skipped adds one at most.
    assert len(runs_of(bench, schedule.id)) in {8, 9}


def test_a_clock_set_back_an_hour_stalls_nobody_for_longer_than_an_interval(bench):
    put(bench)
    cron = put(bench, "0 * * * *", entity="kept", is_cron=True)
    for _ in range(8):
        tick(bench.engine)
        end_all(bench)
        bench.clock.move(900)
    before = {name: row_of(bench, name).ticks for name in ("items", "kept")}
    back = bench.clock.now() - timedelta(hours=1)
    bench.clock.move(-3600)
    tick(bench.engine)  # notices it
    assert row_of(bench).next_at <= back + 15 * MINUTE
    assert row_of(bench, "kept").next_at <= back + 60 * MINUTE
    for _ in range(4):
        bench.clock.move(900)
        tick(bench.engine)
        end_all(bench)
    assert row_of(bench).ticks == before["items"] + 4
    assert row_of(bench, "kept").ticks == before["kept"] + 1
    assert cron.rule == "cron 0 * * * *"


def test_two_clocks_that_differ_a_little_take_a_tick_once(bench):
    schedule = put(bench)
    tick(bench.engine)
    end_all(bench)
    bench.clock.move(900)
    tick(bench.engine)
    end_all(bench)
    bench.clock.move(-20)  # the other machine's
    assert tick(bench.engine) == 0
    assert len(runs_of(bench, schedule.id)) == 2
    assert row_of(bench).next_at == START + 30 * MINUTE


# --- parked, paused ---------------------------------------------------------------------------


def test_a_schedule_is_parked_while_its_connection_needs_authorisation(bench):
    schedule = put(bench)
    with bench.database.write() as transaction:
        connections.refuse_credential(
            transaction, bench.connection_id, generation=None, words="no", now=bench.clock.now()
        )
    for _ in range(5):
        assert tick(bench.engine) == 0
        bench.clock.move(900)
    parked = state_of(bench)
    assert (parked.state, parked.hint) == ("parked", "tieline connections reauth shop")
    assert "authorisation" in parked.reason
    with bench.database.read() as transaction:
        assert schedules.next_due_at(transaction) is None  # nobody is kept awake by it
    with bench.database.write() as transaction:
        transaction.exec_driver_sql("UPDATE connections SET state = 'ok'")
    assert tick(bench.engine) == 1  # at once, and one run for all that went by
    assert len(runs_of(bench, schedule.id)) == 1
    assert state_of(bench).state == "active"


def test_a_paused_schedule_rests_and_makes_up_for_nothing(bench):
    schedule = put(bench)
    tick(bench.engine)
    end_all(bench)
    paused = service.pause_schedule(bench.installation, "shop", "items", actor="test")
    assert paused.state == "paused"
    bench.clock.move(24 * 3600 + 60)
    assert tick(bench.engine) == 0
    with pytest.raises(RefusedError, match="paused already"):
        service.pause_schedule(bench.installation, "shop", "items", actor="test")
    put(bench, "every 30m")  # another rule wakes it no more than time does
    assert tick(bench.engine) == 0
    service.resume_schedule(bench.installation, "shop", "items", actor="test")
    assert tick(bench.engine) == 0
    bench.clock.move(30 * 60)
    assert tick(bench.engine) == 1
    assert len(runs_of(bench, schedule.id)) == 2
    with pytest.raises(RefusedError, match="not paused"):
        service.resume_schedule(bench.installation, "shop", "items", actor="test")


def test_a_removed_schedule_asks_for_nothing(bench):
    put(bench)
    service.remove_schedule(bench.installation, "shop", "items", actor="test")
    assert tick(bench.engine) == 0
    with pytest.raises(NotFoundError, match="has no schedule"):
        service.remove_schedule(bench.installation, "shop", "items", actor="test")


def test_a_schedule_whose_entity_is_gone_holds_up_nobody(bench):
    put(bench)
    bench.clock.move(1)
    put(bench, entity="kept")
    with bench.database.write() as transaction:
        transaction.exec_driver_sql("UPDATE schedules SET entity = 'gone' WHERE entity = 'items'")
    bench.clock.move(1)
    assert tick(bench.engine) == 2
    assert row_of(bench, "kept").ticks == 1
    gone = row_of(bench, "gone")
    assert (gone.ticks, gone.next_at) == (0, START + 15 * MINUTE)
    assert state_of(bench, "gone").state == "parked"
    with bench.database.write() as transaction:
        transaction.exec_driver_sql("UPDATE schedules SET entity = 'items' WHERE entity = 'gone'")
    bench.clock.move(15 * 60)
    tick(bench.engine)
    assert row_of(bench).ticks == 1


def test_a_bug_in_one_schedule_holds_up_nobody(bench):
    from tieline.engine import tick as module

    first = put(bench)
    bench.clock.move(1)
    put(bench, entity="kept")
    bench.clock.move(1)
    plan_run = module.plan_run

    def plan(engine, connection, row, entity, **options):
        if entity.name == "items":
            raise ZeroDivisionError
        return plan_run(engine, connection, row, entity, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "plan_run", plan)
        assert tick(bench.engine) == 2
    assert row_of(bench, "kept").ticks == 1
    assert runs_of(bench, first.id) == []
    assert row_of(bench).next_at == START + 15 * MINUTE


# --- setting ----------------------------------------------------------------------------------


def test_setting_a_schedule_again_replaces_its_rule_and_keeps_its_due_tick(bench):
    first = put(bench)
    second = put(bench, "every 1h", full_every="7d")
    assert (second.id, second.rule, second.full_every_s) == (first.id, "every 1h", 7 * 86400)
    assert second.next_at == first.next_at
    assert tick(bench.engine) == 1
    third = put(bench, "30 3 * * *", is_cron=True, zone="Europe/Berlin")
    assert third.next_at == datetime(2026, 11, 1, 2, 30, tzinfo=UTC)
    assert third.full_every_s is None
    assert len(service.list_schedules(bench.installation)) == 1


def test_the_overview_has_the_next_tick_that_comes_whatever_waits_for_its_zone(bench):
    def seen():
        [line] = overview.look_over(bench.installation).lines
        return line.next_at, line.trouble

    with bench.database.write() as transaction:
        assert schedules.next_ticks(transaction) == []
    put(bench, "30 3 * * *", entity="kept", is_cron=True, zone="Europe/Berlin")
    daily = row_of(bench, "kept").next_at
    assert seen() == (daily, "")
    hourly = put(bench, "every 60d").next_at
    assert seen() == (min(hourly, daily), "")
    with bench.database.write() as transaction:
        transaction.exec_driver_sql("UPDATE schedules SET zone = 'Mars/Olympus'")
        found = {each.zone: each.at for each in schedules.next_ticks(transaction)}
    assert found == {"UTC": hourly, "Mars/Olympus": daily}
    assert seen() == (
        hourly, "a schedule waits: 'Mars/Olympus' is no time zone on this machine",
    )  # fmt: skip
    assert state_of(bench, "kept").state == "parked"


def test_next_ticks_are_those_that_come(bench):
    put(bench, "every 1h", jitter_s=600)
    put(bench, "*/20 * * * *", entity="kept", is_cron=True, zone="America/New_York", jitter_s=60)
    told = service.next_ticks(bench.installation, count=40)
    assert [at for at, _ in told] == sorted(at for at, _ in told)
    for at, schedule in told:
        move_to(bench, at - timedelta(milliseconds=1))
        assert tick(bench.engine) == 0
        move_to(bench, at)
        assert tick(bench.engine) == 1
        assert row_of(bench, schedule.row.entity).last_tick_at == at


NONSENSE = {
    "interval": ({"rule": "every -5m"}, "rule: "),
    "cron": ({"rule": "61 * * * *", "is_cron": True}, "rule: "),
    "zone": ({"zone": "Mars"}, "zone: "),
    "zone of a path": ({"zone": "../../etc/passwd"}, "zone: "),
    "jitter": ({"jitter_s": -1}, "jitter: "),
    "large jitter": ({"jitter_s": 10**18}, "jitter: "),
    "full every": ({"full_every": "soon"}, "full-every: "),
    "unknown entity": ({"entity": "itmes"}, "itmes"),
    "entity of a megabyte": ({"entity": "x" * 10**6}, "entity: "),
    "entity with NUL": ({"entity": "a\0b"}, "entity: "),
    "entity of SQL": ({"entity": "x'; DROP TABLE runs; --"}, "entity: "),
    "unknown connection": ({"connection": "shpo"}, "shpo"),
    "connection of a megabyte": ({"connection": "x" * 10**6}, "connection: "),
    "connection with NUL": ({"connection": "shop\0"}, "connection: "),
    "connection of an emoji": ({"connection": "🛒"}, "connection: "),
    "connection of a path": ({"connection": "../shop"}, "connection: "),
}


@pytest.mark.parametrize("case", NONSENSE, ids=list(NONSENSE))
def test_nonsense_is_refused_with_field_and_reason_and_nothing_is_stored(bench, case):
    options, words = NONSENSE[case]
    given = {"connection": "shop", "entity": "items", "rule": "15m"} | options
    with pytest.raises(InvalidInputError) as caught:
        service.set_schedule(bench.installation, actor="test", **given)
    assert words in caught.value.message
    assert len(caught.value.message) < 300
    assert service.list_schedules(bench.installation) == []


# --- many at once -----------------------------------------------------------------------------


def add_many(bench, count, rule, jitter_s):
    """Add connections with a schedule each, all due at the same tick."""
    from tieline.engine.timetable import Timetable, read_rule

    read = read_rule(rule, "UTC")
    add_connections(bench, count)
    with bench.database.write() as transaction:
        for number in range(count):
            schedule_id = f"sch_{number:05d}"
            table = Timetable(schedule_id=schedule_id, rule=read, jitter_s=jitter_s, anchor=START)
            schedules.add_schedule(
                transaction,
                schedule_id=schedule_id,
                connection_id=f"con_{number:05d}",
                entity="items",
                rule=rule,
                zone="UTC",
                jitter_s=jitter_s,
                full_every_s=None,
                next_at=table.next_after(START),
                now=START,
            )


def test_ten_thousand_schedules_of_one_second_are_spread_evenly():
    from tieline.engine.timetable import Timetable, default_jitter_s, read_rule

    rule = read_rule("cron 0 * * * *", "UTC")
    options = {"rule": rule, "jitter_s": default_jitter_s(rule), "anchor": START}
    due = [
        Timetable(schedule_id=f"sch_{number}", **options).next_after(START + MINUTE)
        for number in range(10_000)
    ]
    per_second = Counter(at.replace(microsecond=0) for at in due)
    assert min(due) >= START + 60 * MINUTE
    assert max(due) <= START + 61 * MINUTE
    assert max(per_second.values()) < 250  # 167 on average


def test_a_crowd_is_taken_in_batches_the_longest_due_first_and_none_starves(sqlite_url, tmp_path):
    bench = make_bench(sqlite_url, tmp_path)
    crowd = 1500
    add_many(bench, crowd, "cron 0 * * * *", jitter_s=60)
    with bench.database.read() as transaction:
        due = {row.id: row.next_at for row in schedules.list_schedules(transaction)}
    move_to(bench, START + timedelta(hours=1, minutes=1))  # late: all are due
    taken: list[str] = []
    while len(taken) < crowd:
        assert tick(bench.engine) == min(MOST_AT_ONCE, crowd - len(taken))
        with bench.database.read() as transaction:
            rows = schedules.list_schedules(transaction)
        now_taken = {row.id for row in rows if row.ticks == 1} - set(taken)
        assert all(row.ticks <= 1 for row in rows)
        left = [due[row.id] for row in rows if row.ticks == 0]
        assert max(due[each] for each in now_taken) <= min(left, default=START + 120 * MINUTE)
        taken += now_taken
        bench.clock.move(5)
    assert all(timetable_of(row).next_after(row.last_tick_at) == row.next_at for row in rows)
    bench.installation.close()


def test_a_tick_takes_a_bounded_number_and_the_longest_due_first(bench):
    add_many(bench, MOST_AT_ONCE + 30, "cron 0 * * * *", jitter_s=60)
    move_to(bench, START + timedelta(hours=1, minutes=2))
    assert tick(bench.engine) == MOST_AT_ONCE
    with bench.database.read() as transaction:
        rows = schedules.list_schedules(transaction)
    left = [row.next_at for row in rows if row.ticks == 0]
    assert len(left) == 30
    stop = threading.Event()
    stop.set()
    assert tick(bench.engine, stop) == 0
    assert tick(bench.engine) == 30
    assert tick(bench.engine) == 0
