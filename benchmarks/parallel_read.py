"""How near a full read comes to what the provider's limit dictates.

    ./tie bench parallel_read [--customers 50000] [--rate 100] [--rate 25] [--db sqlite] [--json]

The sandbox answers after 100 ms and refuses what is beyond the rate. The limit
dictates pages / rate; a sequential reader would need pages x 100 ms. Once with
customers spread evenly over time, once with 80 % of them in its last tenth.
Tieline knows the rate as it always does, from a policy.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import ExitStack

import httpx
from stage import DATABASES, databases, servers, stage

PAGE = 100
LATENCY_S = 0.1


def read(database: str, customers: int, rate: int, skew: float) -> dict[str, object]:
    options = {"latency_ms": LATENCY_S * 1000, "rate": rate, "skew": skew, "edge_cases": False}
    policy = f"{rate}/second; {rate}/second endpoint; concurrency=200"
    with (
        servers.sandbox(customers=customers, log_size=1_000_000, **options) as url,
        databases(database) as new,
        ExitStack() as turn,
    ):
        folder, address = new(turn)
        ours = turn.enter_context(
            stage(folder / "home", address, url, hands="32", stripe_rate_limits=policy)
        )
        began = time.perf_counter()
        run = ours.run()
        seconds = time.perf_counter() - began
        assert run.counts.created == customers, run
        asked = httpx.get(f"{url}/_sandbox/log?limit=1000000", timeout=60, trust_env=False).json()
    lists = [each for each in asked["requests"] if each["path"] == "/v1/customers"]
    pages = -(-customers // PAGE)
    return {
        "database": database,
        "rate": rate,
        "spread": "80 % in the last tenth" if skew else "even",
        "seconds": round(seconds, 2),
        "dictated_seconds": round(pages / rate, 2),
        "ratio": round(seconds * rate / pages, 3),
        "sequential_ratio": round(LATENCY_S * rate, 1),
        "requests": len(lists),
        "refused": sum(1 for each in lists if each["status"] == 429),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--customers", type=int, default=50_000)
    parser.add_argument("--rate", type=int, action="append")
    parser.add_argument("--db", action="append", choices=DATABASES)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    results = [
        read(database, given.customers, rate, skew)
        for database in given.db or DATABASES
        for rate in given.rate or (100, 25)
        for skew in (0.0, 0.8)
    ]
    if given.json:
        print(json.dumps(results, indent=2))
        return
    for found in results:
        print(
            f"{found['database']:<11}{found['rate']:>4} requests/s, {found['spread']:<23}"
            f"{found['seconds']:>7} s = {found['ratio']} x pages / rate"
            f" (one by one: {found['sequential_ratio']} x),"
            f" {found['requests']} requests, {found['refused']} refused"
        )


if __name__ == "__main__":
    main()
