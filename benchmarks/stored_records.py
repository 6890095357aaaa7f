"""Cost of a record with few and with many records stored: it has to stay the same.

    ./tie bench stored_records [--few 10000] [--many 1000000] [--rounds 9] [--db sqlite] [--json]

Runs read the same 10,000 customers into an entity that holds few other records
and into one that holds many, in turn; the medians count. Before each run half
of these customers are taken out and the others altered, so a run creates the
ones and updates the others. Filling and preparing are not measured.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import islice
from statistics import median

import httpx
from sqlalchemy import delete, update
from stage import DATABASES, KEY, Figure, Ours, databases, measure, servers, settle, stage

from tieline.contract import Page
from tieline.records import PageWriter, rank_of
from tieline.store.tables import records

_MEASURED = 10_000
_BATCH = 500
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
_NOW = datetime(2026, 11, 1, tzinfo=UTC)


def compare(database: str, few: int, many: int, rounds: int) -> dict[str, object]:
    with (
        servers.sandbox(customers=_MEASURED, edge_cases=False) as url,
        databases(database) as new,
        ExitStack() as turn,
    ):
        stores = []
        for count in (few, many):
            folder, address = new(turn)
            ours = turn.enter_context(stage(folder / "home", address, url))
            stores.append(Store(ours, count, models(url)))
        turns = [[store.measured() for store in stores] for _ in range(rounds)]
    return {
        "database": database,
        "few": few,
        "many": many,
        "cpu_us_few": round(median(small.cpu_us for small, _ in turns), 1),
        "cpu_us_many": round(median(large.cpu_us for _, large in turns), 1),
        "cpu_ratio": ratio(turns, lambda took: took.cpu_us),
        "time_ratio": ratio(turns, lambda took: took.seconds),
    }


def models(url: str) -> list[dict]:
    headers = {"Authorization": f"Bearer {KEY}"}
    answer = httpx.get(f"{url}/v1/customers?limit=100", headers=headers, trust_env=False)
    found: list[dict] = answer.json()["data"]
    return found


def ratio(turns: list[list[Figure]], told: Callable[[Figure], float]) -> float:
    return round(median(told(large) / told(small) for small, large in turns), 3)


def batched(values: Iterable, count: int = _BATCH) -> Iterator[list]:
    rest = iter(values)
    while some := list(islice(rest, count)):
        yield some


class Store:
    """One entity that is filled up, and read into in turns."""

    def __init__(self, ours: Ours, count: int, like: list[dict]) -> None:
        self._ours = ours
        self._database = ours.installation.database
        self._read()
        with self._database.read() as connection:
            found = connection.exec_driver_sql("SELECT record_id, connection_id FROM records").all()
        self._keys = sorted(key for key, _ in found)
        self._fill(count, like, connection_id=found[0][1])

    def _fill(self, count: int, like: list[dict], *, connection_id: str) -> None:
        """Write so many records beside those that are read."""
        entity = self._ours.installation.registry.get("stripe").entity("customers")
        made = (
            {**like[number % len(like)], "id": f"cus_{number * 7919 % 10**9:09}"}
            for number in range(count)
        )
        with self._database.desk() as desk:
            for some in batched(made):
                writer = PageWriter(desk, connection_id, entity)
                draft = writer.draft_page(Page(records=some, next=None), rank=rank_of(_NOW))
                plan = writer.compare(draft, now=rank_of(_NOW))
                desk.transact(
                    lambda connection, writer=writer, plan=plan: writer.write(
                        connection, plan, run_id=None, now=_NOW
                    )
                )

    def measured(self) -> Figure:
        """Read half of the customers as new and half as changed ones, and time it."""
        with self._database.write() as connection:
            for some in batched(self._keys[::2]):
                connection.execute(delete(records).where(records.c.record_id.in_(some)))
            for some in batched(self._keys[1::2]):
                named = records.c.record_id.in_(some)
                connection.execute(update(records).where(named).values(content_hash="", rank=0))
        settle(self._database, "records")
        return measure(self._read)

    def _read(self) -> int:
        counts = self._ours.run("window", window=(_LONG_AGO, None)).counts
        assert counts.created + counts.updated == _MEASURED, counts
        return _MEASURED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--few", type=int, default=10_000)
    parser.add_argument("--many", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--db", action="append", choices=DATABASES)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    results = [
        compare(database, given.few, given.many, given.rounds) for database in given.db or DATABASES
    ]
    if given.json:
        print(json.dumps(results, indent=2))
        return
    for found in results:
        print(
            f"{found['database']:<11}{found['few']:,} stored: {found['cpu_us_few']} µs CPU"
            f" a record; {found['many']:,}: {found['cpu_us_many']} µs"
            f" = {found['cpu_ratio']} x the CPU, {found['time_ratio']} x the time"
        )


if __name__ == "__main__":
    main()
