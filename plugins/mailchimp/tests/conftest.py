"""A sandbox in this process, and one behind a real server."""

from __future__ import annotations

import asyncio
import base64
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import orjson
import pytest
import uvicorn

from tieline_mailchimp_sandbox import create_app

KEY = "0123456789abcdef0123456789abcdef-us6"
CLIENT_ID = "628228172893"
CLIENT_SECRET = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a697887"
REDIRECT = "http://127.0.0.1:8377/oauth/callback/mailchimp"


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
    def location(self) -> dict[str, str]:
        """Parameters of the address that a redirect leads to."""
        return dict(parse_qsl(urlsplit(self.headers["location"]).query))


class Caller:
    """Calls an application without a network, one request after the other."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self._loop = asyncio.new_event_loop()

    def close(self) -> None:
        self._loop.close()

    def get(self, path: str, *, key: str | None = KEY, **query: Any) -> Reply:
        return self.ask("GET", path, query=urlencode(query), headers=basic(key))

    def get_as(self, scheme: str, token: str, path: str) -> Reply:
        return self.ask("GET", path, headers={"authorization": f"{scheme} {token}"})

    def authorize(self, **changed: str | None) -> Reply:
        asked = {"response_type": "code", "client_id": CLIENT_ID, "redirect_uri": REDIRECT}
        query = {name: text for name, text in (asked | changed).items() if text is not None}
        return self.ask("GET", "/oauth2/authorize", query=urlencode(query))

    def exchange(self, code: str, /, **changed: str | None) -> Reply:
        return self.form("/oauth2/token", **(token_form(code) | changed))

    def token(self) -> str:
        """Connect the account that is signed in, and return its token."""
        token: str = self.exchange(self.authorize().location["code"]).json["access_token"]
        return token

    def form(self, path: str, **given: str | None) -> Reply:
        body = {name: text for name, text in given.items() if text is not None}
        return self.ask("POST", path, body=urlencode(body).encode(), headers=FORM)

    def order(self, name: str, given: Any) -> Any:
        reply = self.ask("POST", f"/_sandbox/{name}", body=orjson.dumps(given))
        assert reply.status == 200, reply.body
        return reply.json

    def facts(self, name: str = "", **query: Any) -> Any:
        return self.ask("GET", f"/_sandbox/{name}", query=urlencode(query)).json

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
        scheme: str = "http",
        host: str = "127.0.0.1:12112",
    ) -> Reply:
        messages: list[dict[str, Any]] = []
        given = {"host": host} | (headers or {})
        scope = {
            "type": "http",
            "scheme": scheme,
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


FORM = {"content-type": "application/x-www-form-urlencoded"}


def basic(key: str | None) -> dict[str, str]:
    if key is None:
        return {}
    return {"authorization": "Basic " + base64.b64encode(f"any:{key}".encode()).decode()}


def token_form(code: str) -> dict[str, str]:
    return {
        "grant_type": "authorization_code",
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "redirect_uri": REDIRECT,
        "code": code,
    }


@pytest.fixture
def sandbox() -> Iterator[Callable[..., Caller]]:
    """Make sandboxes: ``sandbox(accounts=2)`` returns a :class:`Caller`."""
    with ExitStack() as stack:

        def make(**options: Any) -> Caller:
            caller = Caller(create_app(**options))
            stack.callback(caller.close)
            return caller

        yield make


@pytest.fixture
def server() -> Iterator[Callable[..., str]]:
    """Serve sandboxes over HTTP: ``server(accounts=2)`` returns the base address."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(served(create_app(**options)))


@pytest.fixture(scope="session")
def serving() -> Callable[[Any], Any]:
    """Serve any application: ``with serving(app) as base``."""
    return served


@contextmanager
def served(app: Any) -> Iterator[str]:
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
