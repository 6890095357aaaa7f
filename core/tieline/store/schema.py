"""Bring the database's schema up to the code, or say that it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tieline.contract.errors import SettingsError
from tieline.store import views
from tieline.store.tables import SCHEMA_REVISION

if TYPE_CHECKING:  # Alembic takes 0.3 s to import; only db commands need it
    from alembic.config import Config

    from tieline.store.database import Database

__all__ = ["MOVED", "current_revision", "drift", "refuse_newer", "require_current", "upgrade"]

MOVED = f"{SCHEMA_REVISION}.moved"
"""Stands for the revision of a database whose rows were moved to another."""


def current_revision(database: Database) -> str | None:
    """Return the schema's revision; None for an empty database.

    Raises:
        DependencyError: The database does not answer.
    """
    with database.read() as connection:
        try:
            return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        except DBAPIError as error:
            if _says_no_table(error):
                return None
            raise


def require_current(database: Database) -> None:
    """Refuse to work on a schema that this code was not written for.

    Raises:
        SettingsError: The schema is missing, older or newer.
        DependencyError: The database does not answer.
    """
    found = current_revision(database)
    if found == SCHEMA_REVISION:
        return
    refuse_newer(found)
    has = "has no tables yet" if found is None else f"has schema {found}"
    raise SettingsError(
        f"the database {has}; this Tieline needs schema {SCHEMA_REVISION}",
        hint="tieline db upgrade",
        code="schema-behind",
    )


def refuse_newer(found: str | None) -> None:
    """Refuse a schema that a newer Tieline made, and a database that was moved elsewhere.

    Raises:
        SettingsError: It is newer than this code, or was moved.
    """
    if found is not None and found.endswith(".moved"):
        raise SettingsError(
            "this database was moved to PostgreSQL; what is written here now would be lost",
            hint="set TIELINE_DATABASE_URL to the new one; to go on with this one all the same:"
            " tieline db move --undo",
            code="database-moved",
        )
    if found is not None and found > SCHEMA_REVISION:
        raise SettingsError(
            f"the database has schema {found}, newer than this Tieline's {SCHEMA_REVISION}",
            hint="install the newer Tieline here too",
            code="schema-newer",
        )


def upgrade(database: Database, revision: str = "head") -> str:
    """Migrate to a revision, the newest by default; harmless to repeat.

    Returns:
        The revision afterwards.

    Raises:
        DependencyError: The database does not answer.
        RefusedError: Something depends on a view of ours, which would have to
            make way.
    """
    from alembic import command  # noqa: PLC0415 - see above

    found = current_revision(database)
    refuse_newer(found)
    if revision == "head" and found == SCHEMA_REVISION:
        return found
    with database.write() as connection:
        if database.dialect == "postgresql":  # two upgrades at once: one waits
            connection.execute(text("SELECT pg_advisory_xact_lock(7416839)"))
        config = _config()
        config.attributes["connection"] = connection
        kept = views.take_away(connection)
        command.upgrade(config, revision)
        views.put_back(connection, kept)
    return current_revision(database) or ""


def downgrade(database: Database, revision: str) -> None:
    """Migrate back to a revision; ``base`` drops all tables."""
    from alembic import command  # noqa: PLC0415 - see above

    with database.write() as connection:
        config = _config()
        config.attributes["connection"] = connection
        kept = views.take_away(connection)
        command.downgrade(config, revision)
        views.put_back(connection, kept)


def drift(database: Database) -> list[str]:
    """Compare the database with the code's tables.

    Returns:
        One line for each difference; empty if there is none.

    Raises:
        SettingsError: The schema is newer than this code.
    """
    refuse_newer(current_revision(database))
    from alembic.autogenerate import compare_metadata  # noqa: PLC0415 - see above
    from alembic.migration import MigrationContext  # noqa: PLC0415 - see above

    from tieline.store.tables import metadata  # noqa: PLC0415 - see above

    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return [str(difference) for difference in compare_metadata(context, metadata)]


def _config() -> Config:
    from alembic.config import Config  # noqa: PLC0415 - see above

    config = Config()
    config.set_main_option("script_location", "tieline_migrations:")
    config.set_main_option("path_separator", "newline")
    return config


def _says_no_table(error: DBAPIError) -> bool:
    return getattr(error.orig, "sqlstate", None) == "42P01" or "no such table" in str(error.orig)
