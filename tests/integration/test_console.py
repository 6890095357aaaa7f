"""What the console shows, and what its buttons do: to whom, and with what left in the log."""

from __future__ import annotations

import re
from datetime import timedelta
from itertools import pairwise

import pytest
from sqlalchemy import insert, update

from canary import scan
from console_kit import (
    KEY,
    another,
    bench_with_worker,
    browser_of,
    changed,
    failed,
    planted,
    signed_in,
    token_of,
)
from kit import make_bench
from tieline.cli.commands import status as command
from tieline.errors import DependencyError
from tieline.queue import WorkerSign
from tieline.services import overview, sessions, syncs
from tieline.services.connections import get_connection, pause_connection
from tieline.services.runs import STATES
from tieline.store import tables

EVIL = '<img src=x onerror="alert(1)">'
RIGHT_TO_LEFT = "\u202egnp.exe \u200f\u05e9\u05dc\u05d5\u05dd"
LONG = "n" * 300
EMOJI = "🦊 naïve 👩‍👩‍👧"


@pytest.fixture
def bench(database_url, redis_url, tmp_path):
    made = bench_with_worker(database_url, redis_url, tmp_path)
    yield made
    made.installation.close()


@pytest.fixture
def made(bench):
    return bench.installation


# --- the facts ------------------------------------------------------------------------------


def shown_facts(page) -> dict[str, object]:
    """Read from the page what `tieline status --json` has."""
    lines = []
    for row in page.one(id="r-connections").all("tr", data_connection=None):
        cells = row.all("td")
        trouble = row.all("td", data_label="trouble")
        times = [
            (found[0].attributes["datetime"] if (found := cell.all("time")) else None)
            for cell in (cells[2], cells[3])
        ]
        lines.append(
            {
                "id": row.attributes["data-connection"],
                "name": row.one("th").text,
                "provider": cells[0].text,
                "state": row.one("span", data_state=None).text,
                "last_success_at": times[0],
                "next_at": times[1],
                "trouble": trouble[0].text if trouble else None,
                "runs": [each.attributes["data-run"] for each in row.all("span", data_run=None)],
            }
        )
    workers = page.one(id="r-workers")
    return {
        "connections": lines,
        "workers": [each.attributes["data-worker"] for each in workers.all("li")],
        "counted": [int(each) for each in re.findall(r"\d+", workers.all("p")[0].text)],
    }


def test_the_page_has_the_facts_of_status(bench, made):
    bench.sync()
    changed(
        bench, "connections", another(bench, "books"), state="needs_reauth",
        trouble="Token revoked", trouble_at=bench.clock.now(),
    )  # fmt: skip
    pause_connection(made, another(bench, "resting"), actor="test")
    waits = another(bench, "waits")
    run = syncs.start_sync(made, waits, "items", actor="test").run
    due = bench.clock.now() + timedelta(seconds=90)
    changed(
        bench, "runs", run.id, state="waiting", due_at=due, error_code="rate-limited",
        error_message="429 from provider",
    )  # fmt: skip
    planted(bench, bench.connection_id)
    page = signed_in(made, "read").get()
    told = command._facts(overview.look_over(made))
    shown = shown_facts(page)
    names = ("id", "name", "provider", "state", "trouble")
    for said, seen in zip(told["connections"], shown["connections"], strict=True):
        assert {name: said[name] for name in names} == {name: seen[name] for name in names}
        for name in ("last_success_at", "next_at"):
            assert seen[name] == (said[name].isoformat() if said[name] else None)
        assert seen["runs"] == [each["id"] for each in said["runs"]]
    assert {each["state"] for each in shown["connections"]} == {
        "ok", "needs_reauth", "paused", "waiting",
    }  # fmt: skip
    assert shown["workers"] == [each["name"] for each in told["workers"]] == ["box:7"]
    assert shown["counted"] == [1, 0, told["jobs"], told["stuck"], told["alerts"]]
    trouble = page.one(id="r-trouble").text
    for line in told["connections"]:
        assert (line["trouble"] or "") in trouble
        assert (line["hint"] or "") in trouble or not line["trouble"]
    assert "ready" in page.one(id="r-header").text


