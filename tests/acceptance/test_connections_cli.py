"""Connections as a person administers them: commands, workers, kills, exit codes."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from grants_kit import connect_grant
from kit import START
from market import APPLICATION, install_plugins, open_market
from servers import sandbox
from site_of import KEY, kill_group, make_site, wait_until
from tieline.contract import Secret
from tieline.services import connections as service
from tieline.services import schedules, syncs
from tieline.services.connect import connect_api_key, connect_basic
from tieline.store import connections as store
from tieline.store import log
from tieline.store.tables import grants as grants_table

NEW_KEY = "sk_test_CANARY7d1c0b52e9f4a638"


@pytest.fixture
def shop(site, shop_sandbox):
    site.connect(shop_sandbox)
    return site


@pytest.fixture
def lite(sqlite_url, redis_url, tmp_path):
    """One database is enough for what never gets to it."""
    made = make_site(tmp_path / "site", sqlite_url, redis_url, lease_s="1", sweep_s="0.2")
    yield made
    made.close()


@pytest.fixture
def market():
    with open_market() as opened:
        opened.put("e0", 200)
        yield opened


@pytest.fixture
def stall(lite, market, tmp_path_factory, monkeypatch):
    """A site whose processes, and this one, have the market's plugins."""
    folder = install_plugins(tmp_path_factory.mktemp("plugins"), "market", "depot")
    monkeypatch.syspath_prepend(folder)
    lite.environ |= {"PYTHONPATH": folder}
    lite.environ |= {f"TIELINE_{name.upper()}": text for name, text in APPLICATION.items()}
    del lite.__dict__["installation"]
    return lite


