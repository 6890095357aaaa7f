"""How much faster two worker processes read than one, where the work is computing.

    ./tie bench two_workers [--customers 200000] [--rounds 3] [--share 0.3] [--db sqlite] [--json]

No latency, no limit. The sandbox (and PostgreSQL) computes too, in processes
of its own: below four cores the second worker has no core of its own, and the
figure says more about the machine than about Tieline. There each worker gets a
part of a core, ``--share``, by a control group of Linux, so that there is as
much left for the second as for the first: a machine of slower, free cores.
One and two take turns, and the median of the rounds counts: what a machine that
others use does in a minute, it need not do in the next.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from operator import truediv
from pathlib import Path

from stage import DATABASES, Ours, databases, servers, stage

from tieline.services import syncs

PERIOD_US = 20_000
ENOUGH_CORES = 4


def race(database: str, customers: int, share: float, rounds: int) -> dict[str, object]:
    one, two = [], []
    with servers.sandbox(customers=customers, edge_cases=False) as url, databases(database) as new:
        for _ in range(rounds):
            one.append(round(timed(new, url, 1, share), 2))
            two.append(round(timed(new, url, 2, share), 2))
    return {
        "database": database,
        "cores": os.cpu_count(),
        "share": share,
        "one_s": one,
        "two_s": two,
        "gain": round(statistics.median(map(truediv, one, two)), 2),
    }


def timed(new, url: str, workers: int, share: float) -> float:
    """Time a run from its first to its last page, by its own clock."""
    with ExitStack() as turn:
        folder, address = new(turn)
        ours = turn.enter_context(stage(folder / "home", address, url))
        for _ in range(workers):
            turn.enter_context(worker(ours, share))
        while len(ours.installation.presence.alive()) < workers:
            time.sleep(0.1)
        run_id = ours.ask("full")
        while not (run := syncs.get_run(ours.installation, run_id)).is_over:
            time.sleep(0.05)
        assert run.state == "succeeded"
        return (run.finished_at - run.started_at).total_seconds()


@contextmanager
def worker(ours: Ours, share: float) -> Iterator[None]:
    """Have a worker process, with what it forks, for as long as the block lasts."""
    with part_of_a_core(share) as join:
        process = subprocess.Popen(
            [sys.executable, "-m", "tieline", "worker"],
            env=os.environ | ours.environ,
            stderr=subprocess.DEVNULL,
            preexec_fn=join,  # noqa: PLW1509 - nothing else is under way here
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)


@contextmanager
def part_of_a_core(share: float) -> Iterator[Callable[[], None] | None]:
    """Yield what puts the process that calls it into a group with so much of a core."""
    if share >= 1:
        yield None
        return
    old = Path("/sys/fs/cgroup/cpu")
    group = (old if old.exists() else old.parent) / f"tieline-bench-{secrets.token_hex(4)}"
    quota = round(share * PERIOD_US)
    try:
        group.mkdir()
        if old.exists():
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (group / "cpu.max").write_text(f"{quota} {PERIOD_US}")
    except OSError as error:
        raise SystemExit(
            f"no control group of the processor here, so no --share: {error}"
        ) from None
    try:
        yield lambda: (group / "cgroup.procs").write_text(str(os.getpid()))
    finally:
        group.rmdir()


def words(seconds: list[float]) -> str:
    return ", ".join(map(str, seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--customers", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--db", action="append", choices=DATABASES)
    parser.add_argument(
        "--share",
        type=float,
        default=1.0 if (os.cpu_count() or 1) >= ENOUGH_CORES else 0.3,
        help="of a core, for each worker (default here: %(default)s)",
    )
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    results = [
        race(database, given.customers, given.share, given.rounds)
        for database in given.db or DATABASES
    ]
    if given.json:
        print(json.dumps(results, indent=2))
        return
    for found in results:
        print(
            f"{found['database']:<11}{found['share']} of a core each:"
            f" one worker {words(found['one_s'])} s,"
            f" two {words(found['two_s'])} s = {found['gain']} x"
        )


if __name__ == "__main__":
    main()
