"""How long an accepted delivery takes until it stands in the change feed, when all is idle.

    ./tie bench webhook_latency [--deliveries 60] [--db postgresql] [--json]

A server, a worker, Valkey and the database are processes of their own, as in
production. A delivery is signed as Stripe signs it, and is sent when the one
before is in the feed; its time runs from the answer that accepts it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

from stage import DATABASES, databases, servers

import latency_kit
from site_of import make_site


def measure(database: str, count: int) -> dict[str, object]:
    with ExitStack() as turn:
        url = turn.enter_context(servers.sandbox(customers=1))
        _, address = turn.enter_context(databases(database))(turn)
        home = turn.enter_context(tempfile.TemporaryDirectory(prefix="tie-", dir="/tmp"))
        site = make_site(Path(home) / "h", address, "")
        turn.callback(site.installation.embedded.stop)
        turn.callback(site.close)
        site.connect(url)
        taken = sorted(latency_kit.measure(site, latency_kit.serve(site), count=count))
    return {
        "database": database,
        "deliveries": count,
        "p50_ms": round(statistics.median(taken) * 1000),
        "p95_ms": round(taken[int(count * 0.95) - 1] * 1000),
        "most_ms": round(taken[-1] * 1000),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--deliveries", type=int, default=60)
    parser.add_argument("--db", action="append", choices=DATABASES)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    results = [measure(database, given.deliveries) for database in given.db or DATABASES]
    if given.json:
        print(json.dumps(results, indent=2))
        return
    for found in results:
        print(
            f"{found['database']:<11} from the answer to the feed:"
            f" half of {found['deliveries']} within {found['p50_ms']} ms,"
            f" 95 % within {found['p95_ms']} ms, all within {found['most_ms']} ms"
        )


if __name__ == "__main__":
    main()
