"""How much faster two worker processes read than one, where the work is computing.

    ./tie bench two_workers [--customers 60000] [--db postgresql] [--json]

No latency, no limit. The sandbox (and PostgreSQL) computes too, in processes
of its own: below four cores the second worker has no core of its own, and the
figure says more about the machine than about Tieline.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack

from stage import DATABASES, Ours, databases, servers, stage

from tieline.services import syncs


def race(database: str, customers: int) -> dict[str, object]:
    with servers.sandbox(customers=customers, edge_cases=False) as url, databases(database) as new:
        seconds = {count: timed(new, url, count) for count in (1, 2)}
    return {
        "database": database,
        "cores": os.cpu_count(),
        "one_s": round(seconds[1], 2),
        "two_s": round(seconds[2], 2),
        "gain": round(seconds[1] / seconds[2], 2),
    }


def timed(new, url: str, workers: int) -> float:
    """Time a run from its first to its last page, by its own clock."""
    with ExitStack() as turn:
        folder, address = new(turn)
        ours = turn.enter_context(stage(folder / "home", address, url))
        for _ in range(workers):
            turn.enter_context(worker(ours))
        while len(ours.installation.presence.alive()) < workers:
            time.sleep(0.1)
        run_id = ours.ask("full")
        while not (run := syncs.get_run(ours.installation, run_id)).is_over:
            time.sleep(0.05)
        assert run.state == "succeeded"
        return (run.finished_at - run.started_at).total_seconds()


class worker:  # noqa: N801 - used as a with-statement
    """A worker process for as long as the block lasts."""

    def __init__(self, ours: Ours) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tieline", "worker"],
            env=os.environ | ours.environ,
            stderr=subprocess.DEVNULL,
        )

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(15)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--customers", type=int, default=60_000)
    parser.add_argument("--db", action="append", choices=DATABASES)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    results = [race(database, given.customers) for database in given.db or DATABASES]
    if given.json:
        print(json.dumps(results, indent=2))
        return
    for found in results:
        print(
            f"{found['database']:<11}{found['cores']} cores: one worker {found['one_s']} s,"
            f" two {found['two_s']} s = {found['gain']} x"
        )


if __name__ == "__main__":
    main()
