"""The routing table, and the endpoints below ``/v2`` that need nothing but the world.

A further endpoint is a line in :data:`_ROUTES` and a function of a call.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from tieline_square_sandbox.answers import Answer, bad_request, json_answer, not_found
from tieline_square_sandbox.bearer import admit
from tieline_square_sandbox.grants import Grants
from tieline_square_sandbox.request import Request
from tieline_square_sandbox.world import Seller, World

__all__ = ["Api", "Call"]

_VERSION = re.compile(r"20\d\d-[01]\d-[0-3]\d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request that was let in.

    Attributes:
        seller: Whose token it has.
        request: The request.
        id: What the path names; empty where it names nothing.
    """

    seller: Seller
    request: Request
    id: str = ""


class Api:
    """Answers requests below ``/v2``."""

    def __init__(self, world: World, grants: Grants) -> None:
        self._world = world
        self._grants = grants

    def answer(self, request: Request) -> Answer:
        """Answer one request.

        Raises:
            RefusedError: In Square's words.
        """
        route, name = _find(request)
        version = request.header("square-version")
        if version and not _VERSION.fullmatch(version):
            raise bad_request("Invalid Square-Version.", "INVALID_SQUARE_VERSION_FORMAT")
        token = admit(request, self._grants, route.scope)
        seller = self._world.find(token.account)
        assert seller is not None
        return json_answer(200, route.run(Call(seller=seller, request=request, id=name)))


class _Route(NamedTuple):
    method: str
    path: re.Pattern[str]
    scope: str
    run: Callable[[Call], dict[str, Any]]


def _list_merchants(call: Call) -> dict[str, Any]:
    return {"merchant": [call.seller.merchant]}


def _get_merchant(call: Call) -> dict[str, Any]:
    if call.id not in {"me", call.seller.id}:
        raise not_found(f"Merchant with ID `{call.id}` not found.")
    return {"merchant": call.seller.merchant}


def _list_locations(call: Call) -> dict[str, Any]:
    return {"locations": list(call.seller.locations)}


_PROFILE = "MERCHANT_PROFILE_READ"
_ROUTES = (
    _Route("GET", re.compile(r"/v2/merchants"), _PROFILE, _list_merchants),
    _Route("GET", re.compile(r"/v2/merchants/([^/]+)"), _PROFILE, _get_merchant),
    _Route("GET", re.compile(r"/v2/locations"), _PROFILE, _list_locations),
)


def _find(request: Request) -> tuple[_Route, str]:
    for route in _ROUTES:
        found = route.path.fullmatch(request.path)
        if found and request.method == route.method:
            return route, found[1] if found.groups() else ""
    raise not_found()
