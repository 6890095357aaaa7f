"""The control surface under ``/_sandbox/``: look inside, and give orders.

It is documented in the package's docstring, and is no part of Square's API.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import orjson

from tieline_square_sandbox.answers import Answer, json_answer
from tieline_square_sandbox.application import Application
from tieline_square_sandbox.changes import Order, carry_out
from tieline_square_sandbox.clock import Clock
from tieline_square_sandbox.consent import CONSENTS, Orders
from tieline_square_sandbox.courier import Courier, Handling
from tieline_square_sandbox.faults import KINDS, Fault, Faults
from tieline_square_sandbox.grants import ROTATIONS, Grants
from tieline_square_sandbox.guide import guide
from tieline_square_sandbox.herald import Herald
from tieline_square_sandbox.journal import Journal
from tieline_square_sandbox.oracle import Oracle
from tieline_square_sandbox.request import Request, parameters
from tieline_square_sandbox.scopes import DEFAULT, KNOWN
from tieline_square_sandbox.shop import ENTITIES, Shops
from tieline_square_sandbox.world import World

__all__ = ["Control"]

_Query = dict[str, str]
_HANDLING = {each.name for each in fields(Handling)}
_ORDERS = {"consent", "login_as", "rotation", "grace_s", "revoke", "grant"}


class Control:
    """Answers what is asked under ``/_sandbox/``."""

    def __init__(
        self,
        *,
        application: Application,
        world: World,
        shops: Shops,
        grants: Grants,
        orders: Orders,
        oracle: Oracle,
        faults: Faults,
        journal: Journal,
        clock: Clock,
        herald: Herald,
        courier: Courier,
    ) -> None:
        self._application = application
        self._world = world
        self._shops = shops
        self._grants = grants
        self._orders = orders
        self._oracle = oracle
        self._faults = faults
        self._journal = journal
        self._clock = clock
        self._herald = herald
        self._courier = courier
        self._reads: dict[str, Callable[[_Query], Any]] = {
            "": lambda _query: self._facts(),
            "clock": lambda _query: self._time(),
            "deliveries": lambda query: self._courier.tell(int(query.get("after", "0"))),
            "faults": lambda _query: self._faults.status(),
            "guide": lambda _query: guide(clock.now()),
            "log": lambda query: self._journal.read(int(query.get("after", "0"))),
            "oauth": lambda query: self._oracle.tell(query.get("grant", "")),
        }
        self._writes: dict[str, Callable[[Any], Any]] = {
            "clock": self._set_clock,
            "data": lambda given: carry_out(Order.read(given), world, shops),
            "deliveries": self._deliver,
            "faults": self._script,
            "oauth": self._order,
        }

    def answer(self, request: Request) -> Answer:
        """Answer one request."""
        name = request.path.removeprefix("/_sandbox").strip("/")
        try:
            if request.method == "GET" and name == "truth":
                return self._truth(parameters(request.query))
            if request.method == "GET" and name in self._reads:
                return json_answer(200, self._reads[name](parameters(request.query)))
            if request.method == "POST" and name in self._writes:
                return json_answer(200, self._writes[name](orjson.loads(request.body or b"{}")))
        except (ValueError, TypeError) as error:
            return json_answer(400, {"error": str(error)})
        return json_answer(404, {"error": f"no {request.method} /_sandbox/{name}"})

    def _facts(self) -> dict[str, Any]:
        return {
            "accounts": [{"id": seller.id, "name": seller.name} for seller in self._world.sellers],
            "seed": self._world.seed,
            "client_id": self._application.client_id,
            "redirect_uris": self._application.redirect_uris,
            "clock": self._time(),
            "fault_kinds": KINDS,
            "rotations": ROTATIONS,
        }

    def _truth(self, asked: _Query) -> Answer:
        """Write the live objects of a kind as JSON lines."""
        seller = self._world.at(int(asked.get("account", "0")))
        entity = _one_of(asked.get("entity"), ENTITIES, "entity")
        found = self._shops.of(seller).live(entity)
        lines = (orjson.dumps({"id": copy.id, "object": copy.value}) for copy in found)
        return Answer(body=b"\n".join(lines), content_type=b"application/x-ndjson")

    def _time(self) -> dict[str, Any]:
        return {"now": self._clock.now(), "frozen": self._clock.is_frozen}

    def _set_clock(self, given: object) -> dict[str, Any]:
        asked = _some_of(given, {"now", "advance_s", "frozen"})
        if "frozen" in asked:
            self._clock.freeze(is_frozen=bool(asked["frozen"]))
        if "now" in asked or "advance_s" in asked:
            now = float(asked.get("now", self._clock.now()))
            self._clock.set(now + float(asked.get("advance_s", 0)))
        self._courier.ring()
        return self._time()

    def _deliver(self, given: object) -> dict[str, Any]:
        asked = _some_of(given, {*_HANDLING, "resend"})
        again = asked.pop("resend", None)
        if again is not None and again != "all" and not isinstance(again, list):
            raise ValueError("resend: ids of events, or all")
        self._courier.order(asked)
        if again is not None:
            self._herald.resend(None if again == "all" else again)
        return self._courier.tell(0)

    def _script(self, given: object) -> list[dict[str, Any]]:
        if not isinstance(given, list):
            raise TypeError("faults are a list; an empty one clears the script")
        self._faults.script([Fault.read(one) for one in given])
        return self._faults.status()

    def _order(self, given: object) -> dict[str, Any]:
        """Carry out orders: all are read before the first is."""
        asked = _some_of(given, _ORDERS)
        consent = _one_of(asked.get("consent", self._orders.consent), CONSENTS, "consent")
        rotation = _one_of(asked.get("rotation", self._grants.rotation), ROTATIONS, "rotation")
        grace_s = float(asked.get("grace_s", self._grants.grace_s))
        login_as = asked.get("login_as", self._orders.login_as)
        self._world.at(login_as)
        grant = self._new_grant(asked["grant"]) if "grant" in asked else None
        if "revoke" in asked and not self._grants.revoke(str(asked["revoke"])):
            raise ValueError(f"there is no grant and no merchant {asked['revoke']!r} with one")
        self._orders.consent, self._orders.login_as = consent, login_as
        self._grants.rotation, self._grants.grace_s = rotation, grace_s
        if grant is not None:
            return grant()
        return {
            "consent": consent,
            "login_as": login_as,
            "rotation": rotation,
            "grace_s": grace_s,
        }

    def _new_grant(self, given: object) -> Callable[[], dict[str, Any]]:
        asked = _some_of(given, {"account", "scopes", "pkce"})
        seller = self._world.at(asked.get("account", self._orders.login_as))
        scopes = asked.get("scopes", DEFAULT)
        if not isinstance(scopes, list | tuple) or not KNOWN.issuperset(scopes):
            raise ValueError("scopes of a grant are a list of Square's permissions")
        is_pkce = bool(asked.get("pkce"))
        return lambda: self._grants.answer(
            self._grants.begin(account=seller.id, scopes=scopes, is_pkce=is_pkce)
        )


def _some_of(given: object, names: set[str]) -> dict[str, Any]:
    if not isinstance(given, dict) or given.keys() - names:
        raise ValueError(f"expected an object with some of {', '.join(sorted(names))}")
    return given


def _one_of(value: object, known: tuple[str, ...], what: str) -> str:
    if value not in known:
        raise ValueError(f"{what}: one of {', '.join(known)}")
    return str(value)
