"""The SQL of views: a record's fields as typed columns, on PostgreSQL and on SQLite.

Names and values are written into the text, as a view has no parameters; every
one goes through :func:`quoted` or :func:`literal`. No value of a payload may
make a view fail: a cast stands behind a test that admits nothing it refuses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["LONGEST_NAME", "TAKEN", "Column", "Kind", "literal", "quoted", "select_sql"]

LONGEST_NAME = 63
"""The most bytes that a name may have in PostgreSQL."""

TAKEN = ("connection", "record_id", "changed_at", "deleted_at", "position")
"""The columns that every view has."""


class Kind(StrEnum):
    """What a column holds."""

    TEXT = "text"
    WHOLE = "whole"
    """Whole numbers of 64 bits."""
    FLOAT = "float"
    DECIMAL = "decimal"
    BOOLEAN = "boolean"
    TIME = "time"
    """A moment, from ISO 8601 text."""
    DATE = "date"
    OBJECT = "object"
    """JSON."""
    ARRAY = "array"
    """JSON."""
    ANY = "any"
    """JSON of any type."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One field of a record as a column.

    Attributes:
        name: What the column is called.
        key: The field's key in the payload, as it is stored.
        kind: What the column holds.
        takes_text: A number may also be written as text: ``"12.50"``.
    """

    name: str
    key: str
    kind: Kind
    takes_text: bool = False


def select_sql(
    dialect: str,
    *,
    provider: str,
    entity: str,
    columns: Sequence[Column],
    with_deleted: bool,
    first: Sequence[str] = (),
) -> str:
    """Write the query of a view.

    Args:
        dialect: ``postgresql`` or ``sqlite``.
        provider: Whose records.
        entity: Which records.
        columns: One for each field, beside those that every view has.
        with_deleted: Whether tombstones show.
        first: Names of columns to begin with, in this order.
    """
    write = {"postgresql": _postgresql, "sqlite": _sqlite}[dialect]
    shown = {"connection": "c.name", "record_id": "r.record_id"}
    shown |= {column.name: write(column) for column in columns}
    shown |= {name: f"r.{name}" for name in TAKEN[2:]}
    order = sorted(shown, key=lambda name: first.index(name) if name in first else len(first))
    listed = ",\n  ".join(f"{shown[name]} AS {quoted(name)}" for name in order)
    live = "" if with_deleted else " AND r.deleted_at IS NULL"
    return (
        f"SELECT\n  {listed}\nFROM records AS r JOIN entity_states AS s ON s.feed_id = r.feed_id"
        " JOIN connections AS c ON c.id = s.connection_id\n"
        f"WHERE c.provider = {literal(provider)} AND s.entity = {literal(entity)}{live}"
    )


def quoted(name: str) -> str:
    """Write an identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Write a text value."""
    return "'" + text.replace("'", "''") + "'"


# --- PostgreSQL ---------------------------------------------------------------------------------

_PG_TYPES = {
    Kind.TEXT: "text",
    Kind.WHOLE: "bigint",
    Kind.FLOAT: "double precision",
    Kind.DECIMAL: "numeric",
    Kind.BOOLEAN: "boolean",
    Kind.TIME: "timestamptz",
    Kind.DATE: "date",
}
_INT64 = "BETWEEN -9223372036854775808 AND 9223372036854775807"
# Beyond these a cast to double precision is an error.
_LARGEST, _SMALLEST = "1.7976931348623157e308", "5e-324"
_PG_TEXT_NUMBERS = {
    Kind.WHOLE: "^-?[0-9]{1,18}$",
    Kind.FLOAT: "^-?(?=.{1,31}$)[0-9]+([.][0-9]+)?$",
    Kind.DECIMAL: "^-?(?=.{1,31}$)[0-9]+([.][0-9]+)?$",
}
# A day of the calendar: what it admits, every cast takes.
_LEAP = "([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29"
_DAY = (
    "(?!0000)([0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"
    "|[0-9]{4}-(0[13-9]|1[0-2])-(29|30)|[0-9]{4}-(0[13578]|1[02])-31"
    f"|{_LEAP})"
)
_CLOCK = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_ZONE = "(0[0-9]|1[0-4]):[0-5][0-9]"
# No zone may lead out of the years that everybody has, 1 to 9999.
_PG_TIME = (
    "^(?!9999-12-31.*-..:..$)(?!0001-01-01.*[+]..:..$)"
    f"{_DAY}[T ]{_CLOCK}([.][0-9]+)?(Z|[+-]{_ZONE})?$"
)


def _postgresql(column: Column) -> str:
    key = literal(column.key)
    value, text = f"(r.payload -> {key})", f"(r.payload ->> {key})"
    if column.kind is Kind.ANY:
        return f"NULLIF({value}, 'null'::jsonb)"
    if column.kind in {Kind.OBJECT, Kind.ARRAY}:
        return f"CASE jsonb_typeof({value}) WHEN '{column.kind}' THEN {value} END"
    cases = [f"WHEN '{kind}' THEN {sql}" for kind, sql in _pg_cases(column, value, text)]
    return f"CASE jsonb_typeof({value}) {' '.join(cases)} END"


def _pg_cases(column: Column, value: str, text: str) -> list[tuple[str, str]]:
    kind = column.kind
    if kind is Kind.TEXT:
        return [("string", text)]
    if kind is Kind.BOOLEAN:
        return [("boolean", f"{value}::boolean")]
    if kind is Kind.DATE:
        return [("string", f"CASE WHEN {text} ~ '^{_DAY}$' THEN {text}::date END")]
    if kind is Kind.TIME:
        return [("string", _pg_time(text))]
    cases = [("number", _pg_number(kind, f"{value}::numeric"))]
    if column.takes_text:
        pattern, cast = _PG_TEXT_NUMBERS[kind], _PG_TYPES[kind]
        cases.append(("string", f"CASE WHEN {text} ~ '{pattern}' THEN {text}::{cast} END"))
    return cases


def _pg_number(kind: Kind, number: str) -> str:
    if kind is Kind.WHOLE:
        is_whole = f"trunc({number}) = {number} AND {number} {_INT64}"
        return f"CASE WHEN {is_whole} THEN {number}::bigint END"
    if kind is Kind.FLOAT:
        return (
            f"CASE WHEN abs({number}) BETWEEN {_SMALLEST} AND {_LARGEST}"
            f" THEN {number}::double precision WHEN abs({number}) < {_SMALLEST} THEN 0 END"
        )
    return number


def _pg_time(text: str) -> str:
    fraction = f"COALESCE(substring({text} from '[.][0-9]{{1,6}}'), '')"
    zone = f"COALESCE(substring({text} from '(Z|[+-]..:..)$'), 'Z')"
    written = f"(left({text}, 19) || {fraction} || {zone})::timestamptz"
    return f"CASE WHEN {text} ~ '{_PG_TIME}' THEN {written} END"


# --- SQLite -------------------------------------------------------------------------------------

_PLAIN_KEY = re.compile(r'[^"\\\x00-\x1f]+')
_TWO = "[0-9][0-9]"


def _sqlite(column: Column) -> str:
    key = column.key
    if _PLAIN_KEY.fullmatch(key):
        path = literal(f'$."{key}"')
        value, kind = f"json_extract(r.payload, {path})", f"json_type(r.payload, {path})"
    else:  # a path cannot name such a key
        each = f"FROM json_each(r.payload) AS e WHERE e.key = {literal(key)} LIMIT 1"
        value, kind = f"(SELECT e.value {each})", f"(SELECT e.type {each})"
    cases = _SQLITE[column.kind](value)
    if column.takes_text:
        cases.append(("text", _sqlite_text_number(column.kind, value)))
    written = " ".join(f"WHEN '{json}' THEN {sql}" for json, sql in cases)
    return f"CASE {kind} {written} END"


def _sqlite_whole(value: str) -> list[tuple[str, str]]:
    is_whole = f"abs({value}) < 9223372036854775808.0 AND CAST({value} AS INTEGER) = {value}"
    return [
        ("integer", f"CASE typeof({value}) WHEN 'integer' THEN {value} END"),
        ("real", f"CASE WHEN {is_whole} THEN CAST({value} AS INTEGER) END"),
    ]


def _sqlite_float(value: str) -> list[tuple[str, str]]:
    finite = _sqlite_finite(value, f"CAST({value} AS REAL)")
    return [("integer", finite), ("real", finite)]


def _sqlite_decimal(value: str) -> list[tuple[str, str]]:
    finite = _sqlite_finite(value, value)
    return [("integer", finite), ("real", finite)]


def _sqlite_finite(value: str, then: str) -> str:
    """Leave out what SQLite has no number for; it reads 400 digits as infinite."""
    return f"CASE WHEN {value} BETWEEN -{_LARGEST} AND {_LARGEST} THEN {then} END"


def _sqlite_text_number(kind: Kind, value: str) -> str:
    digits = f"substr({value}, 1 + (substr({value}, 1, 1) = '-'))"
    if kind is Kind.WHOLE:
        is_number = f"{digits} GLOB '[0-9]*' AND {digits} NOT GLOB '*[^0-9]*'"
        return f"CASE WHEN {is_number} AND length({digits}) <= 18 THEN CAST({value} AS INTEGER) END"
    is_number = (
        f"{digits} GLOB '[0-9]*' AND {digits} NOT GLOB '*[^0-9.]*' AND {digits} NOT GLOB '*.*.*'"
        f" AND {digits} NOT GLOB '*.' AND length({digits}) <= 31"
    )
    cast = "REAL" if kind is Kind.FLOAT else "NUMERIC"
    return f"CASE WHEN {is_number} THEN CAST({value} AS {cast}) END"


def _sqlite_day(value: str) -> str:
    """Test for a day of the calendar; SQLite takes the 30th of February for one of March."""
    glob = f"[0-9][0-9]{_TWO}-{_TWO}-{_TWO}"
    return f"{value} GLOB '{glob}' AND date(julianday({value})) = {value} AND {value} >= '0001'"


def _sqlite_date(value: str) -> list[tuple[str, str]]:
    return [("text", f"CASE WHEN {_sqlite_day(value)} THEN {value} END")]


def _sqlite_time(value: str) -> list[tuple[str, str]]:
    """Write a time as the database's own columns have it."""
    zones = " OR ".join(
        f"substr({value}, -6) GLOB '[+-]{hours}:[0-5][0-9]'" for hours in ("0[0-9]", "1[0-4]")
    )
    zone = (
        f"CASE WHEN substr({value}, -1) = 'Z' THEN 'Z'"
        f" WHEN {zones} THEN substr({value}, -6) ELSE '' END"
    )
    fraction = f"substr({value}, 20, length({value}) - 19 - length({zone}))"
    is_fraction = f"{fraction} GLOB '.[0-9]*' AND substr({fraction}, 2) NOT GLOB '*[^0-9]*'"
    tests = (
        _sqlite_day(f"substr({value}, 1, 10)"),
        f"substr({value}, 11, 9) GLOB '[T ]{_TWO}:[0-5][0-9]:[0-5][0-9]'",
        f"substr({value}, 12, 2) <= '23'",
        f"({fraction} = '' OR ({is_fraction}))",
        f"NOT {value} GLOB '9999-12-31*-{_TWO}:{_TWO}'",
        f"NOT {value} GLOB '0001-01-01*+{_TWO}:{_TWO}'",
    )
    moment = f"strftime('%Y-%m-%dT%H:%M:%S', substr({value}, 1, 19) || {zone})"
    digits = f"substr(substr({fraction}, 2) || '000000', 1, 6)"
    written = f"{moment} || '.' || {digits} || '+00:00'"
    return [("text", f"CASE WHEN {' AND '.join(tests)} THEN {written} END")]


_SQLITE: dict[Kind, Callable[[str], list[tuple[str, str]]]] = {
    Kind.TEXT: lambda value: [("text", value)],
    Kind.WHOLE: _sqlite_whole,
    Kind.FLOAT: _sqlite_float,
    Kind.DECIMAL: _sqlite_decimal,
    Kind.BOOLEAN: lambda _value: [("true", "1"), ("false", "0")],
    Kind.TIME: _sqlite_time,
    Kind.DATE: _sqlite_date,
    Kind.OBJECT: lambda value: [("object", value)],
    Kind.ARRAY: lambda value: [("array", value)],
    Kind.ANY: lambda value: [
        ("text", f"json_quote({value})"),
        ("integer", _sqlite_finite(value, value)),
        # json_quote() writes 15 digits, which may be too few.
        ("real", _sqlite_finite(value, f"printf('%!.17g', {value})")),
        *((json, value) for json in ("object", "array")),
        ("true", "'true'"),
        ("false", "'false'"),
    ],
}
