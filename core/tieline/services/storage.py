"""Say how large the database is, and copy it into a file while everything runs."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tieline.errors import DependencyError, RefusedError
from tieline.services.installation import Installation
from tieline.store import backup as store
from tieline.store import stats, trouble
from tieline.store.database import Database
from tieline.store.stats import TableStats
from tieline.telemetry import redact

__all__ = ["BackedUp", "DatabaseStats", "back_up", "clock_skew_s", "read_stats"]

_LONGEST_S = 6 * 3600


@dataclass(frozen=True, kw_only=True, slots=True)
class DatabaseStats:
    """What is in the database.

    Attributes:
        database: Where it is, without user and password.
        kind: ``sqlite`` or ``postgresql``.
        size_bytes: Of all of it.
        dead: What waits for a person, by kind: ``dead_letters``, ``events``, ``operations``.
        tables: Each, by name.
    """

    database: str
    kind: str
    size_bytes: int
    dead: Mapping[str, int]
    tables: Sequence[TableStats]


@dataclass(frozen=True, kw_only=True, slots=True)
class BackedUp:
    """A backup that was made.

    Attributes:
        path: The file, which its owner alone can read.
        form: ``sqlite``: a database as it is; ``pg_dump``: for ``pg_restore``.
        size_bytes: How large it is.
    """

    path: Path
    form: Literal["sqlite", "pg_dump"]
    size_bytes: int


def read_stats(installation: Installation) -> DatabaseStats:
    """Count and measure every table; it reads them whole.

    Raises:
        DependencyError: The database does not answer.
    """
    database = installation.database
    with database.read() as transaction:
        dead = stats.count_dead(transaction)
    return DatabaseStats(
        database=database.describe(),
        kind=database.dialect,
        size_bytes=stats.size_bytes(database),
        dead=dead,
        tables=stats.table_stats(database),
    )


def clock_skew_s(installation: Installation) -> float | None:
    """Return how many seconds this clock is ahead of the database's; None: it has none.

    Raises:
        DependencyError: The database does not answer.
    """
    its_time = trouble.server_time(installation.database)
    return (installation.clock.now() - its_time).total_seconds() if its_time else None


def back_up(installation: Installation, path: Path) -> BackedUp:
    """Copy the database into a new file, as of one moment, while everything runs.

    The file is there when all of it is and it was checked, and not before: it is
    written beside, as ``.tieline-….part``. SQLite copies itself; PostgreSQL is
    dumped by ``pg_dump``, which is told the password by its environment.

    Args:
        installation: Whose database; its schema may be any.
        path: Where; it must not be there.

    Raises:
        RefusedError: There is such a file, or none can be made there.
        DependencyError: The database does not answer, ``pg_dump`` is not there or
            failed, or the copy is not sound. No file is left.
    """
    database = installation.raw_database
    if path.exists() or path.is_symlink():
        raise _taken(path)
    try:
        handle, name = tempfile.mkstemp(".part", ".tieline-", path.parent)  # of mode 600
    except OSError as error:
        raise RefusedError(f"{path} cannot be written: {error.strerror}", code="output") from None
    os.close(handle)
    part = Path(name)
    try:
        if database.dialect == "sqlite":
            store.copy_sqlite(database, part)
        else:
            _dump(database, part, path)
        _settle(part, path)
    except OSError as error:
        raise RefusedError(f"{path} cannot be written: {error.strerror}", code="output") from None
    finally:
        for left in (part, Path(f"{part}-journal"), Path(f"{part}-wal"), Path(f"{part}-shm")):
            left.unlink(missing_ok=True)
    form: Literal["sqlite", "pg_dump"] = "sqlite" if database.dialect == "sqlite" else "pg_dump"
    return BackedUp(path=path, form=form, size_bytes=path.stat().st_size)


def _settle(part: Path, path: Path) -> None:
    """Give a whole file its name, unless somebody else has taken that meanwhile."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    try:
        os.link(part, path)
    except FileExistsError:
        raise _taken(path) from None
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}:
            raise
        if path.exists():  # a disk that knows no second name for a file, such as a share
            raise _taken(path) from None
        part.rename(path)


def _taken(path: Path) -> RefusedError:
    return RefusedError(
        f"{path} is there already, and no backup is written over a file",
        hint="name another file",
        code="backup-exists",
    )


def _dump(database: Database, part: Path, path: Path) -> None:
    address, password = store.dump_address(database)
    words = ["pg_dump", "--format=custom", "--no-owner", f"--file={part}", f"--dbname={address}"]
    by_hand = f"pg_dump --format=custom --no-owner --file={path} '{address}'"
    program = shutil.which("pg_dump")
    if program is None:
        raise DependencyError(
            "pg_dump is not installed here, which alone can copy a PostgreSQL that is used",
            hint=f"install PostgreSQL's client programs, or elsewhere: {by_hand}",
            code="pg-dump-missing",
        )
    if not store.is_dumpable(database):
        raise RefusedError(
            "the address has an sslpassword, which pg_dump takes as an argument alone",
            hint=by_hand,
            code="backup-by-hand",
        )
    environ = os.environ | ({"PGPASSWORD": password.reveal()} if password else {})
    try:
        done = subprocess.run(  # noqa: S603 - found by its name, and told no secret
            [program, *words[1:], "--no-password"],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LONGEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DependencyError(
            "pg_dump took six hours", hint=by_hand, code="backup-failed"
        ) from None
    if done.returncode:
        said = redact(done.stderr.strip().replace("\n", "; "))[:400]
        raise DependencyError(
            f"pg_dump failed: {said or done.returncode}",
            hint=f"its version must not be older than the server's; by hand: {by_hand}",
            code="backup-failed",
        )
