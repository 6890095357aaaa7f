"""Peak memory of a worker process while it reads 2,000 pages: it has to be flat.

    ./tie bench memory [--customers 200000] [--db sqlite] [--json]

A real worker with its work-horse, as `tieline worker` starts them. Each
process's resident set is read every 50 ms (``/proc``, so Linux alone), from
the outside, together with the run's page count.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from stage import DATABASES, Ours, databases, servers, stage

from tieline.services import syncs

_EARLY = 50
_LEAST_S = 0.05


def watch(database: str, customers: int) -> dict[str, object]:
    with (
        servers.sandbox(customers=customers, edge_cases=False) as url,
        databases(database) as new,
        ExitStack() as turn,
    ):
        folder, address = new(turn)
        ours = turn.enter_context(stage(folder / "home", address, url))
        run_id = ours.ask("full")
        samples = follow(ours, run_id)
        pages = syncs.get_run(ours.installation, run_id).counts.requests
    early = max(mib for page, mib in samples if page <= _EARLY)
    late = max(mib for page, mib in samples if page > pages / 2)
    return {
        "database": database,
        "pages": pages,
        "peak_mib": round(max(mib for _, mib in samples), 1),
        "peak_until_page_50_mib": round(early, 1),
        "peak_of_second_half_mib": round(late, 1),
    }


def follow(ours: Ours, run_id: str) -> list[tuple[int, float]]:
    """Return the worker's largest process in MiB, with the page that the run was at."""
    worker = subprocess.Popen(
        [sys.executable, "-m", "tieline", "worker", "--burst"],
        env=os.environ | ours.environ,
        stderr=subprocess.DEVNULL,
    )
    samples = []
    try:
        while worker.poll() is None:
            sizes = [resident_mib(pid) for pid in (worker.pid, *children(worker.pid))]
            samples.append((syncs.get_run(ours.installation, run_id).counts.requests, max(sizes)))
            time.sleep(_LEAST_S)
    finally:
        worker.kill()
        worker.wait()
    assert syncs.get_run(ours.installation, run_id).state == "succeeded"
    return samples


def resident_mib(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def children(pid: int) -> list[int]:
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--customers", type=int, default=200_000)
    parser.add_argument("--db", action="append", choices=DATABASES)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    results = [watch(database, given.customers) for database in given.db or DATABASES]
    if given.json:
        print(json.dumps(results, indent=2))
        return
    for found in results:
        print(
            f"{found['database']:<11}{found['pages']:>6} pages: peak {found['peak_mib']} MiB,"
            f" {found['peak_until_page_50_mib']} until page 50,"
            f" {found['peak_of_second_half_mib']} in the second half"
        )


if __name__ == "__main__":
    main()
