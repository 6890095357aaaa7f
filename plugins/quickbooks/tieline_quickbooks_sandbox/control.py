"""The control surface under ``/_sandbox/``: look inside, and give orders.

It is documented in the package's docstring, and is no part of Intuit's API.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qsl

import orjson

from tieline_quickbooks_sandbox.answers import Answer, json_answer
from tieline_quickbooks_sandbox.clock import Clock
from tieline_quickbooks_sandbox.companies import Company
from tieline_quickbooks_sandbox.consent import ACCOUNTING, ANSWERS, Consent
from tieline_quickbooks_sandbox.faults import KINDS, Fault, Faults
from tieline_quickbooks_sandbox.grants import ROTATIONS, Grants
from tieline_quickbooks_sandbox.guide import guide
from tieline_quickbooks_sandbox.journal import Journal
from tieline_quickbooks_sandbox.limits import Limits
from tieline_quickbooks_sandbox.orders import Orders
from tieline_quickbooks_sandbox.webhooks import Webhooks

__all__ = ["Control"]

_Query = dict[str, str]


class Control:
    """Answers what is asked under ``/_sandbox/``."""

    def __init__(
        self,
        *,
        clock: Clock,
        companies: Sequence[Company],
        grants: Grants,
        consent: Consent,
        faults: Faults,
        journal: Journal,
        orders: Orders,
        limits: Limits,
        webhooks: Webhooks,
        facts: dict[str, Any],
    ) -> None:
        self._clock = clock
        self._companies = companies
        self._grants = grants
        self._consent = consent
        self._faults = faults
        self._facts = facts
        self._books = orders
        self._webhooks = webhooks
        self._reads: dict[str, Callable[[_Query], Any]] = {
            "": self._overview,
            "clock": lambda _query: self._time(),
            "deliveries": lambda query: webhooks.log(int(query.get("after", "0"))),
            "faults": lambda _query: faults.status(),
            "guide": lambda _query: guide(facts["client_id"], facts["client_secret"], clock.now()),
            "limits": lambda _query: limits.status(),
            "log": lambda query: journal.read(int(query.get("after", "0"))),
            "oauth": lambda query: grants.described(query.get("grant", "")),
            "webhooks": lambda _query: webhooks.status(),
        }
        self._orders: dict[str, Callable[[Any], Any]] = {
            "clock": self._set_clock,
            "faults": self._script,
            "habits": orders.habits,
            "mutate": orders.mutate,
            "oauth": self._order,
            "objects": orders.objects,
            "webhooks": webhooks.order,
        }

    def mutate(self, given: Any) -> None:
        """Change books while a request is under way."""
        self._books.mutate(given)

    def answer(self, method: str, path: str, query: bytes, body: bytes) -> Answer:
        """Answer one request."""
        name = path.removeprefix("/_sandbox").strip("/")
        try:
            if method == "GET" and name == "truth":
                return self._books.truth(dict(parse_qsl(query.decode("latin-1"))))
            if method == "GET" and name in self._reads:
                return json_answer(self._reads[name](dict(parse_qsl(query.decode("latin-1")))))
            if method == "POST" and name in self._orders:
                return json_answer(self._orders[name](orjson.loads(body or b"{}")))
        except (ValueError, TypeError) as error:
            return json_answer({"error": str(error)}, status=400)
        return json_answer({"error": f"no {method} /_sandbox/{name}"}, status=404)

    def _overview(self, _query: _Query) -> dict[str, Any]:
        accounts = [
            {"index": company.index, "id": company.id, "name": company.name}
            for company in self._companies
        ]
        return self._facts | {"accounts": accounts, "clock": self._time(), "fault_kinds": KINDS}

    def _time(self) -> dict[str, Any]:
        return {"now": self._clock.now(), "frozen": self._clock.is_frozen}

    def _set_clock(self, given: dict[str, Any]) -> dict[str, Any]:
        _expect(given, {"now", "advance_s", "frozen"})
        if "frozen" in given:
            self._clock.freeze(is_frozen=bool(given["frozen"]))
        if "now" in given or "advance_s" in given:
            now = float(given.get("now", self._clock.now()))
            self._clock.set(now + float(given.get("advance_s", 0)))
        self._webhooks.wake()
        return self._time()

    def _script(self, given: object) -> list[dict[str, Any]]:
        if not isinstance(given, list):
            raise TypeError("faults are a list; an empty one clears the script")
        self._faults.script([Fault.read(one) for one in given])
        return self._faults.status()

    def _order(self, given: dict[str, Any]) -> dict[str, Any]:
        """Carry out orders in the order of this table; a wrong one stops those after it."""
        steps: dict[str, Callable[[Any], None]] = {
            "consent": self._say,
            "login_as": self._log_in,
            "rotation": self._rotate,
            "grace_s": self._wait,
            "lost_rights": self._lose_rights,
            "suspended": self._suspend,
            "revoke": self._revoke,
        }
        _expect(given, {*steps, "grant"})
        for name, step in steps.items():
            if name in given:
                step(given[name])
        return self._grant(given["grant"]) if "grant" in given else self._rules()

    def _rules(self) -> dict[str, Any]:
        companies = self._companies
        return {
            "consent": self._consent.answer,
            "login_as": self._consent.login_as.index,
            "rotation": self._grants.rotation.mode,
            "grace_s": self._grants.rotation.grace_s,
            "lost_rights": [each.index for each in companies if each.has_lost_rights],
            "suspended": [each.index for each in companies if each.is_suspended],
        }

    def _say(self, given: object) -> None:
        self._consent.answer = _one_of(given, ANSWERS, "consent")

    def _log_in(self, given: object) -> None:
        self._consent.login_as = self._company(given)

    def _rotate(self, given: object) -> None:
        self._grants.rotation.mode = _one_of(given, ROTATIONS, "rotation")

    def _wait(self, given: Any) -> None:
        self._grants.rotation.grace_s = float(given)

    def _lose_rights(self, given: object) -> None:
        found = self._some_companies(given)
        for each in self._companies:
            each.has_lost_rights = each in found

    def _suspend(self, given: object) -> None:
        found = self._some_companies(given)
        for each in self._companies:
            each.is_suspended = each in found

    def _revoke(self, given: object) -> None:
        self._grants.end_at_the_provider(str(given))

    def _grant(self, given: dict[str, Any]) -> dict[str, Any]:
        _expect(given, {"account", "scopes"})
        scopes = given.get("scopes", [ACCOUNTING])
        if not isinstance(scopes, list) or not all(isinstance(each, str) for each in scopes):
            raise TypeError("scopes are a list of texts")
        grant = self._grants.open(self._company(given.get("account", 0)), scopes)
        return self._grants.answer(grant, with_hard_end=False)

    def _company(self, index: object) -> Company:
        if type(index) is not int or not 0 <= index < len(self._companies):
            raise ValueError(f"there is no account {index!r}: 0 to {len(self._companies) - 1}")
        return self._companies[index]

    def _some_companies(self, given: object) -> list[Company]:
        if not isinstance(given, list):
            raise TypeError("accounts are a list of their indices")
        return [self._company(index) for index in given]


def _one_of(given: object, known: Sequence[str], what: str) -> str:
    if given not in known:
        raise ValueError(f"{what} is one of {', '.join(known)}, not {given!r}")
    return str(given)


def _expect(given: object, names: set[str]) -> None:
    if not isinstance(given, dict) or given.keys() - names:
        raise ValueError(f"expected an object with some of {', '.join(sorted(names))}")
