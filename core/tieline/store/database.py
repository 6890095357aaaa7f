"""One database: SQLite in a file, or PostgreSQL by address."""

from __future__ import annotations

import os
import re
import sqlite3
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import orjson
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from tieline.contract.errors import SettingsError
from tieline.contract.values import Secret
from tieline.errors import DependencyError, RefusedError
from tieline.store.wire import take_json_texts
from tieline.telemetry import redact

__all__ = [
    "Connection",
    "Database",
    "Desk",
    "RefusedStatementError",
    "open_database",
    "run_plain",
    "sqlite_url",
]

T = TypeVar("T")

_TRIES = 3
_NEVER = 2**31
_ALONE_WITHIN_MS = 2000
_LOCKED_FOR_MS = 30_000
_FIRST_POLL_S = 0.0003
_LAST_POLL_S = 0.01
# With NORMAL a power cut may cost the last commits; what was synced is synced again.
_USUAL_SQLITE = {"synchronous": "NORMAL", "temp_store": "DEFAULT"}
# A statement of many rows copies each page that it changes, to undo itself. In memory that
# costs next to nothing, in a file a third of what writing records costs. Not for everybody:
# what is sorted would be in memory, too.
_SQLITE_OF_A_DESK = {"temp_store": "MEMORY"}
# PostgreSQL: serialization failure, deadlock; both mean "once more".
_REPEATABLE = {"40001", "40P01"}
_ENGINES: weakref.WeakSet[Engine] = weakref.WeakSet()


def _close_files_before_a_fork() -> None:
    """Let no child inherit an open SQLite file.

    SQLite counts its locks per process and would believe in the child that
    they are held, though the kernel gives them to the parent alone: the file
    is then corrupted as soon as the parent dies.
    """
    for engine in _ENGINES:
        if engine.dialect.name == "sqlite":
            engine.dispose()


def _forget_sockets_of_the_parent() -> None:
    """Keep forked children from reading each other's results."""
    for engine in _ENGINES:
        engine.dispose(close=False)


os.register_at_fork(before=_close_files_before_a_fork, after_in_child=_forget_sockets_of_the_parent)


