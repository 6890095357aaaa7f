"""Holding the queue: workers take nothing, what is under way ends, nothing is lost."""

from __future__ import annotations

import os
import signal
import time

import pytest

import servers
from cli_kit import run_cli, use_environment
from site_of import make_site, wait_until
from tieline.queue import look_at_queue
from tieline.services.pulse import FRESH_S


@pytest.fixture
def site(sqlite_url, redis_url, tmp_path, monkeypatch):
    made = make_site(tmp_path / "site", sqlite_url, redis_url, lease_s="2", sweep_s="0.2")
    use_environment(
        monkeypatch, made.cwd, sqlite_url, redis_url, home=str(made.cwd), lease_s="2", sweep_s="0.2"
    )
    yield made
    made.close()


def queue(*words: str):
    done = run_cli("queue", *words, "--json")
    assert done.code == 0, done.stderr
    return done.json


def the_queue() -> dict:
    return next(each for each in queue("show")["queues"] if each["name"] == "sync")


def put_back(site) -> int:
    """Count how often anything was put in front of a queue."""
    return site.installation.redis.info("commandstats").get("cmdstat_lpush", {}).get("calls", 0)


def is_anybody_listening(site) -> bool:
    clients = site.installation.redis.client_list()
    return any("b" in each["flags"] and "move" in each["cmd"] for each in clients)


def test_a_paused_queue_holds_every_worker_also_new_ones_and_after_redis_was_emptied(site):
    with servers.sandbox(customers=50) as url:
        site.connect(url)
        first = site.start("worker")
        wait_until(lambda: the_queue()["workers"] == 1)
        assert queue("pause")["queue"]["paused_at"]
        site.installation.redis.flushdb()
        run_id = site.ask()
        site.start("worker")
        wait_until(lambda: the_queue()["workers"] == 2)
        before = put_back(site)
        time.sleep(1.2)  # six sweeps
        assert put_back(site) - before <= 2  # they wait, and do not take it again and again
        assert site.state_of(run_id).state == "queued"
        held = the_queue()
        assert held["paused_by"].startswith("cli:")
        assert held["working"] == []
        assert run_cli("queue", "drain", "--timeout", "0s").code == 0  # what waits, stays
        again = run_cli("queue", "pause")
        assert (again.code, "error[queue-paused]" in again.stderr) == (6, True)
        first.terminate()
        assert first.wait(20) == 0  # one that is held leaves when it is told to
        assert " ago by cli:" in run_cli("queue").stdout
        assert "paused sync   tieline queue resume sync" in run_cli("status").stdout
        assert site.run("worker", "--burst", timeout=30).returncode == 0  # nothing it may do
        assert site.state_of(run_id).state == "queued"
        assert queue("resume")["queue"]["paused_at"] is None
        wait_until(lambda: site.state_of(run_id).is_over)
    assert site.state_of(run_id).state == "succeeded"
    assert len(site.exported()) == 50
    again = run_cli("queue", "resume")
    assert (again.code, "error[queue-not-paused]" in again.stderr) == (6, True)


def test_what_is_under_way_goes_on_to_its_end_and_drain_waits_for_it(site):
    with servers.sandbox(customers=1500, latency_ms=400) as url:
        site.connect(url)
        site.start("worker")
        run_id = site.ask(mode="full")
        wait_until(lambda: site.state_of(run_id).counts.seen > 0)
        queue("pause")
        wait_until(lambda: the_queue()["working"][0]["worker"])  # it says so with its next sweep
        [job] = the_queue()["working"]
        assert (job["what"], job["run"], job["connection"]) == ("run", run_id, "shop")
        assert job["since"]
        assert ":" in job["worker"]
        assert run_id in run_cli("queue", "show").stdout
        late = run_cli("queue", "drain", "--timeout", "0s", "--json")
        assert (late.code, late.json["error"]["code"]) == (6, "queue-busy")
        other = site.ask(entity="products")
        assert queue("drain", "--timeout", "60s")["queue"]["working"] == []
        assert site.state_of(run_id).state == "succeeded"
        assert site.state_of(other).state == "queued"
        assert run_cli("health", "worker").code == 0
        queue("resume")
        queue("drain", "--timeout", "60s")  # of one that is open: until nothing waits
        assert site.state_of(other).is_over


def test_a_job_that_an_idle_worker_takes_after_the_pause_is_put_back(site):
    with servers.sandbox(customers=5) as url:
        site.connect(url)
        site.start("worker", TIELINE_SWEEP_S="20")  # so long it listens, and looks at nothing
        wait_until(lambda: is_anybody_listening(site))
        before = put_back(site)
        queue("pause")
        run_id = site.ask()
        wait_until(lambda: put_back(site) > before, seconds=10)
        wait_until(lambda: "queues are paused" in site.logs(), seconds=10)
        wait_until(lambda: the_queue()["count"] == 1)
        sight = look_at_queue(site.installation.redis, "sync")
        assert (sight.count, sight.is_at_rest) == (1, True)
        assert site.state_of(run_id).state == "queued"
        queue("resume")
        wait_until(lambda: site.state_of(run_id).is_over, seconds=10)


def test_a_queue_that_nobody_knows_is_refused_with_the_nearest(site):
    done = run_cli("queue", "pause", "snyc")
    assert done.code == 3
    assert "did you mean sync?" in done.stderr


def test_a_worker_s_sign_of_life_is_there_while_it_lives_and_ages_when_it_hangs(site):
    assert run_cli("health", "worker").code == 3
    worker = site.start("worker")
    scheduler = site.start("scheduler")
    wait_until(lambda: run_cli("health", "worker").code == 0)
    wait_until(lambda: run_cli("health", "scheduler").code == 0)
    os.kill(worker.pid, signal.SIGSTOP)
    [file] = (site.cwd / "alive").glob("worker-*")
    assert file.stat().st_mode & 0o777 == 0o600
    past = time.time() - FRESH_S - 1
    os.utime(file, (past, past))
    hung = run_cli("health", "worker", "--json")
    assert (hung.code, hung.json["error"]["code"]) == (3, "no-pulse")
    os.kill(worker.pid, signal.SIGCONT)
    wait_until(lambda: run_cli("health", "worker").code == 0)
    worker.kill()
    worker.wait(10)
    assert run_cli("health", "worker").code == 3  # its file is there, and tells nothing
    scheduler.terminate()
    assert scheduler.wait(20) == 0
    assert list((site.cwd / "alive").glob("scheduler-*")) == []


def test_a_worker_leaves_after_its_jobs_and_the_next_goes_on(site):
    with servers.sandbox(customers=30, products=3, subscriptions=3, charges=3) as url:
        site.connect(url)
        asked = [site.ask(entity=each) for each in ("customers", "products")]
        site.ok("worker", "--max-jobs", "1")
        assert [site.state_of(each).is_over for each in asked].count(True) == 1
        site.ok("worker", "--burst", "--concurrency", "1")
        assert all(site.state_of(each).is_over for each in asked)


def test_an_option_goes_before_the_environment_and_is_checked_as_it_is(site, monkeypatch):
    from tieline.jobs import worker

    taken = []
    monkeypatch.setattr(worker, "work", lambda opened, **_: taken.append(opened.settings.hands))
    monkeypatch.setenv("TIELINE_HANDS", "7")
    for words, hands in ((), 7), (("--concurrency", "3"), 3):
        assert run_cli("worker", *words).code == 0
        assert taken.pop() == hands
    assert run_cli("worker", "--concurrency", "65").code == 2
    assert os.environ["TIELINE_HANDS"] == "7"
