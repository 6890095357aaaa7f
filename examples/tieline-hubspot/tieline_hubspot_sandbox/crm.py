"""The objects of HubSpot's CRM, and what its API says of them."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

from tieline_hubspot_sandbox.control import Clock

__all__ = ["Crm", "RefusedError"]

# What there is of each kind, the properties that are given unasked first.
PROPERTIES = {
    "contacts": ("email", "firstname", "lastname", "phone", "company", "address", "city", "state",
                 "zip", "country", "lifecyclestage", "jobtitle"),
    "companies": ("name", "domain", "phone", "address", "city", "state", "zip", "country",
                  "industry", "numberofemployees"),
}  # fmt: skip
UNASKED = {"contacts": 3, "companies": 2}
CHANGED = {"contacts": "lastmodifieddate", "companies": "hs_lastmodifieddate"}
MOST_RESULTS = 10_000
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


class RefusedError(Exception):
    """An answer that is none of 2xx."""

    def __init__(self, status: int, code: str, words: str, *, policy: str = "") -> None:
        super().__init__(status, code, words, policy)


class Crm:
    """Everything of one account."""

    def __init__(self, clock: Clock, *, most_per_page: int, seed: int) -> None:
        self.clock, self.most_per_page, self.seed = clock, most_per_page, seed
        self.stock: dict[str, dict[int, dict[str, Any]]] = {kind: {} for kind in PROPERTIES}
        self.asked: dict[str, str] = dict.fromkeys(PROPERTIES, "")
        self.merged: dict[int, int] = {}
        self.made = 100

    # --- what is there ------------------------------------------------------------------------

    def fill(self, kind: str, number: int) -> None:
        """Make the first objects; every tenth was archived since."""
        for place in range(1, number + 1):
            made = self.put(kind, self.example(kind, place))
            made["archived"] = place % 10 == 0

    def example(self, kind: str, place: int) -> dict[str, str]:
        """Return what an object may say."""
        letter = chr(64 + self.seed % 26)
        if kind == "companies":
            return {"name": f"{letter}-Works {place}", "domain": f"works{place}.example.com"}
        return {"email": f"{letter}{place}@example.com".lower(), "firstname": f"{letter}-{place}"}

    def put(self, kind: str, properties: dict[str, str], number: int = 0) -> dict[str, Any]:
        """Make an object, or change one."""
        now = self.clock.now()
        if not number:
            self.made += 7
            number = self.made
            fresh = {"number": number, "created": now, "archived": False, "properties": {}}
            self.stock[kind][number] = fresh
        found = self.stock[kind][number]
        found["properties"] |= {name: text or None for name, text in properties.items()}
        found["changed"] = now
        return found

    def live(self, kind: str, *, archived: bool = False) -> list[dict[str, Any]]:
        """Return what lists show, by id."""
        every = sorted(self.stock[kind].items())
        return [each for _, each in every if each["archived"] == archived]

    def shown(self, kind: str, found: dict[str, Any], asked: str) -> dict[str, Any]:
        """Write an object as answers do: an asked property without a value is null."""
        created, changed = _time(found["created"]), _time(found["changed"])
        wanted = asked.split(",") if asked else PROPERTIES[kind][: UNASKED[kind]]
        has = {name: found["properties"].get(name) for name in wanted if name in PROPERTIES[kind]}
        fixed = {"hs_object_id": str(found["number"]), "createdate": created,
                 CHANGED[kind]: changed}  # fmt: skip
        return {"id": str(found["number"]), "properties": has | fixed, "createdAt": created,
                "updatedAt": changed, "archived": found["archived"]}  # fmt: skip

    # --- the provider's paths -----------------------------------------------------------------

    def answer(self, method: str, path: str, query: dict[str, str],
               body: bytes) -> tuple[int, Any]:  # fmt: skip
        """Answer a request for objects."""
        kind, _, rest = path.partition("/")
        if kind not in self.stock:
            raise RefusedError(404, "OBJECT_NOT_FOUND", f"no objects called {kind}")
        if not rest and method == "GET":
            return 200, self.page(kind, query)
        if rest == "search" and method == "POST":
            return 200, self.search(kind, _json(body))
        if rest == "merge" and method == "POST":
            return 200, self.merge(kind, _json(body))
        if not rest and method == "POST":
            made = self.put(kind, self.taken(kind, _json(body), 0))
            return 201, self.shown(kind, made, "")
        found = self.found(kind, rest, query.get("idProperty", ""))
        if method == "DELETE":
            if found:
                found["archived"], found["changed"] = True, self.clock.now()
            return 204, b""
        if found is None:
            raise RefusedError(404, "OBJECT_NOT_FOUND", "resource not found")
        if method == "PATCH":
            asked = self.taken(kind, _json(body), found["number"])
            return 200, self.shown(kind, self.put(kind, asked, found["number"]), "")
        return 200, self.shown(kind, found, query.get("properties", ""))

    def page(self, kind: str, query: dict[str, str]) -> dict[str, Any]:
        """Return a page in the order of ids; ``after`` is the last one of the page before."""
        limit = _bounded(query.get("limit", "10"), 100)
        after = query.get("after", "0")
        if not after.isdecimal():
            raise RefusedError(400, "VALIDATION_ERROR", "after is no cursor")
        self.asked[kind] = query.get("properties", "")
        rest = [each for each in self.live(kind, archived=query.get("archived") == "true")
                if each["number"] > int(after)]  # fmt: skip
        page = rest[: min(limit, self.most_per_page)]
        told: dict[str, Any] = {
            "results": [self.shown(kind, each, self.asked[kind]) for each in page]
        }
        if len(rest) > len(page):
            told["paging"] = {"next": {"after": str(page[-1]["number"])}}
        return told

    def search(self, kind: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Find what passes the filters of any group; ``after`` counts."""
        groups, sorts = asked.get("filterGroups", []), asked.get("sorts", [])
        if len(groups) > 5 or any(len(group["filters"]) > 6 for group in groups) or len(sorts) > 1:
            raise RefusedError(400, "VALIDATION_ERROR", "too many filters or sorts")
        properties = ",".join(asked.get("properties", []))
        every = [(each, self.shown(kind, each, "")["properties"]) for each in self.live(kind)]
        chosen = [
            (each, has) for each, has in every
            if not groups or any(all(_passes(has, one) for one in group["filters"])
                                 for group in groups)
        ]  # fmt: skip
        for sort in sorts:
            is_down = sort.get("direction") == "DESCENDING"
            chosen.sort(key=lambda one: _value(one[1][sort["propertyName"]]), reverse=is_down)
        start = int(asked.get("after", 0) or 0)
        end = start + min(_bounded(str(asked.get("limit", 10)), 200), self.most_per_page)
        if end > MOST_RESULTS:
            raise RefusedError(400, "VALIDATION_ERROR", "searches end at 10,000 results")
        page = [self.shown(kind, each, properties) for each, _ in chosen[start:end]]
        told: dict[str, Any] = {"total": len(chosen), "results": page}
        return told | ({"paging": {"next": {"after": str(end)}}} if end < len(chosen) else {})

    def merge(self, kind: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Merge one object into another, which its id is answered with from now on."""
        stays = self.found(kind, str(asked.get("primaryObjectId")), "")
        goes = self.found(kind, str(asked.get("objectIdToMerge")), "")
        if stays is None or goes is None or stays is goes:
            raise RefusedError(400, "VALIDATION_ERROR", "there are no two objects to merge")
        goes["archived"], self.merged[goes["number"]] = True, stays["number"]
        return self.shown(kind, self.put(kind, {}, stays["number"]), "")

    def found(self, kind: str, key: str, by: str) -> dict[str, Any] | None:
        """Find an object that is not archived, by id or by a property that is unique."""
        if by:
            if (kind, by) != ("contacts", "email"):
                raise RefusedError(400, "VALIDATION_ERROR", f"{by} is not unique")
            return next((each for each in self.live(kind)
                         if each["properties"].get("email") == key.lower()), None)  # fmt: skip
        number = int(key) if key.isdecimal() else 0
        found = self.stock[kind].get(self.merged.get(number, number))
        return None if found is None or found["archived"] else found

    def taken(self, kind: str, given: dict[str, Any], number: int) -> dict[str, str]:
        """Return properties that may be set, or refuse them."""
        asked: dict[str, Any] = given.get("properties") or {}
        for name, value in asked.items():
            if name not in PROPERTIES[kind] or not isinstance(value, str):
                raise RefusedError(400, "VALIDATION_ERROR", f"{name} cannot be set so")
        if asked.get("email"):
            asked = asked | {"email": asked["email"].lower()}
            if not EMAIL.fullmatch(asked["email"]):
                raise RefusedError(400, "VALIDATION_ERROR", "the address is none")
            other = self.found(kind, asked["email"], "email")
            if other and other["number"] != number:
                raise RefusedError(409, "CONFLICT", f"there is one, with the ID {other['number']}")
        return asked

    # --- the control surface ------------------------------------------------------------------

    def truth(self, kind: str) -> list[dict[str, Any]]:
        """Return all that is there, as the last list showed it."""
        return [self.shown(kind, each, self.asked[kind]) for each in self.live(kind)]

    def mutate(self, kind: str, given: dict[str, Any]) -> dict[str, Any]:
        """Make, change and delete so many."""
        created = [
            str(self.put(kind, self.example(kind, self.made))["number"])
            for _ in range(given.get("create", 0))
        ]
        old = [each["number"] for each in self.live(kind) if str(each["number"]) not in created]
        updated = old[: given.get("update", 0)]
        deleted = old[-given["delete"] :] if given.get("delete") else []
        for number in updated:
            self.put(kind, {"city": f"Town {self.clock.now():.3f} {number}{self.seed}"}, number)
            self.seed += 1
        for number in deleted:
            self.stock[kind][number] |= {"archived": True, "changed": self.clock.now()}
        return {"created": created, "updated": list(map(str, updated)),
                "deleted": list(map(str, deleted))}  # fmt: skip


def _time(at: float) -> str:
    moment = datetime.fromtimestamp(round(at, 3), UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise RefusedError(400, "VALIDATION_ERROR", "the body is no JSON object")
    return found


def _bounded(text: str, most: int) -> int:
    if not text.isdecimal() or not 0 < int(text) <= most:
        raise RefusedError(400, "VALIDATION_ERROR", f"a page has 1 to {most}")
    return int(text)


def _value(text: str | None) -> float:
    """Return what a search compares: a number, or milliseconds since 1970."""
    if not text or text.isdecimal():
        return float(text or 0)
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def _passes(has: dict[str, Any], asked: dict[str, Any]) -> bool:
    """Say whether an object passes a filter."""
    there = has.get(asked["propertyName"])
    if there is None:
        return False
    left, right = _value(there), _value(asked["value"])
    compared = {"GTE": left >= right, "GT": left > right, "LT": left < right,
                "LTE": left <= right, "EQ": left == right}  # fmt: skip
    if asked["operator"] not in compared:
        raise RefusedError(400, "VALIDATION_ERROR", "no such operator")
    return compared[asked["operator"]]
