"""Move an installation from its SQLite file to PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tieline.contract import Secret, SettingsError
from tieline.errors import DependencyError, InvalidInputError, PluginError, RefusedError
from tieline.services.installation import Installation
from tieline.services.views import create_views, list_views, refresh_views
from tieline.store import move as store
from tieline.store.database import open_database
from tieline.store.views import ViewRow
from tieline.telemetry import get_logger, remember

__all__ = ["Moved", "move_database", "undo_move"]

_log = get_logger(__name__)
_PATIENCE_S = 600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Moved:
    """What was moved.

    Attributes:
        source: The SQLite file; it stays, and no Tieline uses it any more.
        target: Where everything is now, without user and password.
        tables: Each with its rows and the hash over them that both have.
        is_copied: False if an earlier move had copied everything, and this
            one found it equal.
        views: Names of the views that were made there.
    """

    source: str
    target: str
    tables: Sequence[store.MovedTable]
    is_copied: bool
    views: Sequence[str]

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(table.rows for table in self.tables)


def move_database(
    installation: Installation, url: Secret, *, tell: Callable[[str, int], object]
) -> Moved:
    """Copy everything from SQLite to an empty PostgreSQL, compare it, and close the source.

    All or nothing: until everything is there and equal, the target shows
    nothing and the source is as it was. Harmless to repeat after a crash.
    Runs that wait or were stopped go on from their checkpoints over there.

    Args:
        installation: Whose database is a SQLite file.
        url: Address of the target.
        tell: Called with a table's name and how many of its rows are copied.

    Raises:
        InvalidInputError: The address is not one of PostgreSQL.
        SettingsError: The source was moved before, or its schema is not the code's.
        RefusedError: Somebody works here, or the target is not empty.
        DependencyError: A database does not answer.
    """
    source = installation.database
    if source.dialect != "sqlite":
        raise RefusedError(
            f"{source.describe()} is PostgreSQL already",
            hint="from one PostgreSQL to another: pg_dump and pg_restore",
            code="move-not-sqlite",
        )
    target_installation = _target_of(installation, url)
    target = target_installation.raw_database
    try:
        _refuse_while_alive(installation)
        whole = [each.row for each in list_views(installation) if each.has_all]
        store.prepare_target(target)
        with source.alone() as connection:
            _refuse_while_held(installation, store.lease_left(connection, installation.clock.now()))
            tables, is_copied = store.copy_all(connection, target, tell)
            store.mark_moved(connection)
        views = _make_views(target_installation, whole)
    finally:
        target_installation.close()
    return Moved(
        source=source.describe(),
        target=target.describe(),
        tables=tables,
        is_copied=is_copied,
        views=views,
    )


def undo_move(installation: Installation) -> bool:
    """Let the SQLite file be used again; False if it was not moved.

    What was written to PostgreSQL since is not in it.

    Raises:
        RefusedError: The database is no SQLite file.
    """
    if installation.raw_database.dialect != "sqlite":
        raise RefusedError(
            f"{installation.raw_database.describe()} is not a SQLite file that was moved",
            hint="take TIELINE_DATABASE_URL away, or set it to the SQLite file",
            code="move-not-sqlite",
        )
    return store.undo(installation.raw_database)


def _target_of(installation: Installation, url: Secret) -> Installation:
    if not url.reveal().startswith(("postgresql://", "postgresql+psycopg://")):
        raise InvalidInputError(
            "that is no address of a PostgreSQL database",
            hint="for example: postgresql+psycopg://tieline@db.example.com/tieline",
        )
    made = Installation(
        replace(installation.settings, database_url=url),
        clock=installation.clock,
        registry=installation.registry,
    )
    try:
        # A copy is one transaction, and may be silent while it is compared.
        made.__dict__["raw_database"] = open_database(url, patience_s=_PATIENCE_S)
    except SettingsError as error:
        raise InvalidInputError(
            error.message.replace("TIELINE_DATABASE_URL", "the address"), hint=error.hint
        ) from None
    if (password := made.raw_database.engine.url.password) is not None:
        remember(str(password))
    return made


def _refuse_while_alive(installation: Installation) -> None:
    """Name living workers; who else has the file open is found out by the file itself."""
    if installation.settings.is_embedded_redis and not installation.embedded.is_running():
        return
    try:
        alive = installation.presence.alive()
    except DependencyError as error:
        _log.warning("whether workers live is not known", reason=error.message)
        return
    if alive:
        raise RefusedError(
            f"workers are alive: {', '.join(sign.name for sign in alive)}",
            hint="stop every tieline worker, scheduler, serve and up; one that was killed counts"
            " as dead after 20 seconds",
            code="workers-alive",
        )


def _refuse_while_held(installation: Installation, until: object) -> None:
    if until is None:
        return
    raise RefusedError(
        "work is under way, or was when its worker was killed",
        hint=f"wait until its lease ends, at most {installation.settings.lease_s:g} seconds",
        code="runs-active",
    )


def _make_views(target: Installation, whole: Sequence[ViewRow]) -> list[str]:
    """Make the views of the source, ``whole`` with tombstones; one that fails is logged."""
    made = refresh_views(target)
    for row in whole:
        try:
            create_views(target, row.provider, row.entity, with_deleted=True)
        except (RefusedError, InvalidInputError, PluginError) as error:
            _log.warning("a view was not made", view=row.name_of_all, reason=error.message)
    return made
