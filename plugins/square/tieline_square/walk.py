"""How Square's lists are walked: all of them by a cursor, each with rules of its own.

A cursor of Square's lives for about 15 minutes and belongs to one query of some
of the locations. Ours holds it with what is needed to go on without it: where
the walk stands, and the time that it has reached.

Source: Square API reference, "Pagination", and the endpoints' own pages.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote

from tieline.contract import (
    Change,
    CursorExpiredError,
    FeedPage,
    Page,
    PageParams,
    ProviderUnavailableError,
    ReadRecord,
    Record,
    RecordNotFoundError,
    object_of,
    text_of,
    time_of,
    utc,
)
from tieline_square.client import Answer, SquareApi

__all__ = ["Query", "Walk", "changed_at", "read_locations", "reader", "rfc3339"]

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class Query(NamedTuple):
    """What one request asks for, and what the walk has to keep to go on after it.

    Attributes:
        after: The last location that is done with.
        since: From then on, in RFC 3339; empty: from the beginning.
        until: Up to then; empty: up to now. Some endpoints include it, some don't.
        reached: The time of the last record.
        cursor: Square's; empty at the start.
        field: What the times are about: ``created_at`` or ``updated_at``.
        locations: Ids of the locations, where the endpoint wants them; not kept.
    """

    after: str = ""
    since: str = ""
    until: str = ""
    reached: str = ""
    cursor: str = ""
    field: str = "created_at"
    locations: tuple[str, ...] = ()

    @property
    def kept(self) -> str:
        """What another process goes on from: the cursor that the engine keeps."""
        return json.dumps(self[:-1])

    @property
    def is_changes(self) -> bool:
        """Whether it is about the time of change, not of creation."""
        return self.field == "updated_at"

    def bounds(self, since: str, until: str) -> dict[str, str]:
        """The times by the names that an endpoint has for them; without those that are open."""
        return {name: time for name, time in ((since, self.since), (until, self.until)) if time}

    @property
    def filtered(self) -> dict[str, dict[str, dict[str, str]]]:
        """The times as a search's ``filter``; empty without any."""
        bounds = self.bounds("start_at", "end_at")
        return {"filter": {self.field: bounds}} if bounds else {}

    @property
    def place(self) -> dict[str, str]:
        """The parameter that goes on with a walk; empty at the start."""
        return {"cursor": self.cursor} if self.cursor else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """A list, read page by page.

    Attributes:
        ask: Sends one request.
        items: Field of the answer with the records; missing where there are none.
        opening: The request that a walk begins with, and that dates its end: what
            changes later comes with the next walk. None: it begins with a page.
        locations: How many of the seller's locations a request names; 0: none.
        sorts: Whether a walk of everything, and one of changes, is in the order of
            its times, so that it can go on from there when the cursor has expired.
    """

    ask: Callable[[SquareApi, Query], Answer]
    items: str
    opening: Callable[[SquareApi], Answer] | None = None
    locations: int = 0
    sorts: tuple[bool, bool] = (True, True)

    def page(self, api: SquareApi, params: PageParams, cursor: str | None) -> Page:
        """Read one page of a window by time of creation."""
        page = self._read(api, params, cursor, "created_at")
        if end := params.window.end:  # Square may take it for part of the window
            inside = [each for each in page.records if (_at(each, "created_at") or _LONG_AGO) < end]
            page = replace(page, records=inside)
        return page

    def changes(self, api: SquareApi, params: PageParams, cursor: str | None) -> FeedPage:
        """Read one page of what was changed since a time."""
        page = self._read(api, params, cursor, "updated_at")
        return FeedPage(changes=list(map(_change, page.records)), next=page.next, as_of=page.as_of)

    def _read(self, api: SquareApi, params: PageParams, cursor: str | None, field: str) -> Page:
        since, until = rfc3339(params.window.start), rfc3339(params.window.end)
        query = Query(*json.loads(cursor)) if cursor else Query("", since, until, field=field)
        if cursor is None and self.opening and (self.locations or query.is_changes):
            opened = self.opening(api)
            until = rfc3339(opened.as_of) if query.is_changes else until
            return Page(records=[], next=query._replace(until=until).kept, as_of=opened.as_of)
        if self.locations and api.location_ids is None:  # another process opened this walk
            read_locations(api)
        ids = (api.location_ids or ()) if self.locations else ()
        ahead = tuple(each for each in ids if each > query.after)
        if self.locations and not ahead:
            return Page(records=[], next=None)
        query = query._replace(locations=ahead[: self.locations])
        try:
            answer = self.ask(api, query)
        except CursorExpiredError:
            if not self.sorts[query.is_changes] or query.reached in {"", query.since}:
                raise
            query = query._replace(since=query.reached, cursor="")
            answer = self.ask(api, query)
        records, following = _page(answer.body, self.items)
        if following:
            times = (_at(each, query.field) for each in reversed(records))
            reached = rfc3339(next(filter(None, times), None)) or query.reached
            query = query._replace(cursor=following, reached=reached)
        elif ahead[self.locations :]:
            query = Query(query.locations[-1], since, query.until, field=field)
        else:
            return Page(records=records, next=None, as_of=answer.as_of)
        return Page(records=records, next=query.kept, as_of=answer.as_of)


