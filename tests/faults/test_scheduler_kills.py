"""Schedulers killed, frozen and cut off: no tick is doubled, none is missed."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from oauth_kit import free_port
from site_of import children_of, make_site, wait_until
from tieline.services import dead_letters as dead_service
from tieline.services import schedules as service
from tieline.store import connections, schedules
from tieline.store.tables import runs as runs_table
from tieline.store.tables import schedules as schedules_table

POINTS = ["schedule.tick.before_commit", "schedule.tick.after_commit"]
ALLOWED = {"TIELINE_ALLOW_FAILPOINTS": "true"}


def add_schedules(site, url: str, count: int) -> list[str]:
    """Give many connections a schedule each, none due; return the schedules' ids."""
    site.connect(url, name="shop0")
    database = site.installation.database
    with database.write() as transaction:
        first = connections.find_connection(transaction, "shop0")
        for number in range(1, count):
            row = replace(first, id=f"con_{number}", name=f"shop{number}")
            connections.add_connection(transaction, row)
    ids = []
    for number in range(count):
        made = service.set_schedule(
            site.installation, f"shop{number}", "customers", "every 1d", actor="test", jitter_s=0
        )
        ids.append(made.row.id)
    set_due(site, None)
    return ids


def set_due(site, when) -> None:
    """Make every schedule due at a time; None: in a day."""
    from datetime import UTC, datetime, timedelta

    with site.installation.database.write() as transaction:
        at = when or datetime.now(UTC) + timedelta(days=1)
        transaction.execute(schedules_table.update().values(next_at=at))


def make_due(site) -> None:
    set_due(site, site.installation.clock.now())


def end_all(site) -> None:
    with site.installation.database.write() as transaction:
        transaction.execute(
            runs_table.update().values(state="succeeded", finished_at=runs_table.c.due_at)
        )


def ticks(site) -> Counter[int]:
    """Count schedules by how many ticks of theirs were taken."""
    with site.installation.database.read() as transaction:
        return Counter(row.ticks for row in schedules.list_schedules(transaction))


def runs_by_schedule(site) -> Counter[str]:
    with site.installation.database.read() as transaction:
        rows = transaction.execute(runs_table.select()).mappings().all()
    return Counter(row["asked_by"].removeprefix("schedule:") for row in rows)


def test_three_scheduler_processes_take_each_tick_once(site, shop_sandbox):
    count, rounds = 40, 4
    ids = add_schedules(site, shop_sandbox, count)
    for _ in range(3):
        site.start("scheduler")
    for number in range(1, rounds + 1):
        make_due(site)
        wait_until(lambda number=number: ticks(site) == {number: count}, seconds=60)
        end_all(site)
    assert runs_by_schedule(site) == dict.fromkeys(ids, rounds)


@pytest.mark.parametrize("point", POINTS)
def test_a_scheduler_killed_inside_a_tick_is_followed_by_another(site, shop_sandbox, point):
    ids = add_schedules(site, shop_sandbox, 6)
    make_due(site)
    killed = site.run("scheduler", TIELINE_FAILPOINTS=f"{point}=kill@3", **ALLOWED)
    assert killed.returncode == -signal.SIGKILL
    assert ticks(site) == ({1: 2, 0: 4} if point.endswith("before_commit") else {1: 3, 0: 3})
    site.start("scheduler")
    wait_until(lambda: ticks(site) == {1: 6})
    assert runs_by_schedule(site) == dict.fromkeys(ids, 1)


def test_a_scheduler_killed_after_its_commit_leaves_a_run_that_a_worker_finds(site, shop_sandbox):
    add_schedules(site, shop_sandbox, 1)
    make_due(site)
    killed = site.run("scheduler", TIELINE_FAILPOINTS=f"{POINTS[1]}=kill", **ALLOWED)
    assert killed.returncode == -signal.SIGKILL
    [row] = site.json("schedules")["schedules"]
    site.ok("worker", "--burst")
    assert site.state_of(row["last_run_id"]).state == "succeeded"


@pytest.fixture
def postgres_site(postgres_url, redis_url, tmp_path):
    made = make_site(tmp_path / "site", postgres_url, redis_url, lease_s="1", sweep_s="0.2")
    yield made
    made.close()


@pytest.fixture
def patient_site(postgres_url, redis_url, tmp_path):
    """A site whose PostgreSQL leaves a silent transaction alone for longer than the test takes."""
    made = make_site(tmp_path / "site", postgres_url, redis_url, lease_s="300", sweep_s="0.2")
    yield made
    made.close()


