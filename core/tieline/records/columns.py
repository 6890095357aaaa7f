"""A schema's promised fields as columns: their names, their types, what fits into them.

Views and files show a record's fields under the names that the provider uses,
in the order of the schema. A value that does not fit its column's type is not
bent until it does: a view shows nothing, a file keeps it beside the columns.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection
from datetime import UTC, date, datetime
from typing import Any

import orjson
from marshmallow import Schema, fields

from tieline.contract import Number, Whole
from tieline.records.canonical import canonical
from tieline.store.view_sql import LONGEST_NAME, Column, Kind

__all__ = ["NOTHING", "columns_of", "fit", "json_text"]

NOTHING = object()
"""What :func:`fit` returns of a value that has no place in its column."""

# The first class that fits decides.
_KINDS: tuple[tuple[type[fields.Field[Any]], Kind], ...] = (
    (Whole, Kind.WHOLE),
    (fields.Integer, Kind.WHOLE),
    (fields.Float, Kind.FLOAT),
    (fields.Decimal, Kind.DECIMAL),
    (fields.TimeDelta, Kind.FLOAT),
    (fields.Boolean, Kind.BOOLEAN),
    (fields.String, Kind.TEXT),
    (fields.UUID, Kind.TEXT),
    (fields.Time, Kind.TEXT),
    (fields.IP, Kind.TEXT),
    (fields.IPInterface, Kind.TEXT),
    (fields.Dict, Kind.OBJECT),
    (fields.List, Kind.ARRAY),
    (fields.Tuple, Kind.ARRAY),
)
_TEXT_NUMBERS = (fields.Integer, fields.Float, fields.Decimal)
_INT64 = range(-(2**63), 2**63)
_WHOLE_TEXT = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_NUMBER_TEXT = re.compile(r"-?(?=.{1,31}\Z)[0-9]+(\.[0-9]+)?", re.ASCII)
_DAY = r"(?!0000)[0-9]{4}-[01][0-9]-[0-3][0-9]"
_TIME = re.compile(
    # No zone may lead out of the years that everybody has, 1 to 9999.
    r"(?!9999-12-31.*-..:..\Z)(?!0001-01-01.*\+..:..\Z)"
    rf"(?P<day>{_DAY})[T ](?P<clock>([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9])"
    r"(?P<fraction>\.[0-9]+)?(?P<zone>Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])?",
    re.ASCII,
)


def columns_of(
    schema: Schema, *, taken: Collection[str], longest: int = LONGEST_NAME
) -> list[Column]:
    """Derive the columns of a schema's fields, in its order.

    Args:
        schema: As the entity declares it.
        taken: Names that columns of ours have; a field of such a name is
            called ``field_…``.
        longest: The most bytes that a name may have.

    Returns:
        Columns with names that differ in more than capitals.
    """
    used = {name.casefold() for name in taken}
    found = []
    for attribute, field in schema.load_fields.items():
        key = field.data_key if field.data_key is not None else attribute
        name = _free_name(key, used, longest)
        used.add(name.casefold())
        takes_text = isinstance(field, _TEXT_NUMBERS) and not isinstance(field, (Number, Whole))
        found.append(Column(name=name, key=_stored(key), kind=_kind(field), takes_text=takes_text))
    return found


def fit(column: Column, value: object) -> Any:
    """Turn a value of a payload into what its column holds.

    Views do the same in SQL, and a test compares the two.

    Returns:
        None for null; :data:`NOTHING` for a value of another type, or out of
        range. Of a time, digits after the sixth of a second are cut off, and
        one without a zone is UTC.
    """
    return None if value is None else _FITS[column.kind](value, column)


def json_text(value: object) -> str:
    """Write a value as JSON; whole numbers of any size stay exact."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # beyond 64 bits
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _fit_whole(value: object, column: Column) -> Any:
    if isinstance(value, str) and column.takes_text and _WHOLE_TEXT.fullmatch(value):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return NOTHING
    return int(value) if value == value // 1 and int(value) in _INT64 else NOTHING