def read_locations(api: SquareApi) -> Answer:
    """Read the seller's locations anew, the closed ones too: they have a history."""
    answer = api.ask("GET", "/v2/locations")
    found = [_id(each) for each in _page(answer.body, "locations")[0]]
    if not all(found):
        raise _unexpected("a location has no id")
    api.location_ids = tuple(sorted(found))
    return answer


def reader(path: str, item: str) -> ReadRecord:
    """Make the step that reads one record by its id.

    Args:
        path: The path before the id.
        item: Field of the answer with the record.
    """

    def get(api: SquareApi, key: str) -> Record | None:
        try:
            found = api.call("GET", f"{path}/{quote(key, safe='')}").get(item)
        except RecordNotFoundError:
            return None
        if not isinstance(found, dict):
            raise _unexpected(f"there is no object in {item!r}")
        # A merged profile may be answered for by the one that it became part of.
        is_it = found.get("id") == key and not found.get("is_deleted")
        return found if is_it else None

    return get


def changed_at(record: Record) -> int:
    """Order copies by ``updated_at``: microseconds since 1970, 0 without; ValueError for none."""
    time = utc(record.get("updated_at"))
    return int(time.timestamp() * 1_000_000) if time else 0


def rfc3339(time: datetime | None) -> str:
    """Write a time as Square reads it, in UTC and no coarser than it is; empty for None."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z") if time else ""


def _page(body: Mapping[str, Any], items: str) -> tuple[list[Any], str]:
    """Find the records, which are missing where there are none, and Square's next cursor.

    An empty page with a cursor is not the end; the SDK's own pager takes it for it.
    """
    records, cursor = body.get(items, []), body.get("cursor", "")
    if not isinstance(records, list) or not isinstance(cursor, str):
        raise _unexpected(f"{items!r} is no list, or 'cursor' no text")
    return records, cursor


def _change(record: Any) -> Change:
    """Turn a listed record into a change; the engine quarantines one that is none."""
    is_deleted = object_of(record).get("is_deleted") is True
    at = _at(record, "updated_at") or _LONG_AGO
    return Change(key=_id(record), at=at, record=record or {}, is_deleted=is_deleted)


def _id(record: Any) -> str:
    return text_of(object_of(record).get("id"))


def _at(record: Any, field: str) -> datetime | None:
    return time_of(object_of(record).get(field))


def _unexpected(what: str) -> ProviderUnavailableError:
    return ProviderUnavailableError(f"the answer is no list page: {what}", code="answer-malformed")
