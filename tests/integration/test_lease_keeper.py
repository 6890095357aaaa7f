"""A hand that waits for the provider longer than its lease keeps it; a hand that hangs does not."""

from __future__ import annotations

import threading
import time

import pytest

from kit import make_bench, names
from site_of import wait_until
from tieline.engine.keeper import LeaseKeeper
from tieline.errors import DependencyError, LeaseLost


@pytest.fixture
def bench(database_url, tmp_path):
    made = make_bench(database_url, tmp_path, hands="1", lease_s="1")
    yield made
    made.installation.close()


def fence_and_lease(bench):
    with bench.database.read() as connection:
        return connection.exec_driver_sql("SELECT fence, lease_until FROM partitions").one()


def test_a_slow_call_keeps_its_lease(bench):
    bench.shelf.put(*names(6))
    leases = []

    def slow(_shelf, _after):
        leases.append(fence_and_lease(bench))
        bench.clock.move(0.9)
        wait_until(lambda: fence_and_lease(bench) != leases[0])
        leases.append(fence_and_lease(bench))

    bench.shelf.faults[bench.shelf.requests + 2] = slow
    assert bench.sync().state == "succeeded"
    before, after = leases
    assert before[0] == after[0]
    assert str(after[1]) > str(before[1])


def test_a_run_that_is_cancelled_while_a_call_is_repeated_ends_at_once(bench):
    from tieline.contract import ProviderUnavailableError
    from tieline.services import syncs

    bench.shelf.put(*names(6))
    run_id = bench.ask().run.id
    waited = []

    def down(_shelf, _after):
        raise ProviderUnavailableError("502")

    def sleep(seconds, stop):
        syncs.cancel_run(bench.installation, run_id, actor="test")
        began = time.monotonic()
        waited.append(stop.wait(20))
        assert time.monotonic() - began < 10
        return stop.is_set()

    bench.shelf.faults[bench.shelf.requests + 1] = down
    bench.clock.sleep = sleep
    assert bench.help(run_id).state == "cancelled"
    assert waited == [True]


def test_a_keeper_renews_again_and_again_outlives_the_database_and_ends_with_its_reason():
    answers = [None, DependencyError("away"), None, LeaseLost()]
    renewed = threading.Semaphore(0)

    def renew():
        renewed.release()
        if answer := answers.pop(0):
            raise answer

    with LeaseKeeper(renew, every_s=0.01, most_s=60) as keeper:
        assert keeper.ended.wait(10)
    assert isinstance(keeper.reason, LeaseLost)
    assert answers == []


def test_a_keeper_gives_a_hand_up_that_does_not_move():
    renewals = []
    gave_up = threading.Event()
    with LeaseKeeper(
        lambda: renewals.append(1), every_s=0.02, most_s=0.1, give_up=gave_up.set
    ) as keeper:
        wait_until(lambda: not keeper._thread.is_alive())
    assert gave_up.is_set()
    assert 1 <= len(renewals) <= 5
    assert keeper.reason is None
