"""How far a run is: told where it can be known, left out where not; and each state in its words."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from kit import make_bench
from tieline.cli.commands.runs import run_facts, state_words
from tieline.contract import ProviderUnavailableError, RateLimitedError
from tieline.errors import InvalidInputError
from tieline.services import syncs
from tieline.services.following import Follower
from tieline.services.progress import look_at

BEGIN = datetime(2025, 1, 1, tzinfo=UTC)


@pytest.fixture
def bench(database_url, tmp_path):
    made = make_bench(database_url, tmp_path, provider="ledger", hands="1", read_ahead="0")
    yield made
    made.installation.close()


def fill(ledger, count: int) -> None:
    ledger.page_size = 10
    for number in range(count):
        created = BEGIN + timedelta(days=number)
        ledger.put(f"r{number:04d}", created=int(created.timestamp()))


def stop_after(bench, pages: int) -> threading.Event:
    """Let a run give its work back once it has begun so many pages and one more."""
    stop = threading.Event()

    def count(ledger):
        if ledger.count("list") >= pages:
            stop.set()

    bench.ledger.before_page = count
    return stop


def look(bench, run_id: str):
    return look_at(bench.installation, bench.run(run_id))


def test_a_window_is_estimated_by_the_density_of_its_pages(bench):
    fill(bench.ledger, 200)
    window = (BEGIN, BEGIN + timedelta(days=200))
    run_id = bench.ask("rows", "window", window=window).run.id
    assert look(bench, run_id).total is None
    bench.help(run_id, stop_after(bench, 6))
    progress = look(bench, run_id)
    assert (progress.seen, progress.basis) == (70, "density")
    assert 180 <= progress.total <= 230
    bench.ledger.before_page = lambda _: None
    bench.help(run_id)
    assert look(bench, run_id) is None


def test_where_nobody_knows_when_the_history_begins_nothing_is_promised(bench):
    fill(bench.ledger, 200)
    run_id = bench.ask("rows", "full").run.id
    bench.help(run_id, stop_after(bench, 6))
    progress = look(bench, run_id)
    assert (progress.seen, progress.total, progress.basis) == (70, None, None)


def test_a_later_run_is_estimated_by_what_there_is(bench):
    fill(bench.ledger, 60)
    bench.sync("rows", "full")
    run_id = bench.ask("rows", "full").run.id
    bench.help(run_id, stop_after(bench, bench.ledger.count("list") + 2))
    progress = look(bench, run_id)
    assert (progress.total, progress.basis) == (60, "last run")


def test_nobody_knows_how_long_a_log_of_changes_is(bench):
    fill(bench.ledger, 20)
    bench.sync("rows", "full")
    progress = look(bench, bench.ask("rows", "incremental").run.id)
    assert (progress.total, progress.basis) == (None, None)


def test_each_state_has_its_own_words(bench):
    words = {}
    fill(bench.ledger, 20)
    asked = bench.ask("rows", "full").run

    def say(name: str, run) -> None:
        words[name] = state_words(run, look_at(bench.installation, run))

    say("queued", bench.run(asked.id))
    bench.ledger.refuses["list"] = RateLimitedError("slow down", retry_after=7)
    say("limit", bench.help(asked.id))
    bench.ledger.refuses["list"] = ProviderUnavailableError("502")
    bench.clock.move(8)
    say("retrying", bench.help(asked.id))
    bench.ledger.refuses.clear()
    bench.clock.move(3600)
    say("done", bench.help(asked.id))
    bench.ledger.put("bad", name=5)
    say("bad", bench.sync("rows", "full"))
    cancelled = bench.ask("rows", "full").run
    syncs.cancel_run(bench.installation, cancelled.id, actor="test")
    say("cancelled", bench.run(cancelled.id))
    most = bench.engine.settings.run_attempts
    assert words == {
        "queued": "queued",
        "limit": "waiting (limit)",
        "retrying": f"retrying (3 of {most})",
        "done": "succeeded",
        "bad": "succeeded, 1 quarantined",
        "cancelled": "cancelled",
    }


def told(follower: Follower, run) -> list[tuple[str, int, str]]:
    return [(each.kind, each.pages, each.why) for each in follower.look(run)]


def test_whoever_follows_a_run_is_told_each_thing_once(bench):
    fill(bench.ledger, 60)
    asked = bench.ask("rows", "full")
    follower = Follower(bench.installation, is_new=asked.is_new)
    assert told(follower, asked.run) == []
    bench.help(asked.run.id, stop_after(bench, 2))
    assert told(follower, bench.run(asked.run.id)) == [("fetched", 3, "")]
    assert told(follower, bench.run(asked.run.id)) == []

    again = bench.ask("rows", "full")
    later = Follower(bench.installation, is_new=again.is_new)
    [resuming] = later.look(again.run)
    assert (resuming.kind, resuming.pages) == ("resuming", 3)
    assert resuming.at is not None

    bench.ledger.before_page = lambda _: None
    bench.ledger.refuses["list"] = RateLimitedError("slow down", retry_after=7)
    rests = bench.help(asked.run.id)
    [waiting] = later.look(rests)
    assert (waiting.kind, waiting.at, waiting.why) == ("waiting", rests.due_at, "slow down")
    assert later.look(rests) == []
    bench.ledger.refuses.clear()
    bench.clock.move(8)
    assert told(later, bench.help(asked.run.id)) == [("fetched", 6, "")]


def test_facts_of_a_run_name_window_and_progress(bench):
    fill(bench.ledger, 20)
    window = (BEGIN, BEGIN + timedelta(days=5))
    asked = bench.ask("rows", "window", window=window)
    facts = run_facts(asked.run, look_at(bench.installation, asked.run))
    assert facts["window"] == {"since": window[0], "until": window[1]}
    assert facts["progress"]["seen"] == 0
    run = bench.help(asked.run.id)
    assert (run.state, run.counts.created) == ("succeeded", 5)


def test_a_window_that_ends_before_it_begins_is_refused(bench):
    with pytest.raises(InvalidInputError) as caught:
        syncs.start_sync(
            bench.installation,
            "shop",
            "rows",
            mode="window",
            actor="test",
            window=(BEGIN, BEGIN - timedelta(1)),
        )
    assert caught.value.slug == "window-empty"
