"""A connection that is kept for many small transactions."""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack
from pathlib import Path

import pytest

from kit import make_bench, names
from tieline.store import records as store
from tieline.store.database import run_plain

IO = Path("/proc/thread-self/io")


@pytest.fixture
def bench(sqlite_url, tmp_path):
    made = make_bench(sqlite_url, tmp_path)
    yield made
    made.installation.close()


def rows(revision: int) -> list[store.NewRecord]:
    text = b'{"x":"%b"}' % (b"x" * 1000)
    return [
        store.NewRecord(key, text, str(revision), 1, "list", False, False, revision)  # noqa: FBT003
        for key in sorted(names(300))
    ]


def written_bytes() -> int:
    told = dict(line.split(": ") for line in IO.read_text().splitlines())
    return int(told["wchar"])


def test_a_statement_of_many_rows_writes_no_file_to_undo_itself(bench):
    of, at = (bench.connection_id, "items"), bench.clock.now()

    def write(connection, revision: int) -> int:
        before = written_bytes()
        assert store.upsert(connection, *of, rows(revision), run_id=None, now=at) == 300
        return written_bytes() - before

    with bench.database.write() as connection:
        write(connection, 1)
    with bench.database.desk() as desk:
        assert desk.transact(lambda connection: write(connection, 2)) == 0
    # What others do, who may sort more than memory holds: each page that changes is copied first.
    with bench.database.write() as connection:
        assert write(connection, 3) > 300_000


def test_a_statement_that_fails_in_its_middle_undoes_itself_alone(bench):
    insert = "INSERT INTO queue_pauses (queue, paused_at, paused_by) VALUES "
    values = [f"('n{number}', '2026-01-01', 'us')" for number in range(200)]

    def work(connection) -> None:
        run_plain(connection, insert + "('first', '2026-01-01', 'us')", ())
        with pytest.raises(sqlite3.IntegrityError):
            run_plain(connection, insert + ", ".join([*values, values[0]]), ())

    with bench.database.desk() as desk:
        desk.transact(work)
    with bench.database.read() as connection:
        found = connection.exec_driver_sql("SELECT queue FROM queue_pauses").scalars()
        assert list(found) == ["first"]


def test_what_is_sorted_is_in_memory_only_while_a_desk_is_kept(bench):
    def setting(connection) -> int:
        return connection.exec_driver_sql("PRAGMA temp_store").scalar()

    with bench.database.desk() as desk:
        assert desk.transact(setting, is_read=True) == 2
    with ExitStack() as stack:
        for _ in range(3):
            assert setting(stack.enter_context(bench.database.read())) == 0
