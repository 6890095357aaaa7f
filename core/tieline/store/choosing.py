"""Conditions that lists share: what somebody may see, and where a page begins."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, or_

__all__ = ["Mark", "among", "older"]

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
    return [or_(time < at, and_(time == at, row_id > last))]