def says(done, code: int, *words: str) -> None:
    """Check an exit code, and that people are told why in one line."""
    assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error[")]
    for word in words:
        assert word in line
    assert "Traceback" not in done.stderr


def notices(site) -> int:
    with site.installation.database.read() as transaction:
        entries = log.list_entries(transaction, limit=10_000)
    return sum(entry["event"] == "connection.needs_reauth" for entry in entries)


# --- pause and resume ----------------------------------------------------------------------------


def test_a_pause_outlives_flushed_redis_and_a_killed_worker(site):
    with sandbox(customers=1500, latency_ms=60) as url:
        site.connect(url)
        schedules.set_schedule(site.installation, "shop", "customers", "every 1d", actor="test")
        run_id = site.ask(mode="full")
        worker = site.start("worker", TIELINE_HANDS="1")
        wait_until(lambda: site.state_of(run_id).counts.seen >= 300)
        service.pause_connection(site.installation, "shop", actor="test")  # a command takes longer
        kill_group(worker)
        site.installation.redis.flushall()
        worker = site.start("worker")
        seen = site.state_of(run_id).counts.seen
        time.sleep(2.5)  # more than two leases
        assert site.state_of(run_id).counts.seen == seen < 1500
        [run] = site.json("runs")["runs"]
        assert (run["state"], run["error"]["code"]) == ("waiting", "connection-paused")
        assert run["due_at"] is None
        [parked] = site.json("schedules")["schedules"]
        assert (parked["state"], parked["hint"]) == ("parked", "tieline connections resume shop")
        says(site.run("sync", "run", "shop", "customers"), 6, "is paused", "connections resume")
        says(site.run("connections", "pause", "shop"), 6, "paused already")
        shown = site.run("connections", "show", "shop")
        assert "tieline connections resume shop" in shown.stderr
        assert site.ok("connections").splitlines()[1].split("\t")[3] == "paused"

        site.installation.redis.flushall()
        assert site.json("connections", "resume", "shop")["connection"]["paused_at"] is None
        says(site.run("connections", "resume", "shop"), 6, "not paused")
        wait_until(lambda: site.state_of(run_id).is_over, seconds=60)
        done = site.state_of(run_id)
        assert (done.state, done.counts.created) == ("succeeded", 1500)
        assert (done.counts.updated, done.counts.deleted) == (0, 0)
        assert len(site.exported()) == 1500


# --- a credential that is refused ----------------------------------------------------------------


def test_a_revoked_key_parks_all_and_a_new_one_lets_all_go_on(stall, market):
    """Incident B, from the first refusal to the first page."""
    site = stall
    market.members["first-key"] = "m0"
    connect_api_key(
        site.installation,
        "market",
        name="books",
        key=Secret("first-key"),
        base_url=market.url,
        actor="test",
    )
    schedules.set_schedule(site.installation, "books", "e5", "every 1d", actor="test")
    for number in range(1, 10):
        market.put(f"e{number}", 4)

    def revoke(path):
        if path == "/things/e0" and market.calls[path] == 30:
            market.members.clear()

    market.before = revoke
    run_ids = [site.ask("books", f"e{number}", mode="full") for number in range(10)]
    site.start("worker")
    site.start("worker")

    def states():
        return {site.state_of(run_id).state for run_id in run_ids}

    wait_until(lambda: states() <= {"needs_reauth", "succeeded"}, seconds=60)
    assert site.state_of(run_ids[0]).state == "needs_reauth"
    assert notices(site) == 1
    shown = site.json("connections", "show", "books")["connection"]
    assert shown["state"] == "needs_reauth"
    assert shown["trouble"] == "the market does not know this credential"
    assert shown["trouble_at"] is not None
    people = site.run("connections", "show", "books")
    assert "the market does not know this credential (" in people.stdout
    assert "next  tieline connections reauth books" in people.stderr
    refused = site.run("sync", "run", "books", "e1", "--wait")
    says(refused, 4, "does not know this credential", "tieline connections reauth books")
    [parked] = site.json("schedules")["schedules"]
    assert (parked["state"], parked["hint"]) == ("parked", "tieline connections reauth books")
    findings = json.loads(site.run("doctor", "--json").stdout)["findings"]
    assert "tieline connections reauth books" in [found["fix"] for found in findings]

    site.installation.redis.flushall()
    read = market.calls["/things/e0"]
    seen = site.state_of(run_ids[0]).counts.seen
    market.members["second-key"] = "m0"
    asked_at = time.monotonic()
    again = site.json("connections", "reauth", "books", "--key-stdin", stdin="second-key")
    assert again["connection"]["state"] == "ok"
    wait_until(lambda: site.state_of(run_ids[0]).counts.seen > seen)
    assert time.monotonic() - asked_at < 30
    wait_until(lambda: states() == {"succeeded"}, seconds=60)
    done = site.state_of(run_ids[0])
    assert (done.counts.seen, done.counts.created, done.counts.deleted) == (200, 200, 0)
    assert market.calls["/things/e0"] - read <= (200 - seen) // 3 + 2
    assert notices(site) == 1


# --- test ----------------------------------------------------------------------------------------


@contextmanager
def mute():
    """Accept connections, and never answer."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_a_test_tells_what_a_connection_may_do(stall, market):
    connect_grant(stall, "market", market.url, name="books", account=3)
    tested = stall.json("connections", "test", "books")
    assert tested["account"] == {"id": "m3", "name": "Stall m3"}
    assert tested["scopes"] == ["things:read"]
    assert tested["connection"]["environment"] == "live"
    assert tested["access_expires_at"] is not None
    assert tested["refresh_expires_at"] is None
    assert 0 <= tested["seconds"] < 3
    people = stall.run("connections", "test", "books")
    assert people.returncode == 0
    for words in ("Stall m3", "things:read", "none declared", "renewed before", "no end"):
        assert words in people.stdout
    assert "ok  market · books in" in people.stderr
    says(stall.run("connections", "test", "boks"), 3, "books?")


def test_a_provider_that_never_answers_ends_a_test_in_time(lite, shop_sandbox):
    lite.connect(shop_sandbox)
    lite.run("connections", "test", "shop")  # compiled, and the embedded server there
    with mute() as url:
        with lite.installation.database.write() as transaction:
            transaction.exec_driver_sql(f"UPDATE connections SET base_url = '{url}'")
        began = time.monotonic()
        done = lite.run("connections", "test", "shop")
        took = time.monotonic() - began
    says(done, 5)
    began = time.monotonic()
    lite.run("version")
    assert took - (time.monotonic() - began) < 5  # three seconds, and a command's own start
    assert service.get_connection(lite.installation, "shop").state == "ok"


def test_a_dead_key_ends_a_test_with_4_and_is_marked(stall, market):
    market.members["first-key"] = "m0"
    made = ("connect", "market", "--name", "books", "--base-url", market.url, "--key-stdin")
    stall.ok(*made, stdin="first-key")
    market.members.clear()
    says(stall.run("connections", "test", "books"), 4, "tieline connections reauth books")
    assert stall.json("connections")["connections"][0]["state"] == "needs_reauth"
    says(stall.run("connections", "test", "books"), 4, "tieline connections reauth books")
    assert notices(stall) == 1
    paused = stall.json("connections", "pause", "books")["connection"]
    assert (paused["state"], paused["paused_at"] is not None) == ("needs_reauth", True)


# --- new secrets ---------------------------------------------------------------------------------


def test_a_new_key_of_the_same_account_only(lite, shop_sandbox, tmp_path):
    lite.connect(shop_sandbox)
    file = tmp_path / "key"
    file.write_text(f"{NEW_KEY}\n")
    for arguments, stdin in ((("--key-stdin",), NEW_KEY), (("--key-file", str(file)), "")):
        rotated = lite.json("connections", "rotate-key", "shop", *arguments, stdin=stdin)
        assert rotated["connection"]["state"] == "ok"
    with sandbox(seed=2, customers=1) as other:
        with lite.installation.database.write() as transaction:
            transaction.exec_driver_sql(f"UPDATE connections SET base_url = '{other}'")
        done = lite.run("connections", "rotate-key", "shop", "--key-stdin", stdin=KEY)
    says(done, 6, "another account")
    for where in ("--key", NEW_KEY), (NEW_KEY,):
        refused = lite.run("connections", "rotate-key", "shop", *where)
        assert refused.returncode == 2
        assert NEW_KEY not in refused.stderr + refused.stdout


def type_in(site, arguments: list[str], answers: list[str]) -> tuple[int, str]:
    """Run a command in a terminal of its own; answer each prompt in turn."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tieline", *arguments],
        env=site.environ | {"TERM": "dumb"},
        cwd=site.cwd,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown, waiting = "", list(answers)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if not select.select([ours], [], [], 0.1)[0]:
            continue
        try:
            shown += os.read(ours, 65536).decode()
        except OSError:  # the other end is closed
            break
        if waiting and shown.rstrip(" ").endswith(":"):
            os.write(ours, f"{waiting.pop(0)}\n".encode())
            shown += "\n"
    os.close(ours)
    return process.wait(10), shown


