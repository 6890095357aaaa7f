"""The control surface under ``/_sandbox/``: look inside, and give orders.

It is documented in the package's docstring, and is no part of Mailchimp's API.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import orjson

from tieline_mailchimp_sandbox.answers import Answer, json_answer
from tieline_mailchimp_sandbox.clock import Clock
from tieline_mailchimp_sandbox.faults import KINDS, Fault, Faults
from tieline_mailchimp_sandbox.grants import Grants
from tieline_mailchimp_sandbox.guide import guide
from tieline_mailchimp_sandbox.journal import Journal
from tieline_mailchimp_sandbox.listing import Listing
from tieline_mailchimp_sandbox.mutation import Mutation, mutate
from tieline_mailchimp_sandbox.oauth import OAuth
from tieline_mailchimp_sandbox.orders import order_contact, order_list, order_webhooks
from tieline_mailchimp_sandbox.post import Post
from tieline_mailchimp_sandbox.world import Account, World

__all__ = ["PREFIX", "Control"]

PREFIX = "/_sandbox"
_Query = dict[str, str]


class Control:
    """Answers what is asked under ``/_sandbox/``."""

    def __init__(
        self,
        *,
        world: World,
        grants: Grants,
        oauth: OAuth,
        listing: Listing,
        clock: Clock,
        faults: Faults,
        journal: Journal,
        post: Post,
        facts: dict[str, Any],
    ) -> None:
        self._world = world
        self._grants = grants
        self._oauth = oauth
        self._clock = clock
        self._faults = faults
        self._facts = facts
        self._post = post
        self._reads: dict[str, Callable[[_Query], Any]] = {
            "": lambda _query: self._overview(),
            "clock": lambda _query: self._time(),
            "deliveries": lambda query: post.read(int(query.get("after", "0"))),
            "faults": lambda _query: self._faults.status(),
            "guide": lambda _query: guide(
                world.at(0).api_key, next(iter(world.at(0).audiences.all())), clock.now()
            ),
            "log": lambda query: journal.read(int(query.get("after", "0"))),
            "oauth": lambda query: self._grants.report(query.get("grant", "")),
            "truth": lambda query: listing.truth(
                world.at(int(query.get("account", "0"))), query.get("entity", "contacts")
            ),
            "webhooks": lambda _query: post.report(),
        }
        self._orders: dict[str, Callable[[Any], Any]] = {
            "clock": self._set_clock,
            "contacts": lambda given: order_contact(world, given),
            "faults": self._script,
            "lists": lambda given: order_list(world, given),
            "mutate": lambda given: mutate(world, Mutation.read(given)),
            "oauth": self._order,
            "webhooks": lambda given: order_webhooks(world, post, given),
        }

    def answer(self, method: str, path: str, query: bytes, body: bytes) -> Answer:
        """Answer one request."""
        name = path.removeprefix(PREFIX).strip("/")
        try:
            if method == "GET" and name in self._reads:
                asked = dict(parse_qsl(query.decode("latin-1")))
                return json_answer(self._reads[name](asked))
            if method == "POST" and name in self._orders:
                return json_answer(self._orders[name](orjson.loads(body or b"{}")))
        except (ValueError, TypeError) as error:
            return json_answer({"error": str(error)}, status=400)
        return json_answer({"error": f"no {method} {PREFIX}/{name}"}, status=404)

    def _overview(self) -> dict[str, Any]:
        accounts = [_shown(account) for account in self._world.accounts]
        return self._facts | {"accounts": accounts, "clock": self._time(), "fault_kinds": KINDS}

    def _time(self) -> dict[str, Any]:
        return {"now": self._clock.now(), "frozen": self._clock.is_frozen}

    def _set_clock(self, given: object) -> dict[str, Any]:
        order = _order_of(given, {"now", "advance_s", "frozen"})
        if "frozen" in order:
            self._clock.freeze(is_frozen=bool(order["frozen"]))
        if "now" in order or "advance_s" in order:
            now = float(order.get("now", self._clock.now()))
            self._clock.go_to(now + float(order.get("advance_s", 0)))
        self._post.ring()
        return self._time()

    def _script(self, given: object) -> list[dict[str, Any]]:
        if not isinstance(given, list):
            raise TypeError("faults are a list; an empty one clears the script")
        self._faults.script([Fault.read(one) for one in given])
        return self._faults.status()

    def _order(self, given: object) -> dict[str, Any]:
        order = _order_of(given, {"consent", "login_as", "revoke", "grant"})
        if "consent" in order:
            self._oauth.set_consent(order["consent"])
        if "login_as" in order:
            self._oauth.log_in(order["login_as"])
        if "revoke" in order:
            self._revoke(str(order["revoke"]))
        if "grant" in order:
            wanted = _order_of(order["grant"], {"account", "scopes"})  # there are no scopes
            return self._grants.give(self._world.at(wanted.get("account", 0))).token_answer()
        return self._grants.report()

    def _revoke(self, name: str) -> None:
        if not self._grants.revoke(name) and not self._world.kill_key(name):
            raise ValueError(f"no grant, account with grants or API key is {name!r}")


def _shown(account: Account) -> dict[str, Any]:
    meter = account.meter
    return {
        "index": account.index,
        "id": account.id,
        "name": account.name,
        "api_key": account.api_key,
        "in_flight": {"now": meter.now, "most": meter.most, "refused": meter.refused},
    }


def _order_of(given: object, names: set[str]) -> dict[str, Any]:
    if not isinstance(given, dict) or given.keys() - names:
        raise ValueError(f"expected an object with some of {', '.join(sorted(names))}")
    return given