def test_of_one_connection_each_entity_is_shown_with_its_last_runs(bench, made):
    for _ in range(2):
        bench.sync()
        bench.clock.move(60)
    failed(bench)
    page = signed_in(made).get("/console?connection=shop")
    [row] = page.all("tr", data_entity="items")
    assert row.one("svg").attributes["aria-label"] == "2 succeeded, 1 failed"
    assert [each.attributes["class"] for each in row.all("rect")] == ["good", "good", "bad"]
    assert row.one("td", data_label="last sync").all("time") != []
    assert len(page.all("tr", data_entity=None)) == len(bench.engine.registry.get("shelf").entities)


def test_runs_are_found_by_state_provider_connection_error_and_time(bench, made):
    old = failed(bench, error_code="rate-limited")
    bench.clock.move(2 * 86400)
    good = bench.sync().id
    bench.clock.move(60)
    bad = failed(bench, connection_id=another(bench))
    browser = signed_in(made, "read")

    def found(query: str) -> list[str]:
        rows = browser.get(f"/console?{query}").one(id="r-runs").all("tr", data_run=None)
        return [row.attributes["data-run"] for row in rows]

    assert found("") == [bad, good, old]
    assert found("state=failed") == [bad, old]
    assert found("state=failed&connection=shop") == [old]
    assert found("provider=shelf&code=rate-limited") == [old]
    assert found("since=1d") == [bad, good]
    assert found("provider=square") == []
    for state in STATES:
        page = browser.get(f"/console?state={state}")
        chosen = [each.text for each in page.all("option", selected=None)]
        assert state in chosen
    browser.get("/console?state=nonsense", 422)
    browser.get("/console?connection=nobody", 404)


def test_runs_are_paged_and_a_link_keeps_what_was_asked_for(bench, made):
    made_ids = [failed(bench) for _ in range(30)]
    browser = signed_in(made, "read")
    page = browser.get("/console?state=failed&since=7d")
    first = [each.attributes["data-run"] for each in page.one(id="r-runs").all("tr", data_run=None)]
    [older] = [each for each in page.all("a") if each.text == "Older"]
    assert "state=failed" in older.attributes["href"]
    page = browser.get(older.attributes["href"])
    rest = [each.attributes["data-run"] for each in page.one(id="r-runs").all("tr", data_run=None)]
    assert first + rest == made_ids[::-1]


def test_what_redis_knows_is_missing_while_it_is_away_and_all_else_is_shown(
    bench, made, monkeypatch
):
    bench.sync()
    browser = signed_in(made)

    def away(*_given, **_named):
        raise DependencyError("Redis does not answer")

    for part in ("presence", "schedulers", "doorbell", "caller_limit"):
        found = getattr(made, part)
        for name in ("alive", "count_waiting", "take"):
            if hasattr(found, name):
                monkeypatch.setattr(type(found), name, away)
    monkeypatch.setattr("tieline.services.limits.Ledger.standing", away)
    page = browser.get()
    assert "Redis does not answer" in page.one(id="r-trouble").text
    assert "Nobody knows while Redis is away" in page.one(id="r-workers").text
    assert "Nobody can count while Redis is away" in page.one(id="r-limits").text
    assert page.all("tr", data_connection=bench.connection_id) != []
    path = f"/console/do/pause_connection?connection={bench.connection_id}"
    assert browser.press(page, path).status_code == 503
    assert get_connection(made, "shop").paused_at is None


# --- what is hostile, and how much there is -------------------------------------------------


