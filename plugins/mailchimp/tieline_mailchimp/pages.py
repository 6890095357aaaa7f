"""Page by time, oldest first, from where the page before ended.

Offsets lose rows: one that is changed meanwhile goes to the end, and all
behind it move up by one. So each page asks for what is later than the last
row's time, less one second, because times are whole seconds and ``since_…``
leaves its own second out (databrickslabs/lakeflow-community-connectors #249).
Only where a whole page has one time, an offset goes on from its last row; if
that row is not the first of the next page, rows moved, and the second is read
again.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from tieline.contract import (
    CursorExpiredError,
    Record,
    RecordNotFoundError,
    Reply,
    as_of,
    object_of,
    page_of,
    parse_json,
    text_of,
    time_of,
)
from tieline_mailchimp.client import Call, MailchimpApi
from tieline_mailchimp.errors import malformed
from tieline_mailchimp.keys import names_of

__all__ = ["Place", "Read", "Sorted", "earlier", "read_after", "read_one", "record_of"]

_STEP = timedelta(seconds=1)
_MOST_MOVES = 10


class Sorted(NamedTuple):
    """A list that can be had by time.

    Attributes:
        items: Field of the answer with the rows.
        by: The rows' field of time: ``last_changed`` or ``date_created``.
        size: Rows on a page, at most 1000.
    """

    items: str
    by: str
    size: int


class Place(NamedTuple):
    """Where to go on.

    Attributes:
        since: Rows later than this, ISO 8601; empty: all.
        offset: How many of them to pass over.
        last: Id of the row that must come first, if there is an offset.
        again: How often rows moved; it tells two readings of one second apart.
    """

    since: str = ""
    offset: int = 0
    last: str = ""
    again: int = 0


class Read(NamedTuple):
    """One page: its rows, where the next begins (None: nowhere), as of when it is."""

    rows: list[Record]
    place: Place | None
    as_of: datetime


def read_after(
    api: MailchimpApi, call: Call, *given: str, of: Sorted, at: Place, **asked: Any
) -> Read:
    """Read one page.

    Args:
        api: The account.
        call: The SDK's method for the list.
        given: Its arguments, such as the audience's id.
        of: What is listed.
        at: Where the page begins.
        asked: Further parameters.

    Raises:
        ProviderUnavailableError: The answer is no page, or says that there is
            more and does not show it.
        CursorExpiredError: Rows of one second keep moving.
    """
    asked |= {"sort_field": of.by, "sort_dir": "ASC", "count": of.size, "offset": at.offset}
    if at.since:
        asked[f"since_{of.by}"] = at.since
    reply = api.ask(call, *given, **asked)
    body, rows = page_of(reply, of.items)
    if type(total := body.get("total_items")) is not int:
        raise malformed("a page has no total_items")
    when = as_of(reply) or datetime.now(UTC) - timedelta(seconds=reply.seconds)
    return Read(rows, _following(at, rows, total, of), when)


def read_one(api: MailchimpApi, call: Call, key: str, parts: int = 2) -> Record | None:
    """Read one record by its key, which has so many parts; None: there is none."""
    try:
        return record_of(api.ask(call, *names_of(key, parts), exclude_fields=["_links"]))
    except RecordNotFoundError:
        return None


def record_of(reply: Reply) -> dict[str, Any]:
    """Return the record in an answer.

    Raises:
        ProviderUnavailableError: There is none in it.
    """
    found = parse_json(reply.content)
    if not isinstance(found, dict):
        raise malformed("it is no object")
    return found


def _following(at: Place, rows: list[Record], total: int, of: Sorted) -> Place | None:
    end = at.offset + len(rows)
    if at.offset and (not rows or _text(rows[0], "id") != at.last):
        if at.again >= _MOST_MOVES:
            raise CursorExpiredError("the rows of one second keep changing places")
        return Place(at.since, again=at.again + 1)
    if end >= total and len(rows) < of.size:  # of a full page, no count is taken for the end
        return None
    times = [_text(row, of.by) for row in rows]
    if times and times == sorted(times):  # else nothing is known of the rows to come
        since = earlier(times[-1], _STEP)
        if since > at.since:
            return Place(since)
    if len(rows) < 2:
        raise malformed(f"it says that there are {total}, and shows no more than {end}")
    return Place(at.since, end - 1, _text(rows[-1], "id"), at.again)


def earlier(time: str | datetime | None, by: timedelta) -> str:
    """Write a time, less something, as parameters take it; empty if it is none.

    Mailchimp leaves times that never were empty.
    """
    at = time_of(time) if isinstance(time, str) else time
    try:
        return (at - by).astimezone(UTC).isoformat(timespec="seconds") if at else ""
    except OverflowError:
        return ""


def _text(row: object, field: str) -> str:
    return text_of(object_of(row).get(field))
