"""Copy a database while it is used: SQLite by its own backup, PostgreSQL's address for pg_dump."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import URL

from tieline.contract import Secret
from tieline.errors import DependencyError
from tieline.store.database import Database

__all__ = ["copy_sqlite", "dump_address", "is_dumpable"]

_SECRET_OPTIONS = ("password", "sslpassword")


def copy_sqlite(database: Database, path: Path) -> None:
    """Copy a SQLite database into an empty file, as of one moment, and check the copy.

    In one step: who writes meanwhile is not held up, as nobody is by a reader, and
    would make a copy in several steps begin anew.

    Raises:
        DependencyError: The database cannot be read, or the copy is not sound.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as copy:
        with database.read() as connection:
            driver: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
            try:
                driver.backup(copy, pages=-1)
            except sqlite3.Error as error:
                raise DependencyError(
                    f"the database cannot be copied: {error}", code="backup-failed"
                ) from None
        try:
            copy.execute("PRAGMA journal_mode=DELETE")  # one file: none beside it may get lost
            found = [row[0] for row in copy.execute("PRAGMA integrity_check(5)")]
        except sqlite3.Error as error:
            found = [str(error)]
    if found != ["ok"]:
        raise DependencyError(
            f"the copy is not sound: {str(found[0])[:120]}",
            hint="the database itself is damaged, or the disk: PRAGMA integrity_check says more",
            code="backup-failed",
        )


def dump_address(database: Database) -> tuple[str, Secret]:
    """Return a PostgreSQL database's address as libpq reads it, and apart from it the password."""
    url = database.engine.url
    given = url.query.get("password", "")
    text = url.password or (given if isinstance(given, str) else given[-1])
    query = {name: value for name, value in url.query.items() if name not in _SECRET_OPTIONS}
    bare = URL.create(
        "postgresql",
        username=url.username,
        host=url.host,
        port=url.port,
        database=url.database,
        query=query,
    )
    return bare.render_as_string(hide_password=False), Secret(str(text))


def is_dumpable(database: Database) -> bool:
    """Say whether all that pg_dump needs can be told it without an argument that is a secret."""
    return "sslpassword" not in database.engine.url.query