@pytest.mark.parametrize("words", [EVIL, RIGHT_TO_LEFT, LONG, EMOJI, "</td></table><script>x"])
def test_whatever_somebody_calls_things_is_shown_as_text(bench, made, words):
    planted(bench, bench.connection_id, words)
    changed(
        bench, "connections", bench.connection_id, account_name=words, trouble=words,
        state="needs_reauth", trouble_at=bench.clock.now(),
    )  # fmt: skip
    failed(bench, error_message=words, connection_id=another(bench))
    made.presence.announce(
        WorkerSign(name=words, queues=("sync",), busy_with="", version="1"), ttl_s=300
    )
    before = signed_in(made).get("/console?connection=shop")
    page = (
        browser_of(made)
        .sign_in(token_of(made, "again"))
        .get(f"/console?connection=shop&find={'sh'}")
    )
    plain = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    for place in ("r-trouble", "r-connections", "r-workers"):
        assert plain in before.one(id=place).text, place
    known = {"html", "head", "meta", "title", "link", "script", "body", "a", "form", "input",
             "header", "h1", "div", "ul", "li", "span", "p", "button", "main", "section", "h2",
             "bdi", "code", "time", "table", "thead", "tr", "th", "tbody", "td", "label",
             "select", "option", "h3", "svg", "rect", "meter"}  # fmt: skip
    assert {each.tag for each in before.all()} - known == set()
    assert len(before.all("script")) == 1
    assert {each.tag for each in page.all()} - known == set()


def test_what_somebody_types_into_a_filter_comes_back_as_text(bench, made):
    browser = signed_in(made)
    page = browser.get("/console", params={"find": '"><img src=x onerror=alert(1)>'})
    assert page.all("img") == []
    assert page.one("input", name="find").attributes["value"] == '"><img src=x onerror=alert(1)>'
    reply = browser.ask("GET", "/console", params={"state": '"><script>alert(1)</script>'})
    assert (reply.status_code, "<script>alert" in reply.text) == (422, False)


def test_no_secret_is_in_the_page(bench, made):
    another(bench)
    browser = signed_in(made)
    named = "sk_test_ALERT7c51e2a864"
    given = planted(bench, bench.connection_id, f"refused with {KEY}")
    failed(bench, error_message=f"GET https://x.example/?code=abcdef api_key={KEY}")
    text_ = token_of(made, "teller")
    changed(bench, "connections", bench.connection_id, trouble=f"Bearer {text_}")
    with bench.database.write() as transaction:  # one that no process remembers
        transaction.execute(update(tables.alerts).values(message=f"Authorization: Bearer {named}"))
    seen = b"".join(
        browser.ask("GET", path).content
        for path in ("/console", "/console?connection=shop", "/console?state=failed&confirm=retry")
    )
    secrets = {
        "key": KEY,
        "token": text_,
        "cookie": browser.cookie,
        "named": named,
    }
    assert scan(seen, secrets) == []
    assert given.letter.encode() in seen


def fill(bench, connections: int, runs: int) -> None:
    """Put in what years leave."""
    now = bench.clock.now()
    with bench.database.read() as transaction:
        columns = tables.connections
        like = dict(
            transaction.execute(columns.select().where(columns.c.id == bench.connection_id))
            .mappings()
            .one()
        )
    rows = [
        like | {"id": f"con_{n:05d}", "name": f"{n:04d}-{'x' * 59}", "state": "needs_reauth",
                "account_id": None, "trouble": f"{n} " + "&" * 490, "trouble_at": now}
        for n in range(connections)
    ]  # fmt: skip
    endpoints = [
        {"id": f"whe_{n:05d}", "provider": "shelf", "environment": "live",
         "connection_id": f"con_{n:05d}", "address": "https://t.example", "state": "active",
         "scheme_level": "signed", "generation": 1, "created_at": now, "updated_at": now}
        for n in range(connections)
    ]  # fmt: skip
    ended = [
        {"id": f"run_{n:06d}", "connection_id": f"con_{n % connections:05d}", "entity": "items",
         "direction": "inbound", "mode": "full", "state": "failed", "asked_by": "schedule",
         "reason": "", "attempt": 1, "due_at": now, "rings": 0, "allow_deletes": False,
         "may_split": False, "created_at": now + timedelta(seconds=n), "finished_at": now,
         "error_code": "provider-unavailable", "error_message": "&" * 490}
        for n in range(runs)
    ]  # fmt: skip
    with bench.database.write() as transaction:
        transaction.execute(insert(tables.connections), rows)
        transaction.execute(insert(tables.webhook_endpoints), endpoints)
        for start in range(0, runs, 10_000):
            transaction.execute(insert(tables.runs), ended[start : start + 10_000])
    for n in range(60):
        planted(bench, f"con_{n:05d}", f"{n} " + "&" * 480)


