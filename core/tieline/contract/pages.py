"""Ready-made page steps for the shapes that most providers have.

Each takes ``get(client, path, query) -> Reply``, the plugin's one way to send
a read through its SDK, and returns a page step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tieline.contract.declarations import PageStep
from tieline.contract.errors import ProviderUnavailableError
from tieline.contract.headers import as_of
from tieline.contract.jsontext import parse_json
from tieline.contract.values import Page, PageParams, Record, Reply, Window

__all__ = ["Get", "after_last_key", "by_cursor", "page_of"]

Get = Callable[[Any, str, Mapping[str, Any]], Reply]
Bounds = Callable[[Window], Mapping[str, Any]]


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
        items: Field of the body that holds the records.
        more: Field of the body that says whether there is a further page.
        key: Field of a record that the next request names.
        after: Query parameter that takes it.
        query: Parameters of every request, such as the page size.
        bounds: Turns a window into query parameters; None: no windows.

    Returns:
        A page step whose cursor is the last record's key.
    """
    ask = _asking(get, path, query, bounds, after)

    def step(client: Any, params: PageParams, cursor: str | None) -> Page:
        reply = ask(client, params, cursor)
        body, records = page_of(reply, items)
        has_more = body.get(more)
        if not isinstance(has_more, bool):
            raise _unexpected(f"{more!r} is not true or false")
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
        query: Parameters of every request.
        bounds: Turns a window into query parameters; None: no windows.

    Returns:
        A page step whose cursor is the provider's.
    """
    ask = _asking(get, path, query, bounds, cursor_query)

    def step(client: Any, params: PageParams, cursor: str | None) -> Page:
        reply = ask(client, params, cursor)
        body, records = page_of(reply, items)
        following = _inside(body, cursor_field)
        if following is not None and not isinstance(following, str):
            raise _unexpected(f"{cursor_field!r} is not text")
        return Page(records=records, next=following or None, as_of=as_of(reply))

    return step


def page_of(reply: Reply, items: str) -> tuple[dict[str, Any], list[Record]]:
    """Parse a list answer and find its records.

    Args:
        reply: An answer with a 2xx status.
        items: Field of the body that holds the records.

    Returns:
        The body and the records in it.

    Raises:
        ProviderUnavailableError: Not JSON, or no list where one was promised:
            a proxy's page with status 200, most often. Asking again may help.
    """
    body = parse_json(reply.content)
    records = body.get(items) if isinstance(body, dict) else None
    if not isinstance(records, list):
        raise _unexpected(f"there is no list in {items!r}")
    return body, records


def _asking(
    get: Get, path: str, query: Mapping[str, Any] | None, bounds: Bounds | None, name: str
) -> Callable[[Any, PageParams, str | None], Reply]:
    def ask(client: Any, params: PageParams, cursor: str | None) -> Reply:
        window = bounds(params.window) if bounds else {}
        place = {} if cursor is None else {name: cursor}
        return get(client, path, {**(query or {}), **window, **place})

    return ask


def _inside(body: Mapping[str, Any], path: str) -> Any:
    """Follow dots into objects; what is not there is None, what is no object is no page."""
    if path in body:  # "@odata.next" is a name as it stands
        return body[path]
    found: Any = body
    for name in path.split("."):
        if found is None:
            return None
        if not isinstance(found, Mapping):
            raise _unexpected(f"{path!r} does not lead through objects")
        found = found.get(name)
    return found


def _last_key(records: list[Record], key: str) -> str | None:
    """Find the last record that the next request can name; a bad one costs no page."""
    for record in reversed(records):
        found = record.get(key) if isinstance(record, dict) else None
        if isinstance(found, (str, int)) and not isinstance(found, bool) and found != "":
            return str(found)
    return None


def _unexpected(what: str) -> ProviderUnavailableError:
    return ProviderUnavailableError(f"the answer is no list page: {what}", code="answer-malformed")
