"""What a job costs beside the run that it does: processor time of a worker and its work-horses.

    ./tie bench job_cost [--jobs 30] [--rounds 3] [--db sqlite] [--json]

Each job is a first run of a hundred customers, a page. A worker, as `tieline worker`
starts it, does many of them, and another one a single one: the difference is what
each further job took, its fork, its work-horse and what the worker does for it. It is
set beside the same run in a process that did some before, and forks nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import statistics
import subprocess
import sys
import threading
from contextlib import ExitStack

from stage import DATABASES, KEY, Ours, databases, measure, servers, stage

from tieline.contract import Secret
from tieline.engine import help_run
from tieline.services import syncs
from tieline.services.connect import connect_api_key

CUSTOMERS = 100


def cost(database: str, jobs: int, rounds: int) -> dict[str, object]:
    job, run = [], []
    with servers.sandbox(customers=CUSTOMERS, edge_cases=False) as url, databases(database) as new:
        for _ in range(rounds):
            with ExitStack() as turn:
                folder, address = new(turn)
                ours = turn.enter_context(stage(folder / "home", address, url))
                job.append((worked_s(ours, url, jobs) - worked_s(ours, url, 1)) / (jobs - 1))
                run += [helped_s(ours, run_id) for run_id in ask(ours, url, 6)][1:]
    job_ms, run_ms = (statistics.median(found) * 1e3 for found in (job, run))
    return {
        "database": database,
        "jobs": jobs,
        "job_cpu_ms": round(job_ms, 1),
        "run_cpu_ms": round(run_ms, 1),
        "ratio": round(job_ms / run_ms, 2),
    }


def ask(ours: Ours, url: str, count: int) -> list[str]:
    """Ask for so many runs, each of a new connection."""
    asked, made = [], ours.installation
    for _ in range(count):
        name = f"shop-{secrets.token_hex(4)}"
        connect_api_key(
            made, "stripe", name=name, key=Secret(KEY + name[5:]), base_url=url, actor="benchmark"
        )
        asked.append(syncs.start_sync(made, name, "customers", mode="full", actor="benchmark"))
    return [each.run.id for each in asked]


def worked_s(ours: Ours, url: str, jobs: int) -> float:
    """Return the processor seconds of a worker, and its work-horses, for so many jobs."""
    ask(ours, url, jobs)
    worker = subprocess.Popen(
        [sys.executable, "-m", "tieline", "worker", "--burst"],
        env=os.environ | ours.environ,
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(worker.pid, 0)
    worker.returncode = os.waitstatus_to_exitcode(status)
    assert worker.returncode == 0
    return used.ru_utime + used.ru_stime


def helped_s(ours: Ours, run_id: str) -> float:
    """Return the processor seconds of a run in this process."""
    engine = ours.installation.engine

    def work() -> int:
        help_run(engine, run_id, threading.Event())
        return syncs.get_run(ours.installation, run_id).counts.seen

    found = measure(work)
    assert found.records == CUSTOMERS
    return found.cpu_seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--db", action="append", choices=DATABASES)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    results = [cost(database, given.jobs, given.rounds) for database in given.db or DATABASES]
    if given.json:
        print(json.dumps(results, indent=2))
        return
    for found in results:
        print(
            f"{found['database']:<11}a job {found['job_cpu_ms']} ms of CPU,"
            f" its run alone {found['run_cpu_ms']} ms = {found['ratio']} x"
        )


if __name__ == "__main__":
    main()
