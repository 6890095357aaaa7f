"""Writing as a person does it: commands, a worker, exit codes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cli_kit import run_cli
from market import install_plugins, open_market
from push_kit import KEY
from site_of import make_site
from tieline.contract import Secret
from tieline.services import outbox
from tieline.services.connect import connect_api_key


@pytest.fixture
def market():
    with open_market() as opened:
        opened.members[KEY] = "m0"
        yield opened


@pytest.fixture
def site(sqlite_url, redis_url, tmp_path, tmp_path_factory, monkeypatch, market):
    """One database is enough: what differs between two is tested below the commands."""
    made = make_site(tmp_path / "site", sqlite_url, redis_url, lease_s="1", sweep_s="0.2")
    folder = install_plugins(tmp_path_factory.mktemp("plugins"), "market")
    monkeypatch.syspath_prepend(folder)
    made.environ |= {"PYTHONPATH": folder}
    made.installation.close()
    del made.__dict__["installation"]
    connect_api_key(
        made.installation,
        "market",
        name="stall",
        key=Secret(KEY),
        base_url=market.url,
        actor="test",
    )
    yield made
    made.close()


def says(done, code: int, *words: str) -> None:
    assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error[")]
    for word in words:
        assert word in line
    assert "Traceback" not in done.stderr


def test_the_whole_way_with_a_worker(site, market):
    site.start("worker")
    goods = market.goods["keyed"]
    said = site.json("push", "stall", "keyed", "--create", '{"name": "ada"}', "--wait")
    [operation] = said["operations"]
    assert (operation["state"], operation["record_id"]) == ("done", "g00001")
    assert (said["run"]["mode"], said["run"]["direction"]) == ("push", "outbound")

    lines = [
        {"kind": "update", "key": "g00001", "payload": {"email": "ada@example.com"}},
        {"kind": "create", "payload": {"name": "bob!"}},
        {"kind": "create", "payload": {"name": "eve"}},
    ]
    text = "\n".join(map(json.dumps, lines))
    done = site.run("push", "stall", "keyed", "--file", "-", "--wait", stdin=text)
    assert done.returncode == 8
    assert "Name: no exclamation marks, please" in done.stdout
    assert goods.names() == ["ada", "eve"]
    assert goods.records["g00001"]["email"] == "ada@example.com"

    [dead] = site.json("outbox")["operations"]
    assert (dead["state"], dead["blocked_by"]) == ("dead", None)
    assert dead["reason"]["message"] == "Name: no exclamation marks, please"
    shown = site.run("outbox", "show", dead["id"])
    assert "bob!" in shown.stdout
    assert f"tieline outbox retry {dead['id']}" in shown.stderr
    [alert] = site.json("alerts")["alerts"]
    assert alert["kind"] == "operations-wait"

    site.ok("outbox", "retry", dead["id"], "--payload", '{"name": "bob"}')
    site.ok("push", "stall", "keyed", "--delete", "g00001", "--wait")
    assert goods.names() == ["bob", "eve"]
    assert site.json("outbox")["operations"] == []
    done = site.json("outbox", "list", "--state", "done", "--connection", "stall")
    assert len(done["operations"]) == 5


def test_whoever_waits_waits_on_if_the_run_was_about_to_end(site, market, monkeypatch):
    """The run that was active when changes were asked for may end without having met them."""
    site.start("worker")
    ended = site.json("push", "stall", "plain", "--create", '{"name": "x"}', "--wait")["run"]
    over = site.state_of(ended["id"])
    ask = outbox.ask_changes
    monkeypatch.setattr(
        outbox, "ask_changes", lambda *given, **more: replace(ask(*given, **more), run=over)
    )
    for name, text in site.environ.items():
        monkeypatch.setenv(name, text)
    said = run_cli("push", "stall", "plain", "--create", '{"name": "y"}', "--wait", "--json")
    assert said.code == 0, said.stderr
    assert [each["state"] for each in said.json["operations"]] == ["done"]
    assert market.goods["plain"].names() == ["x", "y"]


def test_a_conflict_is_shown_and_settled(site, market):
    goods = market.goods["keyed"]
    goods.put("a", name="ada")
    site.start("worker")
    site.ok("sync", "run", "stall", "keyed", "--wait")
    goods.put("a", name="theirs")
    wanted = ["push", "stall", "keyed", "--update", "a", '{"name": "ours"}', "--wait"]
    assert site.run(*wanted).returncode == 8
    [held] = site.json("outbox", "list", "--state", "held")["operations"]
    shown = site.json("outbox", "show", held["id"])["operation"]
    assert shown["overwrites"] == {"name": "ada"}
    assert shown["reason"]["code"] == "conflict"
    says(site.run("outbox", "retry", held["id"]), 6, "in conflict", "outbox resolve")
    resolved = site.json("outbox", "resolve", held["id"], "--take", "provider")
    assert resolved["operation"]["state"] == "dropped"
    site.ok(*wanted[:-1], "--policy", "local_wins", "--wait")
    assert goods.records["a"]["name"] == "ours"


def test_without_a_worker_changes_are_kept_and_sent_by_the_next(site, market):
    done = site.run("push", "stall", "plain", "--create", '{"name": "x"}')
    assert done.returncode == 0
    [line] = [line for line in done.stdout.splitlines() if line.startswith("op_")]
    assert "queued" in line
    waited = site.run(
        "push", "stall", "plain", "--create", '{"name": "y"}', "--wait", "--patience", "1"
    )
    says(waited, 9, "no worker")
    site.ok("worker", "--burst")
    assert market.goods["plain"].names() == ["x", "y"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["stall", "keyed"], 2, "say what to change"),
        (["stall", "keyed", "--create", "{"], 2, "--create: this is no JSON object"),
        (["stall", "keyed", "--create", '{"name": NaN}'], 2, "what JSON has not"),
        (["stall", "keyed", "--create", '{"color": 1}'], 2, "color: Unknown field"),
        (["stall", "keyed", "--delete", ""], 2, "the key to delete is missing"),
        (["stall", "e0", "--delete", "x"], 2, "cannot be written"),
        (["stall", "nope", "--delete", "x"], 3, "no entity"),
        (["nope", "keyed", "--delete", "x"], 3, "no connection"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(site, words, code, said):
    says(site.run("push", *words), code, said)


def test_a_line_of_a_file_that_makes_no_sense_is_named_and_nothing_is_kept(site):
    lines = ['{"kind": "create", "payload": {"name": "x"}}', "", '{"kind": "make"}']
    done = site.run("push", "stall", "keyed", "--file", "-", stdin="\n".join(lines))
    says(done, 2, "line 3", '"kind"')
    assert site.json("outbox")["operations"] == []


def test_an_operation_that_there_is_not(site):
    for words in (["show"], ["retry"], ["drop"], ["resolve", "--take", "local"]):
        says(site.run("outbox", *words, "op_nothing"), 3, "no operation", "outbox list")
