"""Which part of a list is asked for: limit, cursors and created ranges.

All lists share these, newest first, without a sort parameter.
Source: Stripe API reference, "Pagination" and "List all customers".
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

from tieline_stripe_sandbox.answers import ApiError, invalid_request, unknown_parameters
from tieline_stripe_sandbox.params import Params, Value, as_integer, as_text

__all__ = ["LIST_PARAMETERS", "Window", "page_of", "read_window"]

LIST_PARAMETERS = frozenset({"created", "ending_before", "expand", "limit", "starting_after"})
_LARGEST_PAGE = 100
_BOUNDS = ("gt", "gte", "lt", "lte")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A part of a list.

    ``since`` is included and ``until`` is not; None: no bound. At most one of
    the cursors is set, and both are positions, not ids.
    """

    limit: int = 10
    since: int | None = None
    until: int | None = None
    before: int | None = None
    after: int | None = None

    def bounds(self, length: int, created: Callable[[int], int]) -> tuple[int, int]:
        """Turn times and cursors into a half-open range of positions."""
        low, high = 0, length
        if self.since is not None:
            low = bisect_left(range(length), self.since, key=created)
        if self.until is not None:
            high = bisect_left(range(length), self.until, key=created)
        if self.before is not None:
            high = min(high, self.before)
        if self.after is not None:
            low = max(low, self.after + 1)
        return low, high


def read_window(params: Params, cursor: Callable[[str, str], int]) -> Window:
    """Read the parameters that all lists share.

    Args:
        params: The query.
        cursor: Turns an id into its position, given the parameter's name; it
            refuses ids of objects that are gone.
    """
    since, until = _created(params["created"]) if "created" in params else (None, None)
    if "starting_after" in params and "ending_before" in params:
        raise invalid_request("You can only pass one of starting_after or ending_before.")
    return Window(
        limit=_limit(params["limit"]) if "limit" in params else 10,
        since=since,
        until=until,
        before=_cursor(params, "starting_after", cursor),
        after=_cursor(params, "ending_before", cursor),
    )


def page_of(window: Window, found: list[int]) -> tuple[list[int], bool]:
    """Cut what was read one position too far.

    Args:
        window: What was asked for.
        found: Positions in reading order: downwards, or upwards from
            ``ending_before``.

    Returns:
        The page, newest first, and whether there is more in reading order.
    """
    page = found[: window.limit]
    return (page[::-1] if window.after is not None else page), len(found) > window.limit


def _limit(value: Value) -> int:
    limit = as_integer(value, "limit")
    if limit < 1:
        raise _out_of_range("greater than or equal to 1")
    if limit > _LARGEST_PAGE:
        raise _out_of_range(f"less than or equal to {_LARGEST_PAGE}")
    return limit


def _out_of_range(bound: str) -> ApiError:
    return invalid_request(f"This value must be {bound}.", "limit", "parameter_invalid_integer")


def _cursor(params: Params, name: str, cursor: Callable[[str, str], int]) -> int | None:
    return cursor(as_text(params[name], name), name) if name in params else None


def _created(value: Value) -> tuple[int | None, int | None]:
    if isinstance(value, str):
        second = as_integer(value, "created")
        return second, second + 1
    if unknown := [f"created[{name}]" for name in value if name not in _BOUNDS]:
        raise unknown_parameters(unknown)
    given = {name: as_integer(bound, f"created[{name}]") for name, bound in value.items()}
    since = [given[name] + step for name, step in (("gt", 1), ("gte", 0)) if name in given]
    until = [given[name] + step for name, step in (("lt", 0), ("lte", 1)) if name in given]
    return max(since, default=None), min(until, default=None)
