"""Deliveries a second: ours, with a commit for each request, and a bare ASGI app.

All three verify a signature, store the same row once, and answer after its
commit; they are served by the same server with the same settings, one after
the other, again and again. The bare one knows one endpoint and one secret by
heart, reads no more of a body than its id, and commits in groups as ours does.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import json
import os
import secrets
import statistics
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio.to_thread
import orjson
from stage import DATABASES, databases

from ingest_kit import SECRETS, harbour_of
from tieline.inbox import Delivery, Outcome
from tieline.inbox.committer import _commit
from tieline.services.installation import Installation
from tieline.settings import load_settings
from tieline.store import deliveries, schema
from tieline.store.deliveries import NewEvent
from tieline.store.ids import new_id
from tieline.web import create_app, serve
from tieline.web.webhooks import WebhookPages

WAYS = ("ours", "commit each", "bare")
SIZE = 3_000
CONNECTIONS = 64


class CommitEach(WebhookPages):
    """Ours, but for one transaction a request, in the threads that Starlette has for that."""

    def __init__(self, installation: Installation) -> None:
        super().__init__(installation)
        self._database = installation.database

    async def _committed(self, delivery: Delivery) -> Outcome:
        def commit() -> Outcome:
            with self._database.desk() as desk:
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
        with self._database.desk() as desk:
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


def requests(count: int, path: str) -> list[bytes]:
    """Write signed requests, each of another event."""
    made = []
    for number in range(count):
        customer = {"id": f"cus_{number % 100}", "object": "customer", "name": "Ada"}
        event = {
            "id": f"evt_1{secrets.token_hex(12)}",
            "object": "event",
            "type": "customer.updated",
            "api_version": "2026-10-28.endive",
            "created": int(time.time()),
            "data": {"object": customer},
        }
        customer["description"] = "x" * (SIZE - len(json.dumps(event)))
        body, at = json.dumps(event).encode(), int(time.time())
        sign = hmac.new(SECRETS["stripe"].encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Stripe-Signature: t={at},v1={sign}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        made.append(head.encode() + body)
    return made


async def send(url: str, wanted: Sequence[bytes]) -> tuple[float, list[float]]:
    """Send requests over 64 connections; return seconds in all and of each."""
    host, port = url.removeprefix("http://").split(":")
    left, took = deque(wanted), []

    async def hand() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        while left:
            request = left.popleft()
            began = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            took.append(time.perf_counter() - began)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(hand() for _ in range(CONNECTIONS)))
    return time.perf_counter() - began, took


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
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    took: dict[str, list[float]] = {way: [] for way in WAYS}
    with databases(options.db) as make, ExitStack() as stack:
        folder, address = make(stack)
        environ = os.environ | {
            "TIELINE_HOME": str(folder),
            "TIELINE_DATABASE_URL": address,
        }
        installation = Installation(load_settings(environ, folder))
        installation.make_key()
        schema.upgrade(installation.raw_database)
        stack.callback(installation.embedded.stop)
        installation.embedded.ensure()
        harbour = harbour_of(installation)
        sender = harbour.senders["stripe"]
        given = {
            "home": str(folder),
            "endpoint": sender.endpoint_id,
            "connection": harbour.connections["shop"],
        }
        servers = {way: _start(way, given, environ) for way in WAYS}
        try:
            for number in range(options.rounds + 1):  # the first one warms up
                for way, (_, url) in servers.items():
                    wanted = requests(options.requests, sender.path)
                    seconds, each = asyncio.run(send(url, wanted))
                    if number:
                        rates[way].append(len(wanted) / seconds)
                        took[way] += each
        finally:
            for process, _ in servers.values():
                process.terminate()
                process.wait(20)
        sent = options.requests * (options.rounds + 1) * len(WAYS)
        assert harbour.count() == sent, (harbour.count(), sent)
        installation.close()
    _print(rates, took, as_json=options.json)


def _start(way: str, given: dict[str, str], environ: dict[str, str]) -> tuple[Any, str]:
    process = subprocess.Popen(
        [sys.executable, __file__, "--serve", way, json.dumps(given)],
        env=environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def _print(rates: dict[str, list[float]], took: dict[str, list[float]], *, as_json: bool) -> None:
    middle = {way: statistics.median(found) for way, found in rates.items()}
    facts = {
        way: {
            "per_second": round(middle[way]),
            "times_bare": round(middle[way] / middle["bare"], 2),
            "times_commit_each": round(middle[way] / middle["commit each"], 2),
            "p50_ms": round(statistics.median(took[way]) * 1000, 1),
            "p99_ms": round(statistics.quantiles(took[way], n=100)[98] * 1000, 1),
        }
        for way in WAYS
    }
    if as_json:
        print(json.dumps(facts))
        return
    for way, each in facts.items():
        print(f"{way:<12}" + "  ".join(f"{name} {value}" for name, value in each.items()))


if __name__ == "__main__":
    main()
