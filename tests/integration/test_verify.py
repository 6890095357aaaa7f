"""What ``verify`` names and ``repair`` mends: all that differs, and nothing else."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import delete, text, update

from kit import make_bench, names
from tieline.contract import Page, ProviderUnavailableError, parse_json
from tieline.engine.confirm import MOST_ASKED
from tieline.records import PageWriter, rank_of
from tieline.store import findings, log, quarantined, runs
from tieline.store.tables import records


@pytest.fixture
def ledger(database_url, tmp_path):
    made = make_bench(database_url, tmp_path, provider="ledger")
    yield made
    made.installation.close()


@pytest.fixture
def shelf(database_url, tmp_path):
    made = make_bench(database_url, tmp_path)
    yield made
    made.installation.close()


def found(bench, run) -> dict[str, str]:
    """Return what a run found: key to kind."""
    with bench.database.read() as connection:
        listed = findings.list_findings(connection, run.id, limit=10_000)
    return {each["record_id"]: each["kind"] for each in listed}


def repaired(bench, run) -> list[bool]:
    with bench.database.read() as connection:
        listed = findings.list_findings(connection, run.id, limit=10_000)
    return [each["repaired_at"] is not None for each in listed]


def remove(bench, *keys: str) -> None:
    """Take rows out of our database, as a mistake would."""
    with bench.database.write() as connection:
        connection.execute(delete(records).where(records.c.record_id.in_(keys)))


def alter(bench, key: str, payload: dict, **also: object) -> None:
    """Change a row's payload behind the engine's back."""
    with bench.database.write() as connection:
        connection.execute(
            update(records).where(records.c.record_id == key).values(payload=payload, **also)
        )


def whole_table(bench) -> list[tuple]:
    with bench.database.read() as connection:
        query = "SELECT record_id, CAST(payload AS TEXT), content_hash, rank, revision, position,"
        query += " deleted_at, changed_at, run_id FROM records ORDER BY record_id"
        return [tuple(row) for row in connection.execute(text(query))]


def fill(bench, count: int = 40) -> None:
    """Bring both sides in step."""
    for number, key in enumerate(names(count)):
        bench.ledger.put(key, created=1_700_000_000 + number * 86_400, name=f"name of {key}")
    assert bench.sync("rows").state == "succeeded"
    bench.clock.move(60)


def plant(bench) -> dict[str, str]:
    """Make eleven gaps: seven changes that nobody told us of, and four of our own making."""
    bench.ledger.hears = False
    bench.ledger.put("new1", created=1_690_000_000, name="never told")
    bench.ledger.put("new2", created=1_701_000_000, name="never told")
    bench.ledger.put("new3", name="never told")
    for key in ("k0003", "k0004"):
        bench.ledger.put(key, name="changed, never told")
    for key in ("k0005", "k0006"):
        bench.ledger.remove(key)
    bench.ledger.hears = True
    remove(bench, "k0010", "k0011", "k0012")
    alter(bench, "k0020", {"id": "k0020", "name": "tampered with"})
    bench.clock.move(60)
    return {
        **dict.fromkeys(("new1", "new2", "new3", "k0010", "k0011", "k0012"), "missing"),
        **dict.fromkeys(("k0003", "k0004", "k0020"), "stale"),
        **dict.fromkeys(("k0005", "k0006"), "surplus"),
    }


def test_eleven_planted_gaps_are_named_and_nothing_else(ledger):
    fill(ledger)
    planted = plant(ledger)
    before = whole_table(ledger)
    run = ledger.sync("rows", mode="verify")
    assert run.state == "succeeded"
    assert found(ledger, run) == planted
    assert len(planted) == 11
    assert whole_table(ledger) == before
    assert not any(repaired(ledger, run))
    assert run.counts.seen == run.counts.unchanged == 41


def test_repair_mends_what_verify_names_and_then_there_is_nothing(ledger):
    fill(ledger)
    planted = plant(ledger)
    run = ledger.sync("rows", mode="repair")
    assert found(ledger, run) == planted
    assert all(repaired(ledger, run))
    assert (run.counts.created, run.counts.updated, run.counts.deleted) == (6, 3, 2)
    ledger.clock.move(60)
    assert found(ledger, ledger.sync("rows", mode="verify")) == {}
    assert ledger.stored_keys("rows") == sorted(ledger.ledger.rows)


def test_a_row_altered_with_or_without_its_hash_is_found(ledger):
    fill(ledger)
    alter(ledger, "k0001", {"id": "k0001", "name": "x"})
    alter(ledger, "k0002", {"id": "k0002", "name": "x"}, content_hash="0" * 32)
    alter(ledger, "k0003", ledger.ledger.rows["k0003"], is_escaped=True)
    run = ledger.sync("rows", mode="verify")
    assert found(ledger, run) == dict.fromkeys(("k0001", "k0002", "k0003"), "stale")
    ledger.sync("rows", mode="repair")
    ledger.clock.move(60)
    assert found(ledger, ledger.sync("rows", mode="verify")) == {}


def test_an_entity_that_cannot_be_asked_is_proved_by_its_list_alone(shelf):
    shelf.shelf.put(*names(10))
    shelf.sync()
    shelf.clock.move(60)
    shelf.shelf.put("new", "k0001", size=3)
    del shelf.shelf.records["k0002"]
    alter(shelf, "k0003", {"id": "k0003"})
    remove(shelf, "k0004")
    expected = {"new": "missing", "k0004": "missing", "k0001": "stale", "k0003": "stale"}
    run = shelf.sync(mode="verify")
    assert found(shelf, run) == expected | {"k0002": "surplus"}
    shelf.clock.move(60)
    run = shelf.sync(mode="repair")
    assert found(shelf, run) == expected | {"k0002": "surplus"}
    assert all(repaired(shelf, run))
    shelf.clock.move(60)
    assert found(shelf, shelf.sync(mode="verify")) == {}


def test_repair_marks_what_it_mended_where_nothing_can_be_swept(shelf):
    shelf.shelf.put("a")
    run = shelf.sync("kept", mode="repair")
    assert found(shelf, run) == {"a": "missing"}
    assert repaired(shelf, run) == [True]
    del shelf.shelf.records["a"]
    shelf.clock.move(60)
    assert found(shelf, shelf.sync("kept", mode="verify")) == {}


def test_what_changes_at_the_provider_meanwhile_is_no_finding(ledger):
    fill(ledger)
    planted = plant(ledger)
    pages = iter(range(1000))

    def change(provider) -> None:
        number = next(pages)
        ledger.clock.move(1)
        if number % 2:
            provider.put(f"k{21 + number % 14:04d}", name=f"changed at page {number}")
        if number == 4:
            provider.put("late", name="made while we looked")
            provider.remove("k0039")
            provider.remove("k0000")

    ledger.ledger.before_page = change
    run = ledger.sync("rows", mode="verify")
    ledger.ledger.before_page = lambda provider: None
    assert found(ledger, run) == planted
    ledger.sync("rows", mode="repair")
    ledger.clock.move(60)
    assert found(ledger, ledger.sync("rows", mode="verify")) == {}


def test_a_record_that_a_page_left_out_is_no_surplus(ledger):
    fill(ledger)
    hidden = ledger.ledger.rows.pop("k0007")
    run_id = ledger.ask("rows", mode="verify").run.id
    get = ledger.ledger.get
    ledger.ledger.get = lambda key: dict(hidden) if key == "k0007" else get(key)
    assert found(ledger, ledger.help(run_id)) == {}


def test_what_we_write_meanwhile_is_no_finding(shelf):
    shelf.shelf.put(*names(9))
    shelf.sync()
    shelf.clock.move(60)
    remove(shelf, "k0007", "k0008")
    shelf.shelf.requests = 0

    def deliver(provider, after) -> None:
        entity = shelf.engine.registry.get("shelf").entity("items")
        writer = PageWriter(shelf.database, shelf.connection_id, entity)
        now = shelf.clock.now()
        page = Page(records=[provider.records["k0008"]], next=None)
        plan = writer.compare(writer.draft_page(page, rank=rank_of(now)), now=rank_of(now))
        shelf.database.transact(lambda tx: writer.write(tx, plan, run_id=None, now=now))

    shelf.shelf.faults[3] = deliver
    assert found(shelf, shelf.sync(mode="verify")) == {"k0007": "missing"}


def test_a_last_look_that_is_cut_short_is_taken_up_again(ledger):
    fill(ledger)
    planted = plant(ledger)
    run_id = ledger.ask("rows", mode="verify").run.id
    stop, get = threading.Event(), ledger.ledger.get
    ledger.ledger.get = lambda key: stop.set() or get(key)
    assert ledger.help(run_id, stop).state == "running"
    ledger.ledger.get = get
    run = ledger.help(run_id)
    assert (run.state, found(ledger, run)) == ("succeeded", planted)


def test_a_last_look_ends_when_the_run_is_cancelled(ledger):
    fill(ledger)
    plant(ledger)
    run_id = ledger.ask("rows", mode="verify").run.id

    def cancel(key: str):
        with ledger.database.write() as connection:
            runs.request_cancel(connection, run_id, ledger.clock.now())

    ledger.ledger.get = cancel
    assert ledger.help(run_id).state == "cancelled"


def test_a_log_that_is_refused_or_away_hides_no_finding(ledger):
    from ledger_plugin import refused

    fill(ledger)
    planted = plant(ledger)
    ledger.ledger.refuses["feed"] = refused()
    assert found(ledger, ledger.sync("rows", mode="verify")) == planted
    ledger.ledger.refuses["feed"] = ProviderUnavailableError("away", retry_after=3600)
    run = ledger.sync("rows", mode="verify")
    assert run.state == "retrying"
    ledger.ledger.refuses.clear()
    ledger.clock.move(7200)
    assert found(ledger, ledger.help(run.id)) == planted
    assert ledger.run(run.id).state == "succeeded"


def test_a_record_that_cannot_be_read_is_neither_stale_nor_surplus(shelf):
    shelf.shelf.put("a", "b")
    shelf.sync()
    shelf.clock.move(60)
    shelf.shelf.records["b"] = {"name": "whose?"}
    run = shelf.sync(mode="verify")
    assert run.state == "succeeded_with_quarantine"
    assert found(shelf, run) == {}
    assert (run.counts.seen, run.counts.unchanged, run.counts.quarantined) == (2, 1, 1)
    with shelf.database.read() as connection:
        [row] = quarantined.list_quarantined(connection, shelf.connection_id)
    assert row["run_id"] == run.id
    assert shelf.stored_keys() == ["a", "b"]


ODD = '{"id":"a","x":[1e22,-0.0,1.0,1e-8,5e-324,0.1],"y":1180591620717411303424,"z":"\\u0000␛"}'


def test_what_a_database_writes_in_other_words_is_no_finding(shelf):
    record = parse_json(ODD.encode())
    for turn, mode in enumerate(("full", "verify", "repair"), 1):
        shelf.shelf.faults[turn] = lambda shelf, after: Page(records=[record], next=None)
        run = shelf.sync(mode=mode)
        shelf.clock.move(60)
    assert found(shelf, run) == {}
    assert run.counts.unchanged == 1


def test_a_repair_that_would_delete_too_much_says_so_and_names_it(shelf):
    shelf.shelf.put(*names(60))
    shelf.sync()
    shelf.clock.move(60)
    for key in names(59):
        del shelf.shelf.records[key]
    run = shelf.sync(mode="verify")
    assert len(found(shelf, run)) == 59
    shelf.clock.move(60)
    run = shelf.sync(mode="repair")
    assert (run.state, run.error_code) == ("failed", "deletes-held")
    assert found(shelf, run)
    assert not any(repaired(shelf, run))
    assert len(shelf.stored_keys()) == 60


def test_an_empty_database_is_missing_everything_however_much_that_is(ledger):
    count = MOST_ASKED + 30
    ledger.ledger.page_size = 200
    ledger.ledger.hears = False
    for key in names(count):
        ledger.ledger.put(key, name=key)
    ledger.clock.move(60)
    run = ledger.sync("rows", mode="verify")
    assert found(ledger, run) == dict.fromkeys(names(count), "missing")
    assert ledger.ledger.count("get") == MOST_ASKED
    with ledger.database.read() as connection:
        assert log.list_entries(connection, run_id=run.id)[-1]["event"] == "run.succeeded"
