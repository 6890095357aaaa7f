"""Whoever writes to a SQLite file waits for those that do, and no longer than for them."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from kit import make_bench
from tieline.errors import DependencyError
from tieline.store import database as database_module

NOTE = "INSERT INTO queue_pauses (queue, paused_at, paused_by) VALUES ('q', '2026-01-01', 'us')"


@pytest.fixture
def bench(sqlite_url, tmp_path):
    made = make_bench(sqlite_url, tmp_path)
    yield made
    made.installation.close()


@pytest.fixture
def other(bench):
    """A connection of somebody else that holds the lock."""
    with closing(sqlite3.connect(bench.database.describe(), isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection


def note(bench) -> None:
    with bench.database.write() as connection:
        connection.exec_driver_sql(NOTE)


def test_the_lock_is_asked_for_often_and_ever_less_often(bench, other, monkeypatch):
    delays: list[float] = []

    class Clock:
        now = 0.0

        @classmethod
        def monotonic(cls) -> float:
            return cls.now

        @classmethod
        def sleep(cls, seconds: float) -> None:
            cls.now += seconds
            delays.append(seconds)
            if len(delays) == 100:
                other.execute("COMMIT")

    monkeypatch.setattr(database_module, "time", Clock)
    note(bench)
    assert len(delays) == 100, "it was asked for once more after it had come free"
    assert delays[:8] == [pytest.approx(0.0003)] * 8
    assert delays == sorted(delays)
    assert delays[-1] == pytest.approx(0.01)


def test_a_lock_that_never_comes_free_is_told_and_later_writes_go_on(bench, other, monkeypatch):
    monkeypatch.setattr(database_module, "_LOCKED_FOR_MS", 20)
    with pytest.raises(DependencyError, match="database is locked"):
        note(bench)
    other.execute("COMMIT")
    note(bench)


def test_what_is_no_lock_is_told_at_once(bench, monkeypatch):
    monkeypatch.setattr(database_module.time, "sleep", lambda _s: pytest.fail("it is waited for"))
    with bench.database.read() as connection:
        driver = connection.connection.driver_connection
        driver.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)
        with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
            driver.execute("BEGIN IMMEDIATE")
        assert not database_module._takes_lock(driver)
        driver.set_authorizer(None)


def test_statements_after_the_lock_wait_for_it_by_themselves(bench):
    """The file may be locked for a moment while others recover it, for one."""
    for begin in (bench.database.write, bench.database.read):
        with begin() as connection:
            told = connection.exec_driver_sql("PRAGMA busy_timeout").scalar()
        assert told == database_module._LOCKED_FOR_MS
