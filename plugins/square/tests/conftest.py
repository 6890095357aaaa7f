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
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import orjson
import pytest
import uvicorn

from tieline_square_sandbox import API_KEY, CLIENT_ID, CLIENT_SECRET, create_app

NOW = 1_793_491_200  # 2026-11-01T00:00:00Z
REDIRECT = "https://app.example.com/oauth/callback/square"
SCOPES = "MERCHANT_PROFILE_READ CUSTOMERS_READ"


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
    def code(self) -> str:
        """The first error's code, or the older shape's type."""
        body = self.json
        return body["errors"][0]["code"] if "errors" in body else body["type"]

    @property
    def back(self) -> dict[str, str]:
        """What the browser brings to the redirect address."""
        assert self.status == 302, self.body
        return dict(parse_qsl(urlsplit(self.headers["location"]).query, keep_blank_values=True))


class Caller:
    """Calls an application without a network, one request after the other."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self._loop = asyncio.new_event_loop()

    def close(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def get(self, path: str, *, token: str = API_KEY, **query: Any) -> Reply:
        return self.ask("GET", path, query=urlencode(query), token=token)

    def post(self, path: str, body: Any, *, token: str = API_KEY) -> Reply:
        return self.ask("POST", path, body=orjson.dumps(body), token=token)

    def data(self, entity: str, **given: Any) -> Any:
        """Change what a seller has."""
        return self.order("data", {"entity": entity} | given)

    def truth(self, entity: str, **query: Any) -> dict[str, Any]:
        """What a sync has to end up with: id to object."""
        lines = self.get("/_sandbox/truth", entity=entity, **query).body.splitlines()
        return {line["id"]: line["object"] for line in map(orjson.loads, lines)}

    def authorize(self, **given: str | None) -> Reply:
        """Open the permission page; None leaves a parameter out."""
        asked = {
            "client_id": CLIENT_ID,
            "scope": SCOPES,
            "session": "false",
            "state": "s1",
            "redirect_uri": REDIRECT,
        } | given
        known = {name: text for name, text in asked.items() if text is not None}
        return self.ask("GET", "/oauth2/authorize", query=urlencode(known))

    def token(self, **given: Any) -> Reply:
        """Ask for tokens; None leaves a parameter out."""
        asked = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET} | given
        known = {name: value for name, value in asked.items() if value is not None}
        return self.ask("POST", "/oauth2/token", body=orjson.dumps(known))

    def exchange(self, code: str, /, **given: Any) -> Reply:
        return self.token(
            **{"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT} | given
        )

    def refresh(self, refresh_token: str, /, **given: Any) -> Reply:
        return self.token(grant_type="refresh_token", refresh_token=refresh_token, **given)

    def revoke(self, *, secret: str = CLIENT_SECRET, scheme: str = "Client", **given: Any) -> Reply:
        body = orjson.dumps({"client_id": CLIENT_ID} | given)
        headers = {"authorization": f"{scheme} {secret}"}
        return self.ask("POST", "/oauth2/revoke", body=body, headers=headers)

    def status(self, token: str) -> Reply:
        return self.ask("POST", "/oauth2/token/status", token=token)

    def grant(self, *, account: int = 0, pkce: bool = False, scopes: str = SCOPES) -> Any:
        """Make a grant without a browser."""
        made = {"account": account, "pkce": pkce, "scopes": scopes.split()}
        return self.order("oauth", {"grant": made})

    def order(self, name: str, given: Any) -> Any:
        reply = self.ask("POST", f"/_sandbox/{name}", body=orjson.dumps(given))
        assert reply.status == 200, reply.body
        return reply.json

    def pass_time(self, **given: float) -> None:
        days = given.get("days", 0)
        self.order("clock", {"advance_s": days * 86_400 + given.get("seconds", 0)})

    def oracle(self, **query: Any) -> Any:
        return self.get("/_sandbox/oauth", **query).json

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
        token: str = "",
    ) -> Reply:
        given = ({"authorization": f"Bearer {token}"} if token else {}) | (headers or {})
        messages: list[dict[str, Any]] = []
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.encode(), text.encode()) for name, text in given.items()],
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def keep(message: dict[str, Any]) -> None:
            messages.append(message)

        await self.app(scope, receive, keep)
        got = {name.decode(): text.decode() for name, text in messages[0]["headers"]}
        sent = b"".join(message.get("body", b"") for message in messages[1:])
        return Reply(messages[0]["status"], got, sent)


@pytest.fixture
def sandbox() -> Iterator[Callable[..., Caller]]:
    """Make sandboxes: ``sandbox(accounts=2)`` returns a :class:`Caller`; time stands still."""
    with ExitStack() as stack:

        def make(**options: Any) -> Caller:
            caller = Caller(create_app(**{"now": NOW} | options))
            stack.callback(caller.close)
            caller.order("clock", {"now": NOW + 1, "frozen": True})
            return caller

        yield make


@dataclass
class Receiver:
    """An address to which events are delivered.

    ``statuses`` are what it answers with, one by one, and 200 when they are used
    up; 0 stands for no answer until the sender gives up.
    """

    url: str
    statuses: list[int]
    got: list[tuple[dict[str, str], bytes]]

    @property
    def events(self) -> list[Any]:
        return [orjson.loads(body) for _, body in self.got]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver("", [], [])
    is_over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            made.got.append(({name.lower(): text for name, text in self.headers.items()}, body))
            status = made.statuses.pop(0) if made.statuses else 200
            if status == 0:
                is_over.wait(30)
                return
            self.send_response(status)
            self.send_header("location", "/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{listening.server_port}/hooks/7?to=us"
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    is_over.set()
    listening.shutdown()
    listening.server_close()
    thread.join(10)


@pytest.fixture
def server() -> Iterator[Callable[..., str]]:
    """Serve sandboxes over HTTP: ``server(accounts=2)`` returns the base address."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(_served(create_app(**options)))


@contextmanager
def _served(app: Any) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # else an answer's body waits for the client to acknowledge its head: 40 ms each
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        config = uvicorn.Config(
            app, log_level="critical", lifespan="off", date_header=False, server_header=False
        )
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
