"""A sandbox in this process, and one behind a real server."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
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


@contextmanager
def _served(app: Any) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
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
