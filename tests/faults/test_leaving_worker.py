"""A worker that is told to leave ends its query first, and is not held up by one that hangs."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import pytest

from site_of import wait_until
from tieline.store.tables import runs

# SIGTERM comes just while the pool takes a connection back, within the function that is named.
WITHIN_A_RESET = """
import os, signal, sys, traceback
from sqlalchemy import event
from tieline.jobs.worker import work
from tieline.services.installation import Installation
opened = Installation()
sent = []
def send(*_):
    names = {frame.f_code.co_name for frame, _ in traceback.walk_stack(None)}
    if sys.argv[1] in names and not sent:
        sent.append(True)
        os.kill(os.getpid(), signal.SIGTERM)
event.listen(opened.database.engine, "reset", send)
work(opened, queues=["sync"], is_burst="burst" in sys.argv)
"""
WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


def leave_within(site, *told: str) -> None:
    """Have a worker told to leave within one of its functions; nothing may be told as an error."""
    words = [sys.executable, "-c", WITHIN_A_RESET, *told]
    with (site.cwd / "process-reset.log").open("wb") as log:
        process = subprocess.Popen(words, env=site.environ, cwd=site.cwd, stderr=log)
    try:
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait(10)
    assert "Traceback" not in site.logs()
    assert site.installation.presence.alive() == []


def test_a_signal_within_a_reset_of_the_pool_is_no_error(site):
    leave_within(site, "dequeue_job_and_maintain_ttl")


@pytest.mark.parametrize("name", ["_work", "_wait_for_more"])
def test_a_signal_before_and_after_it_listens_is_heard_too(site, shop_sandbox, name):
    site.connect(shop_sandbox)
    site.ask(mode="full")
    with site.installation.database.write() as transaction:  # it is not due while we look
        now = site.installation.clock.now()
        transaction.execute(runs.update().values(state="retrying", due_at=now + timedelta(days=1)))
    site.installation.redis.flushall()
    leave_within(site, name, "burst")


def test_a_job_that_was_just_taken_is_put_back(site, shop_sandbox):
    site.connect(shop_sandbox)
    run_id = site.ask(mode="full")
    leave_within(site, "execute_job")
    assert site.state_of(run_id).state == "queued"
    assert site.installation.redis.llen("rq:queue:sync") == 1


@contextmanager
def worker_in_a_query(site) -> Iterator[tuple[subprocess.Popen, psycopg.Connection]]:
    """Start a worker, and hold up what it asks at every sweep."""
    process = site.start("worker")
    wait_until(site.installation.presence.alive)
    address = site.environ["TIELINE_DATABASE_URL"].replace("+psycopg", "")
    with psycopg.connect(address) as holder, psycopg.connect(address, autocommit=True) as looker:
        holder.execute("LOCK TABLE queue_pauses IN ACCESS EXCLUSIVE MODE")
        wait_until(lambda: looker.execute(WAITING).fetchone()[0])
        yield process, holder


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_query_that_the_signal_came_into_is_answered_first(site):
    with worker_in_a_query(site) as (process, holder):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)  # it would have left by now
        assert process.poll() is None
        holder.rollback()
        assert process.wait(20) == 0
    assert "Traceback" not in site.logs()
    assert site.installation.presence.alive() == []


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_query_that_is_not_answered_is_given_up(site):
    with worker_in_a_query(site) as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert "Traceback" not in site.logs()
    assert site.installation.presence.alive() == []
