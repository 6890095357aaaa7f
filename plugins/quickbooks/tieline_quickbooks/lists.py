"""Lists, changes and single objects: one request each, of any kind of object.

A list is read on by the time of creation, which never changes. Counting from
the list's start instead, as ``STARTPOSITION`` alone does, leaves a record out
for each one deleted before; and in which order records of one second come is
not said, so a second that a page may have cut in two is read again whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import quote

from tieline.contract import (
    Change,
    Feed,
    FeedPage,
    Page,
    PageParams,
    PageStep,
    ReadRecord,
    Record,
    RecordNotFoundError,
    RequestRejectedError,
    Windows,
    as_of,
)
from tieline_quickbooks.client import Answer, QuickBooksApi, unexpected

__all__ = ["CHANGED", "CREATED", "feed_of", "pages_of", "reader_of", "rows_of", "version_of"]

CREATED = Windows(field="MetaData.CreateTime", epoch=False, order="oldest first")
CHANGED = Windows(field="MetaData.LastUpdatedTime", epoch=False)
_MOST = 1000


def pages_of(kind: str, where: str = "") -> PageStep:
    """Make the step that lists one kind of object, oldest first.

    Args:
        kind: As the query language names it, such as ``Customer``.
        where: A further condition.

    Source:
        Intuit, "Query operations and syntax": 1,000 rows at most, ``Id``
        cannot be compared by size, no rows are no list at all.
    """

    def step(api: QuickBooksApi, params: PageParams, cursor: str | None) -> Page:
        start, end = map(_text, (params.window.start, params.window.end))
        place = _Place(*json.loads(cursor)) if cursor else _Place(start)
        select = place.select(kind, where, end)
        answer = api.ask(lambda sdk: sdk.query(select))
        records, following = place.turn(rows_of(answer, kind))
        cursor = json.dumps(following) if following else None
        return Page(records=records, next=cursor, as_of=as_of(answer.reply))

    return step


def feed_of(kind: str, *, is_sure: bool) -> Feed:
    """Declare the log of one kind of object: what changed since a time, deletions included.

    An answer holds 1,000 objects at most and does not go on; of a longer one
    the deletions, which come last, are cut off and cannot be asked for. Then
    the log is refused, and the engine reads everything instead.

    Args:
        kind: As the query language names it.
        is_sure: What is called deleted is gone. If not, it is read again: Intuit
            does not say whether a customer who was made inactive comes so too.

    Source:
        Intuit, "Change data capture": 30 days back, 1,000 objects.
    """

    def step(api: QuickBooksApi, params: PageParams, _cursor: str | None) -> FeedPage:
        since = params.window.start
        if since is None:
            raise RequestRejectedError("QuickBooks tells changes since a time only")
        answer = api.ask(lambda sdk: sdk.change_data_capture(kind, _text(since)))
        found = _changed(answer.body, kind)
        if len(found) >= _MOST:
            raise RequestRejectedError(
                f"QuickBooks tells no more than {_MOST:,} changes", code="log-cut-off"
            )
        changes = [_change(each, since, is_sure=is_sure) for each in found]
        return FeedPage(changes=changes, next=None, as_of=as_of(answer.reply))

    return Feed(page=step, retention=timedelta(days=30), overlap=timedelta(minutes=5))


def reader_of(kind: str) -> ReadRecord:
    """Make the function that reads one object; one that is gone answers 400 with code 610."""

    def get(api: QuickBooksApi, key: str) -> Record | None:
        try:
            answer = api.ask(lambda sdk: sdk.get_single_object(kind, quote(key, safe="")))
        except RecordNotFoundError:
            return None
        found = answer.part(kind)
        return None if found.get("status") == "Deleted" else found

    return get


def rows_of(answer: Answer, kind: str) -> list[Any]:
    """Read what a query found."""
    rows = answer.part("QueryResponse").get(kind, [])
    if not isinstance(rows, list):
        raise unexpected(f"there is no list of {kind}")
    return rows


def version_of(record: Record) -> int:
    """Order copies by ``SyncToken``, and by time where a new balance brought no new token."""
    at = datetime.fromisoformat(record["MetaData"]["LastUpdatedTime"])
    return int(record["SyncToken"]) << 34 | int(at.timestamp())  # until the year 2514


class _Place(NamedTuple):
    """How far a list was read; as JSON it is the cursor.

    Attributes:
        since: The second of creation to go on with; empty: the beginning.
        met: How many rows of this second alone were met, by ``Id``; -1 where
            it is read with those after it, which is the rule.
        anew: How often it was begun anew.
        last: Id of the last row met. That row is read once more, to see that it
            still is where it was: if not, one before it is gone.
    """

    since: str
    met: int = -1
    anew: int = 0
    last: str = "-"

    @property
    def after(self) -> str:
        """The second that comes next."""
        return _text(datetime.fromisoformat(self.since) + timedelta(seconds=1))

    def select(self, kind: str, where: str, end: str) -> str:
        order, end = ("Id", self.after) if self.met >= 0 else (CREATED.field, end)
        edges = {">=": self.since, "<": end}
        bounds = [f"{CREATED.field} {sign} '{edge}'" for sign, edge in edges.items() if edge]
        condition = " AND ".join(filter(None, [where, *bounds]))
        paged = f"ORDERBY {order} STARTPOSITION {max(self.met, 1)} MAXRESULTS {_MOST}"
        return f"SELECT * FROM {kind}{condition and f' WHERE {condition}'} {paged}"  # noqa: S608 - all of it is ours

    def turn(self, rows: list[Any]) -> tuple[list[Any], _Place | None]:
        """Say which rows of an answer count, and where to go on; None at the end."""
        if self.met >= 0:
            return self._turn_within(rows)
        if len(rows) < _MOST:
            return rows, None
        since, first = _last_second(rows)
        if not since or since < self.since:
            raise unexpected(f"the list is not in the order of {CREATED.field}")
        if since == self.since or not first:
            return [], _Place(since, met=0)
        return rows[:first], _Place(since)

    def _turn_within(self, rows: list[Any]) -> tuple[list[Any], _Place]:
        if self.met and (not rows or _id(rows[0]) != self.last):
            return [], self._replace(met=0, anew=self.anew + 1, last="-")
        fresh = rows[1:] if self.met else rows
        if len(rows) < _MOST:
            return fresh, _Place(self.after)
        return fresh, self._replace(met=self.met + len(fresh), last=_id(rows[-1]))


def _last_second(rows: Sequence[Any]) -> tuple[str, int]:
    """Find the second of a page's last rows, and the first row of it; some may have no time."""
    since, first = "", len(rows)
    for place in reversed(range(len(rows))):
        at = _text(CREATED.time_of(rows[place]))
        if at and since and at != since:
            break
        since, first = (at, place) if at else (since, first)
    return since, first


def _change(found: Any, since: datetime, *, is_sure: bool) -> Change:
    """Read one entry; what is no record goes on to be put into quarantine."""
    fields = found if isinstance(found, Mapping) else {}
    key, at = fields.get("Id"), CHANGED.time_of(fields) or since
    if fields.get("status") != "Deleted" or not isinstance(key, str) or not key:
        return Change(key=str(key), at=at, record=found)
    return Change(key=key, at=at, is_deleted=is_sure)


def _changed(body: Mapping[str, Any], kind: str) -> list[Any]:
    """Find the objects of one kind; if nothing changed, they are missing."""
    try:
        parts = [part for each in body["CDCResponse"] for part in each.get("QueryResponse", [])]
        return [each for part in parts for each in part.get(kind, [])]
    except (KeyError, TypeError, AttributeError):
        raise unexpected("there is no list of changes") from None


def _id(row: Any) -> str:
    return str(row.get("Id"))[:64] if isinstance(row, Mapping) else "-"


def _text(time: datetime | None) -> str:
    """Write a time in UTC: one without a zone would be read in the server's or the company's."""
    return f"{time:%Y-%m-%dT%H:%M:%SZ}" if time else ""
