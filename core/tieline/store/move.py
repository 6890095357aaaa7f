"""Move everything from SQLite to PostgreSQL: copied in one transaction, compared, then marked.

The copy is one transaction of the target, and the source is marked as moved only
after its commit. Killed before, nothing happened; killed between, the two are
compared once more and found equal.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Any

import orjson
from sqlalchemy import (
    JSON,
    Column,
    Integer,
    Table,
    Text,
    bindparam,
    cast,
    func,
    insert,
    literal_column,
    select,
    text,
    true,
    type_coerce,
)
from sqlalchemy.exc import DBAPIError

from tieline.errors import RefusedError
from tieline.failpoints import failpoint
from tieline.store.database import Connection, Database
from tieline.store.schema import MOVED, current_revision, upgrade
from tieline.store.tables import SCHEMA_REVISION, grants, metadata, operations, partitions
from tieline.store.webhook_tables import webhook_drains

__all__ = ["MovedTable", "copy_all", "lease_left", "mark_moved", "prepare_target", "undo"]

_ROWS = 500
_BYTES = 4 << 20
_INT32 = 1 << 31
_MODULUS = 1 << 128
_LOCK = 7416839  # as an upgrade's: neither may run beside the other


@dataclass(frozen=True, kw_only=True, slots=True)
class MovedTable:
    """One table as it was copied and compared.

    Attributes:
        name: Of the table.
        rows: How many there are, in source and target alike.
        digest: Hash over all rows, in whatever order; the same in both, in hex.
    """

    name: str
    rows: int
    digest: str


def lease_left(connection: Connection, now: datetime) -> datetime | None:
    """Return until when somebody holds work: a part of a run, an inbox, a change, a grant."""
    held = {
        partitions: partitions.c.state == "running",  # one that is done keeps its last lease
        webhook_drains: true(),
        operations: true(),
        grants: true(),
    }
    found = [
        connection.execute(select(func.max(table.c.lease_until)).where(so)).scalar()
        for table, so in held.items()
    ]
    latest = max(filter(None, found), default=None)
    return latest if latest is not None and latest > now else None


def prepare_target(target: Database) -> None:
    """Make the tables in a database that has none; harmless to repeat.

    Raises:
        RefusedError: Tables that are none of Tieline's have the names of ours.
        SettingsError: A newer Tieline made the tables.
        DependencyError: The database does not answer.
    """
    if current_revision(target) is None:
        names = {"names": list(metadata.tables)}
        with target.read() as connection:
            taken = connection.execute(_TAKEN, names).scalars().all()
        if taken:
            raise RefusedError(
                f"{target.describe()} has tables that are none of Tieline's: {', '.join(taken)}",
                hint="make a database for Tieline alone: createdb tieline",
                code="target-not-empty",
            )
    upgrade(target)


_TAKEN = text("""
SELECT relname FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relname = ANY(:names) ORDER BY relname
""")


def copy_all(
    source: Connection, target: Database, tell: Callable[[str, int], object]
) -> tuple[list[MovedTable], bool]:
    """Copy all tables and compare them, in one transaction of the target.

    Args:
        source: Of SQLite, as :meth:`Database.alone` gives it.
        target: Has our tables.
        tell: Called with a table's name and how many of its rows were copied
            so far, at least once for each table.

    Returns:
        The tables in the order of their copying, and whether they were copied
        now: False if the target had them all already, equal to the last byte.

    Raises:
        RefusedError: The target holds something else, a row does not fit into
            PostgreSQL, or what came out differs from what went in. The target
            is as it was.
        DependencyError: A database does not answer.
    """
    with target.write() as connection:
        _hold(connection)
        is_empty = not any(
            connection.execute(select(literal_column("1")).select_from(table).limit(1)).first()
            for table in metadata.sorted_tables
        )
        went_in = {}
        for table in metadata.sorted_tables:
            tally = _Tally()
            for batch in _batches(tally.counted(_read(source, table), table)):
                if is_empty:
                    _write(connection, table, batch)
                    tell(table.name, tally.rows)
            tell(table.name, tally.rows)
            went_in[table.name] = tally
        moved = [
            _compared(connection, table, went_in[table.name], is_copied=is_empty, where=target)
            for table in metadata.sorted_tables
        ]
        for table in metadata.sorted_tables:
            _set_sequences(source, connection, table)
        failpoint("move.before_commit")
    failpoint("move.after_commit")
    return moved, is_empty


def mark_moved(source: Connection) -> None:
    """Have every Tieline refuse the source from now on: two truths would be one too many."""
    source.execute(text("UPDATE alembic_version SET version_num = :it"), {"it": MOVED})


def undo(source: Database) -> bool:
    """Take the mark away; False if there was none."""
    with source.write() as connection:
        done = connection.execute(
            text("UPDATE alembic_version SET version_num = :it WHERE version_num = :moved"),
            {"it": SCHEMA_REVISION, "moved": MOVED},
        )
        return bool(done.rowcount)


def _hold(connection: Connection) -> None:
    """Let nobody else write to the target, migrate it, or move to it, until the end."""
    if not connection.execute(text(f"SELECT pg_try_advisory_xact_lock({_LOCK})")).scalar():
        raise RefusedError(
            "another move or upgrade of that database is under way",
            hint="wait for its end",
            code="move-under-way",
        )
    names = ", ".join(f'"{table.name}"' for table in metadata.sorted_tables)
    connection.execute(text(f"LOCK TABLE {names} IN EXCLUSIVE MODE"))


# --- rows ---------------------------------------------------------------------------------------


def _is_json(column: Column[Any]) -> bool:
    return isinstance(column.type, JSON)


def _read(connection: Connection, table: Table) -> Iterator[Sequence[Any]]:
    """Read rows by key; JSON as its text, for a parser in between could round its numbers."""
    is_sqlite = connection.dialect.name == "sqlite"
    as_text = type_coerce if is_sqlite else cast
    columns = [as_text(each, Text) if _is_json(each) else each for each in table.c]
    statement = select(*columns).order_by(*table.primary_key.columns)
    with closing(connection.execute(statement, execution_options={"yield_per": _ROWS})) as found:
        for row in found:
            yield tuple(row)


def _batches(rows: Iterable[Sequence[Any]]) -> Iterator[list[Sequence[Any]]]:
    batch, size = [], 0
    for row in rows:
        batch.append(row)
        size += sum(len(value) for value in row if isinstance(value, str | bytes))
        if len(batch) == _ROWS or size > _BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _write(connection: Connection, table: Table, batch: Sequence[Sequence[Any]]) -> None:
    given = {
        each: cast(bindparam(each.name, type_=Text), each.type)
        for each in table.c
        if _is_json(each)
    }
    statement = insert(table).values(given) if given else insert(table)
    names = [each.name for each in table.c]
    try:
        connection.execute(statement, [dict(zip(names, row, strict=True)) for row in batch])
    except DBAPIError as error:
        state = getattr(error.orig, "sqlstate", None)
        if state is not None and not state.startswith("22"):
            raise
        if (why := _misfit(table, batch)) is None:
            raise
        raise RefusedError(
            f"PostgreSQL cannot hold {why}; nothing was moved",
            hint="drop or mend that row in the SQLite file, then move again",
            code="move-misfit",
        ) from None


def _misfit(table: Table, batch: Sequence[Sequence[Any]]) -> str | None:
    """Name the first value that SQLite holds and PostgreSQL does not."""
    for row in batch:
        for column, value in zip(table.c, row, strict=True):
            if (why := _why_not(column, value)) is not None:
                named = dict(zip(table.c.keys(), row, strict=True))
                key = ", ".join(str(named[each.name]) for each in table.primary_key.columns)
                return f"{table.name}.{column.name} of {key!r}: {why}"
    return None


def _why_not(column: Column[Any], value: Any) -> str | None:
    if isinstance(value, str):
        length = None if _is_json(column) else getattr(column.type, "length", None)
        if "\x00" in value or (_is_json(column) and "\\u0000" in value):
            return "it has a NUL character"
        if length is not None and len(value) > length:
            return f"it has {len(value)} characters, more than {length}"
        if _is_json(column) and "\\ud" in value.lower():
            return "it has half a character"
    is_32_bits = type(column.type) is Integer
    if is_32_bits and isinstance(value, int) and not -_INT32 <= value < _INT32:
        return "it is a number beyond 32 bits"
    return None


def _set_sequences(source: Connection, target: Connection, table: Table) -> None:
    """Have new rows numbered after the last that ever was, so that no reader's place repeats."""
    for column in table.c:
        if column.autoincrement is not True:
            continue
        last = target.execute(select(func.max(column))).scalar() or 0
        if source.execute(_HAS_SEQUENCES).first():
            given = source.execute(_SEQUENCE, {"name": table.name}).scalar() or 0
            last = max(last, given)
        named = {"table": table.name, "column": column.name, "next": last + 1}
        target.execute(_SET, named)


