"""Make an installation, and bring its database up to the code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tieline.contract import SettingsError
from tieline.services.installation import Installation
from tieline.store.schema import current_revision, drift, upgrade
from tieline.store.tables import SCHEMA_REVISION

__all__ = ["MadeInstallation", "initialise", "schema_drift", "schema_facts", "upgrade_database"]


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeInstallation:
    """What ``init`` did.

    Attributes:
        home: The installation's folder.
        database: Where the database is, without a password.
        key: Where the key comes from.
        has_new_key: Whether the key was made now.
        was_revision: The schema before; None for a new database.
        revision: The schema now.
    """

    home: Path
    database: str
    key: str
    has_new_key: bool
    was_revision: str | None
    revision: str


def initialise(installation: Installation) -> MadeInstallation:
    """Make folder, key and tables as far as they are missing; harmless to repeat.

    Raises:
        SettingsError: The folder cannot be made.
        DependencyError: The database does not answer.
    """
    home = installation.settings.home
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"the folder {home} cannot be made: {error.strerror}",
            hint="set TIELINE_HOME to a folder that you may write to",
        ) from None
    try:
        has_new_key = installation.make_key()
        if not installation.settings.database_url:
            (home / "tieline.db").touch(mode=0o600)
    except OSError as error:
        raise SettingsError(
            f"{error.filename or home} cannot be made: {error.strerror}",
            hint="see what stands in its place, or set TIELINE_HOME elsewhere",
        ) from None
    was, now = upgrade_database(installation)
    return MadeInstallation(
        home=home,
        database=describe_database(installation),
        key=_describe_key(installation),
        has_new_key=has_new_key,
        was_revision=was,
        revision=now,
    )


def _describe_key(installation: Installation) -> str:
    settings = installation.settings
    if settings.kms_key_id:
        return f"AWS KMS, {settings.kms_key_id}"
    return "TIELINE_KEY" if settings.key else str(installation.key_path)


def upgrade_database(installation: Installation) -> tuple[str | None, str]:
    """Migrate to the code's schema.

    Returns:
        The revision before, None for an empty database, and the one now.
    """
    was = current_revision(installation.raw_database)
    return was, upgrade(installation.raw_database)


def schema_facts(installation: Installation) -> dict[str, str | None]:
    """Return the schema that is there and the one that is needed."""
    return {
        "schema": current_revision(installation.raw_database),
        "needed": SCHEMA_REVISION,
        "database": describe_database(installation),
    }


def schema_drift(installation: Installation) -> list[str]:
    """Return one line for each difference between the tables and the code."""
    return drift(installation.raw_database)


def describe_database(installation: Installation) -> str:
    """Say where the database is, without user and password."""
    return installation.raw_database.describe()
