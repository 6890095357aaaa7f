"""Proof and quarantine by the command line alone, against the sandbox."""

from __future__ import annotations

import json
import time

import httpx
import pytest
from sqlalchemy import delete, update

import feed_kit
import servers
from site_of import make_site
from tieline.contract import Page
from tieline.records import PageWriter
from tieline.services.connections import get_connection
from tieline.store.tables import records

QUARANTINE = ("records", "quarantine")


def test_planted_gaps_are_named_mended_and_gone(sqlite_url, redis_url, tmp_path):
    site = make_site(tmp_path / "site", sqlite_url, redis_url, sweep_s="0.3")
    verify = ("verify", "shop", "customers", "--wait", "--json")
    with servers.sandbox(customers=260) as url:
        try:
            site.connect(url)
            site.start("worker")
            site.ok("sync", "run", "shop", "customers", "--wait")
            changed = httpx.post(
                f"{url}/_sandbox/mutate",
                json={"create": 3, "update": 4, "seed": 4},
                trust_env=False,
            ).json()
            untouched = sorted(set(servers.truth(url)) - {*changed["created"], *changed["updated"]})
            with site.installation.database.write() as connection:
                key = records.c.record_id
                connection.execute(delete(records).where(key.in_(untouched[:3])))
                tampered = {"id": untouched[3], "object": "customer", "balance": 10**6}
                connection.execute(
                    update(records).where(key == untouched[3]).values(payload=tampered)
                )
            planted = {
                **dict.fromkeys([*changed["created"], *untouched[:3]], "missing"),
                **dict.fromkeys([*changed["updated"], untouched[3]], "stale"),
            }
            time.sleep(2.2)  # logs tell whole seconds, and the date of an answer may be one behind
            before = site.exported()
            done = site.run(*verify)
            assert done.returncode == 6, done.stderr
            told = json.loads(done.stdout)
            found = told["verification"]
            assert {each["record_id"]: each["kind"] for each in found["findings"]} == planted
            assert found["counts"] == {
                "missing": 6,
                "stale": len(set(changed["updated"])) + 1,
                "surplus": 0,
            }
            assert found["records"] == {"theirs": 263, "ours": 257}
            assert sum(each["records"] for each in found["windows"]) == 263
            assert site.exported() == before
            again = site.run("verify", "--run", told["run"]["id"], "--json", "--limit", "2")
            assert again.returncode == 6
            shown = json.loads(again.stdout)["verification"]
            assert (len(shown["findings"]), shown["counts"]) == (2, found["counts"])
            text = site.run("verify", "--run", told["run"]["id"])
            assert text.returncode == 6
            assert "tieline verify shop customers --repair --wait" in text.stderr
            assert f"stale\t{untouched[3]}" in text.stdout

            mended = site.json(*verify[:-1], "--repair")["verification"]
            assert mended["counts"] == found["counts"]
            assert all(each["repaired_at"] for each in mended["findings"])
            assert site.exported() == servers.truth(url)
            assert site.json(*verify[:-1])["verification"]["findings"] == []
            told = site.json("records", "explain", "shop", "customers", untouched[3])["explained"]
            assert [copy["outcome"] for copy in told["copies"]] == ["stands", "replaced"]
            assert told["copies"][0]["rank_means"].endswith("Z")
        finally:
            site.close()


@pytest.fixture
def shop(sqlite_url, tmp_path):
    """A connection with one record, and two in quarantine, one of which has no key."""
    made = make_site(tmp_path / "site", sqlite_url, feed_kit.NO_REDIS)
    opened = made.installation
    feed_kit.connect_shop(opened)
    feed_kit.put_customers(opened, "good")
    row = get_connection(opened, "shop")
    entity = opened.registry.get("stripe").entity("customers")
    writer = PageWriter(opened.database, row.id, entity)
    bad = [{"id": "cus_bad", "object": 5, "x": "\x1b[31m\ud83d"}, {"name": "whose?"}]
    plan = writer.compare(writer.draft_page(Page(records=bad, next=None), rank=1), now=1)
    now = opened.clock.now()
    opened.database.transact(lambda tx: writer.write(tx, plan, run_id=None, now=now))
    yield made
    made.close()


def ids(shop) -> list[str]:
    found = shop.json(*QUARANTINE, "list", "shop")["quarantine"]
    return [each["id"] for each in sorted(found, key=lambda each: str(each["record_id"]))]