_HAS_SEQUENCES = text("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'")
_SEQUENCE = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
_SET = text("SELECT setval(pg_get_serial_sequence(:table, :column), :next, false)")


# --- comparison ---------------------------------------------------------------------------------


class _Tally:
    """Counts and hashes rows, in whatever order they come: databases sort texts differently."""

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0

    def counted(self, rows: Iterable[Sequence[Any]], table: Table) -> Iterator[Sequence[Any]]:
        documents = [_is_json(column) for column in table.c]
        for row in rows:
            told = [
                _canonical(value) if is_document and value is not None else value
                for value, is_document in zip(row, documents, strict=True)
            ]
            digest = blake2b(repr(told).encode(errors="surrogatepass"), digest_size=16).digest()
            self._sum = (self._sum + int.from_bytes(digest)) % _MODULUS
            self.rows += 1
            yield row

    @property
    def digest(self) -> str:
        return f"{self._sum:032x}"


def _compared(
    target: Connection, table: Table, went_in: _Tally, *, is_copied: bool, where: Database
) -> MovedTable:
    came_out = _Tally()
    for _ in came_out.counted(_read(target, table), table):
        pass
    if (came_out.rows, came_out.digest) == (went_in.rows, went_in.digest):
        return MovedTable(name=table.name, rows=came_out.rows, digest=came_out.digest)
    if not is_copied:
        raise RefusedError(
            f"{where.describe()} is not empty, and differs from this database: "
            f"{table.name} has {came_out.rows} rows there, {went_in.rows} here",
            hint="move to a new, empty database: createdb tieline",
            code="target-not-empty",
        )
    raise RefusedError(
        f"{table.name} came out different: {came_out.rows} rows of {went_in.rows}, "
        f"hash {came_out.digest} instead of {went_in.digest}; nothing was moved",
        hint="this is a bug of Tieline's: go on with SQLite, and report it",
        code="move-differs",
    )


def _canonical(document: str) -> bytes:
    """Write JSON so that equal documents are equal bytes: jsonb sorts keys and rewrites numbers."""
    read = json.loads(document, parse_float=_number, parse_int=_number)
    return orjson.dumps(read, option=orjson.OPT_SORT_KEYS)


def _number(written: str) -> dict[str, str]:
    """Stand for a number, whatever its size: digits without end zeros, and an exponent."""
    if len(written) < _SHORT and written.isdecimal() and written[-1] != "0":
        return {"": f"0,{written},0"}
    sign, digits, exponent = Decimal(written).as_tuple()
    significant = "".join(map(str, digits)).lstrip("0")
    end = len(significant) - len(kept := significant.rstrip("0"))
    if not kept:
        return {"": "0"}
    return {"": f"{sign},{kept},{int(exponent) + end}"}


_SHORT = 20
