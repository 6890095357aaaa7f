"""How long reads of the HTTP API take, over real HTTP, with many records stored.

    ./tie bench api_reads [--records 1000000] [--calls 500] [--db postgresql] [--json]

A page of 100 records from places all over the table, one record, and the change feed; p50 and p99
in milliseconds, of one client that waits for each answer.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
from sqlalchemy import text
from stage import DATABASES, databases, settle

from kit import Bench, make_bench
from tieline.coordination import EmbeddedServer
from tieline.services.tokens import create_token
from tieline.web import Listener, create_app
from tieline.web.api.cursors import write_cursor

STATEMENT = text(
    "INSERT INTO records (connection_id, entity, record_id, payload, is_escaped, content_hash,"
    " rank, revision, first_seen_at, changed_at, feed_id, position, source) VALUES (:connection,"
    " 'items', :key, :payload, false, 'h', 1, 1, :now, :now, 1, :position, 'list')"
)


def fill(bench: Bench, count: int) -> None:
    """Store records as a sync would have left them, and let the database tidy up."""
    now = bench.clock.now().isoformat(timespec="microseconds")
    with bench.database.write() as connection:
        connection.execute(
            text(
                "INSERT INTO entity_states (feed_id, connection_id, entity, position)"
                " VALUES (1, :connection, 'items', :count)"
            ),
            {"connection": bench.connection_id, "count": count},
        )
    for start in range(1, count + 1, 20_000):
        rows = [
            {
                "connection": bench.connection_id,
                "key": f"k{position:08d}",
                "payload": json.dumps({"id": f"k{position:08d}", "name": "n" * 40, "n": position}),
                "now": now,
                "position": position,
            }
            for position in range(start, min(start + 20_000, count + 1))
        ]
        with bench.database.write() as connection:
            connection.execute(STATEMENT, rows)
    settle(bench.database, "records")


def measure(client: httpx.Client, paths: list[str]) -> dict[str, float]:
    """Ask for each path; return how long half of the answers took, and 99 of 100."""
    taken = []
    for path in paths:
        began = time.perf_counter()
        reply = client.get(path)
        taken.append((time.perf_counter() - began) * 1000)
        assert reply.status_code == 200, reply.text
    taken.sort()
    return {f"p{percent}_ms": round(taken[len(taken) * percent // 100], 1) for percent in (50, 99)}


@contextmanager
def served(home: Path, address: str, records: int) -> Iterator[httpx.Client]:
    """Serve an installation that has so many records."""
    with ExitStack() as stack:
        server = EmbeddedServer(home)
        stack.callback(server.stop)
        bench = make_bench(address, home, redis_url=server.ensure(), api_calls_per_minute="1000000")
        stack.callback(bench.installation.close)
        fill(bench, records)
        token = create_token(bench.installation, "bench", scope="read", actor="bench").token
        app = create_app(bench.installation)
        listener = stack.enter_context(Listener(app, host="127.0.0.1", port=0))
        headers = {"Authorization": f"Bearer {token.reveal()}"}
        with httpx.Client(base_url=f"{listener.address}/v1", headers=headers) as client:
            yield client


def questions(records: int, calls: int) -> dict[str, list[str]]:
    """Return the paths that are asked for, from places all over the table."""
    chance = random.Random(1)
    places = [chance.randrange(max(1, records - 100)) for _ in range(calls)]
    entity = "/connections/shop/entities/items"
    return {
        "100 records": [
            f"{entity}/records?limit=100&cursor={write_cursor('list_records', [place])}"
            for place in places
        ],
        "100 changes": [f"{entity}/changes?limit=100&after={place}" for place in places],
        "one record": [f"{entity}/records/k{place + 1:08d}" for place in places],
        "connections": ["/connections"] * calls,
    }


def read(database: str, records: int, calls: int) -> dict[str, object]:
    with databases(database) as new, ExitStack() as turn:
        folder, address = new(turn)
        client = turn.enter_context(served(folder / "home", address, records))
        asked = questions(records, calls)
        times = {name: measure(client, paths) for name, paths in asked.items()}
    return {"database": database, "records": records, "calls": calls, "times": times}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--db", action="append", choices=DATABASES)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    results = [read(each, given.records, given.calls) for each in given.db or DATABASES]
    if given.json:
        print(json.dumps(results, indent=2))
        return
    for found in results:
        print(f"{found['database']:<11}{given.records:,} records, {given.calls} calls each")
        for name, each in found["times"].items():
            print(f"  {name:<14}p50 {each['p50_ms']:6.1f} ms   p99 {each['p99_ms']:6.1f} ms")


if __name__ == "__main__":
    main()
