"""Events that come late and twice while their provider goes on and workers are killed."""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime
from random import Random
from types import SimpleNamespace

import httpx
import pytest

from inbox_kit import Told, deliver, states_of
from servers import sandbox, truth
from site_of import children_of, make_site, wait_until
from tieline.services.connections import get_connection

ROUNDS = 40
SEED = 20261125


@pytest.fixture
def site(database_url, redis_url, tmp_path):
    made = make_site(tmp_path / "site", database_url, redis_url, lease_s="1", sweep_s="0.2")
    yield made
    made.close()


def mutate(url: str, rng: Random) -> list[Told]:
    """Let people create, change and delete; return what the provider has to tell of it."""
    order = {"create": rng.randrange(4), "update": rng.randrange(6), "delete": rng.randrange(2)}
    order["seed"] = rng.randrange(2**31)
    answer = httpx.post(f"{url}/_sandbox/mutate", json=order, timeout=30, trust_env=False)
    now = httpx.get(f"{url}/_sandbox/clock", trust_env=False).json()["now"]
    found = answer.raise_for_status().json()
    return [
        Told(type=f"customer.{what}", key=key, at=int(now), entity="customers")
        for what, keys in found.items()
        for key in keys
    ]


def kill_something(site, workers, rng: Random) -> None:
    """Kill a worker with all its children, or a work-horse alone."""
    worker = rng.choice(workers)
    horses = children_of(worker.pid)
    victims = horses if horses and rng.random() < 0.5 else [*horses, worker.pid]
    for pid in victims:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    if worker.pid in victims:
        worker.wait(10)
        workers[workers.index(worker)] = site.start("worker")


def read_to_its_end(site, run: str) -> None:
    """Wait for a run; what was given up because its workers were killed is asked for again."""
    wait_until(lambda: site.state_of(run).is_over, seconds=90)
    if site.state_of(run).error_code == "worker-lost":
        run = site.ask(mode="full")
        wait_until(lambda: site.state_of(run).is_over, seconds=90)
    assert site.state_of(run).state == "succeeded", site.state_of(run)


@pytest.mark.timeout(360)
def test_events_that_come_late_and_twice_under_kills_end_in_the_provider_s_state(site):
    rng, kills = Random(SEED), 0
    with sandbox(customers=60) as url:
        site.connect(url)
        installation = site.installation
        inbox = SimpleNamespace(
            clock=installation.clock,
            database=installation.database,
            connection_id=get_connection(installation, "shop").id,
        )
        run = site.ask(mode="full")
        workers = [site.start("worker") for _ in range(2)]
        begin = datetime.fromtimestamp(0, UTC)
        unsent: list[Told] = []
        for number in range(ROUNDS):
            unsent += mutate(url, rng)
            sent = [event for event in unsent if rng.random() < 0.6]
            unsent = [event for event in unsent if event not in sent or rng.random() < 0.1]
            rng.shuffle(sent)
            deliver(inbox, *sent, start=begin)
            if rng.random() < 0.8:
                installation.engine.ring_drain(inbox.connection_id)
            if number % 4 == 3:
                kill_something(site, workers, rng)
                kills += 1
            if number % 13 == 12:
                installation.redis.flushall()
            time.sleep(0.15)
        deliver(inbox, *unsent, start=begin)
        wait_until(lambda: set(states_of(inbox)) == {"done"}, seconds=90)
        assert kills >= 10
        assert len(states_of(inbox)) > 100
        read_to_its_end(site, run)  # most of the first customers no event tells of
        assert site.exported() == truth(url)
