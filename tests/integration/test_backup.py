"""A backup that is made while everything runs, and what is in the database."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import threading
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

import servers
from cli_kit import run_cli, use_environment
from kit import make_bench, names
from tieline.errors import DependencyError, RefusedError
from tieline.services import storage
from tieline.services.installation import Installation
from tieline.settings import load_settings


@pytest.fixture
def sqlite_bench(sqlite_url, tmp_path):
    made = make_bench(sqlite_url, tmp_path / "home")
    yield made
    made.installation.close()


@pytest.fixture
def postgres_bench(postgres_url, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{servers.postgres_programs()}:{os.environ['PATH']}")
    made = make_bench(postgres_url, tmp_path / "home")
    yield made
    made.installation.close()


def parts(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".tieline-")]


def test_a_backup_of_sqlite_is_of_one_moment_while_others_write(sqlite_bench, tmp_path):
    path = sqlite_bench.database.describe()
    stop, written = threading.Event(), []

    def write() -> None:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as own:
            while not stop.is_set():
                number = len(written)
                own.execute("BEGIN IMMEDIATE")
                for table in ("a", "b"):  # always as many of one as of the other
                    own.execute(f"INSERT INTO {table} VALUES (?, ?)", (number, "x" * 500))
                own.execute("COMMIT")
                written.append(number)

    with closing(sqlite3.connect(path)) as own:
        own.executescript("CREATE TABLE a (n, t); CREATE TABLE b (n, t)")
    writer = threading.Thread(target=write)
    writer.start()
    try:
        counts = []
        for number in range(4):
            file = tmp_path / f"{number}.db"
            before = len(written)
            made = storage.back_up(sqlite_bench.installation, file)
            assert (made.form, made.size_bytes) == ("sqlite", file.stat().st_size)
            assert file.stat().st_mode & 0o777 == 0o600
            with closing(sqlite3.connect(file)) as copy:
                assert copy.execute("PRAGMA journal_mode").fetchone() == ("delete",)
                found = {copy.execute(f"SELECT count(*) FROM {name}").fetchone() for name in "ab"}
                assert len(found) == 1
                counts.append(found.pop()[0])
                assert counts[-1] >= before
    finally:
        stop.set()
        writer.join()
    assert counts[-1] > counts[0]
    assert parts(tmp_path) == []


def test_a_backup_of_sqlite_put_in_place_of_the_old_goes_on(sqlite_bench, tmp_path):
    sqlite_bench.shelf.put(*names(7))
    assert sqlite_bench.sync().state == "succeeded"
    home = tmp_path / "other"
    home.mkdir()
    storage.back_up(sqlite_bench.installation, home / "tieline.db")
    opened = Installation(load_settings({"TIELINE_HOME": str(home)}, home))
    try:
        found = {each.name: each for each in storage.read_stats(opened).tables}
        assert found["records"].rows == 7
    finally:
        opened.close()


def test_a_backup_is_written_over_nothing_and_leaves_nothing_when_it_fails(sqlite_bench, tmp_path):
    there = tmp_path / "there.db"
    there.write_text("mine")
    with pytest.raises(RefusedError) as caught:
        storage.back_up(sqlite_bench.installation, there)
    assert caught.value.slug == "backup-exists"
    assert there.read_text() == "mine"
    link = tmp_path / "link.db"
    link.symlink_to(tmp_path / "nowhere.db")
    with pytest.raises(RefusedError):
        storage.back_up(sqlite_bench.installation, link)
    with pytest.raises(RefusedError) as caught:
        storage.back_up(sqlite_bench.installation, tmp_path / "no" / "folder.db")
    assert caught.value.slug == "output"
    assert parts(tmp_path) == []


def test_a_copy_that_is_not_sound_is_no_backup(sqlite_bench, tmp_path):
    sqlite_bench.shelf.put(*names(300))
    sqlite_bench.sync()
    path = Path(sqlite_bench.database.describe())
    with closing(sqlite3.connect(path)) as own:
        own.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [page] = own.execute(
            "SELECT pageno FROM dbstat WHERE name = 'records' AND pagetype = 'leaf' LIMIT 1"
        ).fetchone()
    sqlite_bench.installation.raw_database.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\x5a" * 4096)
    with pytest.raises(DependencyError) as caught:
        storage.back_up(sqlite_bench.installation, tmp_path / "bad.db")
    assert caught.value.slug == "backup-failed"
    assert not (tmp_path / "bad.db").exists()
    assert parts(tmp_path) == []


def test_a_backup_of_postgresql_can_be_restored(postgres_bench, postgres_server, tmp_path):
    postgres_bench.shelf.put(*names(7))
    assert postgres_bench.sync().state == "succeeded"
    made = storage.back_up(postgres_bench.installation, tmp_path / "tieline.dump")
    assert made.form == "pg_dump"
    assert made.path.stat().st_mode & 0o777 == 0o600
    with postgres_server.new_database() as url:
        plain = url.replace("postgresql+psycopg", "postgresql")
        words = ["pg_restore", "--no-owner", "--exit-on-error", "--dbname", plain, made.path]
        subprocess.run(words, check=True, capture_output=True, timeout=60)
        engine = create_engine(url)
        with engine.connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM records")).scalar() == 7
        engine.dispose()
    with pytest.raises(RefusedError):
        storage.back_up(postgres_bench.installation, made.path)


def test_pg_dump_is_told_the_password_by_its_environment_alone(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    spy = folder / "pg_dump"
    spy.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/args\n'
        f'printf "%s" "$PGPASSWORD" > {tmp_path}/password\necho "no such server" >&2\nexit 1\n'
    )
    spy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    url = "postgresql+psycopg://ada:hunter2hunter2@db.example.com:5433/tie?sslmode=require"
    settings = {"TIELINE_HOME": str(tmp_path), "TIELINE_DATABASE_URL": url}
    opened = Installation(load_settings(settings, tmp_path))
    with pytest.raises(DependencyError) as caught:
        storage.back_up(opened, tmp_path / "x.dump")
    assert caught.value.slug == "backup-failed"
    assert "no such server" in caught.value.message
    assert (tmp_path / "password").read_text() == "hunter2hunter2"
    given = (tmp_path / "args").read_text()
    assert "--dbname=postgresql://ada@db.example.com:5433/tie?sslmode=require\n" in given
    assert "hunter2" not in given + caught.value.message + caught.value.hint
    assert parts(tmp_path) == []
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(DependencyError) as caught:
        storage.back_up(opened, tmp_path / "x.dump")
    assert caught.value.slug == "pg-dump-missing"
    assert "pg_dump --format=custom" in caught.value.hint
    assert "'postgresql://ada@db.example.com:5433/tie?sslmode=require'" in caught.value.hint
    assert "hunter2" not in caught.value.hint


def test_the_database_is_measured_table_by_table(database_url, tmp_path):
    bench = make_bench(database_url, tmp_path)
    try:
        bench.shelf.put(*names(20))
        bench.sync()
        found = storage.read_stats(bench.installation)
        tables = {each.name: each for each in found.tables}
        assert tables["records"].rows == 20
        assert tables["records"].size_bytes > 0
        assert tables["records"].oldest_at <= tables["records"].newest_at
        assert tables["webhook_events"].rows == 0
        assert tables["webhook_events"].oldest_at is None
        assert tables["queue_pauses"].rows == 0
        assert found.size_bytes >= tables["records"].size_bytes
        assert found.kind in {"sqlite", "postgresql"}
        assert found.dead == {"dead_letters": 0, "events": 0, "operations": 0}
        assert "hunter2" not in found.database
    finally:
        bench.installation.close()


def test_the_commands_say_the_same(sqlite_url, redis_url, tmp_path, monkeypatch):
    use_environment(monkeypatch, tmp_path, sqlite_url, redis_url)
    assert run_cli("init").code == 0
    done = run_cli("db", "stats", "--json")
    assert {"database", "kind", "size_bytes", "dead", "tables"} == set(done.json)
    assert "records\t0\t" in run_cli("db", "stats").stdout
    made = run_cli("db", "backup", "copy.db", "--json")
    assert made.json["form"] == "sqlite"
    again = run_cli("db", "backup", "copy.db")
    assert (again.code, "error[backup-exists]" in again.stderr) == (6, True)
