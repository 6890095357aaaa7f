"""A sandbox in this process, and one behind a real server."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlencode

import orjson
import pytest
import uvicorn

from tieline_stripe_sandbox import create_app

KEY = "sk_test_51TielineSandbox"


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def ids(self) -> list[str]:
        return [item["id"] for item in self.json["data"]]

    @property
    def error(self) -> dict[str, str]:
        error: dict[str, str] = self.json["error"]
        return error


class Caller:
    """Calls an application without a network, one request after the other."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self._loop = asyncio.new_event_loop()

    def close(self) -> None:
        self._loop.close()

    def get(self, path: str, **query: Any) -> Reply:
        return self.ask("GET", path, query=urlencode(query, doseq=True))

    def post(self, path: str, form: dict[str, Any] | None = None, **headers: str) -> Reply:
        return self.ask("POST", path, body=urlencode(form or {}).encode(), headers=headers)

    def delete(self, path: str) -> Reply:
        return self.ask("DELETE", path)

    def order(self, name: str, given: Any) -> Any:
        reply = self.ask("POST", f"/_sandbox/{name}", body=orjson.dumps(given))
        assert reply.status == 200, reply.body
        return reply.json

    def truth(self, **query: Any) -> list[dict[str, Any]]:
        return [
            orjson.loads(line) for line in self.get("/_sandbox/truth", **query).body.splitlines()
        ]

    def ask(self, method: str, path: str, **parts: Any) -> Reply:
        return self._loop.run_until_complete(self.send(method, path, **parts))

    def together(self, *asked: Any) -> list[Reply]:
        """Send several at once; each is what :meth:`send` returned."""

        async def all_of_them() -> list[Reply]:
            return await asyncio.gather(*asked)

        return self._loop.run_until_complete(all_of_them())

    async def send(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        key: str | None = KEY,
    ) -> Reply:
        given = {"authorization": f"Bearer {key}"} if key else {}
        given |= {name.replace("_", "-"): text for name, text in (headers or {}).items()}
        messages: list[dict[str, Any]] = []
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.encode(), text.encode()) for name, text in given.items()],
        }

        incoming = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if not incoming:
                await asyncio.Event().wait()  # connected until the answer is complete
            return incoming.pop()

        async def send(message: dict[str, Any]) -> None:
            messages.append(message)

        await self.app(scope, receive, send)
        start = messages[0]
        got = {name.decode(): text.decode() for name, text in start["headers"]}
        return Reply(start["status"], got, b"".join(m.get("body", b"") for m in messages[1:]))


@pytest.fixture
def sandbox() -> Iterator[Callable[..., Caller]]:
    """Make sandboxes: ``sandbox(customers=10)`` returns a :class:`Caller`."""
    with ExitStack() as stack:

        def make(**options: Any) -> Caller:
            caller = Caller(create_app(**options))
            stack.callback(caller.close)
            return caller

        yield make


@pytest.fixture
def server() -> Iterator[Callable[..., str]]:
    """Serve sandboxes over HTTP: ``server(customers=10)`` returns the base address."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(_served(create_app(**options)))


class Receiver:
    """An endpoint of somebody's: it keeps what is delivered, and answers as it is told."""

    def __init__(self) -> None:
        self.seen: list[tuple[dict[str, str], bytes]] = []
        self.status, self.pause_s = 200, 0.0
        self._over = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.seen.append(({k.lower(): v for k, v in self.headers.items()}, body))
                receiver._over.wait(receiver.pause_s)
                self.send_response(receiver.status)
                self.send_header("Location", "https://example.com/")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.url = f"http://127.0.0.1:{self._server.server_port}/hooks?a=b"

    @property
    def events(self) -> list[dict[str, Any]]:
        """What came, in order."""
        return [orjson.loads(body) for _, body in self.seen]

    @property
    def ids(self) -> list[str]:
        """The ids of what came, in order."""
        return [event["id"] for event in self.events]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Take deliveries of webhooks on this machine."""
    with Receiver() as made:
        yield made


@contextmanager
def _served(app: Any) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # else an answer's body waits for the client to acknowledge its head: 40 ms each
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        config = uvicorn.Config(app, log_level="critical", date_header=False, server_header=False)
        running = uvicorn.Server(config)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not running.started:
                assert thread.is_alive()
                time.sleep(0.005)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            running.should_exit = True
            thread.join(10)
            assert not thread.is_alive()