def test_a_user_and_a_password_by_prompt_by_stdin_and_by_file(stall, market, tmp_path):
    site = stall
    for password in ("first-password", "second-password", "third-password", "fourth-password"):
        market.members[f"keeper:{password}"] = "m0"
    market.members["other:other-password"] = "m1"
    made = ["connect", "depot", "--name", "store", "--base-url", market.url]
    code, shown = type_in(site, made, ["keeper", "first-password"])
    assert code == 0, shown
    assert "Depot user name" in shown
    assert "first-password" not in shown
    assert site.json("connections")["connections"][0]["auth"] == "basic"

    rotate = ["connections", "rotate-key", "store"]
    code, shown = type_in(site, rotate, ["keeper", "second-password"])
    assert code == 0, shown
    assert "second-password" not in shown
    site.ok(*rotate, "--key-stdin", stdin="keeper:third-password\n")
    file = tmp_path / "pair"
    file.write_text("keeper:fourth-password\n")
    site.ok(*rotate, "--key-file", str(file))
    market.members.pop("keeper:first-password")
    assert site.json("connections", "test", "store")["account"]["id"] == "m0"

    says(site.run(*rotate, "--key-stdin", stdin="other:other-password"), 6, "another account")
    says(site.run(*rotate, "--key-stdin", stdin="keeper:wrong"), 4, "refuses this credential")
    says(site.run(*rotate, "--key-stdin", stdin="no colon"), 2, "user:password")
    refused = site.run(*rotate, "keeper:fourth-password")
    assert refused.returncode == 2
    assert "fourth-password" not in refused.stderr
    assert site.json("connections", "test", "store")["account"]["id"] == "m0"


