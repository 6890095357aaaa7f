"""From SQLite to PostgreSQL: all of it, once, and nothing goes on in the old place."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from sqlalchemy import func, select, text

from kit import Bench, make_bench, names
from move_kit import fill
from tieline.auth import Opener
from tieline.contract import Secret, SettingsError
from tieline.engine import Engine
from tieline.errors import InvalidInputError, RefusedError
from tieline.failpoints import Crash, set_failpoints
from tieline.queue import Presence, WorkerSign
from tieline.services import feed
from tieline.services.installation import Installation
from tieline.services.move import move_database, undo_move
from tieline.store import records, schema
from tieline.store.tables import metadata, runs, sync_log, webhook_events


@pytest.fixture
def bench(migrated_file, tmp_path):
    shutil.copy(migrated_file, tmp_path / "tieline.db")
    made = make_bench(f"sqlite:///{tmp_path / 'tieline.db'}", tmp_path)
    yield made
    set_failpoints("")
    made.installation.close()


@pytest.fixture
def target_url(postgres_server, migrated_name):
    """A target whose tables are there, empty: making them takes longer than the rest."""
    with postgres_server.new_database(migrated_name) as url:
        yield url


@pytest.fixture
def moved_to(bench):
    """Opens the same installation on the target."""
    opened = []

    def open_it(url: str) -> Bench:
        old = bench.installation
        settings = replace(old.settings, database_url=Secret(url))
        new = Installation(settings, clock=bench.clock, registry=old.registry)
        opened.append(new)
        opener = Opener(new.database, new.registry, new.vault, settings, clock=bench.clock)
        engine = Engine(
            database=new.database,
            registry=new.registry,
            opener=opener,
            clock=bench.clock,
            settings=settings,
            ring=lambda run_id, number: None,
        )
        new.__dict__["engine"] = engine
        return replace(bench, installation=new, engine=engine)

    yield open_it
    for each in opened:
        each.close()


def move(bench, url: str):
    told: dict[str, int] = {}
    done = move_database(bench.installation, Secret(url), tell=told.__setitem__)
    assert told == {table.name: table.rows for table in done.tables}
    return done


def rows_of(database) -> dict[str, dict]:
    """Read all rows by key."""
    with database.read() as transaction:
        return {
            table.name: {
                tuple(row[key.name] for key in table.primary_key): dict(row)
                for row in transaction.execute(select(table)).mappings()
            }
            for table in metadata.sorted_tables
        }


def counts_of(database) -> dict[str, int]:
    with database.read() as transaction:
        return {
            name: transaction.execute(select(func.count()).select_from(table)).scalar()
            for name, table in metadata.tables.items()
        }


def test_every_value_of_every_table_arrives(bench, moved_to, postgres_url):
    with bench.database.write() as transaction:
        fill(transaction)
    before, counts = rows_of(bench.database), counts_of(bench.database)
    assert min(counts.values()) >= 5
    done = move(bench, postgres_url)
    assert done.is_copied
    assert {table.name: table.rows for table in done.tables} == counts
    new = moved_to(postgres_url)
    after = rows_of(new.database)
    for name, rows in before.items():
        assert after[name] == rows, name
    with new.database.read() as transaction:
        large = text("SELECT payload->>'large' FROM records WHERE record_id LIKE '%1%'")
        assert "123456789012345678901234567890" in transaction.execute(large).scalars().all()


def test_new_rows_are_numbered_after_the_last_that_ever_was(bench, moved_to, target_url):
    with bench.database.write() as transaction:
        fill(transaction)
        last = transaction.execute(select(func.max(sync_log.c.id))).scalar()
    move(bench, target_url)
    new = moved_to(target_url)
    with new.database.write() as transaction:
        row = {"at": bench.clock.now(), "actor": "test", "event": "x", "detail": ""}
        made = transaction.execute(sync_log.insert().values(**row).returning(sync_log.c.id))
        assert made.scalar() == last + 1
        column = text("SELECT nextval(pg_get_serial_sequence('webhook_events', 'seq'))")
        highest = transaction.execute(select(func.max(webhook_events.c.seq))).scalar()
        assert transaction.execute(column).scalar() == highest + 1


def test_a_consumer_goes_on_without_a_gap_and_a_run_from_its_checkpoint(
    bench, moved_to, target_url
):
    bench.shelf.put(*names(30))
    bench.sync()
    feed.open_consumer(bench.installation, "shop", "items", "crm")
    read = feed.read_changes(bench.installation, "shop", "items", limit=12)
    bench.shelf.put(*names(30), size=2)
    run_id = bench.ask().run.id
    set_failpoints("sync.page.after_commit=raise@4")
    with pytest.raises(Crash):
        bench.help(run_id)
    bench.clock.move(3600)
    requests = bench.shelf.requests
    move(bench, target_url)
    new = moved_to(target_url)
    assert new.help(run_id).state == "succeeded"
    # Ten pages in all, four of them stored: at most the one in flight is read again.
    assert bench.shelf.requests - requests <= 7
    seen = {record.record_id for record in read.records}
    after = read.next
    last = after
    while (changes := feed.read_changes(new.installation, "shop", "items", after=after)).records:
        assert all(record.position > last for record in changes.records)
        seen |= {record.record_id for record in changes.records}
        last = after = changes.next
    assert sorted(seen) == names(30)
    with new.database.read() as transaction:
        stored = records.read_records(transaction, bench.connection_id, "items", limit=100)
    assert all('"size": 2' in r.payload or '"size":2' in r.payload for r in stored)


def test_the_old_database_is_used_no_more_until_the_move_is_undone(bench, target_url):
    done = move(bench, target_url)
    again = Installation(bench.installation.settings, registry=bench.installation.registry)
    with pytest.raises(SettingsError, match="was moved") as caught:
        _ = again.database
    assert caught.value.slug == "database-moved"
    with pytest.raises(SettingsError, match="was moved"):
        schema.upgrade(again.raw_database)
    with pytest.raises(SettingsError, match="was moved"):
        move_database(again, Secret(target_url), tell=lambda *_: None)
    assert undo_move(again)
    assert not undo_move(again)
    assert again.database.describe() == done.source
    again.close()


def test_a_target_that_holds_something_is_refused_and_stays(bench, moved_to, target_url):
    move(bench, target_url)
    undo_move(bench.installation)
    bench.shelf.put(*names(3))
    bench.sync()
    before = counts_of(moved_to(target_url).database)
    with pytest.raises(RefusedError, match="is not empty") as caught:
        move_database(bench.installation, Secret(target_url), tell=lambda *_: None)
    assert caught.value.slug == "target-not-empty"
    assert counts_of(moved_to(target_url).database) == before
    assert len(bench.stored()) == 3


def test_tables_of_somebody_else_are_refused(bench, postgres_url):
    from tieline.store.database import open_database

    target = open_database(Secret(postgres_url))
    with target.write() as transaction:
        transaction.execute(text("CREATE TABLE records (mine int)"))
    with pytest.raises(RefusedError, match="none of Tieline's: records"):
        move(bench, postgres_url)
    target.close()


def test_nothing_moves_while_a_worker_lives(bench, redis_url, target_url):
    settings = replace(bench.installation.settings, redis_url=Secret(redis_url))
    installation = Installation(settings, clock=bench.clock, registry=bench.engine.registry)
    sign = WorkerSign(name="host:1", queues=("q",), busy_with="", version="1")
    Presence(installation.redis).announce(sign, ttl_s=60)
    with pytest.raises(RefusedError, match="workers are alive: host:1"):
        move_database(installation, Secret(target_url), tell=lambda *_: None)
    installation.close()


def test_nothing_moves_while_another_process_has_the_file_open(bench, target_url):
    path = bench.installation.database_url.reveal().removeprefix("sqlite:///")
    held = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]);"
        "c.execute('SELECT 1 FROM runs').fetchall(); print('open', flush=True); sys.stdin.read()"
    )
    bench.database.close()
    with subprocess.Popen(
        [sys.executable, "-I", "-c", held, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        with pytest.raises(RefusedError, match="another process has"):
            move(bench, target_url)
        process.communicate(b"", timeout=30)
    assert move(bench, target_url).is_copied


def test_nothing_moves_while_a_lease_holds(bench, target_url):
    bench.shelf.put(*names(9))
    run_id = bench.ask().run.id
    set_failpoints("sync.page.after_commit=raise@1")
    with pytest.raises(Crash):
        bench.help(run_id)
    with pytest.raises(RefusedError, match="work is under way") as caught:
        move(bench, target_url)
    assert caught.value.slug == "runs-active"
    bench.clock.move(3600)
    assert move(bench, target_url).is_copied


def test_a_row_that_postgresql_cannot_hold_is_named_and_nothing_moves(bench, moved_to, target_url):
    with bench.database.write() as transaction:
        transaction.execute(
            sync_log.insert().values(
                id=77, at=bench.clock.now(), actor="a", event="e", detail="a\x00b"
            )
        )
    with pytest.raises(RefusedError, match=r"sync_log\.detail of '77': it has a NUL") as caught:
        move(bench, target_url)
    assert caught.value.slug == "move-misfit"
    assert sum(counts_of(moved_to(target_url).database).values()) == 0
    assert schema.current_revision(bench.database) == schema.SCHEMA_REVISION


def test_a_difference_is_found_and_nothing_moves(bench, moved_to, target_url):
    """A trigger of the database changes what is stored: the hash says so."""
    from tieline.store.database import open_database

    target = open_database(Secret(target_url))
    schema.upgrade(target)
    with target.write() as transaction:
        transaction.execute(
            text(
                "CREATE FUNCTION spoil() RETURNS trigger AS $$ BEGIN NEW.detail = 'other';"
                " RETURN NEW; END $$ LANGUAGE plpgsql"
            )
        )
        transaction.execute(
            text(
                "CREATE TRIGGER spoil BEFORE INSERT ON sync_log"
                " FOR EACH ROW EXECUTE FUNCTION spoil()"
            )
        )
    with pytest.raises(RefusedError, match="sync_log came out different") as caught:
        move_database(bench.installation, Secret(target_url), tell=lambda *_: None)
    assert caught.value.slug == "move-differs"
    assert sum(counts_of(target).values()) == 0
    target.close()


@pytest.mark.parametrize("url", ["sqlite:///other.db", "", "mysql://x", "postgresql://a:b@c:x/y"])
def test_an_address_that_is_none_of_postgresql_is_refused(bench, url):
    with pytest.raises(InvalidInputError):
        move_database(bench.installation, Secret(url), tell=lambda *_: None)
    assert bench.installation.raw_database.describe().endswith("tieline.db")
    assert schema.current_revision(bench.database) == schema.SCHEMA_REVISION


def test_a_run_that_waits_is_moved_along(bench, moved_to, target_url):
    run_id = bench.ask().run.id
    move(bench, target_url)
    with moved_to(target_url).database.read() as transaction:
        state = transaction.execute(select(runs.c.state).where(runs.c.id == run_id)).scalar()
    assert state == "queued"
