"""The ASGI application: one request from its arrival to its last byte."""

from __future__ import annotations

import asyncio
from typing import Any

from tieline_stripe_sandbox.account import Accounts
from tieline_stripe_sandbox.answers import Answer, ApiError, Headers
from tieline_stripe_sandbox.api import Api
from tieline_stripe_sandbox.clock import Clock
from tieline_stripe_sandbox.control import Control
from tieline_stripe_sandbox.courier import Courier
from tieline_stripe_sandbox.delivery import Receive, Scope, Send, deliver, drop
from tieline_stripe_sandbox.faults import Faults, FiredFaults
from tieline_stripe_sandbox.grants import Grants
from tieline_stripe_sandbox.ids import Ids
from tieline_stripe_sandbox.journal import Journal
from tieline_stripe_sandbox.keys import Keys
from tieline_stripe_sandbox.limits import Limits
from tieline_stripe_sandbox.mutation import Mutation, mutate
from tieline_stripe_sandbox.oauth import Application, OAuth
from tieline_stripe_sandbox.oauth_orders import OAuthOrders
from tieline_stripe_sandbox.request import Request
from tieline_stripe_sandbox.stock import Stock
from tieline_stripe_sandbox.webhook_endpoints import Endpoints
from tieline_stripe_sandbox.webhook_orders import WebhookOrders
from tieline_stripe_sandbox.world import World

__all__ = ["Sandbox", "create_app"]

_REPLACING = ("drop", "status", "html200", "empty")


def create_app(
    *,
    customers: int = 1000,
    products: int = 60,
    subscriptions: int = 200,
    charges: int = 400,
    seed: int = 1,
    latency_ms: float = 0.0,
    rate: float = 0.0,
    skew: float = 0.0,
    edge_cases: bool = True,
    api_key: str = "",
    api_version: str = "2026-10-28.endive",
    event_delay_s: float = 0.0,
    log_size: int = 100_000,
    accounts: int = 3,
    client_id: str = "ca_TielineSandboxApplication0000001",
    client_secret: str = "sk_test_51TielineSandboxPlatform",  # noqa: S107 - opens nothing else
    redirect_uris: str = "",
    consent: str = "auto",
) -> Sandbox:
    """Make a Stripe account that lives in this process.

    Serve it without the server's own ``Date`` header (uvicorn:
    ``date_header=False``), because answers carry the sandbox's time.

    Args:
        customers: How many customers exist from the start.
        products: How many products exist from the start.
        subscriptions: How many subscriptions exist from the start.
        charges: How many charges exist from the start.
        seed: Chooses the customers and their ids; same seed, same bytes.
        latency_ms: Added to every answer, in milliseconds; concurrent requests overlap.
        rate: Requests per second for the account and for each endpoint; 0: no limit.
        skew: Share of the customers that was created in the last tenth of the two years
            before the base time; up to 0.1: spread evenly.
        edge_cases: Whether awkward customers stand at the first indices.
        api_key: The only key that is accepted beside ``client_secret``; empty: every
            well-formed test key.
        api_version: The account's default API version, in which events are written.
        event_delay_s: Seconds until a change shows in the list of events.
        log_size: How many requests the log keeps, and how many deliveries of webhooks.
        accounts: How many accounts can be connected to the platform.
        client_id: The platform's id as an OAuth application.
        client_secret: The platform's secret key: the one that exchanges codes and opens
            connected accounts.
        redirect_uris: Where OAuth may send browsers back to, comma separated; empty: any
            https address, and http on this machine.
        consent: How owners of accounts decide: "auto" says yes at once, "page" shows a
            page with Allow and Deny, "deny" says no at once.

    Returns:
        An ASGI application. Applications share nothing.
    """
    clock = Clock()
    world = World(
        customers=customers,
        seed=seed,
        skew=skew,
        edge_cases=edge_cases,
        api_version=api_version,
        clock=clock,
    )
    stock = Stock(world, products=products, subscriptions=subscriptions, charges=charges)
    application = Application(
        client_id=client_id,
        secret_key=client_secret,
        redirect_uris=tuple(filter(None, map(str.strip, redirect_uris.split(",")))),
    )
    grants = Grants(
        seed=seed,
        clock=clock,
        tell=lambda kind, account: world.tell_of_access(kind, account, application.text()),
    )
    everyone = Accounts(seed, accounts)
    oauth = OAuth(application=application, grants=grants, accounts=everyone, consent=consent)
    webhooks = Endpoints(seed, clock)
    courier = Courier(
        log=world.events,
        endpoints=webhooks,
        clock=clock,
        connected=lambda: [name for name in everyone.names if grants.scope_of(name)],
        log_size=log_size,
    )
    api = Api(
        world=world,
        stock=stock,
        keys=Keys(api_key, everyone.platform, platform_key=client_secret, grants=grants),
        limits=Limits(rate),
        accounts=everyone,
        oauth=oauth,
        event_delay_s=event_delay_s,
        webhooks=webhooks,
    )
    facts = {
        "account": everyone.platform,
        "seed": seed,
        "api_version": api_version,
        "client_id": client_id,
    }
    return Sandbox(
        world=world,
        stock=stock,
        api=api,
        oauth=OAuthOrders(oauth),
        webhooks=WebhookOrders(webhooks, courier, world.events, clock),
        latency_s=latency_ms / 1000,
        version=api_version,
        log_size=log_size,
        facts=facts,
    )