def test_a_run_under_way_goes_on_with_the_new_password(stall, market):
    site = stall
    market.members |= {"keeper:first-password": "m0", "keeper:second-password": "m0"}
    connect_basic(
        site.installation,
        "depot",
        name="store",
        username="keeper",
        password=Secret("first-password"),
        base_url=market.url,
        actor="test",
    )

    def slowly(path):
        if path == "/things/e0":
            time.sleep(0.02)

    market.before = slowly
    run_id = site.ask("store", "things", mode="full")
    site.start("worker")
    wait_until(lambda: site.state_of(run_id).counts.seen >= 30)
    rotate = ("connections", "rotate-key", "store", "--key-stdin")
    site.ok(*rotate, stdin="keeper:second-password")
    market.members.pop("keeper:first-password")
    wait_until(lambda: site.state_of(run_id).is_over, seconds=60)
    done = site.state_of(run_id)
    assert (done.state, done.counts.seen, done.counts.created) == ("succeeded", 200, 200)
    assert notices(site) == 0


def test_who_signed_in_has_no_key_and_who_has_a_key_needs_no_link(stall, market):
    connect_grant(stall, "market", market.url, name="books")
    rotate = ("connections", "rotate-key", "books", "--key-stdin")
    says(stall.run(*rotate, stdin="key"), 2, "tieline connections reauth books")
    says(stall.run("connections", "reauth", "books", "--key-stdin", stdin="key"), 2, "signing in")
    market.members["first-key"] = "m5"
    made = ("connect", "market", "--name", "keyed", "--base-url", market.url, "--key-stdin")
    stall.ok(*made, stdin="first-key")
    says(stall.run("connections", "reauth", "keyed", "--link"), 2, "key")


# --- remove --------------------------------------------------------------------------------------


def test_removing_gives_access_back_and_takes_all(stall, market):
    connect_grant(stall, "market", market.url, name="books")
    run_id = stall.ask("books", "e0", mode="full")
    stall.ok("worker", "--burst")
    assert stall.state_of(run_id).state == "succeeded"
    says(stall.run("connections", "remove", "books"), 6, "--yes")
    code, shown = type_in(stall, ["connections", "remove", "books"], ["boks"])
    assert (code, "is not its name" in shown) == (6, True)

    market.before = lambda path: path == "/revoke" and time.sleep(2)
    down = stall.run("connections", "remove", "books", "--yes", TIELINE_TOKEN_DEADLINE_S="0.5")
    says(down, 5, "nothing was removed", "--force")
    assert stall.json("connections")["connections"][0]["state"] == "ok"
    wait_until(lambda: not market.grants)  # it was done all the same, only later
    market.before = lambda _path: None

    code, shown = type_in(stall, ["connections", "remove", "books"], ["books"])
    assert code == 0, shown
    assert "Market has ended the access" in shown
    assert stall.json("connections")["connections"] == []
    says(stall.run("connections", "show", "books"), 3, "no connection")


def test_records_that_are_kept_are_read_and_the_account_can_come_back(stall, market):
    connect_grant(stall, "market", market.url, name="books")
    stall.ask("books", "e0", mode="full")
    stall.ok("worker", "--burst")
    removed = stall.json("connections", "remove", "books", "--yes", "--keep-records")
    assert (removed["access"], removed["keeps_records"]) == ("revoked", True)
    assert removed["removed"]["state"] == "disconnected"
    shown = stall.run("connections", "show", "books")
    assert "disconnected" in shown.stdout
    assert "next  tieline connections reauth books" in shown.stderr
    assert len(stall.ok("records", "export", "books", "e0").splitlines()) == 200
    assert len(stall.json("records", "list", "books", "e0", "--limit", "5")["records"]) == 5
    says(stall.run("sync", "run", "books", "e0"), 4, "tieline connections reauth books")
    says(stall.run("connections", "test", "books"), 4, "disconnected")
    says(stall.run("connections", "remove", "books", "--yes", "--keep-records"), 6)
    link = stall.json("connections", "reauth", "books", "--link")["link"]
    assert "/oauth/start/" in link
    gone = stall.run("connections", "remove", "books", "--yes")
    assert gone.returncode == 0
    assert "Market was not told" in gone.stderr
    assert stall.run("records", "export", "books", "e0").returncode == 3