def test_a_scheduler_frozen_inside_a_tick_holds_up_that_one_alone(patient_site, shop_sandbox):
    """On SQLite it would hold up every writer, as any process frozen in a transaction does."""
    site = patient_site
    ids = add_schedules(site, shop_sandbox, 6)
    make_due(site)
    frozen = site.start("scheduler", TIELINE_FAILPOINTS=f"{POINTS[0]}=stop@3", **ALLOWED)

    def is_frozen():
        return Path(f"/proc/{frozen.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    wait_until(is_frozen)
    site.start("scheduler")
    wait_until(lambda: ticks(site) == {1: 5, 0: 1})
    frozen.kill()
    wait_until(lambda: ticks(site) == {1: 6})
    assert runs_by_schedule(site) == dict.fromkeys(ids, 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_scheduler_leaves_when_it_is_asked_to(site, shop_sandbox, number):
    add_schedules(site, shop_sandbox, 1)
    make_due(site)
    leaving = site.start("scheduler")
    wait_until(lambda: ticks(site) == {1: 1})
    asked_at = time.monotonic()
    leaving.send_signal(number)
    assert leaving.wait(10) == 0
    assert time.monotonic() - asked_at < 4  # one second, and what a busy machine adds
    assert "Traceback" not in site.logs()


def test_a_scheduler_that_hangs_in_a_tick_leaves_all_the_same(site, shop_sandbox):
    add_schedules(site, shop_sandbox, 1)
    make_due(site)
    hanging = f"{POINTS[0]}=sleep:60"
    leaving = site.start("scheduler", TIELINE_FAILPOINTS=hanging, **ALLOWED)
    wait_until(lambda: "the scheduler is ready" in site.logs())
    time.sleep(0.5)
    leaving.terminate()
    assert leaving.wait(10) == 0
    assert ticks(site) == {0: 1}  # cut short, it was never begun
    site.start("scheduler")
    wait_until(lambda: ticks(site) == {1: 1})


def test_a_scheduler_outlives_its_database(postgres_server, postgres_site, shop_sandbox):
    site = postgres_site
    add_schedules(site, shop_sandbox, 3)
    make_due(site)
    site.start("scheduler")
    wait_until(lambda: ticks(site) == {1: 3})
    end_all(site)
    name = site.installation.database.engine.url.database
    site.installation.database.close()
    with postgres_server.connect() as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
        )
        wait_until(lambda: "a dependency is away" in site.logs())
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    make_due(site)
    wait_until(lambda: ticks(site) == {2: 3}, seconds=45)
    assert "Traceback" not in site.logs()


def test_a_scheduler_outlives_redis(redis_server, site, shop_sandbox):
    add_schedules(site, shop_sandbox, 3)
    site.start("scheduler")
    make_due(site)
    wait_until(lambda: ticks(site) == {1: 3})
    end_all(site)
    redis_server.stop()
    try:
        make_due(site)
        wait_until(lambda: ticks(site) == {2: 3})
        wait_until(lambda: "ring failed" in site.logs())
    finally:
        redis_server.ensure()
    end_all(site)
    make_due(site)
    wait_until(lambda: ticks(site) == {3: 3})
    del site.installation.__dict__["redis"]
    wait_until(lambda: site.installation.redis.llen("rq:queue:sync") >= 1)


def scheduler_of(up) -> int | None:
    return child_of(up, b"scheduler")


def server_of(up) -> int | None:
    return child_of(up, b"serve")


def child_of(up, command: bytes) -> int | None:
    for pid in children_of(up.pid):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if command in words:
            return pid
    return None


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_up_runs_a_scheduler_that_ends_with_it(site, shop_sandbox):
    add_schedules(site, shop_sandbox, 1)
    make_due(site)
    up = site.start("up", "--port", "0")
    wait_until(lambda: ticks(site) == {1: 1})
    [row] = site.json("schedules")["schedules"]
    wait_until(lambda: site.state_of(row["last_run_id"]).state == "succeeded")
    beside = wait_until(lambda: scheduler_of(up)), wait_until(lambda: server_of(up))
    up.terminate()
    assert up.wait(20) == 0
    assert all(map(is_gone, beside))


def test_a_killed_up_takes_its_scheduler_and_its_server_with_it(site):
    port = free_port()
    up = site.start("up", "--port", str(port))
    beside = wait_until(lambda: scheduler_of(up)), wait_until(lambda: server_of(up))
    assert wait_until(lambda: healthy(port)) == "tieline"
    os.kill(up.pid, signal.SIGKILL)
    up.wait(10)
    wait_until(lambda: all(map(is_gone, beside)))


def healthy(port: int) -> str:
    try:
        found = httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False)
    except httpx.TransportError:
        return ""
    return found.json()["service"]


def test_a_run_that_kills_every_worker_ends_as_a_dead_letter_and_others_go_on(site, shop_sandbox):
    site.connect(shop_sandbox)
    service.set_schedule(
        site.installation, "shop", "customers", "every 1d", actor="test", jitter_s=0
    )
    poison = "sync.page.before_commit=kill"
    worker = site.start("worker", TIELINE_FAILPOINTS=poison, **ALLOWED)
    site.start("scheduler")

    def letters():
        return dead_service.list_dead_letters(site.installation)

    [letter] = wait_until(letters, seconds=60)
    worker.terminate()
    worker.wait(20)
    assert site.state_of(letter.run_id).state == "failed"
    assert letter.reason_code == "worker-lost"
    [parked] = site.json("schedules")["schedules"]
    assert (parked["state"], parked["hint"]) == ("parked", f"tieline dead show {letter.id}")
    make_due(site)
    time.sleep(1)
    assert ticks(site) == {1: 1}
    retried = site.json("dead", "retry", letter.id)
    site.ok("worker", "--burst")
    assert site.state_of(retried["run"]["id"]).state == "succeeded"
    assert len(site.exported()) == 1200
    wait_until(lambda: ticks(site) == {2: 1})  # it went on by itself
