"""Many runs at once: chosen by what they have in common, tried again, cancelled."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from sqlalchemy import update

from api_kit import callers_of
from cli_kit import run_cli, use_environment
from kit import make_bench, names
from tieline.errors import InvalidInputError, NotFoundError, RefusedError
from tieline.services import connections, runs, syncs
from tieline.store import tables


@pytest.fixture
def bench(database_url, redis_url, tmp_path):
    made = make_bench(database_url, tmp_path, redis_url=redis_url)
    made.shelf.put(*names(3))
    yield made
    made.installation.close()


def fail(bench, entity: str = "items", code: str = "provider-unavailable", **changed) -> str:
    """Leave a run that ended without success; one of each entity may be active at a time."""
    run_id = bench.ask(entity).run.id
    with bench.database.write() as transaction:
        told = {"error_code": code, "error_message": "it says no"}
        values = {"state": "failed", "finished_at": bench.clock.now(), **told}
        where = tables.runs.c.id == run_id
        transaction.execute(update(tables.runs).where(where).values(**values | changed))
    bench.clock.move(60)
    return run_id


def chosen(bench, **given) -> list[str]:
    times = {name: given.pop(name) for name in ("since", "until") if name in given}
    values = {name: [each] if isinstance(each, str) else each for name, each in given.items()}
    wanted = runs.wanted_runs(bench.installation, values, **times)
    return [run.id for run in syncs.list_runs(bench.installation, wanted)]


def test_runs_are_listed_by_whatever_they_have_in_common(bench):
    start = bench.clock.now()
    first = fail(bench)
    second = fail(bench, code="rate-limited", state="cancelled")
    third = bench.sync("items").id
    assert chosen(bench, state="failed") == [first]
    assert chosen(bench, state=["failed", "cancelled"]) == [second, first]
    assert chosen(bench, code="rate-limited") == [second]
    assert chosen(bench, code="rate-limited", state="failed") == []
    assert chosen(bench, connection="shop", provider="shelf", entity="items") == [
        third, second, first,
    ]  # fmt: skip
    assert chosen(bench, provider="other") == []
    assert chosen(bench, mode="full", direction="inbound") == [third, second, first]
    assert chosen(bench, direction="outbound") == []
    assert chosen(bench, since=start + timedelta(seconds=60)) == [third, second]
    assert chosen(bench, until=start + timedelta(seconds=60)) == [first]
    for given in ({"colour": "red"}, {"state": "brown"}, {"direction": "up"}, {"code": "a\n"}):
        with pytest.raises(InvalidInputError) as caught:
            chosen(bench, **given)
        assert caught.value.slug == "runs-choice"
    with pytest.raises(NotFoundError):
        chosen(bench, connection="nobody")


def test_a_run_is_tried_again_as_it_was_and_one_that_succeeded_is_not(bench):
    old = fail(bench)
    asked = runs.retry_run(bench.installation, old, actor="test")
    assert asked.is_new
    assert (asked.run.entity, asked.run.mode, asked.run.asked_by) == ("items", "full", "test")
    again = runs.retry_run(bench.installation, old, actor="test")
    assert (again.is_new, again.run.id) == (False, asked.run.id)
    with pytest.raises(RefusedError) as caught:  # it is under way
        runs.retry_run(bench.installation, asked.run.id, actor="test")
    assert caught.value.slug == "run-not-failed"
    assert bench.help(asked.run.id).state == "succeeded"
    with pytest.raises(RefusedError):
        runs.retry_run(bench.installation, asked.run.id, actor="test")


def test_of_many_failures_of_one_entity_the_newest_is_tried_once(bench):
    ids = [fail(bench) for _ in range(4)]
    wanted = runs.to_retry(runs.wanted_runs(bench.installation, {}))
    found = runs.choose_runs(bench.installation, wanted)
    assert [run.id for run in found] == ids[-1:]
    done = runs.retry_runs(bench.installation, found, actor="test")
    assert len(done.runs) == 1
    assert (done.active, done.left) == ([], [])
    more = runs.retry_runs(bench.installation, found, actor="test")
    assert (more.runs, [run.id for run in more.active]) == ([], [done.runs[0].id])
    to_stop = runs.to_cancel(runs.wanted_runs(bench.installation, {"connection": ["shop"]}))
    stopped = runs.cancel_runs(
        bench.installation, runs.choose_runs(bench.installation, to_stop), actor="test"
    )
    assert [(run.id, run.state) for run in stopped.runs] == [(done.runs[0].id, "cancelled")]
    with pytest.raises(InvalidInputError):
        runs.to_cancel(runs.wanted_runs(bench.installation, {"state": ["failed"]}))


def test_one_that_cannot_be_tried_again_is_named_with_its_reason(bench):
    old = fail(bench)
    connections.pause_connection(bench.installation, "shop", actor="test")
    wanted = runs.to_retry(runs.wanted_runs(bench.installation, {}))
    chosen_runs = runs.choose_runs(bench.installation, wanted)
    done = runs.retry_runs(bench.installation, chosen_runs, actor="test")
    assert [(each.run.id, each.error.slug) for each in done.left] == [(old, "connection-paused")]


def test_the_api_chooses_counts_and_does_the_same_for_what_its_token_may_see(bench):
    old = fail(bench)
    admin = callers_of(bench.installation).new("admin", name="a")
    assert [run["id"] for run in admin.get("/runs?code=provider-unavailable")["data"]] == [old]
    assert admin.get("/runs?code=other&entity=items&provider=shelf")["data"] == []
    assert admin.refused("POST", "/runs/retry", 422, json={})["code"] == "runs-choice"
    counted = admin.post("/runs/retry", {"connection": "shop", "dry_run": True})
    assert (counted["count"], counted["runs"]) == (1, [])
    done = admin.post("/runs/retry", {"connection": "shop"})
    assert [run["state"] for run in done["runs"]] == ["queued"]
    assert admin.post(f"/runs/{old}/retry", status=200)["is_new"] is False
    stopped = admin.post("/runs/cancel", {"entity": "items"})
    assert [run["state"] for run in stopped["runs"]] == ["cancelled"]
    row = connections.get_connection(bench.installation, "shop")
    with bench.database.write() as transaction:
        other = {**row_values(transaction, row.id), "id": "con_other", "name": "other"}
        transaction.execute(tables.connections.insert().values(**other))
    limited = callers_of(bench.installation).new("operate", "other", name="b")
    assert limited.post("/runs/retry", {"entity": "items", "dry_run": True})["count"] == 0
    assert limited.refused("POST", f"/runs/{old}/retry", 404)["code"] == "run-unknown"


def row_values(transaction, connection_id: str) -> dict:
    table = tables.connections
    found = transaction.execute(table.select().where(table.c.id == connection_id)).mappings()
    return dict(found.one())


def test_the_command_shows_the_count_first_and_asks(bench, database_url, redis_url, monkeypatch):
    use_environment(monkeypatch, bench.installation.settings.home, database_url, redis_url)
    old = fail(bench)
    listed = run_cli("runs", "list", "--where", "code=provider-unavailable", "--json").json
    assert [run["id"] for run in listed["runs"]] == [old]
    assert "no run is like that" in run_cli("runs", "list", "--where", "provider=x").stderr
    counted = run_cli("runs", "retry", "--all", "--where", "state=failed", "--dry-run")
    assert counted.code == 0
    assert "1 runs would be tried again" in counted.stderr
    asked = run_cli("runs", "retry", "--all", "--where", "state=failed")
    assert (asked.code, "error[interactive-needed]" in asked.stderr) == (6, True)
    assert "1 runs would be tried again" in asked.stderr
    assert chosen(bench, state="queued") == []
    for wrong in (
        ("retry",), ("retry", old, "--all"), ("retry", old, "--code", "x"), ("cancel",),
        ("list", "--where", "state"), ("cancel", "--all", "--state", "failed"),
    ):  # fmt: skip
        assert run_cli("runs", *wrong).code == 2, wrong
    failed = run_cli("runs", "retry", "--all", "--state", "failed", "--yes", "--json")
    # The provider of this bench is known to this process's bench alone, not to the command.
    assert failed.code == 6
    told = json.loads(failed.stdout)
    assert [each["run"] for each in told["left"]] == [old]
    bench.ask("items")
    done = run_cli("runs", "cancel", "--all", "--connection", "shop", "--yes", "--json").json
    assert [run["state"] for run in done["runs"]] == ["cancelled"]