def test_two_connections_to_one_account_end_with_the_last(stall, market):
    connect_grant(stall, "market", market.url, name="one", account=4)
    connect_grant(stall, "market", market.url, name="two", account=4)
    first = stall.run("connections", "remove", "one", "--yes")
    assert "another connection lives by the same access" in first.stderr
    assert stall.json("connections", "test", "two")["account"]["id"] == "m4"
    assert stall.json("connections", "remove", "two", "--yes")["access"] == "revoked"


# --- upkeep --------------------------------------------------------------------------------------


def make_old(site) -> None:
    """Let every grant have been renewed for the last time eight days ago."""
    from datetime import timedelta

    with site.installation.database.write() as transaction:
        at = site.installation.clock.now() - timedelta(days=8)
        transaction.execute(grants_table.update().values(refreshed_at=at))


def generation(site, name="books") -> int:
    row = service.get_connection(site.installation, name)
    with site.installation.database.read() as transaction:
        return store.read_sealed(transaction, row.id)[1]


def test_a_scheduler_keeps_an_idle_grant_alive(stall, market):
    connect_grant(stall, "market", market.url, name="books")
    make_old(stall)
    for _ in range(3):
        stall.start("scheduler")
    wait_until(lambda: generation(stall) == 2)
    time.sleep(1)
    assert market.calls["/token"] == 1


@pytest.mark.parametrize("signals", [1, 2])
def test_a_scheduler_that_has_to_leave_stores_the_tokens_that_are_on_their_way(
    stall, market, signals
):
    """Where refresh tokens rotate, an answer that nobody stores is a lost account."""
    connect_grant(stall, "market", market.url, name="books")
    make_old(stall)
    market.before = lambda path: path == "/token" and time.sleep(2.5)
    scheduler = stall.start("scheduler")
    wait_until(lambda: market.calls["/token"])
    asked_at = time.monotonic()
    scheduler.send_signal(signal.SIGTERM)
    if signals == 2:  # somebody insists
        time.sleep(0.3)
        scheduler.send_signal(signal.SIGTERM)
    assert scheduler.wait(20) == 0
    took = time.monotonic() - asked_at
    assert generation(stall) == (2 if signals == 1 else 1)
    assert took < (2 if signals == 2 else 6)
    assert "Traceback" not in stall.logs()


@pytest.mark.slow
def test_a_worker_that_has_to_leave_stores_them_too(stall, market):
    """It waits seven seconds for a page at hand, and for tokens as long as their call may take."""
    connect_grant(stall, "market", market.url, name="books")
    with stall.installation.database.write() as transaction:
        transaction.execute(grants_table.update().values(access_expires_at=START))
    market.before = lambda path: path == "/token" and time.sleep(9)
    run_id = stall.ask("books", "e0", mode="full")
    worker = stall.start("worker")
    wait_until(lambda: market.calls["/token"])
    asked_at = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    assert time.monotonic() - asked_at > 7.5
    assert generation(stall) == 2
    assert market.calls["/token"] == 1
    market.before = lambda _path: None
    stall.ok("worker", "--burst")
    assert stall.state_of(run_id).state == "succeeded"
    assert market.calls["/token"] == 1


def test_a_run_that_waits_for_its_connection_is_cancelled_by_hand(stall, market):
    connect_grant(stall, "market", market.url, name="books")
    run_id = stall.ask("books", "e0", mode="full")
    market.members.clear()
    market.grants.clear()
    stall.ok("worker", "--burst")
    assert syncs.get_run(stall.installation, run_id).state == "needs_reauth"
    assert stall.json("sync", "cancel", run_id)["run"]["state"] == "cancelled"
    says(stall.run("sync", "cancel", run_id), 6, "is over")


def test_doctor_names_a_misspelt_setting_of_an_application(lite):
    misspelt = {"TIELINE_SQUARE_CLIENT_SECRT": "secret-CANARY-value"}
    done = lite.run("doctor", "--json", TIELINE_SQUARE_CLIENT_ID="sq0idp-x", **misspelt)
    found = [each for each in json.loads(done.stdout)["findings"] if each["subject"] == "config"]
    assert [(each["level"], each["message"], each["fix"]) for each in found] == [
        (
            "warn",
            "TIELINE_SQUARE_CLIENT_SECRT means nothing",
            "did you mean TIELINE_SQUARE_CLIENT_SECRET?",
        )
    ]
    assert "CANARY" not in done.stdout + done.stderr
