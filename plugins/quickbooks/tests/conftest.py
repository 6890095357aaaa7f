"""A sandbox in this process, and one behind a real server."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import orjson
import pytest
import uvicorn

import tieline_quickbooks as plugin
from tieline.contract import Connection, Credential, PageParams, Window, parse_json
from tieline.transport import HttpTransport
from tieline_quickbooks.entities import CUSTOMERS, INVOICES
from tieline_quickbooks_sandbox import create_app

CLIENT_ID = "ABtielinesandboxclientid0000000000000000000000001a"
CLIENT_SECRET = "tielinesandboxclientsecret00000000000001"
REDIRECT = "http://localhost:8080/oauth/callback/quickbooks"
ACCOUNTING = "com.intuit.quickbooks.accounting"
AUTHORIZE = "/connect/oauth2"
TOKENS = "/oauth2/v1/tokens/bearer"
REVOKE = "/v2/oauth2/tokens/revoke"
KINDS = {"customers": "Customer", "invoices": "Invoice"}
ENTITIES = {"customers": CUSTOMERS, "invoices": INVOICES}
FIRST_DAY = datetime(2026, 11, 1, tzinfo=UTC)
FORM = "application/x-www-form-urlencoded"


def basic(name: str = CLIENT_ID, password: str = CLIENT_SECRET) -> dict[str, str]:
    return {"authorization": f"Basic {b64encode(f'{name}:{password}'.encode()).decode()}"}


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
    def told(self) -> dict[str, str]:
        """What the redirect tells the application."""
        assert self.status == 302, self.body
        return dict(parse_qsl(urlsplit(self.headers["location"]).query))


class Caller:
    """Calls an application without a network, one request after the other."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self._loop = asyncio.new_event_loop()

    def close(self) -> None:
        self._loop.close()

    def get(self, path: str, *, token: str = "", **query: Any) -> Reply:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return self.ask("GET", path, query=urlencode(query), headers=headers)

    def authorize(self, **changed: str | None) -> Reply:
        asked = {
            "client_id": CLIENT_ID,
            "response_type": "code",
            "scope": ACCOUNTING,
            "redirect_uri": REDIRECT,
            "state": "s t/a+te",
        } | changed
        return self.get(AUTHORIZE, **{name: text for name, text in asked.items() if text})

    @staticmethod
    def token_request(headers: dict[str, str] | None = None, **form: str) -> dict[str, Any]:
        given = basic() | {"content-type": FORM} | (headers or {})
        return {"body": urlencode(form).encode(), "headers": given}

    def token_call(self, headers: dict[str, str] | None = None, **form: str) -> Reply:
        return self.ask("POST", TOKENS, **self.token_request(headers, **form))

    def exchange(self, code: str, **changed: str) -> Reply:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT}
        return self.token_call(**(form | changed))

    def refresh(self, token: str, headers: dict[str, str] | None = None) -> Reply:
        return self.token_call(headers, grant_type="refresh_token", refresh_token=token)

    def connected(self, **changed: str) -> dict[str, Any]:
        """Connect a company and return its tokens."""
        told = self.authorize(**changed).told
        return self.exchange(told["code"]).json | {"realm": told.get("realmId", "")}

    def revoke(self, token: str, **headers: str) -> Reply:
        given = basic() | {"content-type": "application/json"} | headers
        return self.ask("POST", REVOKE, body=orjson.dumps({"token": token}), headers=given)

    def company(self, realm: str, token: str) -> Reply:
        return self.get(f"/v3/company/{realm}/companyinfo/{realm}", token=token, minorversion=75)

    def order(self, name: str, given: Any) -> Any:
        reply = self.ask("POST", f"/_sandbox/{name}", body=orjson.dumps(given))
        assert reply.status == 200, reply.body
        return reply.json

    def pass_time(self, seconds: float) -> None:
        self.order("clock", {"advance_s": seconds})

    def grants(self) -> list[dict[str, Any]]:
        return self.get("/_sandbox/oauth").json["grants"]

    def accounts(self) -> list[dict[str, Any]]:
        return self.get("/_sandbox/").json["accounts"]

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
    ) -> Reply:
        messages: list[dict[str, Any]] = []
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.encode(), text.encode()) for name, text in (headers or {}).items()],
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
        yield lambda **options: stack.enter_context(_served(create_app(**options)))


@pytest.fixture(scope="module")
def shared_server() -> Iterator[str]:
    """Serve one sandbox to all tests of a file, which leave it as they found it."""
    with _served(create_app()) as base:
        yield base


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    """A plain client; to make one takes longer than a test."""
    with httpx.Client(trust_env=False) as client:
        yield client


@contextmanager
def _served(app: Any) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # Head and body are two writes: without this each answer waits for 40 ms.
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


class Desk:
    """A sandbox's first company, and the plugin's way to it."""

    def __init__(self, base: str, http: httpx.Client, stack: ExitStack) -> None:
        self.base, self._http = base, http
        tokens = self.order("oauth", grant={"account": 0})
        self.realm = self.look("")["accounts"][0]["id"]
        transport = HttpTransport(connection_id="con_x", origins=[base], allows_private=True)
        stack.callback(transport.close)
        here = Connection(
            id="con_x", name="x", provider="quickbooks", environment="sandbox", base_url=base
        )
        fields = {"access_token": tokens["access_token"], "realm_id": self.realm}
        self.api = plugin.tieline_client(here, Credential(fields), transport)

    def order(self, name: str, entity: str = "", **given: Any) -> Any:
        about = {"entity": KINDS[entity]} if entity else {}
        return self._send(name, about | given)

    def script(self, *faults: dict[str, Any]) -> None:
        self._send("faults", list(faults))

    def answer(self, body: Any, where: str = "*") -> None:
        """Answer the next request with a body."""
        path = f"/v3/company/{self.realm}/{where.removeprefix('*/')}" if "/" in where else "*"
        self.script({"kind": "status", "status": 200, "body": body, "path": path})

    def _send(self, name: str, given: Any) -> Any:
        reply = self._http.post(f"{self.base}/_sandbox/{name}", json=given)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def look(self, name: str) -> Any:
        return self._http.get(f"{self.base}/_sandbox/{name}").json()

    def truth(self, entity: str) -> dict[str, Any]:
        text = self._http.get(f"{self.base}/_sandbox/truth?entity={KINDS[entity]}").text
        return {each["Id"]: each for each in map(parse_json, text.encode().splitlines())}

    def page(self, entity: str, cursor: str | None = None, **window: Any) -> Any:
        return ENTITIES[entity].page(self.api, PageParams(window=Window(**window)), cursor)

    def pages(self, entity: str, **window: Any) -> Iterator[Any]:
        """Read page by page; what happens between two is the caller's."""
        cursor = None
        while True:
            page = self.page(entity, cursor, **window)
            yield page
            if page.next is None:
                return
            cursor = page.next

    def ids(self, entity: str, **window: Any) -> list[str]:
        return [each["Id"] for page in self.pages(entity, **window) for each in page.records]

    def changes(self, entity: str, since: datetime = FIRST_DAY) -> Any:
        feed = ENTITIES[entity].feed
        assert feed is not None
        return feed.page(self.api, PageParams(window=Window(start=since)), None)


@pytest.fixture
def desk(server, http):
    """Make desks: ``desk(customers=5)``; their clock stands still on the first day."""
    with ExitStack() as stack:

        def make(**options: Any) -> Desk:
            made = Desk(server(accounts=1, **options), http, stack)
            made.order("clock", frozen=True)
            return made

        yield make
