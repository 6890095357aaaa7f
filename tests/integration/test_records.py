"""What is stored is what was sent, on both databases, and positions never skip."""

from __future__ import annotations

import json
import threading
from datetime import timedelta

import pytest

from kit import make_bench, names
from tieline.contract import Page, parse_json
from tieline.errors import Overtaken
from tieline.records import PageWriter, rank_of, restore
from tieline.store import connections
from tieline.store import records as store
from tieline.store.database import run_plain
from tieline.store.named import FROM_NAMED, named


@pytest.fixture
def bench(database_url, tmp_path):
    made = make_bench(database_url, tmp_path)
    yield made
    made.installation.close()


def deep(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


GOOD = {
    "NUL in a value": {"x": "a\x00b"},
    "NUL in a key": {"a\x00b": 1},
    "lone surrogate": {"x": "\ud83d!"},
    "the escape sign": {"x": "␛ and ␛0"},
    "the escape sign and NUL": {"x": "␛\x00␛0"},
    "wrong bytes": {"x": "\udcff"},
    "2^70": {"x": 2**70},
    "a 400-digit integer": {"x": 10**400},
    "fractions": {"x": [1.0, 0.1, 1e-8, -0.0, 1e22]},
    "emoji and right to left": {"x": "😀 שלום\u202e"},
    "line separators": {"x": "a\u2028b\u2029c\u0085d"},
    "5 MB": {"x": "x" * 5_000_000},
    "250 levels": {"x": deep(248)},
    "odd keys": {"": 1, "items": 2, "keys": 3, "get": 4},
    "nothing": {},
}
BAD = {
    "NaN": ('{"id":"a","x":NaN}', "record-not-finite"),
    "infinite": ('{"id":"a","x":1e400}', "record-not-finite"),
    "5,000 digits": ('{"id":"a","x":' + "9" * 5000 + "}", "record-not-finite"),
    "too deep": ('{"id":"a","x":' + json.dumps(deep(250)) + "}", "record-too-deep"),
    "too large": ('{"id":"a","x":"' + "x" * 17_000_000 + '"}', "record-too-large"),
}


@pytest.mark.parametrize("case", GOOD, ids=list(GOOD))
def test_what_was_sent_is_what_is_stored(bench, case):
    record = {"id": "a", **GOOD[case]}
    bench.shelf.faults[1] = lambda shelf, after: Page(records=[record, {"id": "b"}], next=None)
    run = bench.sync()
    assert run.state == "succeeded"
    stored = {one.record_id: one for one in bench.stored()}
    text = restore(stored["a"].payload, is_escaped=stored["a"].is_escaped)
    assert json.loads(text) == record
    assert json.loads(stored["b"].payload) == {"id": "b"}
    bench.shelf.faults[2] = lambda shelf, after: Page(records=[record, {"id": "b"}], next=None)
    assert bench.sync().counts.unchanged == 2


@pytest.mark.parametrize("case", BAD, ids=list(BAD))
def test_what_cannot_be_stored_costs_one_record(bench, case):
    text, code = BAD[case]
    record = parse_json(text.encode())
    bench.shelf.faults[1] = lambda shelf, after: Page(records=[record, {"id": "b"}], next=None)
    run = bench.sync()
    assert (run.state, run.counts.created) == ("succeeded_with_quarantine", 1)
    with bench.database.read() as connection:
        from tieline.store import quarantined

        [row] = quarantined.list_quarantined(connection, bench.connection_id)
    assert (row["reason_code"], row["record_id"]) == (code, "a")


def write(bench, keys, *, name: str, seconds: float, deleted=()):
    """Write a page as if it had been read so many seconds from now."""
    entity = bench.engine.registry.get("shelf").entity("items")
    writer = PageWriter(bench.database, bench.connection_id, entity)
    page = Page(records=[{"id": key, "name": name} for key in keys], next=None, deleted=deleted)
    at = rank_of(bench.clock.now() + timedelta(seconds=seconds))
    draft = writer.draft_page(page, rank=at)
    while True:
        plan = writer.compare(draft, now=at)
        try:
            return bench.database.transact(
                lambda connection, plan=plan: writer.write(
                    connection, plan, run_id=None, now=bench.clock.now()
                )
            ).counts
        except Overtaken:
            continue


def test_any_order_of_the_same_copies_ends_in_the_newest(bench):
    for order in ([1, 2, 3], [3, 2, 1], [2, 3, 1, 3, 2]):
        key = "k" + "".join(map(str, order))
        for second in order:
            write(bench, [key], name=f"copy {second}", seconds=second)
        with bench.database.read() as connection:
            found = store.read_record(connection, bench.connection_id, "items", key)
        assert json.loads(found.payload)["name"] == "copy 3"


def test_a_tombstone_keeps_older_copies_out_and_lets_newer_ones_in(bench):
    write(bench, ["a"], name="one", seconds=1)
    assert write(bench, [], name="", seconds=5, deleted=("a",)).deleted == 1
    assert write(bench, ["a"], name="late copy", seconds=3).updated == 0
    assert bench.stored_keys() == []
    assert write(bench, ["a"], name="back", seconds=6).updated == 1
    assert bench.stored_keys() == ["a"]


def test_a_page_of_hundreds_is_written_whole(bench):
    keys = names(1234)
    assert write(bench, keys, name="x", seconds=0).created == 1234
    assert bench.stored_keys() == keys
    positions = sorted(record.position for record in bench.stored())
    assert positions == list(range(1, 1235))


def test_a_reader_never_skips_a_change_of_many_writers(bench):
    """A smaller position must not appear after a larger one was read."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def keep_writing(number: int) -> None:
        try:
            for turn in range(12):
                keys = [f"w{(number + turn + step) % 40:02d}" for step in range(0, 20, 2)]
                write(bench, keys, name=f"{number} {turn}", seconds=turn + number / 10)
        except BaseException as error:  # noqa: BLE001 - shown by the test's own thread
            failures.append(error)

    seen: dict[str, int] = {}
    late: list[int] = []

    def follow() -> None:
        reached = 0
        while True:
            is_last = stop.is_set()
            with bench.database.read() as connection:
                found = store.read_records(connection, bench.connection_id, "items", after=0)
            late.extend(
                record.position
                for record in found
                if record.position <= reached and seen.get(record.record_id) != record.position
            )
            for record in found:
                seen[record.record_id] = record.position
            reached = max(reached, *(record.position for record in found), 0)
            if is_last:
                return

    writers = [threading.Thread(target=keep_writing, args=(n,)) for n in range(6)]
    reader = threading.Thread(target=follow)
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    reader.join()
    assert failures == []
    assert late == []
    assert len(seen) == 35


# Each is a word of an array's or of JSON's grammar somewhere.
ODD_KEYS = [
    "",
    "NULL",
    "null",
    "{a,b}",
    '"',
    "\\",
    "\\u0041",
    "a,b",
    " a ",
    "%s",
    "%%",
    "'",
    "ü😀",
    "é",
]


@pytest.mark.parametrize("is_uniform", [True, False])
def test_every_column_of_every_row_is_its_own(bench, is_uniform):
    """A page goes in column by column, and what its rows have in common once."""
    keys = sorted([*ODD_KEYS, *names(600)])
    at = bench.clock.now().replace(microsecond=7)
    given = [
        store.NewRecord(
            record_id=key,
            payload=json.dumps({"id": key, "n": n, "s": "\\u0041 \\ \" 'x' %s {,}"}).encode(),
            content_hash=f"{n:032x}",
            rank=2**63 - 1 if is_uniform else [0, 2**63 - 1, n][n % 3],
            source="list" if is_uniform else ["list", "get", "webhook"][n // 2 % 3],
            is_deleted=not is_uniform and n % 5 == 0,
            is_escaped=not is_uniform and n % 7 == 0,
            revision=1,
        )
        for n, key in enumerate(keys)
    ]
    of = (bench.connection_id, "items")
    with bench.database.write() as connection:
        assert store.upsert(connection, *of, given, run_id=None, now=at) == len(given)
    with bench.database.read() as connection:
        found = {row.record_id: row for row in store.read_records(connection, *of, after=0)}
        known = {row[0]: row for row in store.read_known(connection, *of, keys)}
    for number, row in enumerate(given, 1):
        one = found[row.record_id]
        assert json.loads(one.payload) == json.loads(row.payload)
        assert (one.rank, one.source, one.is_escaped) == (row.rank, row.source, row.is_escaped)
        assert (one.changed_at, one.first_seen_at, one.position) == (at, at, number)
        assert one.deleted_at == (at if row.is_deleted else None)
        assert known[row.record_id] == (
            row.record_id, row.content_hash, row.rank, row.is_deleted, row.revision
        )  # fmt: skip


def test_of_a_page_only_the_rows_that_nobody_overtook_are_written(bench):
    of, at = (bench.connection_id, "items"), bench.clock.now()

    def rows(name: str, *revisions: int) -> list[store.NewRecord]:
        text = json.dumps({"name": name}).encode()
        return [
            store.NewRecord(f"k{n}", text, name, n, "list", False, False, revision)  # noqa: FBT003
            for n, revision in enumerate(revisions)
        ]

    with bench.database.write() as connection:
        assert store.upsert(connection, *of, rows("one", 1, 1, 1), run_id=None, now=at) == 3
        assert store.upsert(connection, *of, rows("two", 2, 3, 1, 1), run_id=None, now=at) == 2
    with bench.database.read() as connection:
        found = {
            row[0]: row[1] for row in store.read_known(connection, *of, ["k0", "k1", "k2", "k3"])
        }
    assert found == {"k0": "two", "k1": "one", "k2": "one", "k3": "two"}


def test_a_connection_leaves_no_record_whoever_writes_while_it_is_removed(bench):
    """No foreign key holds that: the row that counts an entity's changes does."""
    has_written, may_commit = threading.Event(), threading.Event()

    def write(connection) -> None:
        row = store.NewRecord("a", b"{}", "h", 1, "list", False, False, 1)  # noqa: FBT003
        of = (bench.connection_id, "an entity without a counter")
        store.upsert(connection, *of, [row], run_id=None, now=bench.clock.now())
        has_written.set()
        assert may_commit.wait(30)

    writer = threading.Thread(target=bench.database.transact, args=(write,))
    writer.start()
    assert has_written.wait(30)
    remover = threading.Thread(
        target=bench.database.transact,
        args=(lambda connection: connections.delete_connection(connection, bench.connection_id),),
    )
    remover.start()
    remover.join(0.2)
    assert remover.is_alive()
    may_commit.set()
    writer.join()
    remover.join()
    with bench.database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM records").scalar() == 0
        assert connection.exec_driver_sql("SELECT count(*) FROM connections").scalar() == 0


def test_named_records_are_looked_up_before_anything_is_known_of_the_table(bench):
    """PostgreSQL without statistics takes a list of keys for half of all records."""
    at = bench.clock.now()
    of = (bench.connection_id, "items")
    rows = [
        store.NewRecord(key, b'{"x":"%b"}' % (b"x" * 500), "h", 1, "list", False, False, 1)  # noqa: FBT003
        for key in names(3_000)
    ]
    with bench.database.write() as connection:
        store.upsert(connection, *of, rows, run_id=None, now=at)
        dialect = connection.dialect.name
        given = named(dialect, *of, names(100))
        explain = "EXPLAIN QUERY PLAN" if dialect == "sqlite" else "EXPLAIN"
        plan = run_plain(connection, f"{explain} SELECT r.rank {FROM_NAMED[dialect]}", given)
        told = "\n".join(str(row) for row in plan.fetchall())
    whole_key = {"sqlite": "USING INDEX sqlite_autoindex_records_1", "postgresql": "pk_records"}
    assert whole_key[dialect] in told
    assert "Seq Scan on records" not in told
