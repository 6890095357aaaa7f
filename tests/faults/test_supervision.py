"""Processes that grow too large make way, and `tieline up` starts again what dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from site_of import children_of, kill_group, make_site, wait_until

# A worker that holds 200 megabytes for itself, and so does whatever it forks.
GROWN = """
import sys
ballast = bytearray(b"x" * 200_000_000)
from tieline.cli import main
from tieline.jobs.worker import work
from tieline.services.installation import Installation
from tieline.telemetry import configure_logging
if sys.argv[1] == "main":
    main(["worker"])
else:
    configure_logging("info", "json")
    work(Installation(), queues=["sync"], on_sweep=lambda: None)
"""


@pytest.fixture
def start(site):
    started = []

    def start_it(kind: str, **environ: str) -> subprocess.Popen:
        log = site.cwd / f"process-grown{len(started)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", GROWN, kind],
                env=site.environ | environ,
                cwd=site.cwd,
                stdin=subprocess.DEVNULL,
                stderr=output,
                start_new_session=True,
            )
        started.append(process)
        return process

    yield start_it
    for process in started:
        if process.poll() is None:
            kill_group(process)
        process.wait(10)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_worker_that_grew_too_large_leaves_in_peace(site, start):
    grown = start("main", TIELINE_WORKER_MEMORY_MB="150")
    assert grown.wait(60) == 0
    assert "this worker grew too large and leaves" in site.logs()
    assert site.installation.presence.alive() == []
    other = start("main", TIELINE_WORKER_MEMORY_MB="2000")
    wait_until(site.installation.presence.alive, seconds=60)
    assert other.poll() is None


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_work_horse_that_grew_too_large_ends_its_page_and_the_run_goes_on(
    site, start, shop_sandbox
):
    site.connect(shop_sandbox)
    run_id = site.ask(mode="full")
    start("work", TIELINE_WORKER_MEMORY_MB="150", TIELINE_STRIPE_RATE_LIMITS="4/second")
    wait_until(lambda: site.state_of(run_id).state == "succeeded", seconds=100)
    assert "a work-horse grew too large and makes way" in site.logs()
    assert "a work-horse died" not in site.logs()
    assert len(site.exported()) == 1200


def test_up_starts_its_scheduler_and_its_server_again(migrated_file, redis_url, tmp_path):
    site = make_site(tmp_path / "site", f"sqlite:///{tmp_path / 'up.db'}", redis_url, sweep_s="0.2")
    process = site.start("up", "--port", "0")

    def beside(word: str) -> list[int]:
        found = []
        for pid in children_of(process.pid):
            with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                if word in Path(f"/proc/{pid}/cmdline").read_text().split("\0"):
                    found.append(pid)
        return found

    for word in ("scheduler", "serve"):
        (first,) = wait_until(lambda word=word: beside(word), seconds=60)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda word=word, first=first: set(beside(word)) - {first}, seconds=60)
    assert process.poll() is None
    process.terminate()
    assert process.wait(60) == 0
    site.close()
