"""A provider that enforces its limits, and worker processes that call it through the throttle.

    python throttle_kit.py serve              a provider; prints its port, obeys its own paths
    python throttle_kit.py work '{"url": …}'  forks worker processes, each with its own client

A worker is a process of its own with its own sockets to Redis, as in production;
it is forked so that nothing has to be imported eight times.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

HERE = Path(__file__)


class Provider:
    """Counts calls as a provider does: by arrival, in moving windows, and in flight."""

    def __init__(self) -> None:
        self.limits: list[tuple[int, float, str]] = []
        self.at_once = 1_000
        self.latency_s = 0.05
        self.is_down = False
        self.pause_s = 0  # from the next call on, all are refused for so many seconds
        self.paused_until = 0.0
        self.reset()

    def reset(self) -> None:
        self.windows = defaultdict(deque)
        self.now = self.most = self.accepted = self.refused = self.failed = 0
        self.busy_s = 0.0
        self.arrivals: list[tuple[float, int]] = []

    async def answer(self, path: str) -> tuple[int, dict]:
        if path.startswith("/_"):
            return 200, self.obey(path)
        at = time.monotonic()
        if self.is_down:
            self.failed += 1
            self.arrivals.append((at, 503))
            return 503, {}
        if self.pause_s:
            self.paused_until, self.pause_s = at + self.pause_s, 0
        if at < self.paused_until:
            self.refused += 1
            self.arrivals.append((at, 429))
            return 429, {"retry_after": math.ceil(self.paused_until - at)}
        if self.now >= self.at_once or not self.has_room(path, at):
            self.refused += 1
            self.arrivals.append((at, 429))
            return 429, {}
        self.arrivals.append((at, 200))
        self.accepted += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.latency_s)
        finally:
            self.now -= 1
            self.busy_s += time.monotonic() - at
        return 200, {}

    def has_room(self, path: str, at: float) -> bool:
        counted = [
            (self.windows[limit, period, path if scope == "endpoint" else ""], limit, period)
            for limit, period, scope in self.limits
            if scope in {"", "endpoint"} or path.startswith(scope)
        ]
        for calls, _, period in counted:
            while calls and calls[0] <= at - period:
                calls.popleft()
        if any(len(calls) >= limit for calls, limit, _ in counted):
            return False
        for calls, _, _ in counted:
            calls.append(at)
        return True

    def obey(self, path: str) -> dict:
        if path.startswith("/_set/"):
            for name, value in json.loads(unquote(path.removeprefix("/_set/"))).items():
                setattr(self, name, value)
        if path == "/_reset":
            self.reset()
        names = ("now", "most", "accepted", "refused", "failed", "busy_s", "arrivals")
        return {name: getattr(self, name) for name in names} | {"at": time.monotonic()}

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                status, body = await self.answer(head.split(b" ")[1].decode())
                raw = json.dumps(body).encode()
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n" % (status, len(raw)))
                if "retry_after" in body:
                    writer.write(b"Retry-After: %d\r\n" % body["retry_after"])
                writer.write(b"\r\n")
                writer.write(raw)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def serve() -> None:
    server = await asyncio.start_server(Provider().talk, "127.0.0.1", 0, backlog=512)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


@contextmanager
def provider(**options: object) -> Iterator[Remote]:
    """Run a provider in a process of its own."""
    process = subprocess.Popen([sys.executable, str(HERE), "serve"], stdout=subprocess.PIPE)
    try:
        remote = Remote(f"http://127.0.0.1:{int(process.stdout.readline())}")
        remote.set(**options)
        yield remote
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


class Remote:
    """A provider that runs elsewhere."""

    def __init__(self, url: str) -> None:
        self.url = url

    def set(self, **options: object) -> None:
        self._ask(f"/_set/{json.dumps(options)}")

    def reset(self) -> None:
        self._ask("/_reset")

    def stats(self) -> dict:
        return self._ask("/_stats")

    def _ask(self, path: str) -> dict:
        import httpx

        return httpx.get(self.url + path, trust_env=False, timeout=10).json()


@dataclass(frozen=True)
class Asked:
    """A call as gates see it."""

    method: str = "GET"
    host: str = "api.example.com"
    path: str = "/v1/things"


def connection(account: str):
    """Make a connection of an account."""
    from tieline.contract import Account, Connection

    return Connection(
        id=f"con_{account}",
        name="shop",
        provider="acme",
        environment="live",
        base_url="https://api.example.com",
        account=Account(id=account),
        settings={},
    )


def new_throttle(redis_url: str, account: str, policy: dict, **options: object):
    """Make the throttle of one account with a Redis client of its own."""
    from tieline.clock import SystemClock
    from tieline.contract import Rate, RateLimitPolicy
    from tieline.coordination import open_redis
    from tieline.throttle import Throttle

    rates = [Rate(**rate) for rate in policy.get("rates", ())]
    declared = RateLimitPolicy(**{**policy, "rates": rates})
    client = open_redis(redis_url)
    return Throttle(client, connection(account), declared, clock=SystemClock(), **options)


def new_transport(url: str, *gates: object):
    """Make a transport to a provider of this machine."""
    from tieline.transport import HttpTransport

    return HttpTransport(connection_id="con", origins=[url], gates=gates, allows_private=True)


@contextmanager
def workers(**job: object) -> Iterator[subprocess.Popen]:
    """Start workers; they are at work once this yields, and gone after it."""
    process = subprocess.Popen(
        [sys.executable, str(HERE), "work", json.dumps(job)], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout.readline() == b"ready\n"
        yield process
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


def work(job: dict) -> None:
    """Fork workers and look after them until we are told to end; start killed ones anew."""
    import tieline.throttle
    import tieline.transport  # noqa: F401 - imported before the fork
    from tieline.throttle import throttle as module

    module._PERMIT_LEASE_S = job.get("lease_s", module._PERMIT_LEASE_S)
    paces = job["paces"]
    children = {_fork(job, pace): pace for pace in paces}

    def end(*_: object) -> None:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for _ in range(job.get("kills", 0)):
        time.sleep(random.uniform(0.01, 0.05))
        pid = random.choice(list(children))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        pace = children.pop(pid)
        children[_fork(job, pace)] = pace
    if "kills" in job:
        sys.stdout.write("killed\n")
        sys.stdout.flush()
    while True:
        signal.pause()


def _fork(job: dict, pace: str) -> int:
    if pid := os.fork():
        return pid
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    gate = new_throttle(
        job["redis"], job["account"], job["policy"], pace=pace, call_s=job.get("call_s", 30.0)
    )
    transport = new_transport(job["url"], gate)
    pauses = job.get("pause_s", {}).get(pace, 0.0)

    def call() -> None:
        paths = list(job["paths"])
        while True:
            random.shuffle(paths)
            for path in paths:
                try:
                    transport.send("GET", job["url"] + path, headers={})
                except Exception as error:
                    if not hasattr(error, "retry_after"):
                        raise
                    time.sleep(min(error.retry_after or 0.1, 1.0))
                time.sleep(pauses)

    for _ in range(job.get("threads", 3)):
        threading.Thread(target=call, daemon=True).start()
    while True:
        signal.pause()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve())
    else:
        work(json.loads(sys.argv[2]))
