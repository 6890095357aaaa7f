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

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tieline.contract import CursorExpiredError, ProviderUnavailableError, Record, Reply, page_of
from tieline_mailchimp.client import MailchimpApi

__all__ = ["Place", "Read", "earlier", "read_after", "time_of"]

_STEP = timedelta(seconds=1)
_MOST_MOVES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One page: the answer, its rows, and where the next one begins; None: nowhere."""

    reply: Reply
    rows: list[Record]
    place: Place | None


def read_after(
    api: MailchimpApi,
    call: Callable[..., Any],
    *given: str,
    items: str,
    by: str,
    count: int,
    place: Place,
    **asked: Any,
) -> Read:
    """Read one page.

    Args:
        api: The account.
        call: The SDK's method for the list.
        given: Its arguments, such as the audience's id.
        items: Field of the answer with the rows.
        by: The rows' field of time: ``last_changed`` or ``date_created``.
        count: Rows on a page, at most 1000.
        place: Where it begins.
        asked: Further parameters.

    Raises:
        ProviderUnavailableError: The answer is no page, or says that there is
            more and does not show it.
    """
    since = {f"since_{by}": place.since} if place.since else {}
    order = {"sort_field": by, "sort_dir": "ASC"}
    reply = api.ask(call, *given, count=count, offset=place.offset, **order, **since, **asked)
    body, rows = page_of(reply, items)
    total = body.get("total_items")
    if type(total) is not int:
        raise ProviderUnavailableError("a page has no total_items", code="answer-malformed")
    return Read(reply=reply, rows=rows, place=_following(place, rows, total, by))


def _following(place: Place, rows: list[Record], total: int, by: str) -> Place | None:
    if place.offset and (not rows or _text(rows[0], "id") != place.last):
        if place.again >= _MOST_MOVES:
            raise CursorExpiredError("the contacts of one second keep changing places")
        return replace(place, offset=0, last="", again=place.again + 1)
    if place.offset + len(rows) >= total:
        return None
    times = [_text(row, by) for row in rows]
    if times == sorted(times):  # else nothing is known of the rows to come
        since = earlier(times[-1] if times else "", _STEP)
        if since and since > place.since:
            return Place(since=since)
    if len(rows) < 2:
        raise ProviderUnavailableError(
            f"Mailchimp says that there are {total} and shows no more than"
            f" {place.offset + len(rows)}",
            code="answer-malformed",
        )
    last = _text(rows[-1], "id")
    return replace(place, offset=place.offset + len(rows) - 1, last=last)


def earlier(time: str | datetime | None, by: timedelta) -> str:
    """Write a time, less something, as parameters take it; empty if it is none."""
    at = time_of(time) if isinstance(time, str) else time
    try:
        return (at - by).astimezone(UTC).isoformat(timespec="seconds") if at else ""
    except OverflowError:
        return ""


def time_of(text: str) -> datetime | None:
    """Read a time; Mailchimp leaves those that never were empty."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else None


def _text(row: Any, field: str) -> str:
    value = row.get(field) if isinstance(row, dict) else None
    return value if isinstance(value, str) else ""
