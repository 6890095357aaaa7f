"""Conditions that lists share: what somebody may see, and where a page begins."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, literal_column, or_

__all__ = ["Mark", "among", "is_one_of", "older"]

Mark = tuple[datetime, str]
"""The time and the id of the last row of the page before."""


def among(column: Any, ids: Collection[str] | None) -> list[ColumnElement[bool]]:
    """Choose the rows of some connections; None: of all, and those of none."""
    return [] if ids is None else [column.in_(sorted(ids))]


def older(time: Any, row_id: Any, before: Mark | None) -> list[ColumnElement[bool]]:
    """Choose what comes after a row in a list of the newest first, ids in order within a time."""
    if before is None:
        return []
    at, last = before
    # The first says nothing new, but lets both databases begin there.
    return [time <= at, or_(time < at, and_(time == at, row_id > last))]


def is_one_of(column: Any, states: Sequence[str]) -> ColumnElement[bool]:
    """Compare with literals: SQLite finds no partial index by bound values.

    Args:
        column: The state.
        states: Words of the code's own, in the order in which the index has them.
    """
    found: ColumnElement[bool] = column.in_([literal_column(f"'{state}'") for state in states])
    return found
