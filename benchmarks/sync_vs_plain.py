"""Tieline's whole path beside a plain loop written by hand, in one run.

    ./tie bench [--customers 20000] [--db sqlite] [--db postgresql] [--json]

Both read the same customers from the same sandbox, in a process of its own,
into an empty table of the same database. The plain loop is what somebody
writes in an hour: httpx, orjson, one upsert statement and one transaction a
page; no checkpoint, no resume, no audit trail, no quarantine, no deletes.
Tieline's figure is the whole of ``help_run``: fetch through the SDK, hash,
compare, check, upsert, checkpoint, counters, log.

CPU is this process's own, user and system; the sandbox's and PostgreSQL's are
not counted. Only the ratios mean anything: the machine is shared.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import orjson

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import servers
from tieline.contract import Secret
from tieline.engine import help_run
from tieline.services import syncs
from tieline.services.connect import connect_api_key
from tieline.services.installation import Installation
from tieline.services.setup import initialise
from tieline.settings import load_settings

KEY = "sk_test_benchmark000000"


@dataclass(frozen=True)
class Figure:
    """What one way took for all records."""

    records: int
    seconds: float
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        return self.records / self.seconds

    @property
    def cpu_us(self) -> float:
        return self.cpu_seconds / self.records * 1e6


def measure(work: Callable[[], int]) -> Figure:
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    records = work()
    return Figure(records, time.perf_counter() - wall, time.process_time() - cpu)


def plain_pages(url: str, key: str):
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}) as client:
        after = None
        while True:
            query = {"limit": 100} | ({"starting_after": after} if after else {})
            page = orjson.loads(client.get("/v1/customers", params=query).content)
            yield page["data"]
            if not page["has_more"]:
                return
            after = page["data"][-1]["id"]


def plain_sqlite(url: str, path: str) -> int:
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    database.execute("CREATE TABLE plain (id text PRIMARY KEY, payload text)")
    total = 0
    for records in plain_pages(url, KEY):
        rows = [(record["id"], orjson.dumps(record).decode()) for record in records]
        database.execute("BEGIN IMMEDIATE")
        database.executemany(
            "INSERT INTO plain VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET"
            " payload = excluded.payload",
            rows,
        )
        database.execute("COMMIT")
        total += len(rows)
    database.close()
    return total


def plain_postgresql(url: str, address: str) -> int:
    import psycopg

    total = 0
    with psycopg.connect(address.replace("+psycopg", "")) as database:
        database.execute("DROP TABLE IF EXISTS plain")
        database.execute("CREATE TABLE plain (id text PRIMARY KEY, payload jsonb)")
        database.commit()
        for records in plain_pages(url, KEY):
            rows = [{"id": record["id"], "payload": record} for record in records]
            database.execute(
                "INSERT INTO plain SELECT * FROM jsonb_to_recordset(%s::jsonb)"
                " AS r(id text, payload jsonb) ON CONFLICT (id) DO UPDATE SET"
                " payload = excluded.payload",
                [orjson.dumps(rows).decode()],
            )
            database.commit()
            total += len(rows)
    return total


@dataclass
class Ours:
    """An installation whose runs are helped in this very process."""

    installation: Installation

    def first_run(self) -> int:
        return self._run()

    def second_run(self) -> int:
        """Read everything again; nothing has changed."""
        return self._run()

    def _run(self) -> int:
        engine = self.installation.engine
        asked = syncs.start_sync(
            self.installation, "shop", "customers", mode="full", actor="benchmark"
        )
        help_run(engine, asked.run.id, threading.Event())
        run = syncs.get_run(self.installation, asked.run.id)
        assert run.state == "succeeded", run
        return run.counts.seen


def installation(folder: Path, database_url: str, url: str) -> Ours:
    environ = {
        "TIELINE_HOME": str(folder),
        "TIELINE_DATABASE_URL": database_url,
        "TIELINE_STRIPE_RATE_LIMITS": "none",
    }
    made = Installation(load_settings(environ, folder))
    initialise(made)
    connect_api_key(made, "stripe", name="shop", key=Secret(KEY), base_url=url, actor="benchmark")
    return Ours(made)


def bench(database: str, customers: int, rounds: int) -> dict[str, object]:
    plain, first, second = [], [], []
    # The plain loop falls over the NUL that an edge case has, on PostgreSQL.
    with servers.sandbox(customers=customers, edge_cases=False) as url, ExitStack() as stack:
        server = stack.enter_context(postgres()) if database == "postgresql" else None
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as name, ExitStack() as turn:
                folder = Path(name)
                if server is None:
                    address = f"sqlite:///{folder}/tieline.db"
                    plain.append(measure(partial(plain_sqlite, url, f"{folder}/plain.db")))
                else:
                    address = turn.enter_context(server.new_database())
                    plain.append(measure(partial(plain_postgresql, url, address)))
                _ours(folder, address, url, first, second)
    return {
        "database": database,
        "customers": customers,
        "rounds": rounds,
        "plain": facts(plain),
        "tieline_first": facts(first),
        "tieline_unchanged": facts(second),
        "cpu_ratio": round(_cpu(first) / _cpu(plain), 2),
        "speed_ratio": round(_speed(first) / _speed(plain), 2),
        "unchanged_cpu_ratio": round(_cpu(second) / _cpu(plain), 2),
    }


@contextmanager
def postgres():
    """Use the server that TIELINE_TEST_PG_URL names, or start one."""
    if given := os.environ.get("TIELINE_TEST_PG_URL"):
        yield servers.given_postgres(given)
        return
    run = servers.Run.open()
    try:
        yield servers.start_postgres(run)
    finally:
        run.close()


def _ours(folder: Path, address: str, url: str, first: list, second: list) -> None:
    ours = installation(folder / "home", address, url)
    try:
        first.append(measure(ours.first_run))
        second.append(measure(ours.second_run))
    finally:
        ours.installation.close()
        ours.installation.embedded.stop()


def _cpu(figures: list[Figure]) -> float:
    return statistics.median(figure.cpu_us for figure in figures)


def _speed(figures: list[Figure]) -> float:
    return statistics.median(figure.per_second for figure in figures)


def facts(figures: list[Figure]) -> dict[str, float]:
    return {
        "records_per_second": round(_speed(figures)),
        "cpu_us_per_record": round(_cpu(figures), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--db", action="append", choices=["sqlite", "postgresql"])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    results = [
        bench(database, given.customers, given.rounds)
        for database in given.db or ["sqlite", "postgresql"]
    ]
    if given.json:
        print(json.dumps(results, indent=2))
        return
    for result in results:
        print(f"{result['database']}: {given.customers:,} customers, {given.rounds} rounds")
        for name in ("plain", "tieline_first", "tieline_unchanged"):
            figure = result[name]
            print(
                f"  {name:<18}{figure['records_per_second']:>8,} records/s"
                f"{figure['cpu_us_per_record']:>8} µs CPU a record"
            )
        print(f"  first run: {result['cpu_ratio']} x the CPU, {result['speed_ratio']} x the speed")
        print(f"  nothing changed: {result['unchanged_cpu_ratio']} x the CPU")


if __name__ == "__main__":
    main()
