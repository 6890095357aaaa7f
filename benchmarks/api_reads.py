"""How long reads of the HTTP API take, over real HTTP, with many records stored.

    ./tie bench api_reads --records 1000000 --calls 500

A page of 100 records from places all over the table, one record, and the change feed; p50 and p99
in milliseconds, of one client that waits for each answer.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from sqlalchemy import text

from kit import make_bench
from tieline.coordination import EmbeddedServer
from tieline.services.tokens import create_token
from tieline.web import Listener, create_app
from tieline.web.api.cursors import write_cursor

STATEMENT = text(
    "INSERT INTO records (connection_id, entity, record_id, payload, is_escaped, content_hash,"
    " rank, revision, first_seen_at, changed_at, feed_id, position, source) VALUES (:connection,"
    " 'items', :key, :payload, false, 'h', 1, 1, :now, :now, 1, :position, 'list')"
)


def fill(bench, count: int) -> None:
    """Store records as a sync would have left them."""
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


def measure(client: httpx.Client, paths: list[str]) -> str:
    """Ask for each path; return the times in words."""
    taken = []
    for path in paths:
        began = time.perf_counter()
        reply = client.get(path)
        taken.append((time.perf_counter() - began) * 1000)
        assert reply.status_code == 200, reply.text
    taken.sort()
    at = [taken[int(len(taken) * share)] for share in (0.5, 0.99)]
    return f"p50 {at[0]:6.1f} ms   p99 {at[1]:6.1f} ms"


@contextmanager
def served(home: Path, records: int):
    """Serve an installation that has so many records."""
    server = EmbeddedServer(home)
    bench = make_bench(
        f"sqlite:///{home / 'tieline.db'}",
        home,
        redis_url=server.ensure(),
        api_calls_per_minute="1000000",
    )
    fill(bench, records)
    token = create_token(bench.installation, "bench", scope="read", actor="bench").token.reveal()
    try:
        with Listener(create_app(bench.installation), host="127.0.0.1", port=0) as listener:
            headers = {"Authorization": f"Bearer {token}"}
            with httpx.Client(base_url=f"{listener.address}/v1", headers=headers) as client:
                yield client
    finally:
        bench.installation.close()
        server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--calls", type=int, default=500)
    given = parser.parse_args()
    chance = random.Random(1)
    places = [chance.randrange(max(1, given.records - 100)) for _ in range(given.calls)]
    entity = "/connections/shop/entities/items"
    with (
        tempfile.TemporaryDirectory() as folder,
        served(Path(folder), given.records) as client,
    ):
        asked = {
            "100 records": [
                f"{entity}/records?limit=100&cursor={write_cursor('list_records', [place])}"
                for place in places
            ],
            "100 changes": [f"{entity}/changes?limit=100&after={place}" for place in places],
            "one record": [f"{entity}/records/k{place + 1:08d}" for place in places],
            "connections": ["/connections"] * given.calls,
        }
        print(f"{given.records:,} records, {given.calls} calls each")
        for name, paths in asked.items():
            print(f"  {name:<14}{measure(client, paths)}")


if __name__ == "__main__":
    main()
