"""The endpoints: which request is answered by whom, and what comes before that.

A request is admitted first (path, key, rate, idempotency key) and executed
later, so that a slow request holds its idempotency key as Stripe's does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from tieline_stripe_sandbox.account import Accounts
from tieline_stripe_sandbox.answers import Answer, ApiError, invalid_request, unrecognized_url
from tieline_stripe_sandbox.customers import Customers
from tieline_stripe_sandbox.events import Events
from tieline_stripe_sandbox.idempotency import Idempotency, Ticket
from tieline_stripe_sandbox.keys import Keys
from tieline_stripe_sandbox.limits import Limits
from tieline_stripe_sandbox.oauth import OAuth
from tieline_stripe_sandbox.objects import (
    Objects,
    SubscriptionItems,
    charges_wanted,
    products_wanted,
    subscriptions_wanted,
)
from tieline_stripe_sandbox.request import Request
from tieline_stripe_sandbox.stock import Stock
from tieline_stripe_sandbox.webhook_api import WebhookApi
from tieline_stripe_sandbox.webhook_endpoints import Endpoints
from tieline_stripe_sandbox.world import World

__all__ = ["Api", "Call"]

_METHODS = frozenset({"DELETE", "GET", "POST"})
_VERSION = re.compile(rb"\d{4}-\d{2}-\d{2}(\.[a-z]+)?")

_Handler = Callable[[Request, str], Answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """An admitted request: who answers it, for which id, under which idempotency key."""

    request: Request
    handler: _Handler
    name: str
    ticket: Ticket | None


class Api:
    """All endpoints of one account.

    Args:
        world: The account's customers and events.
        stock: What else it has.
        keys: Who may ask.
        limits: How fast.
        accounts: What the accounts are called.
        oauth: How accounts are connected.
        event_delay_s: Seconds until a change shows in the list of events.
        webhooks: Who is told of events.
    """

    def __init__(
        self,
        *,
        world: World,
        stock: Stock,
        keys: Keys,
        limits: Limits,
        accounts: Accounts,
        oauth: OAuth,
        event_delay_s: float,
        webhooks: Endpoints,
    ) -> None:
        self._keys = keys
        self._limits = limits
        self._idempotency = Idempotency(world.clock)
        self._accounts = accounts
        self._oauth = oauth
        customers = Customers(world, stock.subscriptions_of)
        events = Events(world, delay_s=event_delay_s)
        products = Objects(
            stock.products,
            frozenset({"active", "ids", "shippable", "type", "url"}),
            products_wanted,
        )
        subscriptions = Objects(
            stock.subscriptions,
            frozenset({"collection_method", "customer", "price", "status", "test_clock"}),
            subscriptions_wanted,
        )
        charges = Objects(
            stock.charges,
            frozenset({"customer", "payment_intent", "transfer_group"}),
            charges_wanted,
        )
        items = SubscriptionItems(stock.subscriptions)
        hooks = WebhookApi(webhooks, keys.account_of, _check_version)
        self._routes: dict[str, tuple[str, _Handler]] = {
            "GET /v1/account": ("accounts_kyc_basic_read", self._account),
            "GET /v1/customers": ("customer_read", customers.page),
            "GET /v1/customers/{id}": ("customer_read", customers.one),
            "POST /v1/customers": ("customer_write", customers.create),
            "POST /v1/customers/{id}": ("customer_write", customers.update),
            "DELETE /v1/customers/{id}": ("customer_write", customers.delete),
            "GET /v1/products": ("product_read", products.page),
            "GET /v1/products/{id}": ("product_read", products.one),
            "GET /v1/subscriptions": ("subscription_read", subscriptions.page),
            "GET /v1/subscriptions/{id}": ("subscription_read", subscriptions.one),
            "GET /v1/subscription_items": ("subscription_read", items.page),
            "GET /v1/charges": ("charge_read", charges.page),
            "GET /v1/charges/{id}": ("charge_read", charges.one),
            "GET /v1/events": ("event_read", events.page),
            "GET /v1/events/{id}": ("event_read", events.one),
            "GET /v1/webhook_endpoints": ("webhook_read", hooks.page),
            "POST /v1/webhook_endpoints": ("webhook_write", hooks.create),
            "GET /v1/webhook_endpoints/{id}": ("webhook_read", hooks.one),
            "POST /v1/webhook_endpoints/{id}": ("webhook_write", hooks.update),
            "DELETE /v1/webhook_endpoints/{id}": ("webhook_write", hooks.delete),
        }

    def admit(self, request: Request) -> Call:
        """Let a request in.

        An unknown path is refused before the key is looked at, as Stripe does.

        Raises:
            ApiError: 404, 405, 401, 403, 429, or 400 and 409 for the idempotency key.
        """
        endpoint, name = _endpoint(request)
        if endpoint not in self._routes:
            return self._elsewhere(endpoint, request)
        right, handler = self._routes[endpoint]
        self._keys.check(request.headers, right)
        self._limits.take(endpoint)
        _check_version(request.headers.get(b"stripe-version"))
        return Call(request=request, handler=handler, name=name, ticket=self._ticket(request))

    def execute(self, call: Call, *, told: Answer | None = None) -> Answer:
        """Do what was asked for.

        Args:
            call: From :meth:`admit`.
            told: What the caller is told instead of the outcome; it is what
                the idempotency key keeps.

        Raises:
            ApiError: The request is refused; its idempotency key stays free.
        """
        replayed = call.ticket.replay() if call.ticket else None
        if replayed is not None:
            return replayed
        outcome = call.handler(call.request, call.name)
        if call.ticket is not None:
            call.ticket.answer = told or outcome
        return told or outcome

    def leave(self, call: Call) -> None:
        """Let go of an idempotency key whose request was not executed."""
        if call.ticket is not None:
            self._idempotency.release(call.ticket)

    def _elsewhere(self, endpoint: str, request: Request) -> Call:
        """Admit what is no data request: OAuth has rules of its own, without rates."""
        handler = self._oauth.handler(endpoint, request)
        if handler is None:
            raise unrecognized_url(request.method, request.path)
        return Call(request=request, handler=handler, name="", ticket=None)

    def _account(self, request: Request, _name: str) -> Answer:
        return Answer(body=self._accounts.text(self._keys.account_of(request.headers)))

    def _ticket(self, request: Request) -> Ticket | None:
        key = request.idempotency_key()
        if key is None:
            return None
        return self._idempotency.begin(
            key, path=request.path, body=request.body, request_id=request.id
        )


def _endpoint(request: Request) -> tuple[str, str]:
    """Return method and path pattern, and the id in the path if there is one."""
    if request.method not in _METHODS:
        raise ApiError(405, f"Method not allowed ({request.method}: {request.path}).")
    collection, _, name = request.path.rpartition("/")
    if name and collection.startswith("/v1/"):
        return f"{request.method} {collection}/{{id}}", name
    return f"{request.method} {request.path}", ""


def _check_version(version: bytes | None) -> None:
    if version and not _VERSION.fullmatch(version):
        text = version.decode("latin-1")
        raise invalid_request(f"Invalid Stripe API version: {text}", "Stripe-Version")
