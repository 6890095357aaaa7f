"""Rows in every table, with the values that databases hold differently."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import JSON, Boolean, Float, Integer, LargeBinary, insert, text
from sqlalchemy.types import BigInteger

from tieline.store.tables import metadata
from tieline.store.types import UtcTime

DOCUMENTS = (
    '{"b": 1, "a": [1.0, 1e5, 1.50, -0.0, 0.1], "é": "ü␛ \U0001f600"}',
    '{"large": 123456789012345678901234567890, "small": 1.234567890123456789012345e-30}',
    '{"a": null, "b": {}, "c": [], "d": 9007199254740993, "e": 100, "f": true}',
    '"text"',
    "[]",
)
TIMES = (
    datetime(2026, 2, 28, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
)


def value_of(column: Any, number: int, *, may_be_none: bool) -> Any:
    """Make the value of one column in one row; JSON is text, to be stored as it is."""
    if column.nullable and may_be_none and number % 3 == 2:
        return None
    kind = column.type
    if isinstance(kind, JSON):
        return DOCUMENTS[number % len(DOCUMENTS)]
    if isinstance(kind, UtcTime):
        is_lease = column.name == "lease_until"  # nobody holds any
        return TIMES[0] - timedelta(days=number) if is_lease else TIMES[number % len(TIMES)]
    if isinstance(kind, LargeBinary):
        return bytes(range(256)) * number
    if isinstance(kind, Boolean | Float):
        return bool(number % 2) if isinstance(kind, Boolean) else (0.1, 1e300, -2.5)[number % 3]
    return _plain(column, kind, number)


def _plain(column: Any, kind: Any, number: int) -> int | str:
    if column.primary_key and isinstance(kind, BigInteger | Integer):
        return 1000 + number
    if isinstance(kind, BigInteger):
        return (2**63 - 1, -(2**63), 0)[number % 3] if column.name == "rank" else 2**40 + number
    if isinstance(kind, Integer):
        return (2**31 - 1, 7, 0)[number % 3]
    return f"{number}é'\\\n{column.name}"[: kind.length or 100]


def fill(connection: Any, rows: int = 5) -> None:
    """Put rows into every table; each refers to the row of its number."""
    for table in metadata.sorted_tables:
        parents = {key.parent.name: key.column for key in table.foreign_keys}
        for number in range(rows):
            row = {
                column.name: value_of(
                    parents.get(column.name, column),
                    number,
                    may_be_none=column.name not in parents,
                )
                for column in table.c
            }
            row |= _UNIQUE.get(table.name, lambda _number: {})(number)
            documents = {c.name for c in table.c if isinstance(c.type, JSON)}
            plain = {name: value for name, value in row.items() if name not in documents}
            given = {name: row[name] for name in documents if row[name] is not None}
            connection.execute(
                insert(table).values(**plain, **{name: text(f":doc_{name}") for name in given}),
                {f"doc_{name}": value for name, value in given.items()},
            )


_UNIQUE = {
    "records": lambda number: {"feed_id": 1000, "position": number + 1},
    "runs": lambda _number: {"state": "failed"},
}