def _fit_float(value: object, column: Column) -> Any:
    if isinstance(value, str) and column.takes_text and _NUMBER_TEXT.fullmatch(value):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return NOTHING
    try:
        return float(value)
    except OverflowError:
        return NOTHING


def _fit_decimal(value: object, column: Column) -> Any:
    if isinstance(value, str) and column.takes_text and _NUMBER_TEXT.fullmatch(value):
        return value
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return json_text(value) if is_number else NOTHING


def _fit_time(value: object, _column: Column) -> Any:
    if not isinstance(value, str) or not (match := _TIME.fullmatch(value)):
        return NOTHING
    fraction = f".{(match['fraction'] or '.0')[1:7]:0<6}"
    try:
        found = datetime.fromisoformat(
            f"{match['day']}T{match['clock']}{fraction}{(match['zone'] or 'Z')}"
        )
        return found.astimezone(UTC)
    except (ValueError, OverflowError):
        return NOTHING


def _fit_date(value: object, _column: Column) -> Any:
    if not isinstance(value, str) or not re.fullmatch(_DAY, value, re.ASCII):
        return NOTHING
    try:
        return date.fromisoformat(value)
    except ValueError:
        return NOTHING


def _keep(kind: type) -> Callable[[object, Column], Any]:
    return lambda value, _column: value if isinstance(value, kind) else NOTHING


_FITS: dict[Kind, Callable[[object, Column], Any]] = {
    Kind.TEXT: _keep(str),
    Kind.WHOLE: _fit_whole,
    Kind.FLOAT: _fit_float,
    Kind.DECIMAL: _fit_decimal,
    Kind.BOOLEAN: _keep(bool),
    Kind.TIME: _fit_time,
    Kind.DATE: _fit_date,
    Kind.OBJECT: _keep(dict),
    Kind.ARRAY: _keep(list),
    Kind.ANY: lambda value, _column: value,
}


def _kind(field: fields.Field[Any]) -> Kind:
    if isinstance(field, (fields.DateTime, fields.Date)):
        return _kind_of_time(field)
    if isinstance(field, fields.Nested):
        is_plain = not isinstance(field, fields.Pluck)
        return (Kind.ARRAY if field.many else Kind.OBJECT) if is_plain else Kind.ANY
    if isinstance(field, fields.Enum) and not field.by_value:
        return Kind.TEXT
    return next((kind for known, kind in _KINDS if isinstance(field, known)), Kind.ANY)


def _kind_of_time(field: fields.DateTime | fields.Date) -> Kind:
    """Tell ISO 8601 from the rest, which stay as they were sent."""
    if field.format in {"timestamp", "timestamp_ms"}:
        return Kind.FLOAT
    if field.format not in {None, "iso", "iso8601"}:
        return Kind.TEXT
    return Kind.DATE if isinstance(field, fields.Date) else Kind.TIME


def _stored(key: str) -> str:
    """Return a key as payloads have it: what a database cannot hold is escaped."""
    return str(next(iter(orjson.loads(canonical({key: None}).text))))


def _free_name(key: str, used: Collection[str], longest: int) -> str:
    plain = "".join("_" if c == "\x00" or "\ud800" <= c <= "\udfff" else c for c in key)
    wanted = _shortened(plain or "field", longest)
    if wanted.casefold() in used:
        wanted = _shortened(f"field_{plain}", longest)
    name, number = wanted, 1
    while name.casefold() in used:
        number += 1
        name = f"{_shortened(wanted, longest - 5)}_{number}"
    return name


def _shortened(name: str, longest: int) -> str:
    """Cut a name to so many bytes; a hash keeps what was cut off apart."""
    encoded = name.encode()
    if len(encoded) <= longest:
        return name
    digest = hashlib.blake2b(encoded, digest_size=4).hexdigest()
    return f"{encoded[: longest - 9].decode(errors='ignore')}_{digest}"
