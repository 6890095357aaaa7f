"""What the console's buttons do: to whom, for whom, and with what left in the log."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from sqlalchemy import update

from console_kit import another, bench_with_worker, failed, newest, planted, signed_in
from kit import make_bench
from tieline.services import syncs
from tieline.services.connections import get_connection
from tieline.services.tokens import SCOPES
from tieline.store import tables
from tieline.web.api import OPERATIONS
from tieline.web.console.console import ACTIONS


@pytest.fixture
def bench(database_url, redis_url, tmp_path):
    made = bench_with_worker(database_url, redis_url, tmp_path)
    yield made
    made.installation.close()


@pytest.fixture
def made(bench):
    return bench.installation


def button_paths(bench, other: SimpleNamespace, run: str, active: str) -> dict[str, str]:
    connection = f"connection={bench.connection_id}"
    queries = {
        "start_run": f"{connection}&entity=kept",
        "cancel_run": f"run={active}",
        "retry_run": f"run={run}",
        "retry_dead_letter": f"letter={other.letter}",
        "replay_events": f"endpoint={other.endpoint}&states=dead",
        "retry_runs": "",
    }
    return {
        name: f"/console/do/{name}{f'?{queries.get(name, connection)}'.rstrip('?')}"
        for name in ACTIONS
    }


@pytest.mark.parametrize("scope", SCOPES)
def test_buttons_are_there_and_work_for_whose_scope_they_are(bench, made, scope):
    given = planted(bench, bench.connection_id)
    run = failed(bench)
    active = bench.ask("versioned").run.id
    paths = button_paths(bench, given, run, active)
    browser = signed_in(made, scope)
    allowed = {each.name for each in OPERATIONS if each.name in ACTIONS and each.is_allowed(scope)}
    assert allowed == (set() if scope == "read" else set(ACTIONS))
    page = browser.get("/console?connection=shop")
    shown = browser.buttons(page)
    at_times = {"resume_connection", "reset_breaker", "retry_runs"}
    assert shown - at_times == allowed - at_times
    form = page.one("form", id="act").all("input")[0].attributes["value"]
    before = newest(bench, 50)
    for name, path in paths.items():
        reply = browser.post(path, form_token=form)
        assert (reply.status_code == 403) is (name not in allowed), (name, reply.text)
        assert ("this takes a token of scope" in reply.text) is (name not in allowed)
    if scope == "read":
        assert newest(bench, 50) == before


ONE_BY_ONE = [
    ("pause_connection", "connection.paused"),
    ("start_run", "run.asked"),
    ("cancel_run", "run.cancelled"),
    ("retry_run", "run.asked"),
    ("test_connection", "connection.tested"),
]


def test_each_button_does_what_it_says_and_the_log_says_who_pressed_it(bench, made):
    given = planted(bench, bench.connection_id)
    run = failed(bench)
    active = bench.ask("versioned").run.id
    bench.database.transact(
        lambda transaction: transaction.execute(
            update(tables.dead_letters)
            .where(tables.dead_letters.c.id == given.letter)
            .values(run_id=run)
        )
    )
    paths = button_paths(bench, given, run, active)
    browser = signed_in(made)
    for name in ("start_run", "cancel_run", "retry_run", "test_connection", "pause_connection"):
        page = browser.get("/console?connection=shop")
        reply = browser.press(page, paths[name])
        assert reply.status_code == 303, (name, reply.text)
        assert reply.headers["location"] == f"/console?connection=shop&done={name}"
        after = browser.get(reply.headers["location"])
        assert ACTIONS[name] in [each.text for each in after.all(role="status")]
        actor, _event = newest(bench)[0]
        assert actor == "api:eyes-admin", name
    row = get_connection(made, "shop")
    assert row.paused_at is not None
    states = {each.entity: each for each in syncs.list_runs(made, limit=50)}
    assert {"items", "versioned", "kept"} <= set(states)
    resume = f"/console/do/resume_connection?connection={bench.connection_id}"
    assert browser.press(browser.get(), resume).status_code == 303
    assert get_connection(made, "shop").paused_at is None
    assert newest(bench)[0] == ("api:eyes-admin", "connection.resumed")


def test_to_retry_all_that_match_the_number_is_shown_first_and_has_to_be_true_still(bench, made):
    failed(bench, "items")
    failed(bench, "kept")
    browser = signed_in(made)
    page = browser.get("/console?state=failed&code=provider-unavailable")
    [ask] = [each for each in page.all("button") if each.text == "Retry all matching…"]
    assert ask.attributes == {"name": "confirm", "value": "retry"}

    def confirmed():
        page = browser.get("/console?state=failed&code=provider-unavailable&confirm=retry")
        form = page.one("form", action="/console/do/retry_runs")
        assert form.one("button").text in page.text
        fields = {e.attributes["name"]: e.attributes["value"] for e in form.all("input")}
        return form.one("button").text, fields

    words, fields = confirmed()
    assert words == "Retry 2 runs"
    failed(bench, "versioned")
    reply = browser.post("/console/do/retry_runs", **fields)
    assert (reply.status_code, "3 runs match by now" in reply.text) == (409, True)
    assert all(run.is_over for run in syncs.list_runs(made, limit=50))
    words, fields = confirmed()
    assert words == "Retry 3 runs"
    reply = browser.post("/console/do/retry_runs", **fields)
    assert reply.status_code == 303
    assert "state=failed" in reply.headers["location"]
    active = [run for run in syncs.list_runs(made, limit=50) if not run.is_over]
    assert {run.entity for run in active} == {"items", "kept", "versioned"}
    assert {run.asked_by for run in active} == {"api:eyes-admin"}


def test_a_button_takes_nothing_that_its_operation_does_not_know(bench, made):
    browser = signed_in(made)
    form = browser.get().one("form", id="act").all("input")[0].attributes["value"]
    path = f"/console/do/start_run?connection={bench.connection_id}&entity=items"
    assert browser.post(f"{path}&extra=1", form_token=form).status_code == 422
    assert browser.post(f"{path}&entity=kept", form_token=form).status_code == 422
    assert browser.post("/console/do/start_run?entity=items", form_token=form).status_code == 422
    assert browser.post("/console/do/list_endpoint_secrets", form_token=form).status_code == 404
    assert browser.ask("GET", path).status_code == 405
    reply = browser.post(path, form_token=form, back="//evil.example?state=failed\r\nX: y&q=1")
    assert reply.headers["location"].startswith("/console?")
    assert "evil" not in reply.headers["location"]


def test_buttons_and_looks_count_as_calls_of_their_token(database_url, redis_url, tmp_path):
    bench = make_bench(database_url, tmp_path, redis_url=redis_url, api_calls_per_minute="3")
    browser = signed_in(bench.installation)
    assert [browser.ask("GET", "/console").status_code for _ in range(4)] == [200, 200, 200, 429]
    bench.installation.close()


# --- who sees what --------------------------------------------------------------------------


def test_a_token_of_some_connections_sees_and_touches_those_alone(bench, made):
    other = another(bench, "strangers")
    theirs = planted(bench, other, "of-nobody-else")
    run = failed(bench, connection_id=other)
    active = syncs.start_sync(made, other, "kept", actor="test").run.id
    planted(bench, bench.connection_id, "of-our-own")
    browser = signed_in(made, "admin", "shop")
    html = browser.ask("GET", "/console").text
    assert "of-our-own" in html
    for secret in ("strangers", other, "of-nobody-else", run, active, theirs.letter, "run_x"):
        assert secret not in html
    assert theirs.endpoint not in html
    browser.get("/console?connection=strangers", 404)
    form = browser.get().one("form", id="act").all("input")[0].attributes["value"]
    before = newest(bench, 50)
    mine = SimpleNamespace(connection_id=other)
    for name, path in button_paths(mine, theirs, run, active).items():
        reply = browser.post(path, form_token=form)
        if name == "retry_runs":  # it names no connection: of theirs none is meant
            continue
        if name == "replay_events":
            assert reply.status_code in {303, 404}
            continue
        assert reply.status_code == 404, (name, reply.text)
    assert newest(bench, 50) == before
    absent = browser.post("/console/do/cancel_run?run=run_aaaaaaaaaaa", form_token=form)
    present = browser.post(f"/console/do/cancel_run?run={active}", form_token=form)
    assert absent.text.replace("run_aaaaaaaaaaa", "") == present.text.replace(active, "")
