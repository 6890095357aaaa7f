"""What a run would do is what it does: the plan and the run are made by one rule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from kit import make_bench
from tieline.contract import ProviderUnavailableError
from tieline.errors import InvalidInputError, NotFoundError
from tieline.services import connections, plans
from tieline.services.plans import PlannedLimits

BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
LIMITS = "10/second; 60/minute; concurrency=4"


@pytest.fixture
def bench(database_url, tmp_path):
    made = make_bench(
        database_url, tmp_path, provider="ledger", hands="1", ledger_rate_limits=LIMITS
    )
    made.ledger.page_size = 10
    for number in range(60):
        created = int((BEGIN + timedelta(days=number)).timestamp())
        made.ledger.put(f"r{number:04d}", created=created)
    yield made
    made.installation.close()


def plan(bench, entity: str = "rows", **options):
    [found], limits = plans.plan_syncs(bench.installation, "shop", [entity], **options)
    return found, limits


def test_the_first_run_reads_everything_and_nobody_knows_how_much_that_is(bench):
    found, limits = plan(bench)
    assert (found.mode, found.source, found.window) == ("full", "list", (None, None))
    assert "nothing was synced to its end yet" in found.reason
    assert (found.records, found.requests, found.least_s, found.basis) == (0, None, None, None)
    assert list(limits.rates) == ["10/second", "60/minute"]
    assert (limits.concurrency, limits.share, limits.paused_until) == (4, 1.0, None)


def test_a_plan_asks_and_changes_nothing(bench):
    before = bench.ledger.count("list")
    plan(bench)
    plan(bench, mode="full")
    assert bench.ledger.count("list") == before
    assert plan(bench)[0].active is None


def test_a_run_does_what_was_planned_in_about_as_many_requests(bench):
    whole = bench.sync("rows", "full")
    found, _ = plan(bench)
    assert (found.mode, found.source, found.reason) == ("incremental", "feed", "")
    assert found.synced_until is not None
    assert found.window[0] < found.synced_until
    done = bench.sync("rows", "incremental")
    assert (done.mode, done.reason) == (found.mode, found.reason)
    again, _ = plan(bench)
    assert (again.requests, again.basis.id) == (done.counts.requests, done.id)
    everything, _ = plan(bench, mode="full")
    assert (everything.requests, everything.records) == (whole.counts.requests, 60)


def test_a_log_that_no_longer_reaches_back_is_seen_before_the_run(bench):
    bench.sync("rows", "full")
    bench.clock.move(400 * 86_400)
    found, _ = plan(bench)
    assert found.mode == "full"
    assert "so everything is read" in found.reason


def test_the_run_that_is_under_way_is_named(bench):
    asked = bench.ask("rows", "full").run
    assert plan(bench)[0].active.id == asked.id
    bench.ledger.refuses["list"] = ProviderUnavailableError("502")
    bench.help(asked.id)
    assert plan(bench)[0].active.state == "retrying"


def test_what_would_be_refused_is_said(bench):
    connections.pause_connection(bench.installation, "shop", actor="test")
    assert plan(bench)[0].trouble.slug == "connection-paused"
    with pytest.raises(NotFoundError, match="no entity 'raws'"):
        plan(bench, "raws")
    window = (BEGIN, BEGIN - timedelta(1))
    with pytest.raises(InvalidInputError, match="before it begins"):
        plan(bench, mode="window", window=window)


@pytest.mark.parametrize(
    ("rates", "share", "seconds"),
    [
        ([], 1.0, 0.0),
        (["10/second"], 1.0, 5.0),
        (["10/second", "60/minute"], 1.0, 5.0),
        (["100/10 second"], 0.5, 2.0),
        (["20/minutes"], 1.0, 120.0),
    ],
)
def test_the_slowest_rate_says_how_long_it_takes(rates, share, seconds):
    limits = PlannedLimits(
        rates=rates, concurrency=None, share=share, paused_until=None, breaker_until=None
    )
    assert plans._least_s(60, limits) == seconds
