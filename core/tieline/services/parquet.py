"""Write records as Parquet, typed by their schema; what does not fit is kept beside."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, BinaryIO

from tieline.contract import SettingsError, parse_json
from tieline.records.columns import NOTHING, fit, json_text
from tieline.store.records import StoredRecord
from tieline.store.view_sql import Column, Kind

__all__ = ["require_pyarrow", "write_parquet"]

# A group is what is in memory at once.
GROUP_ROWS = 10_000
GROUP_BYTES = 16_000_000
_JSON = frozenset({Kind.OBJECT, Kind.ARRAY, Kind.ANY})
_NANOSECONDS = re.compile(r"[.][0-9]{6,}[1-9]")


def require_pyarrow() -> None:
    """Refuse to begin without the package.

    Raises:
        SettingsError: It is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401, PLC0415 - an extra
    except ImportError:
        raise SettingsError(
            "Parquet needs the package pyarrow, which is not installed",
            hint="pip install 'tieline[parquet]'",
            code="extra-missing",
        ) from None


def write_parquet(
    file: BinaryIO, columns: Sequence[Column], records: Iterable[StoredRecord]
) -> int:
    """Write records into a file, a group of rows at a time.

    A value that does not fit its column's type is null there and stands in
    ``_raw``, as JSON of such fields by their keys; null where all fit.

    Args:
        file: Open for writing; stays open.
        columns: One for each field.
        records: As they are stored.

    Returns:
        How many were written.
    """
    import pyarrow as pa  # noqa: PLC0415 - an extra
    from pyarrow import parquet  # noqa: PLC0415

    schema = _schema(pa, columns)
    count = 0
    with parquet.ParquetWriter(file, schema) as writer:
        rows: list[dict[str, Any]] = []
        size = 0
        for record in records:
            rows.append(_row(columns, record))
            size += len(record.payload)
            count += 1
            if len(rows) >= GROUP_ROWS or size >= GROUP_BYTES:
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
                rows, size = [], 0
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    return count


def _schema(pa: Any, columns: Sequence[Column]) -> Any:
    moment = pa.timestamp("us", tz="UTC")
    types = {
        Kind.WHOLE: pa.int64(),
        Kind.FLOAT: pa.float64(),
        Kind.BOOLEAN: pa.bool_(),
        Kind.TIME: moment,
        Kind.DATE: pa.date32(),
    }
    fields = [(column.name, types.get(column.kind, pa.string())) for column in columns]
    facts = [
        ("_id", pa.string()),
        ("_changed_at", moment),
        ("_deleted_at", moment),
        ("_position", pa.int64()),
        ("_revision", pa.int64()),
        ("_raw", pa.string()),
    ]
    return pa.schema([*fields, *facts])


def _row(columns: Sequence[Column], record: StoredRecord) -> dict[str, Any]:
    payload = parse_json(record.payload.encode())
    row: dict[str, Any] = {}
    raw: dict[str, Any] = {}
    for column in columns:
        value = payload.get(column.key)
        found = fit(column, value)
        if found is NOTHING:
            found = None
        if value is not None and not _is_whole(column, value, found):
            raw[column.key] = value
        row[column.name] = json_text(found) if column.kind in _JSON and found is not None else found
    return row | {
        "_id": record.record_id,
        "_changed_at": record.changed_at,
        "_deleted_at": record.deleted_at,
        "_position": record.position,
        "_revision": record.revision,
        "_raw": json_text(raw) if raw else None,
    }


def _is_whole(column: Column, value: Any, found: Any) -> bool:
    """Say whether a column's value tells all that was received."""
    if found is None:
        return False
    if column.kind is Kind.FLOAT and isinstance(value, int):
        return bool(found == value)  # a float holds 53 bits
    if isinstance(found, datetime):
        return not _NANOSECONDS.search(str(value))
    return True
