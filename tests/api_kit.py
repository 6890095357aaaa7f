"""The HTTP API in a test: over ASGI in this process, each answer held to the document."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx
from jsonschema import Draft202012Validator, FormatChecker

from tieline.services.installation import Installation
from tieline.services.tokens import create_token, list_tokens
from tieline.store import dead_letters, deliveries, quarantined
from tieline.store.ids import new_id
from tieline.web import create_app
from tieline.web.api import OPERATIONS, PREFIX, document_of


@cache
def document() -> dict[str, Any]:
    return document_of(OPERATIONS)


@cache
def _paths() -> list[tuple[re.Pattern[str], str]]:
    found = []
    for path in document()["paths"]:
        pattern = re.sub(r"{record}", "(.+)", re.sub(r"{(?!record})\w+}", "([^/]+)", path))
        found.append((re.compile(PREFIX + pattern), path))
    return sorted(found, key=lambda pair: pair[1].count("{"))


def require_documented(method: str, path: str, reply: httpx.Response) -> None:
    """Fail if an answer is not as the document says."""
    found = next((name for pattern, name in _paths() if pattern.fullmatch(path)), None)
    if path.removeprefix(PREFIX) in document()["paths"]:
        found = path.removeprefix(PREFIX)
    assert found is not None, f"{path} is not in the document"
    said = document()["paths"][found].get(method.lower())
    if said is None:
        assert reply.status_code == 405
        return
    assert str(reply.status_code) in said["responses"], f"{method} {path}: {reply.status_code}"
    answer = said["responses"][str(reply.status_code)]
    if "$ref" in answer:
        answer = document()["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    kind = reply.headers.get("content-type", "").partition(";")[0]
    if "content" not in answer:
        assert reply.content == b""
        return
    schema = answer["content"][kind]["schema"] | {"components": document()["components"]}
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(reply.json())


class Wire(httpx.BaseTransport):
    """Hands requests to the application, in an event loop of its own each."""

    def __init__(self, app: Any) -> None:
        self._inner = httpx.ASGITransport(app=app, raise_app_exceptions=False)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        async def ask() -> httpx.Response:
            body = request.read()
            inner = httpx.Request(
                request.method, request.url, headers=request.headers, content=body
            )
            reply = await self._inner.handle_async_request(inner)
            content = await reply.aread()
            return httpx.Response(reply.status_code, headers=reply.headers, content=content)

        return asyncio.run(ask())


@dataclass
class Caller:
    """Somebody with a token, or without one."""

    client: httpx.Client
    token: str = ""
    is_checked: bool = True

    def ask(self, method: str, path: str, **given: Any) -> httpx.Response:
        """Call; the answer has to be one that the document knows."""
        headers = dict(given.pop("headers", {}))
        if self.token:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        reply = self.client.request(method, f"{PREFIX}{path}", headers=headers, **given)
        if self.is_checked:
            require_documented(method, f"{PREFIX}{path.partition('?')[0]}", reply)
        return reply

    def ok(self, method: str, path: str, status: int = 200, **given: Any) -> Any:
        reply = self.ask(method, path, **given)
        assert reply.status_code == status, f"{method} {path}: {reply.status_code} {reply.text}"
        return reply.json() if reply.content else None

    def get(self, path: str, **given: Any) -> Any:
        return self.ok("GET", path, **given)

    def post(self, path: str, body: Any = None, status: int = 200, **given: Any) -> Any:
        return self.ok(
            "POST", path, status, **({"json": body} if body is not None else {}), **given
        )

    def refused(self, method: str, path: str, status: int, **given: Any) -> dict[str, Any]:
        reply = self.ask(method, path, **given)
        assert reply.status_code == status, f"{method} {path}: {reply.status_code} {reply.text}"
        assert reply.headers["content-type"] == "application/problem+json"
        said = reply.json()
        assert said["status"] == status
        return said


@dataclass
class Callers:
    """All who may call one installation."""

    installation: Installation
    client: httpx.Client

    def new(self, scope: str = "admin", *connections: str, name: str = "") -> Caller:
        count = len(list_tokens(self.installation))
        made = create_token(
            self.installation,
            name or f"t{count}",
            scope=scope,
            connections=connections,
            actor="test",
        )
        return Caller(self.client, made.token.reveal())

    @property
    def nobody(self) -> Caller:
        return Caller(self.client)


def callers_of(installation: Installation, **options: Any) -> Callers:
    app = create_app(installation, has_webhooks=False, **options)
    client = httpx.Client(transport=Wire(app), base_url="http://tieline.test")
    return Callers(installation, client)


def plant(made: Installation, admin: Caller, name: str) -> dict[str, str]:
    """Give a connection one of everything that has an id; return the ids by parameter."""
    connection_id = admin.get(f"/connections/{name}")["id"]
    now = made.clock.now()
    bad = quarantined.BadRecord(
        record_id="k1",
        fingerprint="f" * 32,
        reason_code="record-invalid",
        reason="name: not a string",
        raw=b'{"id": "k1", "name": 7}',
        rank=1,
    )
    event = deliveries.NewEvent(
        id=new_id("evt"),
        endpoint_id="whe_test",
        event_key=f"key-{name}",
        connection_id=connection_id,
        type="good.changed",
        entity="keyed",
        record_key="k1",
        occurred_at=None,
        received_at=now,
        delivery_id=new_id("del"),
        body=b'{"id": 1}',
        headers='{"x-a": "b"}',
        record=None,
    )
    run = admin.post(f"/connections/{name}/runs", {"entity": "plain"}, 201)["run"]
    with made.database.write() as transaction:
        quarantined.add_quarantined(
            transaction, connection_id, "keyed", [bad], run_id=run["id"], now=now
        )
        deliveries.insert_events(transaction, [event])
        letter = dead_letters.add_dead_letter(
            transaction,
            kind="run",
            connection_id=connection_id,
            entity="keyed",
            run_id=run["id"],
            reason_code="worker-lost",
            reason="three workers died on it",
            facts={"page": 3},
            now=now,
        )
    asked = admin.post(
        f"/connections/{name}/outbox",
        {"entity": "keyed", "changes": [{"kind": "create", "payload": {"name": "ada"}}]},
        202,
    )
    return {
        "connection": connection_id,
        "run": run["id"],
        "bad": admin.get(f"/connections/{name}/quarantine")["data"][0]["id"],
        "event": event.id,
        "letter": letter,
        "operation": asked["operations"][0]["id"],
        "entity": "keyed",
        "record": "k1",
        "consumer": "warehouse",
    }
