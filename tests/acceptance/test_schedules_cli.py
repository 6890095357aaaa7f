"""Schedules and dead letters as a person meets them: commands, one-line errors, exit codes."""

from __future__ import annotations

import json

import pytest

from site_of import make_site, wait_until
from tieline.store import connections, dead_letters


@pytest.fixture
def shop(site, shop_sandbox):
    site.connect(shop_sandbox)
    return site


@pytest.fixture
def lite_shop(sqlite_url, redis_url, shop_sandbox, tmp_path):
    """One database is enough for what never gets to it."""
    made = make_site(tmp_path / "site", sqlite_url, redis_url)
    made.connect(shop_sandbox)
    yield made
    made.close()


def test_the_life_of_a_schedule(shop):
    site = shop
    assert "no schedule yet" in site.run("schedules").stderr
    set_ = ("schedules", "set", "shop", "customers")
    made = site.json(*set_, "every", "15m", "--full-every", "7d")["schedule"]
    assert (made["rule"], made["zone"], made["jitter_s"]) == ("every 15m", "UTC", 60)
    assert (made["state"], made["full_every_s"], made["ticks"]) == ("active", 604800, 0)
    site.start("scheduler")
    site.start("worker")

    def first_run():
        [row] = site.json("schedules", "list")["schedules"]
        return row["ticks"] >= 1 and row["last_run_id"]

    site.ok(*set_, "10s", "--jitter", "0")
    run_id = wait_until(first_run, seconds=60)
    wait_until(lambda: site.state_of(run_id).state == "succeeded")
    assert site.state_of(run_id).asked_by == f"schedule:{made['id']}"
    assert len(site.exported()) == 1200

    site.ok("schedules", "pause", "shop", "customers")
    [paused] = site.json("schedules", "list", "--connection", "shop")["schedules"]
    assert (paused["state"], paused["next_at"]) == ("paused", None)
    assert site.json("schedules", "next")["ticks"] == []
    again = site.run("schedules", "pause", "shop", "customers")
    assert (again.returncode, len(again.stderr.splitlines())) == (6, 1)

    cron = site.json(*set_, "30 3 * * MON-FRI", "--cron", "--zone", "Europe/Berlin")["schedule"]
    assert (cron["id"], cron["state"]) == (made["id"], "paused")
    site.ok("schedules", "resume", "shop", "customers")
    planned = site.json("schedules", "next", "--count", "7")["ticks"]
    assert len(planned) == 7
    assert len({tick["at"][:10] for tick in planned}) == 7
    table = site.ok("schedules")
    assert "cron 30 3 * * MON-FRI" in table
    assert "Europe/Berlin" in table

    assert site.json("schedules", "remove", "shop", "customers")["removed"]["entity"] == "customers"
    assert site.json("schedules")["schedules"] == []
    assert site.run("schedules", "remove", "shop", "customers").returncode == 3


SET = ("schedules", "set", "shop", "customers")
MISTAKES = {
    "no rule": (SET, 2, "RULE"),
    "a word": ((*SET, "hourly"), 2, "rule: 'hourly'"),
    "negative": ((*SET, "--", "-5m"), 2, "rule: '-5m'"),
    "too often": ((*SET, "1s"), 2, "from 10 s"),
    "cron without its mark": ((*SET, "0 3 * * *"), 2, "--cron"),
    "wrong cron": ((*SET, "--cron", "61 3 * * *"), 2, "Bad minute"),
    "never": ((*SET, "--cron", "0 0 30 2 *"), 2, "rule:"),
    "wrong zone": ((*SET, "15m", "--zone", "Mars"), 2, "zone: 'Mars'"),
    "a path as zone": ((*SET, "15m", "--zone", "../../etc/passwd"), 2, "zone:"),
    "wrong jitter": ((*SET, "15m", "--jitter", "9999"), 2, "jitter: '9999'"),
    "negative jitter": ((*SET, "15m", "--jitter", "-1"), 2, "jitter: '-1'"),
    "no number": ((*SET, "15m", "--jitter", "x"), 2, "--jitter"),
    "wrong full": ((*SET, "15m", "--full-every", "soon"), 2, "full-every: 'soon'"),
    "unknown connection": (("schedules", "set", "shpo", "customers", "15m"), 3, "shop?"),
    "unknown entity": (("schedules", "set", "shop", "custmers", "15m"), 3, "customers?"),
    "SQL": (("schedules", "set", "x'; DROP TABLE runs; --", "customers", "15m"), 2, "connection"),
    "an emoji": (("schedules", "pause", "shop", "🕒"), 2, "entity"),
    "a long name": (("schedules", "pause", "x" * 100_000, "customers"), 2, "connection"),
    "no schedule": (("schedules", "resume", "shop", "customers"), 3, "has no schedule"),
    "no letter": (("dead", "show", "dead_x"), 3, "no dead letter"),
    "retry nothing": (("dead", "retry", "dead_x"), 3, "no dead letter"),
    "drop nothing": (("dead", "drop", "x" * 100_000), 3, "no dead letter"),
    "odd count": (("schedules", "next", "--count", "0"), 2, "count"),
}


