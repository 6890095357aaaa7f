"""What can be read of a company's books: queries, changes, single objects.

Source:
    Intuit, "Query operations and syntax" and "Change data capture".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import groupby, islice
from operator import attrgetter
from random import Random
from typing import Any

import orjson

from tieline_quickbooks_sandbox.answers import (
    Answer,
    bad_argument,
    bad_query,
    missing_argument,
    no_such_object,
)
from tieline_quickbooks_sandbox.books import KINDS, Books, Row, Shelf
from tieline_quickbooks_sandbox.clock import Clock, company_text
from tieline_quickbooks_sandbox.companies import Company
from tieline_quickbooks_sandbox.query import (
    CHANGED,
    CREATED,
    Query,
    QueryError,
    parse,
    read_time,
)
from tieline_quickbooks_sandbox.request import Request
from tieline_quickbooks_sandbox.seeds import CUSTOMER

__all__ = ["Reads"]

_REACH_S = 30 * 86400
_MOST_CHANGES = 1000
_OLDEST_FIRST = ((CREATED, False),)


class Reads:
    """Answers reads.

    Attributes:
        inactive_as: How the log of changes tells that a customer was made
            inactive, of which Intuit says nothing: ``record`` or ``deleted``.
    """

    def __init__(self, clock: Clock, books: Callable[[Company], Books]) -> None:
        self.inactive_as = "record"
        self._clock = clock
        self._books = books
        self._any_order = Random(1)  # noqa: S311 - no secret

    def query(self, company: Company, request: Request, _parts: tuple[str, ...]) -> Answer:
        """Answer a query, which stands in the body or in the address."""
        text = request.body.decode("utf-8", "replace") or request.asked().get("query", "")
        try:
            asked = parse(text)
        except QueryError as error:
            raise bad_query(error.code, str(error), self._clock.company_time()) from None
        rows = self._matching(self._books(company).shelves[asked.kind], asked)
        if asked.is_count:
            return self._answer(b'{"totalCount":%d}' % sum(1 for _ in rows))
        texts = [row.text for row in islice(rows, asked.start - 1, asked.start - 1 + asked.limit)]
        if not texts:
            return self._answer(b"{}")
        listed = b'"%b":[%b]' % (asked.kind.encode(), b",".join(texts))
        place = b'"startPosition":%d,"maxResults":%d' % (asked.start, len(texts))
        return self._answer(b"{%b,%b}" % (listed, place))

    def changes(self, company: Company, request: Request, _parts: tuple[str, ...]) -> Answer:
        """Answer what changed: objects, then tombstones, 1,000 in all and no more."""
        asked, now = request.asked(), self._clock.company_time()
        for name in ("entities", "changedSince"):
            if not asked.get(name):
                raise missing_argument(name, now)
        since = read_time(asked["changedSince"])
        if since is None or since < self._clock.now() - _REACH_S:
            raise bad_argument("changedSince", "must be a time within the last 30 days", now)
        left, groups = _MOST_CHANGES, []
        for name in asked["entities"].split(","):
            kind = next((each for each in KINDS if each.lower() == name.strip().lower()), None)
            if kind is None:
                raise bad_argument("entities", f"{name} is no entity with changes", now)
            shelf = self._books(company).shelves[kind]
            texts = list(islice(self._changed(shelf, since), left))
            left -= len(texts)
            listed = b'"%b":[%b],"startPosition":1,"maxResults":%d'
            groups.append(listed % (kind.encode(), b",".join(texts), len(texts)) if texts else b"")
        inside = b",".join(b"{%b}" % group for group in groups if group) or b"{}"
        time = self._clock.company_time().encode()
        return Answer(body=b'{"CDCResponse":[{"QueryResponse":[%b]}],"time":"%b"}' % (inside, time))

    def one(self, kind: str, company: Company, _request: Request, parts: tuple[str, ...]) -> Answer:
        """Answer one object as it is now; queries may not know of it yet."""
        row = self._books(company).shelves[kind].find(parts[0])
        if row is None:
            raise no_such_object(self._clock.company_time())
        time = self._clock.company_time().encode()
        return Answer(body=b'{"%b":%b,"time":"%b"}' % (kind.encode(), row.text, time))

    def _answer(self, inside: bytes) -> Answer:
        time = self._clock.company_time().encode()
        return Answer(body=b'{"QueryResponse":%b,"time":"%b"}' % (inside, time))

    def _matching(self, shelf: Shelf, asked: Query) -> Iterator[Row]:
        names = {condition.name for condition in asked.conditions}
        hides_inactive = asked.kind == CUSTOMER and "Active" not in names
        since = max(
            (each.values[0] for each in asked.conditions if _is_from(each.name, each.sign)),
            default=None,
        )
        rows = (
            row
            for row in shelf.shown(None if since is None else int(since))
            if not row.is_deleted
            and (row.is_active or not hides_inactive)
            and all(each.holds(_value(row, each.name)) for each in asked.conditions)
        )
        return self._by_second(rows) if asked.order == _OLDEST_FIRST else self._sorted(rows, asked)

    def _by_second(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Do what :meth:`_sorted` does for the usual order, no further than is asked for."""
        for _, group in groupby(rows, attrgetter("created")):
            yield from self._shuffled(group)

    def _sorted(self, rows: Iterable[Row], asked: Query) -> Iterator[Row]:
        """Sort; where that leaves a choice, no two answers need make the same one."""
        found = self._shuffled(rows)
        for name, is_down in reversed(asked.order):
            found.sort(key=partial(_sort_key, name=name), reverse=is_down)
        return iter(found)

    def _shuffled(self, rows: Iterable[Row]) -> list[Row]:
        found = list(rows)
        self._any_order.shuffle(found)
        return found

    def _changed(self, shelf: Shelf, since: float) -> Iterator[bytes]:
        rows = (row for row in shelf.shown() if row.updated >= since)
        changed = sorted(rows, key=attrgetter("updated", "id"))
        gone = [row for row in changed if self._is_told_as_gone(shelf.kind, row)]
        yield from (row.text for row in changed if not self._is_told_as_gone(shelf.kind, row))
        for row in gone:
            yield orjson.dumps(_tombstone(row))

    def _is_told_as_gone(self, kind: str, row: Row) -> bool:
        is_inactive = kind == CUSTOMER and not row.is_active
        return row.is_deleted or (is_inactive and self.inactive_as == "deleted")


def _is_from(name: str, sign: str) -> bool:
    return name == CREATED and sign in {">", ">=", "="}


def _tombstone(row: Row) -> dict[str, Any]:
    return {
        "domain": "QBO",
        "status": "Deleted",
        "Id": str(row.id),
        "MetaData": {"LastUpdatedTime": company_text(row.updated)},
    }


def _value(row: Row, name: str) -> Any:
    """Find what a property of a row is compared by."""
    if name in {CREATED, CHANGED}:
        return float(row.created if name == CREATED else row.updated)
    if name == "Id":
        return str(row.id)
    if name == "Active":
        return row.is_active
    found: Any = row.value()
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found.get("value") if isinstance(found, dict) else found


def _sort_key(row: Row, name: str) -> tuple[str, Any]:
    if name == "Id":
        return "", row.id
    found = _value(row, name)
    if found is None:
        return "", ""
    return ("number", found) if isinstance(found, int | float) else ("text", str(found))
