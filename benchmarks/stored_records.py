"""Cost of a record with few and with many records stored: it has to stay the same.

    ./tie bench stored_records [--few 10000] [--many 1000000] [--rounds 9] [--db sqlite] [--json]

Pages of full-size customers, half of them new and half of them changed, go
through the writer (hash, compare, check, upsert) of an entity that holds few
records and of one that holds many, in turn; the medians count. Fetching is
left out: it does not know what is stored. The filling is not measured.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from statistics import median

import httpx
from stage import DATABASES, KEY, Figure, Ours, databases, measure, servers, settle, stage

from tieline.contract import Page
from tieline.records import PageWriter, rank_of
from tieline.store.database import Desk

_PAGE = 100
_MEASURED_PAGES = 50
_NOW = datetime(2026, 11, 1, tzinfo=UTC)


def compare(database: str, few: int, many: int, rounds: int) -> dict[str, object]:
    with (
        servers.sandbox(customers=1000, edge_cases=False) as url,
        databases(database) as new,
        ExitStack() as turn,
    ):
        headers = {"Authorization": f"Bearer {KEY}"}
        answer = httpx.get(f"{url}/v1/customers?limit=100", headers=headers, trust_env=False)
        stores = []
        for count in (few, many):
            folder, address = new(turn)
            ours = turn.enter_context(stage(folder / "home", address, url))
            stores.append(Store(ours, answer.json()["data"]))
            stores[-1].fill(count)
        small, large = zip(
            *([store.measured() for store in stores] for _ in range(rounds)), strict=True
        )
    return {
        "database": database,
        "few": few,
        "many": many,
        "cpu_us_few": round(median(each.cpu_us for each in small), 1),
        "cpu_us_many": round(median(each.cpu_us for each in large), 1),
        "cpu_ratio": round(
            median(b.cpu_us / a.cpu_us for a, b in zip(small, large, strict=True)), 3
        ),
        "time_ratio": round(
            median(b.seconds / a.seconds for a, b in zip(small, large, strict=True)), 3
        ),
    }


class Store:
    """One entity that is filled up and measured in turns."""

    def __init__(self, ours: Ours, models: list[dict]) -> None:
        installation = ours.installation
        self._database = installation.database
        self._entity = installation.registry.get("stripe").entity("customers")
        with self._database.read() as connection:
            found = connection.exec_driver_sql("SELECT id FROM connections").one()
        self._connection_id = found[0]
        self._models = models
        self._count = 0
        self._rounds = 0

    def fill(self, count: int) -> None:
        """Write so many records."""
        with self._database.desk() as desk:
            while self._count < count:
                self._write(desk, self._new(_PAGE * 10))
        settle(self._database, "records")

    def measured(self) -> Figure:
        """Write some pages and time them."""
        pages = list(self._mixed())
        with self._database.desk() as desk:
            return measure(lambda: sum(self._write(desk, page) for page in pages))

    def _mixed(self) -> Iterator[list[dict]]:
        self._rounds += 1
        rng, before = random.Random(self._rounds), self._count
        for _ in range(_MEASURED_PAGES):
            changed = [self._record(number) for number in rng.sample(range(before), _PAGE // 2)]
            for record in changed:
                record["name"] = f"changed {self._rounds}"
            yield changed + self._new(_PAGE // 2)

    def _new(self, count: int) -> list[dict]:
        first, self._count = self._count, self._count + count
        return [self._record(number) for number in range(first, first + count)]

    def _record(self, number: int) -> dict:
        return {**self._models[number % len(self._models)], "id": f"cus_{number * 7919 % 10**9:09}"}

    def _write(self, desk: Desk, records: list[dict]) -> int:
        writer = PageWriter(desk, self._connection_id, self._entity)
        draft = writer.draft_page(Page(records=records, next=None), rank=rank_of(_NOW))
        plan = writer.compare(draft, now=rank_of(_NOW))
        written = desk.transact(
            lambda connection: writer.write(connection, plan, run_id=None, now=_NOW)
        )
        return written.counts.seen


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