class Sandbox:
    """An ASGI application; made by :func:`create_app`."""

    def __init__(
        self,
        *,
        world: World,
        stock: Stock,
        api: Api,
        oauth: OAuthOrders,
        webhooks: WebhookOrders,
        latency_s: float,
        version: str,
        log_size: int,
        facts: dict[str, Any],
    ) -> None:
        self._world = world
        self._stock = stock
        self._api = api
        self._latency_s = latency_s
        self._version = version.encode()
        self._faults = Faults()
        self._journal = Journal(log_size)
        self._request_ids = Ids("req", world.seed)
        self._requests = 0
        self._courier = webhooks.courier
        self._control = Control(
            world=world,
            stock=stock,
            faults=self._faults,
            journal=self._journal,
            oauth=oauth,
            webhooks=webhooks,
            facts=facts,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request, or the server's start and stop."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Take part in the server's start and stop."""
        while True:
            message = await receive()
            is_over = message["type"] == "lifespan.shutdown"
            if is_over:
                await self._courier.close()
            await send({"type": f"{message['type']}.complete"})
            if is_over:
                return

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path, query = scope["method"], scope["path"], scope["query_string"]
        accepted_ms = self._journal.clock_ms()
        body = await _read(receive) if method != "GET" else b""
        if path == "/_sandbox" or path.startswith("/_sandbox/"):
            await self._control.answer(method, path, query, body, receive, send)
            return
        request = self._request(scope, body)
        fired = self._faults.fire(method, path, query)
        answer = await self._answer(request, fired)
        self._journal.add(
            accepted_ms=accepted_ms,
            method=method,
            path=path,
            query=query,
            status=0 if answer is None else answer.status,
            request_id=request.id,
        )
        if answer is None:
            await drop(receive, send)
        else:
            await deliver(answer, self._headers(request), fired, receive, send)

    def _request(self, scope: Scope, body: bytes) -> Request:
        self._requests += 1
        return Request(
            id=self._request_ids.of(self._requests),
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"],
            headers=dict(scope["headers"]),
            body=body,
        )

    def _headers(self, request: Request) -> Headers:
        """Return what every answer carries; version and account are those asked for."""
        version = request.headers.get(b"stripe-version") or self._version
        carried = [
            (b"date", self._world.clock.http_date()),
            (b"request-id", request.id.encode()),
            (b"stripe-version", version),
        ]
        account = request.headers.get(b"stripe-account")
        if account:
            carried.append((b"stripe-account", account))
        key = request.idempotency_key()
        if key is not None:
            carried.append((b"idempotency-key", key.encode("latin-1")))
        return tuple(carried)

    async def _answer(self, request: Request, fired: FiredFaults) -> Answer | None:
        """Return what goes out; None: the connection is closed instead."""
        replacing = next((fired[kind] for kind in _REPLACING if kind in fired), None)
        told = replacing.instead() if replacing else None
        if replacing is None or replacing.executed:
            true = await self._true_answer(request, fired, told)
            told = told or self._faults.distort(fired, request.path, true)
        return None if "drop" in fired else told

    async def _true_answer(
        self, request: Request, fired: FiredFaults, told: Answer | None
    ) -> Answer:
        try:
            call = self._api.admit(request)
        except ApiError as refusal:
            await self._wait(fired)
            return refusal.answer()
        try:
            await self._wait(fired)
            if "mutate" in fired:
                mutate(self._world, self._stock, Mutation.read(fired["mutate"].mutation))
            return self._api.execute(call, told=told)
        except ApiError as refusal:
            return refusal.answer()
        finally:
            self._api.leave(call)

    async def _wait(self, fired: FiredFaults) -> None:
        seconds = self._latency_s + (fired["delay"].seconds if "delay" in fired else 0)
        if seconds:
            await asyncio.sleep(seconds)


async def _read(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)
