"""Pages and their cursors: opaque, bound to one query, and short-lived.

Square tells that cursors expire, not when; 15 minutes, renewed by each call, is
what its support once wrote. ``limit`` is advisory: pages may be shorter, and an
empty page may have a cursor.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import orjson

from tieline_square_sandbox.answers import bad_request
from tieline_square_sandbox.clock import Clock
from tieline_square_sandbox.shelf import Copy, Object

__all__ = ["Pager"]

_LIFE_S = 900
Key = Callable[[Copy], Any]


class Pager:
    """Cuts what a query found into pages.

    Args:
        clock: The sandbox's.
        odd_pages: Every so many pages are empty, and the ones before them half
            as long; 0: none.
    """

    def __init__(self, clock: Clock, odd_pages: int = 0) -> None:
        self._clock = clock
        self._odd = odd_pages
        self._made = 0

    def first_call(self, asked: Any, cursor: object) -> float:
        """Tell when the walk of a query began: now, if there is no cursor.

        Raises:
            RefusedError: 400: the cursor is of another query, or too old.
        """
        if cursor is None or cursor == "":
            return self._clock.now()
        began: float = self._read(asked, cursor)["began"]
        return began

    def page(
        self,
        asked: Any,
        found: list[Copy],
        *,
        cursor: object,
        limit: int,
        key: Key,
        is_descending: bool = False,
    ) -> tuple[list[Object], Object]:
        """Return a page.

        Args:
            asked: What the query is, without its cursor, as JSON.
            found: What it finds now, in any order.
            cursor: As the caller gave it.
            limit: Most objects of the page.
            key: What they are sorted by; the id decides between equal ones.
            is_descending: Last first.

        Returns:
            The objects, and ``{"cursor"}``, empty at the end.

        Raises:
            RefusedError: 400: the cursor is of another query, or too old.
        """
        state: dict[str, Any] = {"began": self._clock.now(), "after": None}
        if cursor:
            state = self._read(asked, cursor)
        after = state["after"] and tuple(state["after"])
        rows = sorted(((key(copy), copy.id, copy.value) for copy in found),
                      key=lambda row: row[:2], reverse=is_descending)  # fmt: skip
        if after is not None:
            rows = [row for row in rows if (row[:2] < after if is_descending else row[:2] > after)]
        self._made += 1
        if self._odd and rows and self._made % self._odd == 0:
            limit = 0
        elif self._odd and self._made % self._odd == self._odd - 1:
            limit = max(1, limit // 2)
        here = rows[:limit]
        if len(rows) <= limit:
            return [row[2] for row in here], {}
        last = here[-1][:2] if here else after
        return [row[2] for row in here], {"cursor": self._write(asked, state["began"], last)}

    def _write(self, asked: Any, began: float, after: Any) -> str:
        state = {
            "query": _digest(asked),
            "began": began,
            "after": after,
            "at": self._clock.now(),
            "number": self._made,
        }
        return urlsafe_b64encode(orjson.dumps(state)).decode()

    def _read(self, asked: Any, cursor: object) -> dict[str, Any]:
        try:
            state = orjson.loads(urlsafe_b64decode(str(cursor).encode()))
            is_good = state["query"] == _digest(asked)
            is_good = is_good and self._clock.now() - state["at"] < _LIFE_S
        except (ValueError, KeyError, TypeError):
            is_good = False
        if not is_good:
            raise bad_request("Invalid cursor.", "INVALID_CURSOR", "cursor")
        return dict(state)


def _digest(asked: Any) -> str:
    text = orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)
    return blake2b(text, digest_size=8).hexdigest()
