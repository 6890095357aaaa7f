"""Deliveries a second: ours, with a commit for each request, and a bare ASGI app.

    ./tie bench webhook_ingest [--db postgresql] [--requests 2000] [--rounds 3] [--json]

All three verify a signature, store a delivery once, and answer after its
commit; they are served by the same server with the same settings, one after
the other, again and again. The bare one knows one endpoint and one secret by
heart, reads no more of a body than its id, stores no copy of the record in it,
and commits in groups as ours does.

Then a rate that is not all they can: how long an answer takes when deliveries
come at their own time. At last 2,000 deliveries in 10 s beside a worker that
reads a provider and handles these deliveries, too.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Self

import anyio.to_thread
import orjson
from senders import Order, Sent, senders
from stage import DATABASES, databases, servers, stage

from ingest_kit import SECRETS, Harbour, harbour_of
from tieline.inbox import Delivery, Outcome
from tieline.inbox.committer import _commit
from tieline.services import syncs
from tieline.services.connections import get_connection
from tieline.services.installation import Installation
from tieline.settings import load_settings
from tieline.store import deliveries, schema
from tieline.store.deliveries import NewEvent
from tieline.store.ids import new_id
from tieline.web import create_app, serve
from tieline.web.webhooks import WebhookPages

WAYS = ("ours", "commit each", "bare")
OFFERED = 0.65  # of what ours can
BURST, BURST_PER_SECOND = 2_000, 200
BURST_CUSTOMERS, BURST_LIMIT = 60_000, "25/second"  # as Stripe's own sandbox environment allows

Facts = dict[str, dict[str, float]]


class CommitEach(WebhookPages):
    """Ours, but for one transaction a request, in the threads that Starlette has for that."""

    def __init__(self, installation: Installation) -> None:
        super().__init__(installation)
        self._database = installation.database

    async def _committed(self, delivery: Delivery) -> Outcome:
        def commit() -> Outcome:
            with self._database.desk(is_durable=True) as desk:
                return _commit(desk, [delivery], self._inbox.after)[0]

        return await anyio.to_thread.run_sync(commit)


class Bare:
    """The least that can be called a webhook endpoint."""

    def __init__(self, installation: Installation, endpoint_id: str, connection_id: str) -> None:
        self._database = installation.database
        self._endpoint_id, self._connection_id = endpoint_id, connection_id
        self._key = SECRETS["stripe"].encode()
        self._waiting: deque[tuple[NewEvent, asyncio.Future[None]]] = deque()
        self._changed = threading.Condition()
        threading.Thread(target=self._work, daemon=True).start()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/healthz":
            body, status = b"", 200
        else:
            message = await receive()
            body = message["body"]
            while message.get("more_body"):
                message = await receive()
                body += message["body"]
            status = await self._take(dict(scope["headers"]), body)
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(b"content-length", b"0")],
            }
        )
        await send({"type": "http.response.body", "body": b""})

    async def _take(self, headers: dict[bytes, bytes], body: bytes) -> int:
        time_part, _, signature = headers[b"stripe-signature"].partition(b",v1=")
        at = time_part[2:]
        found = hmac.digest(self._key, at + b"." + body, "sha256").hex().encode()
        if not hmac.compare_digest(found, signature) or abs(time.time() - int(at)) > 300:
            return 401
        event, now = orjson.loads(body), datetime.now(UTC)
        row = NewEvent(
            id=new_id("evt"), endpoint_id=self._endpoint_id, event_key=event["id"],
            connection_id=self._connection_id, type=event["type"], entity=None, record_key=None,
            occurred_at=None, received_at=now, delivery_id=new_id("del"), body=body, headers=None,
            record=None,
        )  # fmt: skip
        future = asyncio.get_running_loop().create_future()
        with self._changed:
            self._waiting.append((row, future))
            self._changed.notify()
        await future
        return 200

    def _work(self) -> None:
        with self._database.desk(is_durable=True) as desk:
            while True:
                with self._changed:
                    while not self._waiting:
                        self._changed.wait()
                    batch = [self._waiting.popleft() for _ in range(min(500, len(self._waiting)))]
                rows = [row for row, _ in batch]
                desk.transact(lambda at, rows=rows: deliveries.insert_events(at, rows))
                loop = batch[0][1].get_loop()
                loop.call_soon_threadsafe(lambda b=batch: [f.set_result(None) for _, f in b])


def serve_way(way: str, given: dict[str, str]) -> None:
    installation = Installation(load_settings(dict(os.environ), Path(given["home"])))
    if way == "bare":
        app: Any = Bare(installation, given["endpoint"], given["connection"])
    else:
        app = create_app(installation, has_webhooks=way == "ours")
        if way == "commit each":
            app = CommitEach(installation).before(app)
    serve(app, host="127.0.0.1", port=0, on_ready=lambda url: print(url, flush=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--db", choices=DATABASES, default="postgresql")
    parser.add_argument("--requests", type=int, default=2_000, help="of each way in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve_way(options.serve[0], json.loads(options.serve[1]))
        return
    with databases(options.db, is_durable=True) as make:
        with ExitStack() as stack:
            place = Place.of(stack, *make(stack))
            ways = {way: stack.enter_context(place.served(way)) for way in WAYS}
            found = compare(place, ways, options)
        burst = beside_a_sync(make)
    if options.json:
        print(json.dumps({"ways": found, "burst": burst}))
        return
    for way, each in [*found.items(), ("burst", burst)]:
        print(f"{way:<12}" + "  ".join(f"{name} {value}" for name, value in each.items()))


@dataclass
class Served:
    """A way that is served by a process of its own."""

    url: str
    process: subprocess.Popen[str]

    def cpu_s(self) -> float:
        """Return the seconds that it computed so far; 0 where the system does not tell."""
        try:
            told = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Place:
    """An installation with an endpoint that Stripe may deliver to."""

    harbour: Harbour
    folder: Path
    environ: dict[str, str]

    @classmethod
    def of(cls, stack: ExitStack, folder: Path, address: str) -> Self:
        environ = os.environ | {"TIELINE_HOME": str(folder), "TIELINE_DATABASE_URL": address}
        installation = Installation(load_settings(environ, folder))
        stack.callback(installation.close)
        installation.make_key()
        schema.upgrade(installation.raw_database)
        stack.callback(installation.embedded.stop)
        installation.embedded.ensure()
        return cls(harbour_of(installation), folder, environ)

    @contextmanager
    def served(self, way: str) -> Iterator[Served]:
        given = {
            "home": str(self.folder),
            "endpoint": self.harbour.senders["stripe"].endpoint_id,
            "connection": self.harbour.connections["shop"],
        }
        with process_of(self.environ, __file__, "--serve", way, json.dumps(given)) as process:
            assert process.stdout is not None
            yield Served(process.stdout.readline().strip(), process)

    def send(self, served: Served, count: int, per_second: float | None = None) -> Sent:
        """Send that many deliveries, and see that each was stored."""
        before = self.harbour.count()
        order = Order(
            url=served.url,
            path=self.harbour.senders["stripe"].path,
            secret=SECRETS["stripe"],
            count=count,
            per_second=per_second,
        )
        with senders(order) as ready:
            sent = ready.go()
        assert sent.refused == {}, sent.refused
        assert self.harbour.count() - before == count
        return sent


def compare(place: Place, ways: dict[str, Served], options: argparse.Namespace) -> Facts:
    """Have each way take all it can, in turns; then ours and the bare one a part of that."""
    rounds: dict[str, list[tuple[Sent, float]]] = {way: [] for way in WAYS}
    for number in range(options.rounds + 1):  # the first one warms up
        for way, served in ways.items():
            before = served.cpu_s()
            sent = place.send(served, options.requests)
            if number:
                rounds[way].append((sent, served.cpu_s() - before))
    rate = {way: median(sent.per_second for sent, _ in each) for way, each in rounds.items()}
    facts: Facts = {
        way: {
            "per_second": round(rate[way]),
            "times_bare": round(rate[way] / rate["bare"], 2),
            "times_commit_each": round(rate[way] / rate["commit each"], 2),
            "cpu_us": round(median(cpu for _, cpu in each) / options.requests * 1e6),
            "p50_ms": round(median(sent.ms(50) for sent, _ in each), 1),
            "p99_ms": round(median(sent.ms(99) for sent, _ in each), 1),
        }
        for way, each in rounds.items()
    }
    offered = round(rate["ours"] * OFFERED)
    for way in ("ours", "bare"):
        found = [place.send(ways[way], options.requests, offered) for _ in range(options.rounds)]
        facts[way] |= {
            "offered_per_second": offered,
            "offered_p50_ms": round(median(sent.ms(50) for sent in found), 1),
            "offered_p99_ms": round(median(sent.ms(99) for sent in found), 1),
            "sender_late_p99_ms": round(median(sent.late_ms(99) for sent in found), 1),
        }
    return facts


def beside_a_sync(make: Callable[[ExitStack], tuple[Path, str]]) -> dict[str, float]:
    """Send 2,000 deliveries in 10 s while a worker reads a provider as fast as it can."""
    with ExitStack() as stack:
        url = stack.enter_context(servers.sandbox(customers=BURST_CUSTOMERS, edge_cases=False))
        folder, address = make(stack)
        home = folder / "home"
        ours = stack.enter_context(stage(home, address, url, stripe_rate_limits=BURST_LIMIT))
        harbour = Harbour(ours.installation, ours.installation.clock)
        harbour.connections["shop"] = get_connection(ours.installation, "shop").id
        harbour.senders["stripe"] = harbour.add("stripe", "shop", secret=SECRETS["stripe"])
        place = Place(harbour, home, os.environ | ours.environ)
        served = stack.enter_context(place.served("ours"))
        quiet = place.environ | {"TIELINE_LOG_LEVEL": "error"}  # it warns that it fills its limit
        stack.enter_context(process_of(quiet, "-m", "tieline", "worker"))
        while not ours.installation.presence.alive():
            time.sleep(0.1)
        place.send(served, 100, BURST_PER_SECOND)
        run_id = ours.ask("full")
        while not (before := syncs.get_run(ours.installation, run_id)).counts.seen:
            time.sleep(0.05)
        sent = place.send(served, BURST, BURST_PER_SECOND)
        after = syncs.get_run(ours.installation, run_id)
        assert not after.is_over, "the sync ended before the deliveries did"
        return {
            "deliveries": BURST,
            "seconds": round(sent.seconds, 1),
            "records_synced_meanwhile": after.counts.seen - before.counts.seen,
            "p50_ms": round(sent.ms(50), 1),
            "p99_ms": round(sent.ms(99), 1),
            "most_ms": round(max(sent.took) * 1000, 1),
            "sender_late_p99_ms": round(sent.late_ms(99), 1),
        }


@contextmanager
def process_of(environ: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run Python for as long as the block lasts."""
    process = subprocess.Popen(
        [sys.executable, *arguments], env=environ, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


if __name__ == "__main__":
    main()
