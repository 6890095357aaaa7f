"""A dry run says what a run then does, and leaves no trace."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from kit import make_bench
from tieline.contract import NeedsReauthError, ProviderUnavailableError
from tieline.errors import NotFoundError, RefusedError
from tieline.services import connections, tryouts
from tieline.store import tables

BEGIN = datetime(2025, 1, 1, tzinfo=UTC)


@pytest.fixture
def bench(database_url, tmp_path):
    made = make_bench(database_url, tmp_path, provider="ledger", hands="1")
    made.ledger.page_size = 10
    for number in range(25):
        created = int((BEGIN + timedelta(days=number)).timestamp())
        made.ledger.put(f"r{number:04d}", created=created)
    yield made
    made.installation.close()


def tried(bench, **options):
    return tryouts.try_sync(bench.installation, "shop", "rows", **options)


def outcomes(found) -> dict[str, str]:
    return {each.id: each.outcome for each in found.records}


def everything(bench) -> list:
    names = ("runs", "records", "quarantine", "entity_states", "sync_log", "drift", "copies")
    with bench.database.read() as connection:
        return [connection.execute(select(getattr(tables, name))).all() for name in names]


def test_it_reads_as_many_as_were_asked_for_and_no_page_more(bench):
    found = tried(bench, limit=12)
    assert (len(found.records), found.is_all, found.counts.requests) == (12, False, 2)
    assert bench.ledger.count("list") == 2
    assert set(outcomes(found).values()) == {"created"}
    assert json.loads(found.records[0].payload)["id"] == found.records[0].id
    assert tried(bench, limit=10_000).is_all
    assert tried(bench, limit=25).is_all


def test_it_leaves_no_trace(bench):
    bench.sync("rows", "full")
    bench.ledger.put("r0003", name="changed")
    bench.ledger.put("odd", name=5)
    before = everything(bench)
    tried(bench, limit=1000)
    assert everything(bench) == before


def test_what_it_says_of_each_record_is_what_the_run_then_does(bench):
    bench.sync("rows", "full")
    bench.clock.move(60)
    bench.ledger.put("r0003", name="changed", created=int(BEGIN.timestamp()), extra=1)
    bench.ledger.put("new", created=int(BEGIN.timestamp()))
    bench.ledger.put("odd", name=5, created=int(BEGIN.timestamp()))
    found = tried(bench, limit=1000)
    said = outcomes(found)
    assert (said["r0003"], said["new"], said["odd"], said["r0004"]) == (
        "updated", "created", "quarantined", "unchanged",
    )  # fmt: skip
    [bad] = [each for each in found.records if each.outcome == "quarantined"]
    assert (bad.code is not None, "name" in bad.reason) == (True, True)
    assert "extra" in found.unknown
    counts = found.counts
    run = bench.sync("rows", "full").counts
    for name in ("seen", "created", "updated", "unchanged", "quarantined"):
        assert getattr(run, name) == getattr(counts, name), name


def test_a_window_bounds_it(bench):
    window = (BEGIN + timedelta(days=2), BEGIN + timedelta(days=4))
    assert sorted(outcomes(tried(bench, window=window))) == ["r0002", "r0003"]


def test_what_stands_in_its_way_is_said(bench):
    bench.ledger.refuses["list"] = ProviderUnavailableError("502", retry_after=3600)
    with pytest.raises(ProviderUnavailableError):
        tried(bench)
    bench.ledger.refuses["list"] = NeedsReauthError("the key was taken back")
    with pytest.raises(NeedsReauthError) as refused:
        tried(bench)
    assert refused.value.hint
    bench.ledger.refuses.clear()
    with pytest.raises(NotFoundError):
        tryouts.try_sync(bench.installation, "shop", "raws")
    connections.pause_connection(bench.installation, "shop", actor="test")
    with pytest.raises(RefusedError, match="is paused"):
        tried(bench)
