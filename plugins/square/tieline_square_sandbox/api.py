"""The routing table, and the endpoints below ``/v2`` about the seller itself.

A further endpoint is a line in a table and a function of shop, request and id.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable
from typing import Any, NamedTuple
from urllib.parse import unquote

from tieline_square_sandbox.answers import Answer, bad_request, json_answer, not_found
from tieline_square_sandbox.bearer import admit
from tieline_square_sandbox.grants import Grants
from tieline_square_sandbox.lists import ROUTES, Ask
from tieline_square_sandbox.request import Request
from tieline_square_sandbox.shop import Shop, Shops
from tieline_square_sandbox.subscription_api import PREFIX, SubscriptionApi
from tieline_square_sandbox.world import World

__all__ = ["Api"]

_VERSION = re.compile(r"20\d\d-[01]\d-[0-3]\d")


class Api:
    """Answers requests below ``/v2``."""

    def __init__(
        self, world: World, shops: Shops, grants: Grants, subscriptions: SubscriptionApi
    ) -> None:
        self._subscriptions = subscriptions
        self._world = world
        self._shops = shops
        self._grants = grants

    def answer(self, request: Request) -> Answer | Awaitable[Answer]:
        """Answer one request.

        Raises:
            RefusedError: In Square's words.
        """
        version = request.header("square-version")
        if version and not _VERSION.fullmatch(version):
            raise bad_request("Invalid Square-Version.", "INVALID_SQUARE_VERSION_FORMAT")
        if request.path.startswith(PREFIX):
            return self._subscriptions.answer(request)
        route, name = _find(request)
        token = admit(request, self._grants, route.scope)
        seller = self._world.find(token.account)
        assert seller is not None
        return json_answer(200, route.ask(self._shops.of(seller), request, name))


class _Route(NamedTuple):
    method: str
    path: re.Pattern[str]
    scope: str
    ask: Ask


def _list_merchants(shop: Shop, _request: Request, _id: str) -> dict[str, Any]:
    return {"merchant": [shop.seller.merchant]}


def _get_merchant(shop: Shop, _request: Request, name: str) -> dict[str, Any]:
    if name not in {"me", shop.seller.id}:
        raise not_found(f"Merchant with ID `{name}` not found.")
    return {"merchant": shop.seller.merchant}


def _list_locations(shop: Shop, _request: Request, _id: str) -> dict[str, Any]:
    return {"locations": list(shop.seller.locations)}


_PROFILE = "MERCHANT_PROFILE_READ"
_ROUTES = (
    _Route("GET", re.compile(r"/v2/merchants"), _PROFILE, _list_merchants),
    _Route("GET", re.compile(r"/v2/merchants/([^/]+)"), _PROFILE, _get_merchant),
    _Route("GET", re.compile(r"/v2/locations"), _PROFILE, _list_locations),
    *(_Route(each.method, re.compile(each.path), each.scope, each.ask) for each in ROUTES),
)


def _find(request: Request) -> tuple[_Route, str]:
    for route in _ROUTES:
        found = route.path.fullmatch(request.path)
        if found and request.method == route.method:
            return route, unquote(found[1]) if found.groups() else ""
    raise not_found()
