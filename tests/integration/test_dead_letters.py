"""Dead letters: one per run that was given up, settled once, by a person."""

from __future__ import annotations

import pytest

from inbox_kit import Told, deliver, drain_now, states_of
from kit import START, make_bench
from tieline.contract import PermissionDeniedError
from tieline.engine.tick import tick
from tieline.errors import NotFoundError, RefusedError
from tieline.services import dead_letters as service
from tieline.services import schedules as schedule_service
from tieline.store import alerts, dead_letters


@pytest.fixture
def bench(database_url, tmp_path):
    made = make_bench(database_url, tmp_path)
    made.installation.__dict__["redis"] = None  # nothing listens in a bench
    yield made
    del made.installation.__dict__["redis"]
    made.installation.close()


def dead_run(bench, entity="items"):
    """Leave a dead letter as the engine does; return letter and run."""
    run_id = bench.ask(entity).run.id
    with bench.database.write() as transaction:
        transaction.exec_driver_sql("UPDATE runs SET state = 'failed', finished_at = due_at")
        letter_id = dead_letters.add_dead_letter(
            transaction,
            kind="run",
            connection_id=bench.connection_id,
            entity=entity,
            run_id=run_id,
            reason_code="worker-lost",
            reason="4 workers in a row died on page 3",
            facts={"mode": "full"},
            now=bench.clock.now(),
        )
    return letter_id, run_id


def test_a_schedule_is_parked_while_a_run_of_its_entity_is_dead(bench):
    for entity in ("items", "kept"):
        schedule_service.set_schedule(
            bench.installation, "shop", entity, "15m", jitter_s=0, actor="test"
        )
    letter_id, _ = dead_run(bench)
    assert tick(bench.engine) == 1
    parked, other = schedule_service.list_schedules(bench.installation)
    assert (parked.row.ticks, other.row.ticks) == (0, 1)
    assert (parked.state, parked.hint) == ("parked", f"tieline dead show {letter_id}")
    service.drop_dead_letter(bench.installation, letter_id, actor="test")
    assert tick(bench.engine) == 1
    parked, _ = schedule_service.list_schedules(bench.installation)
    assert (parked.state, parked.row.ticks) == ("active", 1)


def test_a_run_has_one_dead_letter_however_many_workers_give_it_up(bench):
    first, run_id = dead_run(bench)
    with bench.database.write() as transaction:
        again = dead_letters.add_dead_letter(
            transaction,
            kind="run",
            connection_id=bench.connection_id,
            entity="items",
            run_id=run_id,
            reason_code="worker-lost",
            reason="once more",
            facts={},
            now=bench.clock.now(),
        )
    assert again == first
    [letter] = service.list_dead_letters(bench.installation)
    assert (letter.reason, letter.facts["mode"]) == ("4 workers in a row died on page 3", "full")


def test_a_retried_letter_is_settled_by_a_new_run(bench):
    letter_id, dead_id = dead_run(bench)
    retried = service.retry_dead_letter(bench.installation, letter_id, actor="me")
    assert retried.is_new
    assert (retried.run.mode, retried.run.asked_by) == ("full", "me")
    assert retried.run.id != dead_id
    assert bench.rung[-1] == retried.run.id
    assert (retried.letter.settled_how, retried.letter.settled_at) == ("retried", START)
    assert service.list_dead_letters(bench.installation) == []
    assert len(service.list_dead_letters(bench.installation, with_settled=True)) == 1
    for settle in (service.retry_dead_letter, service.drop_dead_letter):
        with pytest.raises(RefusedError, match="retried before"):
            settle(bench.installation, letter_id, actor="me")


def test_a_letter_that_is_retried_during_a_run_takes_that_one(bench):
    letter_id, _ = dead_run(bench)
    active = bench.ask().run.id
    retried = service.retry_dead_letter(bench.installation, letter_id, actor="me")
    assert (retried.is_new, retried.run.id) == (False, active)


@pytest.mark.parametrize("letter_id", ["dead_x", "", "x" * 10**6, "a\0b", "é", "'; --"])
def test_an_unknown_letter_is_not_found(bench, letter_id):
    for ask in (service.retry_dead_letter, service.drop_dead_letter):
        with pytest.raises(NotFoundError) as caught:
            ask(bench.installation, letter_id, actor="me")
        assert len(caught.value.message) < 120


@pytest.fixture
def inbox(database_url, tmp_path):
    made = make_bench(database_url, tmp_path, provider="ledger")
    yield made
    made.installation.close()


def dead_events(bench, count=3):
    """Leave events that a missing right failed; return their letter."""
    bench.ledger.refuses["get"] = PermissionDeniedError("403")
    deliver(bench, *(Told(type="row.touched", key=f"k{n}", at=-9) for n in range(count)))
    drain_now(bench)
    bench.ledger.refuses.clear()
    [letter] = service.list_dead_letters(bench.installation)
    return letter


def open_alerts(bench):
    with bench.database.read() as transaction:
        return [alert for alert in alerts.list_alerts(transaction) if alert.state == "open"]


def test_a_letter_of_events_is_retried_as_one(inbox):
    letter = dead_events(inbox)
    assert service.count_dead_events(inbox.installation, letter) == 3
    inbox.ledger.rows = {f"k{n}": {"id": f"k{n}"} for n in range(3)}
    retried = service.retry_dead_letter(inbox.installation, letter.id, actor="me")
    assert (retried.run, retried.events, retried.letter.settled_how) == (None, 3, "retried")
    assert inbox.drains_rung == [inbox.connection_id]
    assert open_alerts(inbox) == []
    drain_now(inbox)
    assert states_of(inbox) == ["done"] * 3
    assert inbox.stored_keys("rows") == ["k0", "k1", "k2"]


def test_a_letter_of_events_that_is_dropped_leaves_them_ignored(inbox):
    letter = dead_events(inbox)
    service.drop_dead_letter(inbox.installation, letter.id, actor="me")
    assert states_of(inbox) == ["ignored"] * 3
    assert open_alerts(inbox) == []
    assert service.list_dead_letters(inbox.installation) == []


def test_events_that_die_of_the_same_again_are_a_letter_of_their_own(inbox):
    first = dead_events(inbox)
    service.retry_dead_letter(inbox.installation, first.id, actor="me")
    inbox.ledger.refuses["get"] = PermissionDeniedError("403")
    drain_now(inbox)
    [second] = service.list_dead_letters(inbox.installation)
    assert second.id != first.id
    assert [alert.subject for alert in open_alerts(inbox)] == [second.id]


def test_dead_events_park_no_schedule(inbox):
    schedule_service.set_schedule(
        inbox.installation, "shop", "rows", "15m", jitter_s=0, actor="test"
    )
    dead_events(inbox)
    assert tick(inbox.engine) == 1
    [schedule] = schedule_service.list_schedules(inbox.installation)
    assert schedule.state == "active"
