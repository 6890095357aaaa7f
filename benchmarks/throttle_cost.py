"""What the throttle costs a call: the same call with it and without.

    ./tie bench throttle_cost [--calls 3000] [--json]

One thread calls a provider on this machine that answers at once, over one
connection, so that nothing hides the throttle: a window of a second, one of a
minute, one of the endpoint and a permit are reserved for each call in one
script, and a second one gives the permit back. The budget is never used up.
Both ways take turns, so that a busy machine slows them alike; medians count.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from throttle_kit import Asked, new_throttle, new_transport, provider
from tieline.coordination import EmbeddedServer, open_redis

POLICIES = {
    "rates and permit": {
        "rates": [
            {"limit": "100000/second"},
            {"limit": "1000000/minute"},
            {"limit": "100000/second", "scope": "endpoint"},
        ],
        "concurrency": 64,
    },
    "rates": {"rates": [{"limit": "100000/second"}, {"limit": "1000000/minute"}]},
    "permit": {"concurrency": 64},
    "breaker alone": {},
}
ROUNDS = 10


def measure(redis_url: str, url: str, name: str, calls: int) -> dict[str, object]:
    gate = new_throttle(redis_url, f"cost {name}", POLICIES[name])
    with_it, without = new_transport(url, gate), new_transport(url)
    client = open_redis(redis_url)
    taken: dict[bool, list[float]] = {True: [], False: []}
    alone: list[float] = []
    for transport in (with_it, without):
        transport.send("GET", f"{url}/v1/customers", headers={})
    client.config_resetstat()
    for _ in range(ROUNDS):
        for has_gate, transport in ((True, with_it), (False, without)):
            for _ in range(calls // ROUNDS):
                began = time.perf_counter()
                transport.send("GET", f"{url}/v1/customers", headers={})
                taken[has_gate].append(time.perf_counter() - began)
    scripts = client.info("commandstats")["cmdstat_evalsha"]
    for _ in range(calls):
        began = time.perf_counter()
        with gate.passing(Asked()):
            pass
        alone.append(time.perf_counter() - began)
    with_it.close()
    without.close()
    client.close()
    ms = {has_gate: statistics.median(found) * 1000 for has_gate, found in taken.items()}
    return {
        "policy": name,
        "ms_with": round(ms[True], 3),
        "ms_without": round(ms[False], 3),
        "ms_added": round(ms[True] - ms[False], 3),
        "ratio": round(ms[True] / ms[False], 2),
        "ms_gate_alone": round(statistics.median(alone) * 1000, 3),
        "round_trips": round(scripts["calls"] / len(taken[True]), 2),
        "server_us_per_script": scripts["usec_per_call"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, provider(latency_s=0) as remote:
        server = EmbeddedServer(Path(folder))
        try:
            results = [measure(server.ensure(), remote.url, name, given.calls) for name in POLICIES]
        finally:
            server.stop()
    if given.json:
        print(json.dumps(results, indent=2))
        return
    for found in results:
        print(
            f"{found['policy']:<18}{found['ms_with']:>7} ms with, {found['ms_without']} without:"
            f" {found['ms_added']} ms more ({found['ratio']} x), {found['round_trips']} round"
            f" trips, {found['server_us_per_script']} µs each in Redis; the gate alone"
            f" {found['ms_gate_alone']} ms"
        )


if __name__ == "__main__":
    main()
