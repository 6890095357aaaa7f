"""Ready-made page steps for the shapes that most providers have.

Each takes ``get(client, path, query) -> Reply``, the plugin's one way to send
a read through its SDK, and returns a page step. A read may be a POST whose
body is made of ``query``. The names of fields may lead into objects with dots:
``paging.next.after``.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

from tieline.contract.declarations import FeedStep, PageStep
from tieline.contract.errors import (
    CursorExpiredError,
    ProviderUnavailableError,
    RecordNotFoundError,
)
from tieline.contract.headers import as_of, links_of
from tieline.contract.jsontext import parse_json
from tieline.contract.shapes import utc
from tieline.contract.values import (
    Change,
    FeedPage,
    Page,
    PageParams,
    Record,
    Reply,
    Window,
)

__all__ = [
    "Get",
    "after_last_key",
    "by_cursor",
    "by_link",
    "by_offset",
    "by_page_number",
    "by_time_of_change",
    "page_of",
    "search_after_key",
]

Get = Callable[[Any, str, Mapping[str, Any]], Reply]
Bounds = Callable[[Window], Mapping[str, Any]]
Asked = Callable[[Window, str | None], Mapping[str, Any]]

_LONG = 100  # digits; longer texts are no numbers that a list is sorted by


def after_last_key(
    get: Get,
    path: str,
    *,
    items: str = "data",
    more: str = "has_more",
    key: str = "id",
    after: str = "starting_after",
    query: Mapping[str, Any] | None = None,
    bounds: Bounds | None = None,
) -> PageStep:
    """Page by "what comes after this record", as Stripe does.

    Args:
        get: Sends one read.
        path: Path of the list.
        items: Field of the body that holds the records; empty: the body is the list.
        more: Field of the body that says whether there is a further page;
            empty: none does, and an empty page is the end.
        key: Field of a record that the next request names.
        after: Query parameter that takes it.
        query: Parameters of every request, such as the page size.
        bounds: Turns a window into query parameters; None: no windows.

    Returns:
        A page step whose cursor is the last record's key.
    """
    ask = _asking(get, path, query, bounds)

    def step(client: Any, params: PageParams, cursor: str | None) -> Page:
        reply = ask(client, params, {} if cursor is None else {after: cursor})
        body, records = page_of(reply, items)
        has_more = _says_more(body, more) if more else bool(records)
        if has_more and not records:
            raise _unexpected("an empty page says that there is more")
        last = _last_key(records, key) if has_more else None
        if has_more and last is None:
            raise _unexpected(f"no record has text in {key!r} to go on from")
        return Page(records=records, next=last, as_of=as_of(reply))

    return step


def by_cursor(
    get: Get,
    path: str,
    *,
    items: str,
    cursor_field: str,
    cursor_query: str = "cursor",
    more: str = "",
    query: Mapping[str, Any] | None = None,
    bounds: Bounds | None = None,
) -> PageStep:
    """Page by an opaque cursor that each answer gives for the next.

    Args:
        get: Sends one read.
        path: Path of the list.
        items: Field of the body that holds the records.
        cursor_field: Field of the body with the next cursor; missing, null or
            empty at the end. Dots lead into objects: ``paging.next.after``.
        cursor_query: Query parameter that takes it.
        more: Field of the body that says whether there is a further page, where
            the last page has a cursor too; empty: the cursor alone says it.
        query: Parameters of every request.
        bounds: Turns a window into query parameters; None: no windows.

    Returns:
        A page step whose cursor is the provider's.
    """
    ask = _asking(get, path, query, bounds)

    def step(client: Any, params: PageParams, cursor: str | None) -> Page:
        reply = ask(client, params, {} if cursor is None else {cursor_query: cursor})
        body, records = page_of(reply, items)
        following = _found(body, cursor_field)
        if following is not None and not isinstance(following, str):
            raise _unexpected(f"{cursor_field!r} is not text")
        if more:
            has_more = _says_more(body, more)
            if has_more and not following:
                raise _unexpected(f"{more!r} says that there is more, {cursor_field!r} not where")
            following = following if has_more else None
        return Page(records=records, next=following or None, as_of=as_of(reply))

    return step


def by_link(
    get: Get,
    path: str,
    *,
    items: str = "",
    link_field: str = "",
    prefix: str = "",
    query: Mapping[str, Any] | None = None,
    bounds: Bounds | None = None,
) -> PageStep:
    """Page by the address of the next page, in the header ``Link`` or in the body.

    Only path and query of it are followed: no credential goes to another host.

    Args:
        get: Sends one read. A query parameter that the address has several
            times is handed to it as a list.
        path: Path of the list.
        items: Field of the body that holds the records; empty: the body is the list.
        link_field: Field of the body with the address, missing, null or empty at
            the end; empty: ``Link`` has it, with the relation ``next``.
        prefix: Path of the base address, such as ``/v2``: addresses have it, and
            ``path`` has not.
        query: Parameters of the first request; the addresses carry them on.
        bounds: Turns a window into query parameters; None: no windows.

    Returns:
        A page step whose cursor is the next page's path and query.
    """
    ask = _asking(get, path, query, bounds)

    def step(client: Any, params: PageParams, cursor: str | None) -> Page:
        asked = urlsplit(path if cursor is None else cursor)
        if cursor is None:
            reply = ask(client, params, {})
        else:
            pairs = parse_qs(asked.query, keep_blank_values=True)
            reply = get(client, asked.path, {n: v if v[1:] else v[0] for n, v in pairs.items()})
        body, records = page_of(reply, items)
        link = _found(body, link_field) if link_field else links_of(reply).get("next")
        if link is not None and not isinstance(link, str):
            raise _unexpected(f"{link_field!r} is not text")
        following = _place(link, f"{prefix}{asked.path}", prefix) if link else None
        return Page(records=records, next=following, as_of=as_of(reply))

    return step


def by_offset(
    get: Get,
    path: str,
    *,
    items: str,
    offset: str = "offset",
    key: str = "id",
    more: str = "",
    query: Mapping[str, Any] | None = None,
    bounds: Bounds | None = None,
) -> PageStep:
    """Page by counting records from the start; for lists that can do nothing better.

    Behind a record that is deleted meanwhile a count skips one. So each page
    asks for the last record of the one before once more, and goes on after it;
    if it is not there, the window is read again from its start. Ask for an
    order that lasts, by id or time of creation, and for pages of many records:
    on a page of one there is no room for the known one.

    Args:
        get: Sends one read.
        path: Path of the list.
        items: Field of the body that holds the records; empty: the body is the list.
        offset: Query parameter that takes how many records to pass over.
        key: Field of a record that tells it from all others.
        more: Field of the body that says whether there is a further page;
            empty: none does, and an empty page is the end. A count of all records
            is not taken for the end: many lists cap it.
        query: Parameters of every request: the page size, the order.
        bounds: Turns a window into query parameters; None: no windows.

    Returns:
        A page step whose cursor is a count, and the key of the last record.
    """
    ask = _asking(get, path, query, bounds)

    def step(client: Any, params: PageParams, cursor: str | None) -> Page:
        passed, last = _counted(cursor)
        asked = passed - 1 if last else passed
        reply = ask(client, params, {offset: asked} if cursor else {})
        body, records = page_of(reply, items)
        fresh = _behind(records, key, last) if last else records
        has_more = _says_more(body, more) if more else bool(records)
        if has_more and not records:
            raise _unexpected("an empty page says that there is more")
        # Where only the known record came, the page may have been cut after it: look once more.
        going_on = [asked + len(records), (_last_key(fresh[-1:], key) or "") if fresh else ""]
        following = json.dumps(going_on) if has_more else None
        return Page(records=fresh, next=following, as_of=as_of(reply))

    return step


def by_page_number(
    get: Get,
    path: str,
    *,
    items: str,
    page: str = "page",
    first: int = 1,
    pages: str = "",
    query: Mapping[str, Any] | None = None,
    bounds: Bounds | None = None,
) -> PageStep:
    """Page by number; for lists that can do nothing better.

    Behind a record that is deleted meanwhile every later one moves towards the
    first page. So the last page is looked for, by doubling, and the pages are
    read from there to the first: what moves is met again, and never missed. Ask
    for an order in which what is new comes last, by id or time of creation.

    Args:
        get: Sends one read; a :class:`~tieline.contract.RecordNotFoundError` for a
            page that is not the first counts as an empty page.
        path: Path of the list.
        items: Field of the body that holds the records; empty: the body is the list.
        page: Query parameter that takes the number.
        first: Number of the first page.
        pages: Field of the body that says how many pages there are; empty: none
            does, and they end where a page is empty.
        query: Parameters of every request: the page size, the order.
        bounds: Turns a window into query parameters; None: no windows.

    Returns:
        A page step whose cursor says which page is next, and where the last one is.
    """
    ask = _asking(get, path, query, bounds)

    def step(client: Any, params: PageParams, cursor: str | None) -> Page:
        search = _Search.read(cursor)
        when: datetime | None = None
        records: list[Record] = []
        try:
            reply = ask(client, params, {page: first - 1 + search.number})
        except RecordNotFoundError:
            if search.number == 1:
                raise
            body: Any = {}
        else:
            when = as_of(reply)
            body, records = page_of(reply, items)
        following = search.after(
            is_empty=not records, told=_count(body, pages) if pages and not cursor else None
        )
        return Page(records=records, next=following.write() if following else None, as_of=when)

    return step


def search_after_key(
    get: Get,
    path: str,
    *,
    asked: Asked,
    items: str,
    further: str = "",
    key: str = "id",
) -> PageStep:
    """Page a search by what is behind the last key, where its own cursor ends or counts.

    The search is sorted by a key that stays, and each page filters by "greater
    than the last one": it has no end after so many results, and nothing moves.

    Args:
        get: Sends one search, as a POST for most providers; ``query`` is what
            ``asked`` returned.
        path: Path of the search.
        asked: ``(window, last) -> query``: the filters of the window and, unless
            ``last`` is None, "key greater than ``last``"; the order, by the key
            and ascending; the page size.
        items: Field of the body that holds the records; empty: the body is the list.
        further: Field of the body that is there, and not null or empty, as long
            as something is left; empty: none is, and an empty page is the end.
        key: Field of a record that it is sorted by.

    Returns:
        A page step whose cursor is the last record's key. An answer whose whole
        numbers do not ascend is refused: going on behind it would lose records.
    """

    def step(client: Any, params: PageParams, cursor: str | None) -> Page:
        reply = get(client, path, asked(params.window, cursor))
        body, records = page_of(reply, items)
        has_more = bool(records) and (not further or bool(_found(body, further)))
        _check_ascending(records, key, cursor)
        last = _last_key(records, key) if has_more else None
        if has_more and last is None:
            raise _unexpected(f"no record has text in {key!r} to go on from")
        return Page(records=records, next=last, as_of=as_of(reply))

    return step


def by_time_of_change(step: PageStep, field: str, *, key: str = "id") -> FeedStep:
    """Read a list of what changed in a window in the place of a log of changes.

    Args:
        step: The list's page step; it honours ``params.window`` by time of change,
            at its start at least.
        field: Field of a record with its time of change: ISO 8601 with an
            offset, or seconds since 1970.
        key: Field of a record with its key.

    Returns:
        For :class:`~tieline.contract.Feed`, with ``retention=None``. A record
        without such a time counts as read now, one without a key is
        quarantined: the others go on.
    """

    def changes(client: Any, params: PageParams, cursor: str | None) -> FeedPage:
        page = step(client, params, cursor)

        def when(record: Record | None = None) -> datetime:
            at = _time_in(record, field) or page.as_of
            if at is None:
                raise _unexpected(f"neither {field!r} nor the answer says a time")
            return at

        found = [
            Change(key=_last_key([record], key) or "", at=when(record), record=record)
            for record in page.records
        ]
        found += [Change(key=gone, at=when(), is_deleted=True) for gone in page.deleted]
        return FeedPage(changes=found, next=page.next, as_of=page.as_of)

    return changes


def page_of(reply: Reply, items: str) -> tuple[dict[str, Any], list[Record]]:
    """Parse a list answer and find its records.

    Args:
        reply: An answer with a 2xx status.
        items: Field of the body that holds the records; dots lead into objects.
            Empty: the body is the list.

    Returns:
        The body, empty if it is the list, and the records in it.

    Raises:
        ProviderUnavailableError: Not JSON, or no list where one was promised:
            a proxy's page with status 200, most often. Asking again may help.
    """
    body = parse_json(reply.content)
    records = _found(body, items) if items else body
    if not isinstance(records, list):
        raise _unexpected(f"there is no list in {items!r}" if items else "it is no list")
    return body if items else {}, records


def _asking(
    get: Get, path: str, query: Mapping[str, Any] | None, bounds: Bounds | None
) -> Callable[[Any, PageParams, Mapping[str, Any]], Reply]:
    def ask(client: Any, params: PageParams, place: Mapping[str, Any]) -> Reply:
        window = bounds(params.window) if bounds else {}
        return get(client, path, {**(query or {}), **window, **place})

    return ask


@dataclass(frozen=True, slots=True)
class _Search:
    """Where a reading by page numbers stands; numbers count from 1.

    Attributes:
        number: Page that is read next.
        low: The last page that is known to hold something; 0: none.
        high: The first that is known to be empty; 0: none.
        step: How far ahead is looked for the end next.
        is_found: The end was found, and is behind us.
    """

    number: int = 1
    low: int = 0
    high: int = 0
    step: int = 1
    is_found: bool = False

    @classmethod
    def read(cls, cursor: str | None) -> _Search:
        return cls(*json.loads(cursor)) if cursor else cls()

    def write(self) -> str:
        return json.dumps([self.number, self.low, self.high, self.step, self.is_found])

    def after(self, *, is_empty: bool, told: int | None) -> _Search | None:
        """Say what to read after this page.

        Args:
            is_empty: Nothing was on it.
            told: How many pages there are, as the first one says; a hint, no more.
        """
        if self.is_found:
            return replace(self, number=self.number - 1) if self.number > 1 else None
        found = replace(self, high=self.number) if is_empty else replace(self, low=self.number)
        if found.low == 0:
            return None
        if found.high == 0:
            ahead = found.low + found.step
            if told is not None and told > ahead:
                return replace(found, number=told)
            return replace(found, number=ahead, step=2 * found.step)
        if found.high - found.low > 1:
            return replace(found, number=(found.low + found.high) // 2)
        # The last page once more: what was behind it may have moved there meanwhile.
        return replace(found, number=found.low, is_found=True)


def _found(body: object, name: str) -> Any:
    """Return what is in a field, which may be in objects in objects; None for nothing."""
    if isinstance(body, dict) and name in body:  # "@odata.next" is a name as it stands
        return body[name]
    for part in name.split("."):
        if body is None:
            return None
        if not isinstance(body, dict):
            raise _unexpected(f"{name!r} does not lead through objects")
        body = body.get(part)
    return body


def _says_more(body: Mapping[str, Any], name: str) -> bool:
    has_more = _found(body, name)
    if not isinstance(has_more, bool):
        raise _unexpected(f"{name!r} is not true or false")
    return has_more


def _count(body: Mapping[str, Any], name: str) -> int:
    count = _found(body, name)
    if type(count) is not int:
        raise _unexpected(f"{name!r} is no whole number")
    return count


def _counted(cursor: str | None) -> tuple[int, str]:
    passed, last = json.loads(cursor) if cursor else (0, "")
    return passed, last


def _behind(records: list[Record], key: str, last: str) -> list[Record]:
    """Return what comes after the record with this key."""
    for place, record in enumerate(records):
        if _last_key([record], key) == last:
            return records[place + 1 :]
    raise CursorExpiredError("records changed their places while they were counted")


def _place(link: str, asked: str, prefix: str) -> str:
    """Return path and query of an address that may be relative to what was asked."""
    parts = urlsplit(urljoin(f"https://provider.invalid{asked}", link))
    path = parts.path.removeprefix(prefix) or "/"
    return f"{path}?{parts.query}" if parts.query else path


def _last_key(records: list[Record], key: str) -> str | None:
    """Find the last record that the next request can name; a bad one costs no page."""
    for record in reversed(records):
        try:
            found = _found(record, key)
        except ProviderUnavailableError:
            continue
        if isinstance(found, (str, int)) and not isinstance(found, bool) and found != "":
            return str(found)
    return None


def _check_ascending(records: list[Record], key: str, after: str | None) -> None:
    """Refuse whole numbers out of order; how a provider orders other texts nobody knows."""
    known = [after, *(_last_key([record], key) for record in records)]
    numbers = [int(each) for each in known if each and each.isdecimal() and len(each) < _LONG]
    is_sorted = all(one < other for one, other in itertools.pairwise(numbers))
    is_stuck = after is not None and len(known) > 1 and known[-1] == after
    if not is_sorted or is_stuck:
        raise _unexpected(f"it is not sorted by {key!r}, or holds what it was to begin behind")


def _time_in(record: Record | None, field: str) -> datetime | None:
    try:
        return utc(_found(record, field))
    except (ValueError, ProviderUnavailableError):
        return None


def _unexpected(what: str) -> ProviderUnavailableError:
    return ProviderUnavailableError(f"the answer is no list page: {what}", code="answer-malformed")
