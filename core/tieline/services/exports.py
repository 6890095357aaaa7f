"""Export records into a file, or as lines to pass on: JSONL, CSV, Parquet."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, get_args

from tieline.contract import parse_json
from tieline.errors import InvalidInputError, TielineError
from tieline.records.columns import columns_of, json_text
from tieline.services.connections import get_connection
from tieline.services.installation import Installation
from tieline.services.records import all_records, export_records
from tieline.store.records import StoredRecord
from tieline.store.view_sql import Column

__all__ = ["FACTS", "FORMATS", "Format", "csv_lines", "export_file"]

Format = Literal["jsonl", "csv", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)

FACTS = ("_id", "_changed_at", "_deleted_at", "_position", "_revision")
"""Columns that follow those of the schema's fields."""

_LONGEST = 1 << 16
_QUOTED = frozenset('",\r\n')


def export_file(
    installation: Installation,
    connection: str,
    entity: str,
    output: Path,
    *,
    form: Format = "jsonl",
    with_deleted: bool = True,
) -> int:
    """Export all records of an entity into a file.

    The file is there when all of it is, and not before: it is written beside,
    as ``.tieline-….part``, and renamed. Records are of one moment, and memory
    does not grow with their number.

    Args:
        installation: Where.
        connection: Name or id.
        entity: Whose records.
        output: The file; one that is there is replaced.
        form: What to write.
        with_deleted: Whether tombstones are wanted.

    Returns:
        How many records it holds.

    Raises:
        NotFoundError: No such connection or entity.
        InvalidInputError: The file cannot be written there.
        SettingsError: Parquet needs a package that is not installed.
    """
    if form == "parquet":
        from tieline.services.parquet import (  # noqa: PLC0415 - an extra, and large
            require_pyarrow,
            write_parquet,
        )

        require_pyarrow()
        columns = columns_for(installation, connection, entity)
        found = all_records(installation, connection, entity, with_deleted=with_deleted)
        with closing(found), _replaced(output) as file:
            return write_parquet(file, columns, found)
    lines = _lines(installation, connection, entity, form, with_deleted=with_deleted)
    count = -1 if form == "csv" else 0  # its first line names the columns
    with closing(lines), _replaced(output) as file:
        for line in lines:
            file.write(line)
            count += 1
    return count


def csv_lines(
    installation: Installation, connection: str, entity: str, *, with_deleted: bool = True
) -> Iterator[bytes]:
    r"""Write all records as CSV (RFC 4180), the names of the columns first.

    Columns are the schema's fields and :data:`FACTS`. Values are as received:
    nested ones are JSON text, null is empty, and empty text is ``""``. Nothing
    is done about text that a spreadsheet would take for a formula.

    Returns:
        Lines of UTF-8, each with its ``\r\n``.

    Raises:
        NotFoundError: No such connection or entity.
    """
    columns = columns_for(installation, connection, entity)
    yield _csv_line([*(column.name for column in columns), *FACTS])
    found = all_records(installation, connection, entity, with_deleted=with_deleted)
    with closing(found):
        for record in found:
            payload = parse_json(record.payload.encode())
            values = [_cell(payload.get(column.key)) for column in columns]
            yield _csv_line([*values, *_facts(record)])


def columns_for(installation: Installation, connection: str, entity: str) -> list[Column]:
    """Derive the columns of an entity's files.

    Raises:
        NotFoundError: No such connection or entity.
    """
    row = get_connection(installation, connection)
    declared = installation.registry.get(row.provider).entity(entity)
    return columns_of(declared.schema, taken=(*FACTS, "_raw"), longest=_LONGEST)


def _lines(
    installation: Installation,
    connection: str,
    entity: str,
    form: Format,
    *,
    with_deleted: bool,
) -> Generator[bytes, None, None]:
    if form == "csv":
        yield from csv_lines(installation, connection, entity, with_deleted=with_deleted)
        return
    for line in export_records(installation, connection, entity, with_deleted=with_deleted):
        yield line + b"\n"


def _facts(record: StoredRecord) -> list[str | None]:
    return [
        record.record_id,
        record.changed_at.isoformat(),
        record.deleted_at.isoformat() if record.deleted_at else None,
        str(record.position),
        str(record.revision),
    ]


def _cell(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else json_text(value)


def _csv_line(values: Sequence[str | None]) -> bytes:
    return (",".join(map(_csv_field, values)) + "\r\n").encode()


def _csv_field(value: str | None) -> str:
    if value is None:
        return ""
    is_plain = value and _QUOTED.isdisjoint(value) and value == value.strip()
    return value if is_plain else '"' + value.replace('"', '""') + '"'


@contextmanager
def _replaced(path: Path) -> Iterator[BinaryIO]:
    """Give a file that takes ``path``'s place when all went well, and is removed otherwise."""
    part: Path | None = None
    try:
        target = Path(os.path.realpath(path))  # a link stays one
        is_there = target.exists()
        if is_there and not target.is_file():
            raise InvalidInputError(
                f"{path} is no file that could be replaced",
                hint="name a file, or leave --output out and pass the lines on",
                code="output",
            )
        descriptor, name = tempfile.mkstemp(".part", ".tieline-", target.parent)
        part = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, target.stat().st_mode & 0o777 if is_there else _mode())
            yield file
            file.flush()
            os.fsync(descriptor)
        part.replace(target)
        part = None
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def _mode() -> int:
    """Return what a new file may be; the only way to ask is to set it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask


def _unwritable(path: Path, error: OSError) -> TielineError:
    words = f"{path} cannot be written: {error.strerror or error}"
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG}:
        return TielineError(words, code="output")
    return InvalidInputError(words, hint="--output FILE in a folder that is there", code="output")
