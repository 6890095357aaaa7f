"""Kill anything anywhere: nothing is lost, nothing doubled, one page repeated at most."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import httpx
import pytest

from servers import sandbox, truth
from site_of import children_of, kill_group, make_site, wait_until

PAGES = 12
POINTS = [
    "sync.claim.after",
    "sync.fetch.before",
    "sync.fetch.after",
    "sync.page.before_commit",
    "sync.page.after_commit",
    "sync.finish.before_commit",
    "sync.finish.after_commit",
]
ALLOWED = {"TIELINE_ALLOW_FAILPOINTS": "true"}
# A run whose last page is younger is taken for one that goes on, and an idle worker may cut
# off a part of it: that costs a page of its own, whoever was killed.
_STANDS_STILL_S = 0.6
ALONE = {"TIELINE_HANDS": "1"}  # other hands would go on while one of them is held up


def list_requests(url: str) -> int:
    log = httpx.get(f"{url}/_sandbox/log?limit=1000000", timeout=30, trust_env=False).json()
    return sum(1 for entry in log["requests"] if entry["path"] == "/v1/customers")


def assert_equal_to_the_provider(site, url, run_id):
    run = site.state_of(run_id)
    assert run.state == "succeeded"
    assert site.exported() == truth(url)
    assert (run.counts.created, run.counts.updated, run.counts.deleted) == (1200, 0, 0)
    assert run.counts.seen == run.counts.created + run.counts.unchanged


@pytest.mark.parametrize("point", POINTS)
def test_worker_and_horse_killed_at_a_failpoint(site, shop_sandbox, point):
    site.connect(shop_sandbox)
    before = list_requests(shop_sandbox)
    run_id = site.ask()
    passage = 4 if point.startswith(("sync.fetch", "sync.page")) else 1
    given = {"TIELINE_FAILPOINTS": f"{point}=killall@{passage}", "TIELINE_HANDS": "1"}
    first = site.run("worker", **given, **ALLOWED)
    assert first.returncode == -signal.SIGKILL
    time.sleep(_STANDS_STILL_S)
    site.ok("worker", "--burst", TIELINE_HANDS="1")
    assert_equal_to_the_provider(site, shop_sandbox, run_id)
    # The page that was being written and the one that was being fetched.
    assert list_requests(shop_sandbox) - before <= PAGES + 2


@pytest.mark.parametrize("passage", [1, 3])
def test_worker_killed_while_it_cuts_a_window(site, passage):
    with sandbox(customers=1200, latency_ms=50) as url:
        site.connect(url)
        run_id = site.ask()
        fault = f"sync.split.before_commit=killall@{passage}"
        assert site.run("worker", TIELINE_FAILPOINTS=fault, **ALLOWED).returncode < 0
        site.ok("worker", "--burst")
        assert_equal_to_the_provider(site, url, run_id)


def test_a_horse_that_dies_again_and_again_still_gets_to_the_end(site, shop_sandbox):
    site.connect(shop_sandbox)
    run_id = site.ask()
    site.start("worker", TIELINE_FAILPOINTS="sync.page.after_commit=kill@5", **ALLOWED)
    wait_until(lambda: site.state_of(run_id).state == "succeeded", seconds=60)
    assert_equal_to_the_provider(site, shop_sandbox, run_id)


def test_an_idle_spare_takes_over_from_a_killed_worker(site, shop_sandbox):
    site.connect(shop_sandbox)
    slow = "sync.fetch.after=sleep:30@4"
    busy = site.start("worker", TIELINE_FAILPOINTS=slow, **ALLOWED, **ALONE)
    run_id = site.ask()

    def has_pages():
        return site.state_of(run_id).counts.seen == 300

    wait_until(has_pages)
    site.start("worker")
    kill_group(busy)
    killed_at = time.monotonic()
    wait_until(lambda: site.state_of(run_id).is_over)
    assert time.monotonic() - killed_at < 30
    assert_equal_to_the_provider(site, shop_sandbox, run_id)


def test_a_frozen_worker_commits_nothing_after_its_lease(site, shop_sandbox):
    outlive_a_frozen_worker(site, shop_sandbox, "sync.page.after_commit=stop@3", **ALONE)


def test_a_worker_frozen_within_a_transaction_keeps_its_locks_for_a_while(
    postgres_url, redis_url, tmp_path, shop_sandbox
):
    """SQLite has nobody who could take a lock away: there the others wait until it wakes."""
    site = make_site(tmp_path / "site", postgres_url, redis_url, lease_s="1", sweep_s="0.2")
    try:
        outlive_a_frozen_worker(
            site, shop_sandbox, "sync.page.before_commit=stop@3", TIELINE_HANDS="1"
        )
    finally:
        site.close()


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def outlive_a_frozen_worker(site, shop_sandbox, fault, **given):
    site.connect(shop_sandbox)
    run_id = site.ask()
    frozen = site.start("worker", TIELINE_FAILPOINTS=fault, **given, **ALLOWED)

    def stopped():
        """The work-horse; a messenger may be a child beside it."""
        return [child for child in children_of(frozen.pid) if state_of(child) == "T"]

    [horse] = wait_until(stopped)
    frozen.send_signal(signal.SIGSTOP)
    site.ok("worker", "--burst")
    assert_equal_to_the_provider(site, shop_sandbox, run_id)
    frozen.send_signal(signal.SIGCONT)
    os.kill(horse, signal.SIGCONT)
    wait_until(lambda: horse not in children_of(frozen.pid))
    assert_equal_to_the_provider(site, shop_sandbox, run_id)


def test_sigterm_finishes_the_page_gives_the_lease_back_and_leaves(site, shop_sandbox):
    site.connect(shop_sandbox)
    run_id = site.ask()
    leaving = site.start(
        "worker", TIELINE_FAILPOINTS="sync.fetch.after=sleep:1@4", **ALLOWED, **ALONE
    )
    wait_until(lambda: site.state_of(run_id).counts.seen == 300)
    leaving.terminate()
    assert leaving.wait(10) == 0
    site.ok("worker", "--burst", TIELINE_LEASE_S="600")
    assert_equal_to_the_provider(site, shop_sandbox, run_id)


def test_sigterm_does_not_wait_for_a_slow_call(site, shop_sandbox):
    site.connect(shop_sandbox)
    run_id = site.ask()
    leaving = site.start(
        "worker", TIELINE_FAILPOINTS="sync.fetch.after=sleep:60@4", **ALLOWED, **ALONE
    )
    wait_until(lambda: site.state_of(run_id).counts.seen == 300)
    leaving.terminate()
    assert leaving.wait(10) == 0
    site.ok("worker", "--burst", TIELINE_LEASE_S="600")
    assert_equal_to_the_provider(site, shop_sandbox, run_id)


def test_a_flushed_redis_costs_time_and_nothing_else(site, shop_sandbox):
    site.connect(shop_sandbox)
    run_id = site.ask()
    site.installation.redis.flushall()
    with site.installation.database.write() as connection:  # time goes by
        connection.exec_driver_sql("UPDATE runs SET rung_at = NULL")
    site.ok("worker", "--burst")
    assert_equal_to_the_provider(site, shop_sandbox, run_id)


def test_a_job_that_is_none_of_ours_is_refused(site, shop_sandbox, tmp_path):
    from rq import Queue

    site.connect(shop_sandbox)
    queue = Queue("sync", connection=site.installation.redis, serializer="json")
    queue.enqueue("os.system", f"touch {tmp_path}/pwned")
    queue.enqueue("tieline.jobs.functions.help_run", "run_x; drop")
    run_id = site.ask()
    site.ok("worker", "--burst")
    assert not (tmp_path / "pwned").exists()
    assert_equal_to_the_provider(site, shop_sandbox, run_id)


def test_a_horse_whose_parent_was_killed_harms_nothing(site, shop_sandbox):
    """On SQLite an inherited open file corrupted the database in this case."""
    site.connect(shop_sandbox)
    slow = "sync.fetch.after=sleep:3@4"
    worker = site.start("worker", TIELINE_FAILPOINTS=slow, **ALLOWED, **ALONE)
    run_id = site.ask()
    wait_until(lambda: site.state_of(run_id).counts.seen == 300)
    os.kill(worker.pid, signal.SIGKILL)
    site.installation.close()
    del site.__dict__["installation"]
    site.ok("runs")
    site.start("worker")
    wait_until(lambda: site.state_of(run_id).is_over)
    assert_equal_to_the_provider(site, shop_sandbox, run_id)
    if site.installation.database.dialect == "sqlite":
        with site.installation.database.read() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
