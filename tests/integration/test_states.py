"""A cursor is shown, set back, brought back; never forward, and never under a run."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta

import pytest

from kit import make_bench
from tieline.contract import NeedsReauthError
from tieline.engine import ask
from tieline.errors import ChangedError, InvalidInputError, NotFoundError, RefusedError
from tieline.services import states, syncs
from tieline.services.audit import Wanted, list_audit
from tieline.store import connections

BEGIN = datetime(2025, 1, 1, tzinfo=UTC)


@pytest.fixture
def bench(database_url, tmp_path):
    made = make_bench(database_url, tmp_path, provider="ledger", hands="1")
    made.ledger.page_size = 10
    for number in range(20):
        created = int((BEGIN + timedelta(days=number)).timestamp())
        made.ledger.put(f"r{number:04d}", created=created)
    yield made
    made.installation.close()


def shown(bench):
    return states.list_states(bench.installation, "shop", "rows")[0]


def reset(bench, to=None):
    return states.reset_state(bench.installation, "shop", "rows", to=to, actor="cli:ada")


def undo(bench):
    return states.undo_reset(bench.installation, "shop", "rows", actor="cli:ada")


def test_before_the_first_run_there_is_nothing_to_set_back(bench):
    found = shown(bench)
    assert (found.synced_until, found.reads_from, found.records) == (None, None, 0)
    with pytest.raises(RefusedError) as refused:
        reset(bench)
    assert refused.value.slug == "state-none"


def test_after_a_reset_the_next_run_reads_everything_and_moves_the_cursor_on(bench):
    bench.sync("rows", "full")
    before = shown(bench).synced_until
    moved = reset(bench)
    assert (moved.was, moved.to) == (before, None)
    assert (shown(bench).reads_from, shown(bench).undoes, shown(bench).records) == (
        None, before, 20,
    )  # fmt: skip
    bench.clock.move(60)
    run = bench.sync("rows", "incremental")
    assert (run.mode, run.counts.seen, run.counts.unchanged) == ("full", 20, 20)
    assert shown(bench).synced_until > before


def test_a_reset_to_a_time_has_the_log_read_from_there(bench):
    bench.sync("rows", "full")
    bench.clock.move(86_400)
    bench.ledger.put("r0003", name="changed")
    bench.clock.move(86_400)
    bench.sync("rows", "incremental")
    bench.clock.move(86_400)
    assert bench.sync("rows", "incremental").counts.seen == 0
    known = shown(bench).synced_until
    reset(bench, to=known - timedelta(days=2, hours=12))
    run = bench.sync("rows", "incremental")
    assert (run.mode, run.counts.seen) == ("incremental", 1)


def test_a_reset_is_undone_once_and_only_until_something_moves_the_cursor(bench):
    bench.sync("rows", "full")
    before = shown(bench).synced_until
    reset(bench, to=before - timedelta(days=1))
    reset(bench)
    assert undo(bench).to == before - timedelta(days=1)
    assert shown(bench).undoes is None
    with pytest.raises(RefusedError, match="no reset of rows to undo"):
        undo(bench)
    reset(bench)
    bench.clock.move(60)
    bench.sync("rows", "incremental")
    with pytest.raises(RefusedError) as refused:
        undo(bench)
    assert refused.value.slug == "state-not-undone"


def test_a_cursor_is_never_set_forward(bench):
    bench.sync("rows", "full")
    known = shown(bench).synced_until
    for to in (known, known + timedelta(seconds=1)):
        with pytest.raises(InvalidInputError) as refused:
            reset(bench, to=to)
        assert refused.value.slug == "state-forward"
    assert shown(bench).synced_until == known


def test_nothing_is_moved_under_a_run(bench):
    bench.sync("rows", "full")
    known = shown(bench).synced_until
    asked = bench.ask("rows", "full").run
    with pytest.raises(RefusedError) as refused:
        reset(bench)
    assert (refused.value.slug, asked.id in refused.value.message) == ("run-active", True)
    assert shown(bench).synced_until == known
    bench.help(asked.id)
    reset(bench)
    bench.ask("rows", "full")
    with pytest.raises(RefusedError, match="would move the cursor on"):
        undo(bench)


def test_a_run_that_waits_for_a_person_moves_the_cursor_later_so_it_counts(bench):
    bench.sync("rows", "full")
    known = shown(bench).synced_until
    bench.ledger.refuses["feed"] = NeedsReauthError("the key was taken back")
    parked = bench.sync("rows", "incremental")
    assert (parked.state, shown(bench).active.id) == ("needs_reauth", parked.id)
    with pytest.raises(RefusedError) as refused:
        reset(bench)
    assert (refused.value.slug, shown(bench).synced_until) == ("run-active", known)
    syncs.cancel_run(bench.installation, parked.id, actor="test")
    assert reset(bench).was == known


def test_whoever_moves_it_in_the_same_moment_is_noticed(bench, monkeypatch):
    bench.sync("rows", "full")
    stale = BEGIN
    monkeypatch.setattr(states, "_cursor", lambda *_: stale)
    with pytest.raises(ChangedError):
        reset(bench)
    assert shown(bench).undoes is None


@pytest.fixture
def held(monkeypatch):
    """Return what holds a function up at its next call: when it is there, and let it go on."""

    def hold(module, name):
        there, may_go = threading.Event(), threading.Event()
        real = getattr(module, name)

        def stopped(*arguments, **options):
            found = real(*arguments, **options)
            there.set()
            assert may_go.wait(30)
            return found

        monkeypatch.setattr(module, name, stopped)
        return there, may_go

    return hold


def test_a_run_that_is_planned_in_the_same_moment_moves_no_cursor_on_that_is_set_back(bench, held):
    """The plan has read the old cursor and is not committed."""
    bench.sync("rows", "full")
    known = shown(bench).synced_until
    planned, may_commit = held(ask, "make_plan")
    with ThreadPoolExecutor(2) as pool:
        asked = pool.submit(bench.ask, "rows", "incremental")
        assert planned.wait(30)
        moved = pool.submit(reset, bench)
        wait([moved], timeout=0.5)  # long enough to be done, were it not held up
        may_commit.set()
        run = asked.result(30).run
        with pytest.raises(RefusedError) as refused:
            moved.result(30)
    assert (refused.value.slug, run.mode) == ("run-active", "incremental")
    assert shown(bench).synced_until == known


def test_a_run_that_is_asked_for_while_a_cursor_is_set_back_is_planned_from_there(bench, held):
    bench.sync("rows", "full")
    set_back, may_commit = held(states, "_unfinished")
    with ThreadPoolExecutor(2) as pool:
        moved = pool.submit(reset, bench)
        assert set_back.wait(30)
        asked = pool.submit(bench.ask, "rows", "incremental")
        wait([asked], timeout=0.5)
        may_commit.set()
        assert moved.result(30).to is None
        run = asked.result(30).run
    assert run.mode == "full"
    assert bench.help(run.id).counts.seen == 20


def test_every_move_is_in_the_audit_log_with_who_made_it(bench):
    bench.sync("rows", "full")
    known = shown(bench).synced_until
    reset(bench)
    undo(bench)
    found = list_audit(bench.installation, Wanted(entity="rows", actor="cli:ada"))
    assert [(each["event"], each["detail"]) for each in found] == [
        ("state.undone", f"nothing to {known.isoformat()}"),
        ("state.reset", f"{known.isoformat()} to nothing"),
    ]


def test_moves_of_one_cursor_say_nothing_of_another(bench):
    row_id = bench.connection_id
    bench.sync("rows", "full")
    reset(bench)
    with bench.database.write() as transaction:
        assert not connections.move_cursor(transaction, row_id, "other", was=None, to=BEGIN)
    with pytest.raises(NotFoundError):
        states.list_states(bench.installation, "shop", "raws")


def test_where_every_run_reads_everything_there_is_no_cursor(database_url, tmp_path):
    bench = make_bench(database_url, tmp_path)
    bench.sync("items", "full")
    with pytest.raises(RefusedError) as refused:
        states.reset_state(bench.installation, "shop", "items", actor="cli:ada")
    assert refused.value.slug == "state-useless"
    bench.installation.close()
