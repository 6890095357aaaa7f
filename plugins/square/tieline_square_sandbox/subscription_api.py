"""``/v2/webhooks``: subscriptions, made and changed by the application itself.

Source: Square API reference, "Webhook Subscriptions". They are the application's,
so that only its own personal access token may touch them; what Square says to a
seller's token is not published, and the hardest answer is taken.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

import orjson

from tieline_square_sandbox.answers import (
    Answer,
    RefusedError,
    bad_request,
    json_answer,
    missing_parameter,
    not_found,
    unauthorized,
)
from tieline_square_sandbox.application import is_reachable
from tieline_square_sandbox.bearer import bearer
from tieline_square_sandbox.clock import Clock
from tieline_square_sandbox.courier import Courier
from tieline_square_sandbox.events import SCOPES, TEST, sample
from tieline_square_sandbox.grants import Grants
from tieline_square_sandbox.herald import Herald
from tieline_square_sandbox.request import Request, parameters
from tieline_square_sandbox.shelf import Object
from tieline_square_sandbox.shop import Shops
from tieline_square_sandbox.subscriptions import Subscription, Subscriptions
from tieline_square_sandbox.times import whole_ms, write_time
from tieline_square_sandbox.world import World

__all__ = ["PREFIX", "SubscriptionApi"]

PREFIX = "/v2/webhooks/"
_API_VERSION = "2026-09-16"
_LONGEST_KEY, _LONGEST_NAME = 45, 64
_KEYS_KEPT = 1_000
_FIELDS = {"name", "enabled", "event_types", "notification_url", "api_version"}
_ONE = re.compile(r"/v2/webhooks/subscriptions/([^/]+)(/signature-key|/test)?")

Answered = Answer | Awaitable[Answer]


class SubscriptionApi:
    """Answers requests below :data:`PREFIX`."""

    def __init__(
        self,
        *,
        clock: Clock,
        grants: Grants,
        subscriptions: Subscriptions,
        herald: Herald,
        courier: Courier,
        world: World,
        shops: Shops,
    ) -> None:
        self._clock = clock
        self._grants = grants
        self._subscriptions = subscriptions
        self._herald = herald
        self._courier = courier
        self._world = world
        self._shops = shops
        self._answered: OrderedDict[str, tuple[bytes, Object]] = OrderedDict()
        self._of_one: dict[tuple[str, str], Callable[[Subscription, Request], Answered]] = {
            ("GET", ""): lambda found, _request: _shown(found),
            ("PUT", ""): self._update,
            ("DELETE", ""): self._delete,
            ("POST", "/signature-key"): self._renew_key,
            ("POST", "/test"): self._test,
        }

    def answer(self, request: Request) -> Answered:
        """Answer one request; a test has to wait for what the address answers.

        Raises:
            RefusedError: In Square's words.
        """
        self._admit(request)
        where = (request.method, request.path)
        if where == ("GET", "/v2/webhooks/event-types"):
            return json_answer(200, {"event_types": list(SCOPES)})
        if where == ("GET", "/v2/webhooks/subscriptions"):
            return self._list(request)
        if where == ("POST", "/v2/webhooks/subscriptions"):
            return self._create(request)
        found = _ONE.fullmatch(request.path)
        run = self._of_one.get((request.method, found[2] or "")) if found else None
        if found is None or run is None:
            raise not_found()
        subscription = self._subscriptions.find(unquote(found[1]))
        if subscription is None:
            raise not_found(f"Subscription with ID `{found[1]}` not found.")
        return run(subscription, request)

    def _admit(self, request: Request) -> None:
        token = bearer(request, self._grants)
        if token.grant is not None or token.is_revoked:
            raise unauthorized("This request could not be authorized.")

    def _list(self, request: Request) -> Answer:
        asked = parameters(request.query)
        found = [
            each.shown(with_key=False)
            for each in self._subscriptions
            if each.is_enabled or asked.get("include_disabled") == "true"
        ]
        if asked.get("sort_order") == "DESC":
            found.reverse()
        limit, start = _number(asked, "limit", 100), _number(asked, "cursor", 0)
        if not 1 <= limit <= 100:
            raise bad_request("limit is from 1 to 100.", "INVALID_VALUE", "limit")
        here = found[start : start + limit]
        more = {"cursor": str(start + limit)} if found[start + limit :] else {}
        return json_answer(200, ({"subscriptions": here} if here else {}) | more)

    def _create(self, request: Request) -> Answer:
        body = request.json()
        return self._once(body, lambda: self._made(body))

    def _made(self, body: Object) -> Object:
        given = _subscription(body)
        for name in ("notification_url", "event_types"):
            if not given.get(name):
                raise missing_parameter(f"subscription.{name}")
        made = self._subscriptions.add(
            name=given.get("name") or "",
            url=given["notification_url"],
            event_types=tuple(given["event_types"]),
            api_version=given.get("api_version") or _API_VERSION,
            enabled=given.get("enabled") is not False,
        )
        return {"subscription": made.shown()}

    def _update(self, found: Subscription, request: Request) -> Answer:
        given = _subscription(request.json())
        found.name = given.get("name", found.name)
        found.url = given.get("notification_url", found.url)
        found.event_types = tuple(given.get("event_types", found.event_types))
        found.api_version = given.get("api_version", found.api_version)
        if given.get("enabled", found.is_enabled) and not found.is_enabled:
            found.failing_since = None
        found.is_enabled = given.get("enabled", found.is_enabled)
        found.updated = self._clock.now()
        return json_answer(200, {"subscription": found.shown(with_key=False)})

    def _delete(self, found: Subscription, _request: Request) -> Answer:
        self._subscriptions.remove(found)
        return json_answer(200, {})

    def _renew_key(self, found: Subscription, request: Request) -> Answer:
        body = request.json_or_none() or {}
        return self._once(
            {"of": found.id, **body},
            lambda: {"signature_key": self._subscriptions.renew_key(found)},
        )

    async def _test(self, found: Subscription, request: Request) -> Answer:
        kind = (request.json_or_none() or {}).get("event_type") or TEST
        if kind != TEST and kind not in found.event_types:
            detail = "The event type is not one of the subscription's."
            return bad_request(detail, "INVALID_VALUE", "event_type").answer
        seller, now = self._world.at(0), self._clock.now()
        shop = self._shops.of(seller)
        try:
            news = sample(kind, whole_ms(now), lambda entity: shop.live(entity)[0].value)
        except IndexError:
            return bad_request("There is nothing to tell of.", "INVALID_VALUE").answer
        told = self._herald.make(seller.id, news)
        status = await self._courier.test(told, found)
        at, text = write_time(whole_ms(now)), told.body.decode()
        result = {"id": told.id, "status_code": status, "created_at": at, "updated_at": at}
        # Square's example has it nested, with the payload as a text; the newest SDK
        # says that it is told at the root.
        root = {"notification_url": found.url, "status_code": status, "passes_filter": True}
        nested = {"subscription_test_result": result | {"payload": text}}
        return json_answer(200, {**nested, **root, "payload": orjson.loads(text)})

    def _once(self, body: Object, make: Callable[[], Object]) -> Answer:
        """Answer as before where an idempotency key comes again with the same body."""
        key = body.get("idempotency_key")
        if key is None:
            return json_answer(200, make())
        if not isinstance(key, str) or not 0 < len(key) <= _LONGEST_KEY:
            detail = f"Field must not be longer than {_LONGEST_KEY}."
            raise bad_request(detail, "VALUE_TOO_LONG", "idempotency_key")
        text = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
        if key not in self._answered:
            self._answered[key] = text, make()
            if len(self._answered) > _KEYS_KEPT:
                self._answered.popitem(last=False)
        before, answered = self._answered[key]
        if before != text:
            detail = "Different request parameters used for the same idempotency_key."
            raise bad_request(detail, "IDEMPOTENCY_KEY_REUSED", "idempotency_key")
        return json_answer(200, answered)


def _shown(found: Subscription) -> Answer:
    return json_answer(200, {"subscription": found.shown()})


def _subscription(body: Object) -> Object:
    """Read what a subscription shall be like; nulls are the same as absent."""
    given: Any = body.get("subscription")
    if not isinstance(given, dict):
        raise missing_parameter("subscription")
    if odd := given.keys() - _FIELDS:
        raise bad_request(f"{min(odd)!r} cannot be set.", field=f"subscription.{min(odd)}")
    told = {name: value for name, value in given.items() if value is not None}
    for name in told.keys() & {"name", "notification_url", "api_version"}:
        if not isinstance(told[name], str):
            raise _wrong("Expected a string value.", name)
    if len(told.get("name", "")) > _LONGEST_NAME:
        raise _wrong(f"Field must not be longer than {_LONGEST_NAME}.", "name")
    if not isinstance(told.get("enabled", True), bool):
        raise _wrong("Expected a boolean value.", "enabled")
    if "notification_url" in told and not is_reachable(told["notification_url"]):
        raise _wrong("The notification URL must be https.", "notification_url")
    types = told.get("event_types", [])
    if not isinstance(types, list) or [each for each in types if each not in SCOPES]:
        raise _wrong("One of the event types is not known.", "event_types")
    return told


def _wrong(detail: str, name: str) -> RefusedError:
    return bad_request(detail, "INVALID_VALUE", f"subscription.{name}")


def _number(asked: dict[str, str], name: str, default: int) -> int:
    text = asked.get(name, str(default))
    if not text.isdecimal():
        raise bad_request("Expected an integer.", "EXPECTED_INTEGER", name)
    return int(text)