def test_a_mistake_gets_one_line_with_its_field_and_exit_code(lite_shop):
    for name, (arguments, code, words) in MISTAKES.items():
        done = lite_shop.run(*arguments)
        assert done.returncode == code, (name, done.stderr)
        [line] = done.stderr.splitlines()
        assert line.startswith("error["), name
        assert words in line, name
        assert len(line) < 500, name
        assert done.stdout == "", name
    assert lite_shop.json("schedules")["schedules"] == []


def test_a_scheduler_needs_what_a_worker_needs(lite_shop, tmp_path):
    gone = lite_shop.run("scheduler", TIELINE_REDIS_URL="redis://127.0.0.1:1/0")
    assert (gone.returncode, len(gone.stderr.splitlines())) == (9, 1)
    empty = lite_shop.run("scheduler", TIELINE_DATABASE_URL=f"sqlite:///{tmp_path}/empty.db")
    assert (empty.returncode, len(empty.stderr.splitlines())) == (7, 1)
    assert "tieline db upgrade" in empty.stderr


def test_a_burst_does_not_wait_for_schedules(lite_shop):
    lite_shop.ok("schedules", "set", "shop", "customers", "every", "10s")
    lite_shop.ok("worker", "--burst")
    assert lite_shop.json("runs")["runs"] == []


def add_letter(site) -> str:
    """End a run of the shop's customers as one that killed its workers."""
    database = site.installation.database
    run_id = site.ask()
    with database.write() as transaction:
        transaction.exec_driver_sql("UPDATE runs SET state = 'failed', finished_at = due_at")
        return dead_letters.add_dead_letter(
            transaction,
            kind="run",
            connection_id=connections.find_connection(transaction, "shop").id,
            entity="customers",
            run_id=run_id,
            reason_code="worker-lost",
            reason="4 workers in a row died on page 3 of customers",
            facts={"mode": "full", "counts": {"seen": 200}},
            now=site.installation.clock.now(),
        )


def test_a_dead_letter_is_shown_retried_and_its_schedule_goes_on(shop):
    site = shop
    assert "nothing is dead" in site.run("dead").stderr
    site.ok("schedules", "set", "shop", "customers", "every", "1d")
    letter_id = add_letter(site)
    [listed] = site.json("dead", "list")["dead_letters"]
    assert (listed["id"], listed["connection"], listed["entity"]) == (
        letter_id,
        "shop",
        "customers",
    )
    assert listed["facts"]["counts"]["seen"] == 200
    table = site.ok("dead")
    assert "4 workers in a row died on page 3" in table
    shown = site.ok("dead", "show", letter_id)
    assert "run.asked" in shown
    told = site.json("dead", "show", letter_id)
    assert told["dead_letter"]["settled_at"] is None
    assert told["log"][0]["event"] == "run.asked"
    [parked] = site.json("schedules")["schedules"]
    assert (parked["state"], parked["hint"]) == ("parked", f"tieline dead show {letter_id}")

    retried = site.json("dead", "retry", letter_id)
    assert retried["is_new"]
    assert retried["dead_letter"]["settled_how"] == "retried"
    again = site.run("dead", "retry", letter_id, "--json")
    assert again.returncode == 6
    assert json.loads(again.stdout)["error"]["code"] == "dead-letter-settled"
    site.ok("worker", "--burst")
    assert site.state_of(retried["run"]["id"]).state == "succeeded"
    assert site.json("dead")["dead_letters"] == []
    assert len(site.json("dead", "list", "--all")["dead_letters"]) == 1
    [active] = site.json("schedules")["schedules"]
    assert active["state"] == "active"


def test_a_dropped_letter_asks_for_nothing(lite_shop):
    letter_id = add_letter(lite_shop)
    before = lite_shop.json("runs")["runs"]
    dropped = lite_shop.json("dead", "drop", letter_id)["dead_letter"]
    assert dropped["settled_how"] == "dropped"
    assert lite_shop.json("runs")["runs"] == before
    events = lite_shop.json("runs", "show", dropped["run_id"])["log"]
    assert events[-1]["event"] == "dead.dropped"
