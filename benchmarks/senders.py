"""Deliveries that are sent from a process of its own, over connections that stay open.

Two ways of sending. ``as fast as answers come``: each connection sends its
next delivery when its last one was answered, so that the time of an answer is
no more than connections ÷ deliveries a second. ``at a rate``: a delivery is
due at its time, whether or not others were answered.

What measures must not stall itself: everything is signed and written before
the first is sent, one thread does nothing but send and receive, and nothing is
collected meanwhile. How late it was itself is told, too.
"""

from __future__ import annotations

import gc
import hashlib
import hmac
import json
import secrets
import selectors
import socket
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

__all__ = ["Order", "Senders", "Sent", "senders"]

_SIZE = 3_000
_ANSWER_WITHIN_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be sent.

    Attributes:
        url: Where the server is.
        path: Of the endpoint.
        secret: That Stripe would sign with.
        count: How many deliveries, each of another event.
        connections: How many stay open.
        per_second: How many are due in a second; None: as fast as answers come.
    """

    url: str
    path: str
    secret: str
    count: int
    connections: int = 64
    per_second: float | None = None


@dataclass(frozen=True, kw_only=True)
class Sent:
    """How it went.

    Attributes:
        seconds: From the first delivery to the last answer.
        took: Seconds of each delivery: from when it was sent, or from when it
            was due if all connections were busy then.
        late: Seconds by which each was sent too late though a connection was
            free: the sender's own fault, and none of the server's.
        refused: Status to how many; 200 is none.
    """

    seconds: float
    took: list[float]
    late: list[float]
    refused: dict[str, int]

    @property
    def per_second(self) -> float:
        return len(self.took) / self.seconds

    def ms(self, hundredth: int) -> float:
        """Return the milliseconds within which so many of a hundred were answered."""
        return statistics.quantiles(self.took, n=100)[hundredth - 1] * 1000

    def late_ms(self, hundredth: int) -> float:
        return statistics.quantiles(self.late, n=100)[hundredth - 1] * 1000


class Senders:
    """A process that has everything ready and waits for the word.

    Args:
        process: Was given its order.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def go(self) -> Sent:
        """Send, and wait for the last answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return Sent(**json.loads(self._process.stdout.readline()))


@contextmanager
def senders(order: Order) -> Iterator[Senders]:
    """Start a process, and have it prepare everything."""
    process = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(asdict(order)) + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ready\n"
        yield Senders(process)
    finally:
        process.kill()
        process.wait(20)


def written(order: Order) -> list[bytes]:
    """Write signed requests."""
    made = []
    for number in range(order.count):
        customer = {"id": f"cus_{number % 100}", "object": "customer", "name": "Ada"}
        event = {
            "id": f"evt_1{secrets.token_hex(12)}",
            "object": "event",
            "type": "customer.updated",
            "api_version": "2026-10-28.endive",
            "created": int(time.time()),
            "data": {"object": customer},
        }
        customer["description"] = "x" * (_SIZE - len(json.dumps(event)))
        body, at = json.dumps(event).encode(), int(time.time())
        sign = hmac.new(order.secret.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
        head = (
            f"POST {order.path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Stripe-Signature: t={at},v1={sign}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        made.append(head.encode() + body)
    return made


class Line:
    """One connection."""

    def __init__(self, order: Order) -> None:
        host, _, port = order.url.removeprefix("http://").partition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=_ANSWER_WITHIN_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.began = 0.0
        self.heard = b""

    def send(self, request: bytes, began: float) -> None:
        self.began = began
        self.heard = b""
        self.socket.sendall(request)

    def hear(self) -> str | None:
        """Receive; return the status once an answer, none of which has a body, is whole."""
        part = self.socket.recv(65_536)
        if not part:
            raise ConnectionError("the server hung up")
        self.heard += part
        return self.heard[9:12].decode() if self.heard.endswith(b"\r\n\r\n") else None


def send(requests: list[bytes], lines: list[Line], per_second: float | None) -> Sent:
    """Send all, and wait for all answers."""
    heard = selectors.DefaultSelector()
    for line in lines:
        heard.register(line.socket, selectors.EVENT_READ, line)
    idle, took, late, refused = deque(lines), [], [], dict[str, int]()
    sent, count = 0, len(requests)
    first = now = free_since = time.perf_counter()
    while len(took) < count:
        wait = _ANSWER_WITHIN_S
        while idle and sent < count:
            due = now if per_second is None else first + sent / per_second
            if due > now:
                wait = due - now
                break
            is_theirs = due < free_since  # no connection was free: it waited for the server
            idle.popleft().send(requests[sent], due if is_theirs else now)
            late.append(0.0 if is_theirs else now - due)
            sent += 1
            now = time.perf_counter()
        ready = heard.select(wait)
        if not ready and wait == _ANSWER_WITHIN_S:
            raise TimeoutError("a delivery is not answered")
        now = time.perf_counter()
        for key, _ in ready:
            line = key.data
            if (status := line.hear()) is None:
                continue
            took.append(now - line.began)
            free_since = free_since if idle else now
            idle.append(line)
            if status != "200":
                refused[status] = refused.get(status, 0) + 1
    return Sent(seconds=now - first, took=took, late=late, refused=refused)


def main() -> None:
    order = Order(**json.loads(sys.stdin.readline()))
    requests = written(order)
    lines = [Line(order) for _ in range(order.connections)]
    gc.collect()
    gc.freeze()
    gc.disable()
    print("ready", flush=True)
    if sys.stdin.readline():
        print(json.dumps(asdict(send(requests, lines, order.per_second))), flush=True)


if __name__ == "__main__":
    main()