@pytest.mark.slow
def test_the_page_is_small_with_a_thousand_connections_and_a_hundred_thousand_runs(
    database_url, redis_url, tmp_path
):
    bench = make_bench(
        database_url,
        tmp_path,
        redis_url=redis_url,
        shelf_rate_limits="50/second; 2000/minute; concurrency=9",
    )
    made = bench.installation
    fill(bench, 1_000, 100_000)
    browser = signed_in(made)
    for path in ("/console", "/console?state=failed&connection=con_00007"):
        reply = browser.ask("GET", path)
        assert reply.status_code == 200

        assert len(reply.content) < 100_000, path
    page = browser.get()
    assert "50/second, 2000/minute" in page.one(id="r-limits").text
    assert "1001 connections" in page.text
    seen = []
    while True:
        seen += [each.one("th").text for each in page.all("tr", data_connection=None)]
        after = [each for each in page.all("a") if each.text.startswith("Connections after")]
        if not after:
            break
        page = browser.get(after[0].attributes["href"])
    assert len(seen) == len(set(seen)) == 1001
    page = browser.get("/console", params={"find": "0999-"})
    assert len(page.all("tr", data_connection=None)) == 1
    made.close()


# --- for whom it is -------------------------------------------------------------------------


def named(page, element) -> str:
    """Return what an element is called by who cannot see it."""
    if label := element.attributes.get("aria-label"):
        return label
    if by := element.attributes.get("aria-labelledby"):
        return page.one(id=by).text
    for each in page.all("label"):
        inside = each.all(element.tag, **{k: None for k in ("name",) if k in element.attributes})
        is_of = each.attributes.get("for", "-") == element.attributes.get("id")
        if is_of or element in inside:
            return each.text
    return element.text


def test_whoever_hears_the_page_or_has_no_mouse_can_use_it(bench, made):
    planted(bench, bench.connection_id)
    failed(bench)
    another(bench)
    browser = signed_in(made)
    code = sessions.make_link(made, None, actor="test").reveal()
    nobody = browser_of(made)
    pages = [
        browser.get("/console?connection=shop"),
        browser.get("/console?state=failed&confirm=retry"),
        nobody.get("/console/sign-in"),
        nobody.get(f"/console/enter/{code}"),
        nobody.get("/console/enter/nonsense", 401),
    ]
    for page in pages:
        assert page.one("html").attributes["lang"] == "en"
        assert page.one("title").text != ""
        assert len(page.all("main")) == len(page.all("h1")) == 1
        levels = [int(each.tag[1]) for each in page.all() if re.fullmatch("h[1-6]", each.tag)]
        assert all(after <= before + 1 for before, after in pairwise(levels))
        ids = [each.attributes["id"] for each in page.all(id=None)]
        assert len(ids) == len(set(ids))
        for tag in ("input", "select", "button", "svg", "meter", "section", "a"):
            for each in page.all(tag):
                if each.attributes.get("type") != "hidden" and "hidden" not in each.attributes:
                    assert named(page, each) not in {"", None}, each
        calls = [named(page, each) for each in page.all("button", formaction=None)]
        assert len(calls) == len(set(calls))
        for table in page.all("table"):
            assert all("scope" in each.attributes for each in table.all("th"))
        assert page.all(tabindex=None) == page.all(onclick=None) == page.all(style=None) == []
    assert pages[0].one("a", href="#main").text == "To the facts"
