"""The books of one company: its customers and invoices, and when each changed.

Everything is kept as the JSON that goes out, beside the few facts that queries
ask for. What was deleted stays, for the log of changes tells of it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random
from typing import Any

import orjson

from tieline_quickbooks_sandbox.clock import Clock, company_text
from tieline_quickbooks_sandbox.seeds import CUSTOMER, INVOICE, seeded_customers, seeded_invoices

__all__ = ["KINDS", "Books", "Row", "Shelf", "Tell"]

KINDS = (CUSTOMER, INVOICE)

Object = dict[str, Any]
Tell = Callable[[str, str, str, str], None]
"""Hears of a change: the kind of object, what was done, its number, and that of one merged into it.

What was done is ``Create``, ``Update``, ``Delete``, ``Merge``, ``Void``,
``Emailed``, or ``Deactivate`` for what Intuit may call one thing or another.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One object as it is at one time.

    Attributes:
        id: Its number.
        created: Seconds since the epoch.
        updated: The same.
        is_active: False for a customer who was made inactive.
        is_deleted: It is gone.
        name: To be told from others by, in any case; empty for what has none.
        text: It, as JSON.
        before: What it was before; None if it is new, or if nobody can ask.
    """

    id: int
    created: int
    updated: int
    is_active: bool
    is_deleted: bool = False
    name: str = ""
    text: bytes
    before: Row | None = None

    def value(self) -> Object:
        """Return the object."""
        value: Object = orjson.loads(self.text)
        return value


class Shelf:
    """All objects of one kind.

    Attributes:
        kind: ``Customer`` or ``Invoice``.
        lag_s: How long queries and the log of changes take to notice a change.
    """

    def __init__(
        self, kind: str, clock: Clock, objects: Iterator[Object], tell: Tell | None = None
    ) -> None:
        self.kind = kind
        self.lag_s = 0
        self._clock = clock
        self._tell = tell
        self._rows: dict[int, Row] = {}
        self._order: list[tuple[int, int]] = []
        self._last_id = 0
        for each in objects:
            self.plant(each)

    def next_id(self) -> int:
        """Return a number that was never used."""
        return self._last_id + 1

    def find(self, number: str) -> Row | None:
        """Return one object, as it is now; None if it is not there, or no longer."""
        row = self._rows.get(int(number)) if number.isascii() and number.isdigit() else None
        return None if row is None or row.is_deleted else row

    def pick(self, chance: Random, *, is_active: bool) -> Row | None:
        """Choose an object that is there; None if there is none.

        Args:
            chance: Decides.
            is_active: Whether it has to be active.
        """
        for _ in range(50):
            row = self._rows[chance.choice(self._order)[1]] if self._order else None
            if row and not row.is_deleted and (row.is_active or not is_active):
                return row
        rows = [row for row in self.live() if row.is_active or not is_active]
        return chance.choice(rows) if rows else None

    def live(self) -> list[Row]:
        """Return all that there is now, by number."""
        return [row for _, row in sorted(self._rows.items()) if not row.is_deleted]

    def shown(self, since: int | None = None) -> Iterator[Row]:
        """Walk what queries show, deleted ones included, by time of creation and number.

        Args:
            since: Time of creation to begin at.
        """
        start = 0 if since is None else bisect_left(self._order, (since, 0))
        shown_until = self._clock.now() - self.lag_s
        for place in range(start, len(self._order)):
            row: Row | None = self._rows[self._order[place][1]]
            while self.lag_s and row is not None and row.updated > shown_until:
                row = row.before
            if row is not None:
                yield row

    def plant(self, value: Object) -> None:
        """Keep an object as it is given, right or wrong, and tell nobody; its ``Id`` has digits.

        Raises:
            ValueError: It has none.
        """
        number = value.get("Id")
        if not isinstance(number, str) or not number.isdigit():
            raise ValueError(f"an object needs an Id of digits, not {number!r}")
        times = value.get("MetaData") if isinstance(value.get("MetaData"), dict) else {}
        self._keep(
            Row(
                id=int(number),
                created=self._seconds(times, "CreateTime"),
                updated=self._seconds(times, "LastUpdatedTime"),
                is_active=value.get("Active") is not False,
                name=str(value.get("DisplayName", "")).casefold(),
                text=orjson.dumps(value),
            )
        )

    def put(
        self,
        value: Object,
        *,
        has_token: bool = True,
        has_time: bool = True,
        without: Iterable[str] = (),
        operation: str = "",
        gone: str = "",
    ) -> str:
        """Make an object, or change fields of one; return its number.

        Args:
            value: The fields; an ``Id`` names the object that is changed.
            has_token: Whether the change brings a new ``SyncToken``.
            has_time: Whether it shows in ``LastUpdatedTime``.
            without: Names of fields that are emptied.
            operation: What it is told as; empty: as what it looks like.
            gone: Number of the one that was merged into it.
        """
        row = self.find(str(value.get("Id", "")))
        number = str(value.get("Id") or self.next_id())
        now = company_text(self._clock.now())
        fresh: Object = {"domain": "QBO", "sparse": False, "Id": number, "SyncToken": "0"}
        fresh["MetaData"] = {"CreateTime": now}
        old = row.value() if row else fresh
        emptied = set(without) - value.keys()
        kept = {name: each for name, each in old.items() if name not in emptied}
        new = kept | value | {"Id": number}
        if row and has_token:
            new["SyncToken"] = str(int(old["SyncToken"]) + 1)
        if has_time:
            new["MetaData"] = old["MetaData"] | {"LastUpdatedTime": now}
        self.plant(new)
        if has_time:
            self._told(operation or _operation(old if row else None, new), number, gone)
        return number

    def delete(self, number: str, *, is_told: bool = True) -> None:
        """Delete an object for good.

        Args:
            number: The object's.
            is_told: Whether that is told as what it is.

        Raises:
            ValueError: There is none.
        """
        row = self.find(number)
        if row is None:
            raise ValueError(f"there is no {self.kind} {number!r}")
        self._keep(replace(row, is_deleted=True, updated=int(self._clock.now())))
        if is_told:
            self._told("Delete", number)

    def _told(self, operation: str, number: str, gone: str = "") -> None:
        if self._tell is not None:
            self._tell(self.kind, operation, number, gone)

    def _keep(self, row: Row) -> None:
        before = self._rows.get(row.id)
        if before is not None:
            older = before.before if self.lag_s else None
            row = replace(row, before=replace(before, before=older))
        if before is None or before.created != row.created:
            if before is not None:
                self._order.remove((before.created, before.id))
            insort(self._order, (row.created, row.id))
        self._rows[row.id] = row
        self._last_id = max(self._last_id, row.id)

    def _seconds(self, times: Any, name: str) -> int:
        """Read a time; the present for what is none."""
        try:
            return int(datetime.fromisoformat(times[name]).astimezone(UTC).timestamp())
        except (KeyError, TypeError, ValueError):
            return int(self._clock.now())


class Books:
    """One company's customers and invoices."""

    def __init__(
        self, clock: Clock, *, seed: str, customers: int, invoices: int, tell: Tell | None = None
    ) -> None:
        sold = seeded_invoices(seed, invoices, customers)
        self.shelves = {
            CUSTOMER: Shelf(CUSTOMER, clock, seeded_customers(seed, customers), tell),
            INVOICE: Shelf(INVOICE, clock, sold, tell),
        }


def _operation(old: Object | None, new: Object) -> str:
    """Say what a change looks like."""
    if old is None:
        return "Create"
    is_ended = old.get("Active") is not False and new.get("Active") is False
    return "Deactivate" if is_ended else "Update"
