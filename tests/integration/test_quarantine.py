"""Quarantined records: tried again without the provider, dropped, explained."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import pytest
from marshmallow import fields

from kit import make_bench
from tieline.contract import Page, RecordSchema, parse_json
from tieline.errors import InvalidInputError, NotFoundError
from tieline.records import PageWriter, rank_of, restore
from tieline.services import explain, quarantine
from tieline.services import records as record_service
from tieline.store import records as store


class Anything(RecordSchema):
    id = fields.String(required=True)


@pytest.fixture
def bench(database_url, tmp_path):
    made = make_bench(database_url, tmp_path)
    yield made
    made.installation.close()


@pytest.fixture
def ledger(database_url, tmp_path):
    made = make_bench(database_url, tmp_path, provider="ledger")
    yield made
    made.installation.close()


def relax(bench, entity: str = "items") -> None:
    """Promise less, as the plugin's next release would."""
    entities = bench.engine.registry.get(bench.provider).entities
    entities[entity] = replace(entities[entity], schema=Anything())


def bring(bench, *found: object, entity: str = "items", mode: str = "full"):
    """Sync one page with these records."""
    bench.shelf.requests = 0
    bench.shelf.faults[1] = lambda shelf, after: Page(records=list(found), next=None)
    return bench.sync(entity, mode=mode)


def kept(bench):
    return quarantine.list_quarantine(bench.installation, "shop")


def retry(bench, *ids: str, **choice):
    choice = choice or ({} if ids else {"connection": "shop"})
    chosen = quarantine.choose(bench.installation, ids=ids, **choice)
    return quarantine.retry(bench.installation, chosen, actor="test")


def became(tried) -> dict[str | None, str]:
    return {each.record_id: each.became for each in tried}


def payload(bench, key: str, entity: str = "items"):
    with bench.database.read() as connection:
        found = store.read_record(connection, bench.connection_id, entity, key)
    return json.loads(restore(found.payload, is_escaped=found.is_escaped))


def test_what_the_present_schema_accepts_becomes_a_record_as_it_came(bench):
    odd = {"id": "a", "name": 5, "x": ["\x00", "\ud83d", "␛0", 2**70, 1e22, -0.0, 1.0]}
    bring(bench, odd, {"id": "b"})
    [tried] = retry(bench)
    assert (tried.became, tried.reason_code) == ("bad", "record-schema")
    assert [row.record_id for row in kept(bench)] == ["a"]
    relax(bench)
    assert became(retry(bench)) == {"a": "recovered"}
    assert payload(bench, "a") == odd
    assert kept(bench) == []
    assert retry(bench) == []
    assert bench.shelf.requests == 1  # the provider was not asked
    [a, b] = sorted(bench.stored(), key=lambda one: one.record_id)
    assert (a.revision, a.source, a.position) == (1, "list", b.position + 1)


def test_a_retried_record_is_what_the_next_sync_finds_unchanged(bench):
    bring(bench, {"id": "a", "name": 5})
    relax(bench)
    retry(bench)
    bench.clock.move(60)
    assert bring(bench, {"id": "a", "name": 5}).counts.unchanged == 1


INEXACT = {
    "NaN": '{"id":"a","name":5,"x":NaN}',
    "beyond a float": '{"id":"a","name":5,"x":[1e400]}',
    "5,000 digits": '{"id":"a","x":' + "9" * 5000 + "}",
}


@pytest.mark.parametrize("case", INEXACT)
def test_a_raw_text_that_is_not_exactly_what_came_stays(bench, case):
    bring(bench, parse_json(INEXACT[case].encode()))
    relax(bench)
    [tried] = retry(bench)
    assert (tried.became, tried.reason_code) == ("bad", "raw-not-exact")
    assert bench.stored() == []
    [row] = kept(bench)
    assert row.reason_code == "raw-not-exact"
    assert retry(bench, row.id) == [tried]


def test_a_copy_that_only_looks_like_an_approximation_is_never_made_a_record(bench):
    bring(bench, {"tieline-approximation": {"id": "a"}})
    assert [each.reason_code for each in retry(bench)] == ["raw-not-exact"]


def test_a_newer_copy_stands(bench):
    entity = bench.engine.registry.get("shelf").entity("items")
    writer = PageWriter(bench.database, bench.connection_id, entity)  # knows of no quarantine
    bring(bench, {"id": "a", "name": 5})
    now = bench.clock.move(60) or bench.clock.now()
    draft = writer.draft_page(Page(records=[{"id": "a"}], next=None), rank=rank_of(now))
    plan = writer.compare(draft, now=rank_of(now))
    bench.database.transact(lambda tx: writer.write(tx, plan, run_id=None, now=now))
    relax(bench)
    assert became(retry(bench)) == {"a": "older"}
    assert payload(bench, "a") == {"id": "a"}
    assert kept(bench) == []
    told = explain.explain_record(bench.installation, "shop", "items", "a")
    assert [copy.outcome for copy in told.copies] == ["stands", "older"]


def test_of_two_quarantined_copies_the_newer_stands(bench):
    bring(bench, {"id": "a", "name": 1})
    bench.clock.move(60)
    bring(bench, {"id": "a", "name": 2})
    assert len(kept(bench)) == 2
    relax(bench)
    assert [each.became for each in retry(bench)] == ["recovered", "older"]
    assert payload(bench, "a")["name"] == 2
    assert kept(bench) == []


