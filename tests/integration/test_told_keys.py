"""Keys that a function tells, and fields that change without meaning: the whole way."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import update

from kit import make_bench
from tieline.store import findings
from tieline.store.tables import records

MEASURED = "measured"


@pytest.fixture
def bench(database_url, tmp_path):
    made = make_bench(database_url, tmp_path)
    made.shelf.put("a", "b", shop="s", stats={"opens": 1, "kept": 1}, score=1)
    yield made
    made.installation.close()


def sync(bench, mode="full", **options):
    run = bench.sync(MEASURED, mode, **options)
    bench.clock.move(60)
    return run


def payload(bench, key: str) -> dict:
    [found] = [row for row in bench.stored(MEASURED, with_deleted=True) if row.record_id == key]
    return json.loads(found.payload)


def found(bench, run) -> dict[str, str]:
    with bench.database.read() as connection:
        listed = findings.list_findings(connection, run.id, limit=100)
    return {each["record_id"]: each["kind"] for each in listed}


def test_a_told_key_names_the_record_everywhere(bench):
    assert sync(bench).counts.created == 2
    assert bench.stored_keys(MEASURED) == ["s:a", "s:b"]
    del bench.shelf.records["a"]
    assert sync(bench).counts.deleted == 1
    assert bench.stored_keys(MEASURED) == ["s:b"]
    assert payload(bench, "s:a")["id"] == "a"


def test_a_record_whose_key_cannot_be_told_goes_to_quarantine(bench):
    bench.shelf.put("c")  # has no shop
    run = sync(bench)
    assert (run.state, run.counts.created) == ("succeeded_with_quarantine", 2)


def test_a_change_without_meaning_writes_nothing_and_the_next_real_one_brings_it(bench):
    sync(bench)
    bench.shelf.put("a", "b", shop="s", stats={"opens": 7, "kept": 1}, score=2)
    run = sync(bench)
    assert (run.counts.updated, run.counts.unchanged) == (0, 2)
    assert payload(bench, "s:a")["score"] == 1
    bench.shelf.records["a"]["name"] = "another"
    assert sync(bench).counts.updated == 1
    assert payload(bench, "s:a") == bench.shelf.records["a"]


def test_beside_what_is_volatile_a_change_is_one(bench):
    sync(bench)
    bench.shelf.records["a"]["stats"] = {"opens": 1, "kept": 2}
    assert sync(bench).counts.updated == 1


def test_verify_takes_a_change_without_meaning_for_none(bench):
    sync(bench)
    bench.shelf.put("a", "b", shop="s", stats={"opens": 9, "kept": 1}, score=9)
    assert found(bench, sync(bench, "verify")) == {}
    assert sync(bench, "repair").counts.updated == 0


def test_verify_finds_a_row_that_was_altered_with_its_hash_left_alone(bench):
    sync(bench)
    with bench.database.write() as connection:
        altered = {**bench.shelf.records["a"], "name": "tampered with"}
        connection.execute(
            update(records).where(records.c.record_id == "s:a").values(payload=altered)
        )
    assert found(bench, sync(bench, "verify")) == {"s:a": "stale"}
    sync(bench, "repair")
    assert payload(bench, "s:a") == bench.shelf.records["a"]
