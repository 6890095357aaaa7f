"""The ASGI application: one request from its arrival to its last byte."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from tieline_square_sandbox.answers import Answer, RefusedError, not_found
from tieline_square_sandbox.api import Api
from tieline_square_sandbox.application import API_KEY, CLIENT_ID, CLIENT_SECRET, Application
from tieline_square_sandbox.changes import Order, carry_out
from tieline_square_sandbox.clock import Clock
from tieline_square_sandbox.consent import CONSENTS, Consent, Orders
from tieline_square_sandbox.control import Control
from tieline_square_sandbox.courier import Courier
from tieline_square_sandbox.delivery import Receive, Scope, Send, deliver, drop, live, read
from tieline_square_sandbox.faults import Faults, FiredFaults
from tieline_square_sandbox.grants import Grants
from tieline_square_sandbox.herald import Herald
from tieline_square_sandbox.journal import Journal
from tieline_square_sandbox.oracle import Oracle
from tieline_square_sandbox.request import Request
from tieline_square_sandbox.scopes import KNOWN
from tieline_square_sandbox.shop import Shops, Stock
from tieline_square_sandbox.subscription_api import SubscriptionApi
from tieline_square_sandbox.subscriptions import Subscriptions
from tieline_square_sandbox.tokens import TokenEndpoints
from tieline_square_sandbox.world import World

__all__ = ["Sandbox", "create_app"]

_REPLACING = ("drop", "status", "html200", "empty")


def create_app(
    *,
    accounts: int = 3,
    seed: int = 1,
    latency_ms: float = 0.0,
    client_id: str = CLIENT_ID,
    client_secret: str = CLIENT_SECRET,
    redirect_uris: str = "",
    consent: str = "auto",
    api_key: str = API_KEY,
    now: float = 0.0,
    customers: int = 120,
    orders: int = 120,
    items: int = 30,
    locations: int = 0,
    index_delay_s: float = 0.0,
    odd_pages: int = 0,
) -> Sandbox:
    """Make a Square that lives in this process.

    Serve it without the server's own ``Date`` header (uvicorn:
    ``date_header=False``), because answers carry the sandbox's time.

    Args:
        accounts: How many sellers there are.
        seed: Chooses their ids and all tokens; same seed, same ids.
        latency_ms: Added to every answer, in milliseconds; concurrent requests overlap.
        client_id: Id of the one registered application.
        client_secret: Its secret.
        redirect_uris: Its registered redirect addresses, separated by commas; empty: any
            https address, and http on this machine.
        consent: What sellers do: "auto" allows at once, "deny" denies, "page" asks.
        api_key: The developer's personal access token; it opens the first account. Empty: none.
        now: When the sandbox's clock starts, in seconds since the epoch; 0: the machine's time.
        customers: How many each seller has, those that no list shows among them.
        orders: How many each seller has, and as many payments.
        items: How many items each seller's catalog has.
        locations: How many each seller has; 0: one or two.
        index_delay_s: After what time lists know of a change of a customer or a payment.
        odd_pages: Every so many pages are empty although there is more; 0: none.

    Returns:
        An ASGI application. Applications share nothing.
    """
    if consent not in CONSENTS:
        raise ValueError(f"consent: one of {', '.join(CONSENTS)}")
    uris = tuple(uri.strip() for uri in redirect_uris.split(",") if uri.strip())
    application = Application(client_id=client_id, client_secret=client_secret, redirect_uris=uris)
    clock = Clock(now)
    world = World(accounts=accounts, seed=seed, locations=locations)
    stock = Stock(
        customers=customers,
        orders=orders,
        items=items,
        delay_s=index_delay_s,
        odd_pages=odd_pages,
    )
    grants = Grants(clock, seed)
    if api_key:
        grants.add_personal(api_key, world.at(0).id, KNOWN)
    subscriptions, courier = Subscriptions(clock, seed), Courier(clock)
    herald = Herald(clock, seed, grants, subscriptions, courier)
    grants.on_revoked = herald.tell_revoked
    return Sandbox(
        application=application,
        clock=clock,
        world=world,
        shops=Shops(stock, clock, herald.of),
        grants=grants,
        orders=Orders(consent=consent),
        subscriptions=subscriptions,
        herald=herald,
        courier=courier,
        latency_s=latency_ms / 1000,
    )


class Sandbox:
    """An ASGI application; made by :func:`create_app`."""

    def __init__(
        self,
        *,
        application: Application,
        clock: Clock,
        world: World,
        shops: Shops,
        grants: Grants,
        orders: Orders,
        subscriptions: Subscriptions,
        herald: Herald,
        courier: Courier,
        latency_s: float,
    ) -> None:
        self._clock = clock
        self._latency_s = latency_s
        self._faults = Faults()
        self._journal = Journal()
        self._oracle = Oracle(grants)
        self._world = world
        self._shops = shops
        webhooks = SubscriptionApi(
            clock=clock,
            grants=grants,
            subscriptions=subscriptions,
            herald=herald,
            courier=courier,
            world=world,
            shops=shops,
        )
        self._api = Api(world, shops, grants, webhooks)
        tokens = TokenEndpoints(application, grants)
        consent = Consent(application, grants, world, orders)
        self._oauth = {
            ("GET", "/oauth2/authorize"): consent.ask,
            ("POST", "/oauth2/authorize"): consent.decide,
            ("POST", "/oauth2/token"): tokens.obtain,
            ("POST", "/oauth2/token/status"): tokens.status,
            ("POST", "/oauth2/revoke"): tokens.revoke,
        }
        self._control = Control(
            application=application,
            world=world,
            shops=shops,
            grants=grants,
            orders=orders,
            oracle=self._oracle,
            faults=self._faults,
            journal=self._journal,
            clock=clock,
            herald=herald,
            courier=courier,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request, or the server's start and stop."""
        if scope["type"] == "lifespan":
            await live(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        accepted_ms = self._journal.clock_ms()
        request = Request(
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"],
            headers=dict(scope["headers"]),
            body=b"" if scope["method"] == "GET" else await read(receive),
        )
        if request.path == "/_sandbox" or request.path.startswith("/_sandbox/"):
            await deliver(self._control.answer(request), (), send)
            return
        fired = self._faults.fire(request.method, request.path, request.query)
        with self._oracle.watching(request):
            answer = await self._answer(request, fired)
            self._journal.add(
                accepted_ms=accepted_ms,
                method=request.method,
                path=request.path,
                query=request.query,
                status=0 if answer is None else answer.status,
            )
            if answer is None:
                await drop(receive, send)
            else:
                carried = ((b"date", self._clock.http_date()),)
                await deliver(answer, carried, send, fired.get("slow"))

    async def _answer(self, request: Request, fired: FiredFaults) -> Answer | None:
        """Return what goes out; None: the connection is closed instead."""
        seconds = self._latency_s + (fired["delay"].seconds if "delay" in fired else 0)
        if seconds:
            await asyncio.sleep(seconds)
        if "mutate" in fired:
            carry_out(Order.read(fired["mutate"].order), self._world, self._shops)
        replacing = next((fired[kind] for kind in _REPLACING if kind in fired), None)
        told = replacing.instead() if replacing else None
        if replacing is None or replacing.executed:
            true = self._execute(request)
            answered = true if isinstance(true, Answer) else await true
            told = told or answered
        return None if "drop" in fired else told

    def _execute(self, request: Request) -> Answer | Awaitable[Answer]:
        """Carry out one request at once, so that no other can come between."""
        where = (request.method, request.path)
        if where == ("POST", "/oauth2/token"):
            self._oracle.token_calls += 1
        try:
            if run := self._oauth.get(where):
                return run(request)
            if request.path.startswith("/v2/"):
                return self._api.answer(request)
            raise not_found()
        except RefusedError as refusal:
            return refusal.answer
