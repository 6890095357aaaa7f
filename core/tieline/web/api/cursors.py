"""Cursors: where a list goes on, opaque to whoever carries them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import orjson

from tieline.web.api.problems import Problem

__all__ = ["Mark", "page_of", "read_cursor", "slice_of", "write_cursor"]

T = TypeVar("T")
Mark = Sequence[str | int]
"""What tells a row's place in a list: the values that it is sorted by."""


def write_cursor(name: str, mark: Sequence[Any]) -> str:
    """Write a cursor.

    Args:
        name: Of the operation: a cursor is good for its own list alone.
        mark: The last row's place; times are written as text.
    """
    plain = [each.isoformat() if isinstance(each, datetime) else each for each in mark]
    return base64.urlsafe_b64encode(orjson.dumps([name, *plain])).decode().rstrip("=")


def read_cursor(name: str, text: str | None, kinds: Sequence[type]) -> tuple[Any, ...] | None:
    """Read a cursor; None for none.

    Args:
        name: Of the operation.
        text: What was given.
        kinds: ``str``, ``int`` or ``datetime`` of each value of the mark.

    Raises:
        Problem: It is none of this list's.
    """
    if text is None:
        return None
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        found, *mark = orjson.loads(raw)
        read = tuple(_read(each, kind) for each, kind in zip(mark, kinds, strict=True))
    except (ValueError, TypeError, OverflowError, binascii.Error):
        raise _bad() from None
    if found != name:
        raise _bad()
    return read


def _read(value: Any, kind: type) -> Any:
    if kind is datetime and isinstance(value, str):
        read = datetime.fromisoformat(value)
        if read.tzinfo is None:
            raise ValueError
        return read.astimezone(UTC)  # beyond the years that there are: OverflowError
    if type(value) is not kind:
        raise TypeError
    if isinstance(value, str) and "\0" in value:
        raise ValueError
    if isinstance(value, int) and not 0 <= value < 2**63:
        raise ValueError
    return value


def _bad() -> Problem:
    return Problem(
        422,
        "cursor-invalid",
        "cursor: this is no cursor of this list",
        hint="give `next` of the page before, or leave it out",
        errors=[{"parameter": "cursor", "detail": "is no cursor of this list"}],
    )


def page_of(
    name: str, rows: Sequence[T], limit: int, mark: Callable[[T], Sequence[Any]]
) -> dict[str, Any]:
    """Make a page of rows, of which one more than wanted was read if there was one."""
    shown = rows[:limit]
    is_last = len(rows) <= limit
    return {
        "data": shown,
        "next": None if is_last else write_cursor(name, mark(shown[-1])),
    }


def slice_of(
    name: str,
    rows: Iterable[T],
    query: Mapping[str, Any],
    mark: Callable[[T], tuple[str, ...]],
    *,
    width: int = 1,
) -> dict[str, Any]:
    """Make a page of a list that is short enough to be read whole, sorted by its marks.

    Args:
        name: Of the operation.
        rows: The list.
        query: Has ``limit``, and ``cursor`` unless it is the first page.
        mark: What a row is sorted by; no two have the same.
        width: How many texts that is.
    """
    after = read_cursor(name, query.get("cursor"), [str] * width)
    ordered = sorted(rows, key=mark)
    if after is not None:
        ordered = [row for row in ordered if mark(row) > after]
    return page_of(name, ordered, query["limit"], mark)