class Database:
    """Transactions on one database.

    Args:
        engine: As :func:`open_database` makes it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reader = engine.execution_options(tieline_read=True)
        self.dialect = engine.dialect.name

    @property
    def engine(self) -> Engine:
        """For the migrations alone."""
        return self._engine

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open one transaction that may write; commit at the end, or roll back.

        Never hold it over a call to the network.

        Raises:
            DependencyError: The database does not answer.
        """
        with _translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open one transaction that only reads.

        Raises:
            DependencyError: The database does not answer.
        """
        with _translated(), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def alone(self) -> Iterator[Connection]:
        """Open a transaction on a SQLite file that no other process has open.

        SQLite leaves its WAL mode only for a connection that is the only one:
        that tells whether a worker, scheduler or server is still there.

        Raises:
            RefusedError: Some process has the file open.
            DependencyError: The file cannot be read.
        """
        self.close()  # connections of our own pool would count
        with _translated(), self._engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            driver.execute(f"PRAGMA busy_timeout={_ALONE_WITHIN_MS}")
            try:
                driver.execute("PRAGMA journal_mode=DELETE")
            except self._engine.dialect.loaded_dbapi.OperationalError:
                raise RefusedError(
                    f"another process has {self.describe()} open",
                    hint="stop every tieline worker, scheduler, serve and up",
                    code="database-in-use",
                ) from None
            with connection.begin():
                yield connection
        self.close()  # whoever opens it next sets the mode again

    def transact(self, work: Callable[[Connection], T], *, is_read: bool = False) -> T:
        """Run ``work`` in a transaction, again if the database asks for that.

        Args:
            work: Called up to three times, each in a fresh transaction; it
                must find out by itself if an earlier one was committed, since
                a connection can be lost during the commit.
            is_read: It only reads.

        Raises:
            DependencyError: The database does not answer.
        """
        with closing(Desk(self._engine)) as desk:
            return desk.transact(work, is_read=is_read)

    @contextmanager
    def desk(self, *, is_durable: bool = False) -> Iterator[Desk]:
        """Keep one connection for many small transactions, one after the other.

        Checking a connection out, having it answer a ping and resetting it
        costs as much as writing a page. SQLite keeps what it sorts in memory
        meanwhile: this is no place for what reads a whole table.

        Args:
            is_durable: What is committed outlasts a power cut in SQLite, too;
                in PostgreSQL it always does, unless its owner set it otherwise.
        """
        pragmas = _SQLITE_OF_A_DESK | ({"synchronous": "FULL"} if is_durable else {})
        with closing(Desk(self._engine, pragmas)) as desk:
            yield desk

    def describe(self) -> str:
        """Say where the database is, without user and password."""
        url = self._engine.url
        if self.dialect == "sqlite":
            return str(url.database)
        port = f":{url.port}" if url.port else ""
        return f"{self.dialect}://{url.host or ''}{port}/{url.database or ''}"

    def close(self) -> None:
        """Give back all connections."""
        self._engine.dispose()


class Desk:
    """Transactions on one connection that is kept, and opened anew when it breaks.

    Statements may go past SQLAlchemy, by :func:`run_plain`.

    Args:
        engine: As :func:`open_database` makes it.
        pragmas: What SQLite's connection is set to for as long as it is kept.
    """

    def __init__(self, engine: Engine, pragmas: Mapping[str, str] | None = None) -> None:
        self._engine = engine
        self._pragmas = (pragmas or {}) if engine.dialect.name == "sqlite" else {}
        self._kept: Connection | None = None

    def transact(self, work: Callable[[Connection], T], *, is_read: bool = False) -> T:
        """Run ``work`` in a transaction, again if the database asks for that.

        As :meth:`Database.transact`; with ``is_read`` it must not write.

        Raises:
            DependencyError: The database does not answer.
        """
        for attempt in range(1, _TRIES + 1):
            try:
                connection = self._connection(is_read=is_read)
                with connection.begin():
                    return work(connection)
            except self._driver_errors as raw:
                error = raw if isinstance(raw, StatementError) else self._wrapped(raw)
                is_lost = isinstance(error, DBAPIError) and error.connection_invalidated
                if is_lost:
                    self.close()
                if attempt == _TRIES or not _is_repeatable(error):
                    raise _unavailable(error) from None
            except UnicodeEncodeError as error:
                raise _piece_of(error) from None
            except PoolTimeout:
                raise _too_busy() from None
        raise AssertionError  # not reached

    def close(self) -> None:
        """Give the connection back."""
        kept, self._kept = self._kept, None
        if kept is None:
            return
        if not (kept.invalidated or kept.closed):  # others have this connection next
            self._set(kept, {name: _USUAL_SQLITE[name] for name in self._pragmas})
        kept.close()

    @property
    def _driver_errors(self) -> tuple[type[BaseException], ...]:
        return StatementError, self._engine.dialect.loaded_dbapi.Error

    def _connection(self, *, is_read: bool) -> Connection:
        if self._kept is None:
            self._kept = self._engine.connect()
            self._set(self._kept, self._pragmas)
        return self._kept.execution_options(tieline_read=is_read)

    @staticmethod
    def _set(kept: Connection, pragmas: Mapping[str, str]) -> None:
        driver: Any = kept.connection.driver_connection
        for name, value in pragmas.items():
            driver.execute(f"PRAGMA {name}={value}")

    def _wrapped(self, raw: Any) -> DBAPIError:
        dialect, kept = self._engine.dialect, self._kept
        driver: Any = None if kept is None or kept.invalidated else kept.connection
        is_lost = dialect.is_disconnect(raw, driver, None)
        if is_lost and kept is not None:
            kept.invalidate()
        found: Any = DBAPIError.instance(
            None,
            None,
            raw,
            dialect.loaded_dbapi.Error,
            hide_parameters=True,
            connection_invalidated=is_lost,
            dialect=dialect,
        )
        return cast("DBAPIError", found)


def run_plain(connection: Connection, statement: str, given: Any, *, is_kept: bool = False) -> Any:
    """Run a statement on the driver's own connection; once a page, that is worth it.

    Args:
        connection: Of a :class:`Desk`; its transaction is open.
        statement: In the driver's own form.
        given: Its values.
        is_kept: PostgreSQL keeps it prepared, and may keep its plan: there is only one good
            one, however many rows there are.

    Returns:
        The driver's cursor.
    """
    driver: Any = connection.connection.driver_connection
    if is_kept and connection.dialect.name == "postgresql":
        return driver.execute(statement, given, prepare=True)
    return driver.execute(statement, given)


def sqlite_url(path: Path) -> str:
    """Write the address of a SQLite file, whatever characters its name has."""
    return URL.create("sqlite", database=str(path)).render_as_string()


def open_database(url: Secret, *, patience_s: float = 30.0) -> Database:
    """Open a database; nothing is connected before the first transaction.

    Args:
        url: ``sqlite:///…`` or ``postgresql+psycopg://…``; plain
            ``postgresql://`` is taken as psycopg's.
        patience_s: How long PostgreSQL waits for a process that fell silent
            within a transaction, before it takes the locks away; in seconds.

    Raises:
        SettingsError: The address makes no sense, or its driver is missing.
    """
    text = url.reveal()
    if text.startswith("postgresql://"):
        text = text.replace("postgresql://", "postgresql+psycopg://", 1)
    options: dict[str, Any] = {
        "hide_parameters": True,
        "json_serializer": lambda value: orjson.dumps(value).decode(),
        "json_deserializer": orjson.loads,
        "pool_size": 20,
        "max_overflow": 80,  # a hand keeps one while it works; a setting bounds the hands
        "pool_timeout": 25,
    }
    try:
        parsed = make_url(text)
        if parsed.get_backend_name() == "postgresql":
            # No plan made while a table was small is kept for when it is large, unless asked for.
            connect: dict[str, Any] = {"prepare_threshold": _NEVER}
            bounds = {"connect_timeout": 10, "tcp_user_timeout": 30_000}
            connect |= {name: value for name, value in bounds.items() if name not in parsed.query}
            options |= {"pool_pre_ping": True, "connect_args": connect}
        engine = create_engine(text, **options)
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"TIELINE_DATABASE_URL needs the package {error.name}, which is not installed",
            hint="pip install 'tieline[postgres]'",
        ) from None
    except (SQLAlchemyError, ValueError, TypeError):
        raise SettingsError(
            "TIELINE_DATABASE_URL is no database address",
            hint="for example: postgresql+psycopg://user:PASSWORD@host/database",
        ) from None
    if "@" in (engine.url.host or ""):  # a piece of the password would be shown
        raise SettingsError("TIELINE_DATABASE_URL: write an @ in the password as %40")
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        event.listen(engine, "connect", partial(_prepare_postgresql, max(patience_s, 5.0)))
    _ENGINES.add(engine)
    return Database(engine)


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        f"synchronous={_USUAL_SQLITE['synchronous']}",
        f"busy_timeout={_LOCKED_FOR_MS}",
        # 64 MB: the keys of a page are anywhere in their index, whose leaves each page writes
        # almost one by one. The longer they are gathered, the less often each is copied.
        "wal_autocheckpoint=16000",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _prepare_postgresql(patience_s: float, connection: Any, _record: object) -> None:
    """Let no frozen process keep its locks: others wait for them, and would for ever.

    Texts are UTF-8, whatever PGCLIENTENCODING says: records go there as they are written.
    """
    connection.execute(
        f"SET idle_in_transaction_session_timeout = {round(patience_s * 1000)};"
        " SET client_encoding = 'UTF8'"
    )
    connection.commit()
    take_json_texts(connection)


def _begin_sqlite(connection: Connection) -> None:
    """Take the write lock at once, or read-modify-write loses updates silently."""
    if connection.get_execution_options().get("tieline_read"):
        connection.exec_driver_sql("BEGIN")
        return
    driver: Any = connection.connection.driver_connection
    driver.execute("PRAGMA busy_timeout=0")
    try:
        if not _takes_lock(driver):
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # raises what is in the way
    finally:
        driver.execute(f"PRAGMA busy_timeout={_LOCKED_FOR_MS}")


def _takes_lock(driver: Any) -> bool:
    """Ask for the write lock until it is ours; False if something else is wrong, or it is too late.

    Others hold it for a millisecond or two, page by page. SQLite itself would ask
    again after 1, 2, 5, 10 ms …: two workers of one run slept while it was free.
    """
    began = time.monotonic()
    while True:
        try:
            driver.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            is_held = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
            waited = time.monotonic() - began
            if not is_held or waited * 1000 >= _LOCKED_FOR_MS:
                return False
            time.sleep(min(max(waited / 8, _FIRST_POLL_S), _LAST_POLL_S))
        else:
            return True


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except StatementError as error:
        raise _unavailable(error) from None
    except UnicodeEncodeError as error:
        raise _piece_of(error) from None
    except PoolTimeout:
        raise _too_busy() from None


def _too_busy() -> DependencyError:
    return DependencyError(
        "no connection to the database came free within 25 s",
        hint="lower TIELINE_HANDS, or run fewer workers",
        code="database-busy",
    )


def _is_repeatable(error: StatementError) -> bool:
    is_lost = isinstance(error, DBAPIError) and error.connection_invalidated
    return is_lost or getattr(error.orig, "sqlstate", None) in _REPEATABLE


def _unavailable(error: StatementError) -> Exception:
    """Turn "does not answer" into our error; others keep their class and lose all values."""
    kind = type(error).__name__
    state = getattr(error.orig, "sqlstate", None)
    if kind == "ProgrammingError" and state is None and "invalid" in str(error.orig):
        return SettingsError("TIELINE_DATABASE_URL has an option that the driver does not know")
    if kind not in {"OperationalError", "InterfaceError", "DatabaseError"}:
        return _without_values(error)
    words = str(error.orig).strip().splitlines()
    if state and not state.startswith(_OF_THE_SERVER):
        words = [f"SQLSTATE {state}"]
    return DependencyError(
        f"the database does not answer or refuses: {redact(words[0]) if words else kind}",
        hint="tieline doctor",
        code="database-down",
    )


class RefusedStatementError(Exception):
    """What a database said of a statement, without a value, its DETAIL or its CONTEXT.

    Args:
        error: The driver's own.

    Attributes:
        sqlstate: PostgreSQL's code of five characters; None for SQLite.
        constraint: Name of the constraint that was violated, as far as it was told.
    """

    def __init__(self, error: BaseException | None) -> None:
        diagnosis = getattr(error, "diag", None)
        self.sqlstate: str | None = getattr(error, "sqlstate", None)
        self.constraint: str | None = getattr(diagnosis, "constraint_name", None)
        named = [
            f"{what} {name}"
            for what in ("constraint", "table", "column")
            if (name := getattr(diagnosis, f"{what}_name", None))
        ]
        said = [
            type(error).__name__,
            getattr(error, "sqlite_errorname", None) or "",
            f"SQLSTATE {self.sqlstate}" if self.sqlstate else "",
            *named,
            _harmless_words(error),
        ]
        super().__init__(", ".join(filter(None, said)))


def _harmless_words(error: BaseException | None) -> str:
    """Return words that name tables, columns and syntax, and cannot hold a value.

    SQLite's of a constraint, and PostgreSQL's of class 42. Others quote what
    was sent: 'invalid input syntax for type integer: "…"'.
    """
    words = str(error).strip().partition("\n")[0]
    if str(getattr(error, "sqlstate", None)).startswith("42") or _CONSTRAINT.fullmatch(words):
        return words
    return ""


_CONSTRAINT = re.compile(r"(UNIQUE|NOT NULL|CHECK|FOREIGN KEY) constraint failed(: [\w., ]+)?")
# PostgreSQL's classes of SQLSTATE that tell of the server, not of what was sent.
_OF_THE_SERVER = ("08", "25", "28", "3D", "40", "53", "54", "55", "57", "58", "XX")


def _without_values(error: StatementError) -> StatementError:
    """Make an error anew: of the same class, where it was, without statement and values."""
    said = RefusedStatementError(error.orig)
    clean = StatementError(str(said), None, None, said, hide_parameters=True)
    if isinstance(error, DBAPIError):
        clean = type(error)(
            None,
            None,
            said,
            hide_parameters=True,
            connection_invalidated=error.connection_invalidated,
        )
    return clean.with_traceback(error.__traceback__)


def _piece_of(error: UnicodeEncodeError) -> UnicodeEncodeError:
    """Keep of a text that cannot be stored the characters that are to blame."""
    piece = error.object[error.start : error.end]
    clean = UnicodeEncodeError(error.encoding, piece, 0, len(piece), error.reason)
    return clean.with_traceback(error.__traceback__)