def test_the_quarantine_is_listed_shown_retried_and_dropped(shop):
    nameless, named = ids(shop)
    assert "cus_bad" in shop.ok(*QUARANTINE, "list", "shop", "customers")
    shown = shop.json(*QUARANTINE, "show", named)["quarantined"]
    assert json.loads(shown["raw"])["x"] == "\x1b[31m\ud83d"
    assert shown["reason_code"] == "record-schema"
    assert "\x1b" not in shop.ok(*QUARANTINE, "show", named)

    done = shop.run(*QUARANTINE, "retry", "--all", "--connection", "shop", "--json")
    assert done.returncode == 8
    told = json.loads(done.stdout)
    assert told["counts"] == {"recovered": 0, "same": 0, "older": 0, "bad": 2, "undecided": 0}
    assert {each["id"] for each in told["retried"]} == {nameless, named}
    assert "2 are still bad" in shop.run(*QUARANTINE, "retry", nameless, named).stderr

    refused = shop.run(*QUARANTINE, "drop", named)
    assert refused.returncode == 6
    assert "cus_bad" in refused.stderr
    assert "--yes" in refused.stderr
    assert shop.json(*QUARANTINE, "drop", named, "--yes")["dropped"] == {"count": 1, "ids": [named]}
    shop.ok(*QUARANTINE, "drop", "--all", "--connection", "shop", "--yes")
    assert shop.json(*QUARANTINE, "list", "shop") == {"quarantine": []}
    assert "nothing" in shop.run(*QUARANTINE, "retry", "--all", "--connection", "shop").stderr
    assert list(shop.exported()) == ["good"]


def test_explain_and_drift_by_the_command_line(shop):
    told = shop.json("records", "explain", "shop", "customers", "cus_bad")["explained"]
    assert (told["state"], told["copies"]) == ("none", [])
    assert [each["reason_code"] for each in told["quarantined"]] == ["record-schema"]
    assert "stands" in shop.ok("records", "explain", "shop", "customers", "good")
    assert shop.json("records", "drift", "shop") == {"drift": []}
    assert "no drift" in shop.run("records", "drift", "shop", "customers").stderr


MISTAKES = {
    "quarantine of nobody": ((*QUARANTINE, "list", "shpo"), 3, "shop"),
    "quarantine of no entity": ((*QUARANTINE, "list", "shop", "custmers"), 3, "customers"),
    "the old form": ((*QUARANTINE, "shop"), 2, "shop"),
    "no such quarantined": ((*QUARANTINE, "show", "bad_x"), 3, "bad_x"),
    "retry what": ((*QUARANTINE, "retry"), 2, "--all"),
    "retry all of whom": ((*QUARANTINE, "retry", "--all"), 2, "--connection"),
    "retry both": ((*QUARANTINE, "retry", "bad_x", "--all", "--connection", "shop"), 2, "no ids"),
    "retry one of": ((*QUARANTINE, "retry", "bad_x", "--entity", "x"), 2, "--all"),
    "drop unknown": ((*QUARANTINE, "drop", "bad_x", "--yes"), 3, "bad_x"),
    "drift of nothing": (("records", "drift", "shop", "custmers"), 3, "customers"),
    "explain nothing": (("records", "explain", "shop", "customers", "nobody"), 3, "nobody"),
    "explain nonsense": (("records", "explain", "shop", "customers", "a\nb"), 3, "nothing"),
    "verify what": (("verify", "shop"), 2, "entity"),
    "verify nothing": (("verify",), 2, "--run"),
    "verify both": (("verify", "shop", "customers", "--run", "run_x"), 2, "--run"),
    "verify unknown run": (("verify", "--run", "run_x"), 3, "run_x"),
    "verify unknown entity": (("verify", "shop", "custmers"), 3, "customers"),
    "verify without Redis": (("verify", "shop", "customers"), 9, "Redis"),
}


@pytest.mark.parametrize("case", MISTAKES, ids=list(MISTAKES))
def test_a_mistake_gets_one_line_and_its_exit_code(shop, case):
    arguments, code, words = MISTAKES[case]
    done = shop.run(*arguments)
    assert done.returncode == code, done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith("error[")
    assert words in line
    assert done.stdout == ""
