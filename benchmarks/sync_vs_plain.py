"""Tieline's whole path beside a plain loop written by hand, in one run.

    ./tie bench [--customers 50000] [--db sqlite] [--db postgresql] [--json]

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
import json
import sqlite3
import statistics
from contextlib import ExitStack
from functools import partial

import httpx
import orjson
from stage import DATABASES, KEY, Figure, databases, measure, servers, stage


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


def bench(database: str, customers: int, rounds: int) -> dict[str, object]:
    plain, first, second = [], [], []
    # The plain loop falls over the NUL that an edge case has, on PostgreSQL.
    with servers.sandbox(customers=customers, edge_cases=False) as url, databases(database) as new:
        for _ in range(rounds):
            with ExitStack() as turn:
                folder, address = new(turn)
                if database == "sqlite":
                    plain.append(measure(partial(plain_sqlite, url, f"{folder}/plain.db")))
                else:
                    plain.append(measure(partial(plain_postgresql, url, address)))
                ours = turn.enter_context(stage(folder / "home", address, url))
                first.append(measure(lambda: ours.run().counts.seen))  # noqa: B023 - called at once
                second.append(measure(lambda: ours.run().counts.seen))  # noqa: B023
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
    parser.add_argument("--customers", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--db", action="append", choices=DATABASES)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    results = [bench(database, given.customers, given.rounds) for database in given.db or DATABASES]
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