def test_what_only_the_provider_can_tell_waits_for_a_sync(ledger):
    ledger.ledger.put("a", name="one")
    ledger.sync("rows")
    ledger.ledger.put("a", name=5)  # within the second of the list
    ledger.clock.move(0.5)
    ledger.sync("rows", mode="incremental")
    assert [row.record_id for row in kept(ledger)] == ["a"]
    relax(ledger, "rows")
    calls = len(ledger.ledger.calls)
    [tried] = retry(ledger)
    assert (tried.became, tried.reason_code) == ("undecided", "record-order")
    assert "tieline sync run shop rows --full" in tried.reason
    assert len(ledger.ledger.calls) == calls
    assert payload(ledger, "a", "rows")["name"] == "one"
    ledger.clock.move(60)
    ledger.sync("rows")
    assert payload(ledger, "a", "rows")["name"] == 5
    assert kept(ledger) == []


def test_many_are_tried_in_pieces_and_trying_at_once_doubles_nothing(bench):
    bring(bench, *({"id": f"k{n}", "name": n} for n in range(230)), {"name": "whose?"}, 7)
    relax(bench)
    chosen = quarantine.choose(bench.installation, connection="shop", entity="items")
    threads = [
        threading.Thread(
            target=quarantine.retry, args=(bench.installation, chosen), kwargs={"actor": "test"}
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(bench.stored()) == 230
    assert {one.revision for one in bench.stored()} == {1}
    assert sorted(row.reason_code for row in kept(bench)) == ["record-key", "record-not-object"]


def test_drop_forgets_what_was_chosen_and_no_record(bench):
    bring(bench, {"id": "a", "name": 5}, {"id": "b", "name": 5}, {"id": "c"})
    first = next(row for row in kept(bench) if row.record_id == "a")
    chosen = quarantine.choose(bench.installation, ids=[first.id])
    assert quarantine.drop(bench.installation, chosen, actor="test") == 1
    assert quarantine.drop(bench.installation, chosen, actor="test") == 0
    assert [row.record_id for row in kept(bench)] == ["b"]
    assert bench.stored_keys() == ["c"]


def test_a_choice_that_means_nothing_is_refused(bench):
    for ids in (["bad_none"], ["\x00"], ["x" * 99]):
        with pytest.raises(NotFoundError):
            quarantine.choose(bench.installation, ids=ids)
        with pytest.raises(NotFoundError):
            quarantine.get_quarantined(bench.installation, ids[0])
    with pytest.raises(NotFoundError):
        quarantine.choose(bench.installation, connection="shop", entity="itms")
    with pytest.raises(InvalidInputError):
        quarantine.choose(bench.installation)


def test_a_record_that_is_seen_again_has_its_present_reason(bench):
    bring(bench, {"id": "a", "name": 5})

    class Stricter(RecordSchema):
        id = fields.String(required=True)
        size = fields.Integer(required=True)

    entities = bench.engine.registry.get("shelf").entities
    entities["items"] = replace(entities["items"], schema=Stricter())
    bring(bench, {"id": "a", "name": 5})
    [row] = kept(bench)
    assert row.reason.startswith("size:")


def test_two_records_that_cannot_be_written_are_two(bench):
    def deep(levels: int = 5000):
        value: object = 1
        for _ in range(levels):
            value = [value]
        return value

    bring(bench, {"id": "a", "x": deep()}, {"id": "b", "x": deep()})
    assert sorted(row.record_id for row in kept(bench)) == ["a", "b"]


def test_explain_tells_every_copy_and_which_one_stands(ledger):
    ledger.ledger.put("a", name="one")
    first = ledger.sync("rows")
    ledger.clock.move(60)
    ledger.ledger.put("a", name="two")
    second = ledger.sync("rows", mode="incremental")
    ledger.clock.move(60)
    ledger.ledger.put("a", name=5)
    ledger.sync("rows", mode="incremental")
    told = explain.explain_record(ledger.installation, "shop", "rows", "a")
    assert [(copy.outcome, copy.source, copy.run_id) for copy in told.copies] == [
        ("stands", "feed", second.id),
        ("replaced", "list", first.id),
    ]
    assert "log of changes" in told.copies[0].why
    assert told.copies[0].content_hash != told.copies[1].content_hash
    assert explain.rank_words(told.copies[1].rank, is_versioned=False) == "2026-11-01T00:00:00Z"
    assert [bad.reason_code for bad in told.quarantined] == ["record-schema"]
    assert (told.state, told.revision) == ("live", 2)
    ledger.ledger.remove("a")
    ledger.clock.move(60)
    ledger.sync("rows")
    told = explain.explain_record(ledger.installation, "shop", "rows", "a")
    assert (told.state, told.copies[0].content_hash) == ("deleted", None)
    assert "no longer has it" in told.copies[0].why
    with pytest.raises(NotFoundError):
        explain.explain_record(ledger.installation, "shop", "rows", "\x00")


def test_drift_counts_fields_and_says_since_when(bench):
    bring(bench, {"id": "a", "name": "x", "size": 1}, {"id": "b", "size": 2})
    run = bring(bench, {"id": "a", "name": "y", "colour": "red"})
    found = record_service.list_drift(bench.installation, "shop")
    assert [(each["field"], each["kind"], each["records"]) for each in found] == [
        ("name", "missing", 1),
        ("colour", "unknown", 1),
        ("size", "unknown", 2),
    ]
    assert found[1]["run_id"] == run.id
    assert record_service.list_drift(bench.installation, "shop", "items") == found
    with pytest.raises(NotFoundError):
        record_service.list_drift(bench.installation, "shop", "itms")
