"""How pages go to PostgreSQL: as arrays of its own form, by statements that it keeps."""

from __future__ import annotations

import json

import pytest
from sqlalchemy.exc import DataError

from kit import make_bench
from tieline.contract import Page
from tieline.store import records as store
from tieline.store.database import run_plain
from tieline.store.wire import JsonTexts


@pytest.fixture
def bench(postgres_url, tmp_path, monkeypatch):
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    made = make_bench(postgres_url, tmp_path)
    yield made
    made.installation.close()


def test_texts_are_utf_8_whatever_the_environment_says(bench):
    sent = {"id": "é", "x": "€ 😀 שלום ␛"}
    bench.shelf.faults[1] = lambda shelf, after: Page(records=[sent], next=None)
    assert bench.sync().state == "succeeded"
    [stored] = bench.stored()
    assert (stored.record_id, json.loads(stored.payload)) == ("é", sent)


@pytest.mark.parametrize("count", [0, 1, 3, 1_000])
def test_an_array_of_texts_arrives_in_order(bench, count):
    sent = JsonTexts(json.dumps({"n": number}).encode() for number in range(count))
    with bench.database.desk() as desk:
        found = desk.transact(
            lambda connection: run_plain(
                connection, "SELECT n FROM unnest(%b::jsonb[]) AS t(n)", [sent]
            ).fetchall()
        )
    assert [row[0]["n"] for row in found] == list(range(count))


def test_what_is_no_json_is_refused_as_a_whole(bench):
    with bench.database.desk() as desk, pytest.raises(DataError):
        desk.transact(
            lambda connection: run_plain(
                connection, "SELECT unnest(%b::jsonb[])", [JsonTexts([b"1", b"{"])]
            )
        )


def test_only_what_has_one_good_plan_is_kept_prepared(bench):
    of = (bench.connection_id, "items")

    def work(connection) -> list[str]:
        for number in range(1, 20):
            row = store.NewRecord("a", b"{}", "h", 1, "list", False, False, number)  # noqa: FBT003
            store.read_known(connection, *of, ["a", "b"])
            assert store.upsert(connection, *of, [row], run_id=None, now=bench.clock.now()) == 1
        kept = run_plain(connection, "SELECT statement FROM pg_prepared_statements", ())
        return [statement for (statement,) in kept.fetchall()]

    with bench.database.desk() as desk:
        [statement] = desk.transact(work)
    assert "INSERT INTO records" in statement
