"""The migrations make exactly the tables that the code names."""

import pytest

from tieline.contract import Secret, SettingsError
from tieline.store import schema
from tieline.store.database import open_database
from tieline.store.tables import SCHEMA_REVISION


@pytest.fixture
def database(database_url):
    opened = open_database(Secret(database_url))
    yield opened
    opened.close()


def test_migrations_lead_to_the_code_s_tables(database):
    assert schema.current_revision(database) is None
    assert schema.upgrade(database) == SCHEMA_REVISION
    assert schema.drift(database) == []


def test_an_upgrade_can_be_repeated(database):
    schema.upgrade(database)
    assert schema.upgrade(database) == SCHEMA_REVISION


def test_a_downgrade_leaves_nothing_and_can_be_undone(database):
    schema.upgrade(database)
    schema.downgrade(database, "base")
    assert schema.current_revision(database) is None
    assert schema.upgrade(database) == SCHEMA_REVISION
    assert schema.drift(database) == []


def test_an_empty_database_is_refused_with_the_command_that_mends_it(database):
    with pytest.raises(SettingsError) as caught:
        schema.require_current(database)
    assert caught.value.slug == "schema-behind"
    assert caught.value.hint == "tieline db upgrade"


def test_a_newer_schema_is_refused_too(database):
    schema.upgrade(database)
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SettingsError) as caught:
        schema.require_current(database)
    assert caught.value.slug == "schema-newer"
