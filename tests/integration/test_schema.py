"""The migrations make exactly the tables that the code names."""

import threading

import pytest

from kit import make_bench, names
from tieline.contract import Secret, SettingsError
from tieline.store import schema
from tieline.store.database import open_database
from tieline.store.tables import SCHEMA_REVISION


@pytest.fixture
def database(empty_database_url):
    opened = open_database(Secret(empty_database_url))
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


def test_a_run_of_the_release_before_goes_on_after_the_upgrade(database_url, tmp_path):
    bench = make_bench(database_url, tmp_path, read_ahead="0")
    bench.shelf.put(*names(12))
    assert bench.sync().state == "succeeded"
    bench.shelf.put("k0003", "z1", "z2", name="changed")
    stop = threading.Event()
    run_id = bench.ask().run.id
    bench.shelf.faults[bench.shelf.requests + 2] = lambda _shelf, _after: stop.set()
    assert bench.help(run_id, stop).state == "running"
    before = bench.stored()
    bench.installation.raw_database.close()

    schema.downgrade(bench.database, "0001")
    assert schema.current_revision(bench.database) == "0001"
    assert schema.upgrade(bench.database) == SCHEMA_REVISION
    assert schema.drift(bench.database) == []

    assert bench.stored() == before
    bench.clock.move(60)
    assert bench.help(run_id).state == "succeeded"
    assert bench.stored_keys() == sorted(bench.shelf.records)
    assert bench.sync("items", "incremental").state == "succeeded"
    bench.installation.close()
