"""How large the database is: rows, bytes and age of each table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Table, func, literal_column, select, text
from sqlalchemy.exc import DBAPIError

from tieline.store.database import Connection, Database
from tieline.store.tables import dead_letters, metadata, operations, webhook_events

__all__ = ["TableStats", "count_dead", "size_bytes", "table_sizes", "table_stats"]

# The first that a table has tells how old its rows are.
_TIMES = ("created_at", "received_at", "at", "first_seen_at", "found_at", "made_at", "updated_at")


@dataclass(frozen=True, kw_only=True, slots=True)
class TableStats:
    """One table.

    Attributes:
        name: Of the table.
        rows: How many there are.
        size_bytes: With its indexes; None: this database does not tell.
        oldest_at: When its oldest row was made; None: it has none, or no time.
        newest_at: When its newest was.
    """

    name: str
    rows: int
    size_bytes: int | None
    oldest_at: datetime | None
    newest_at: datetime | None


def table_stats(database: Database) -> list[TableStats]:
    """Look at every table of ours, by name; it reads them whole.

    Raises:
        DependencyError: The database does not answer.
    """
    sizes = table_sizes(database)
    with database.read() as connection:
        return [
            _stats(connection, table, sizes.get(table.name))
            for table in sorted(metadata.tables.values(), key=lambda each: each.name)
        ]


def _stats(connection: Connection, table: Table, size: int | None) -> TableStats:
    column = next((table.c[name] for name in _TIMES if name in table.c), None)
    wanted: list[Any] = [func.count()]
    if column is not None:
        wanted += [func.min(column, type_=column.type), func.max(column, type_=column.type)]
    rows, *times = connection.execute(select(*wanted).select_from(table)).one()
    oldest, newest = times or (None, None)
    return TableStats(
        name=table.name, rows=rows, size_bytes=size, oldest_at=oldest, newest_at=newest
    )


def table_sizes(database: Database) -> Mapping[str, int]:
    """Measure tables with their indexes, in bytes; empty if this database does not tell."""
    try:
        with database.read() as connection:
            rows = connection.execute(_SQLITE if database.dialect == "sqlite" else _POSTGRESQL)
            return {name: int(size) for name, size in rows}
    except DBAPIError:  # a SQLite that was built without dbstat
        return {}


_SQLITE = text("""
SELECT m.tbl_name, sum(d.pgsize) FROM dbstat AS d JOIN sqlite_master AS m ON m.name = d.name
WHERE d.aggregate = TRUE GROUP BY m.tbl_name
""")
_POSTGRESQL = text("""
SELECT relname, pg_total_relation_size(oid) FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'
""")


def size_bytes(database: Database) -> int:
    """Measure all of it: SQLite's file with its log, PostgreSQL's database."""
    if database.dialect == "sqlite":
        path = database.describe()
        files = [Path(path), Path(f"{path}-wal")]
        return sum(file.stat().st_size for file in files if file.is_file())
    with database.read() as connection:
        found = connection.execute(text("SELECT pg_database_size(current_database())"))
        return int(found.scalar_one())


def count_dead(connection: Connection) -> dict[str, int]:
    """Count what was given up and waits for a person: letters, events, operations."""
    waiting = {
        "dead_letters": (dead_letters, dead_letters.c.settled_at.is_(None)),
        "events": (webhook_events, webhook_events.c.state == literal_column("'dead'")),
        "operations": (operations, operations.c.state == "dead"),
    }
    return {
        name: connection.execute(
            select(func.count()).select_from(table).where(condition)
        ).scalar_one()
        for name, (table, condition) in waiting.items()
    }
