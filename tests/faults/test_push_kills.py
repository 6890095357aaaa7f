"""Kill whoever sends, between the provider's answer and our commit: one object each.

The soak lane kills 500 times, the suite 25 times.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from chances import chances
from market import install_plugins, open_market
from push_kit import KEY, create, update
from site_of import children_of, make_site, wait_until
from tieline.contract import Secret
from tieline.services import outbox, records
from tieline.services.connect import connect_api_key

KILLS = chances(suite=25, soak=500)
ALLOWED = {"TIELINE_ALLOW_FAILPOINTS": "true"}
# At which passage of a work-horse's life it dies. A provider that knows keys is asked again
# under the same key first, which is a passage; one that knows none is only looked at.
PASSAGE = {"keyed": 2, "plain": 1}


@pytest.fixture
def stall(database_url, redis_url, tmp_path, tmp_path_factory, monkeypatch):
    """A site whose processes, and this one, have the market's plugin; and its market."""
    site = make_site(tmp_path / "site", database_url, redis_url, lease_s="1", sweep_s="0.2")
    folder = install_plugins(tmp_path_factory.mktemp("plugins"), "market")
    monkeypatch.syspath_prepend(folder)
    site.environ |= {"PYTHONPATH": folder}
    site.installation.close()
    del site.__dict__["installation"]
    with open_market() as market:
        market.members[KEY] = "m0"
        connect_api_key(
            site.installation,
            "market",
            name="stall",
            key=Secret(KEY),
            base_url=market.url,
            actor="test",
        )
        yield site, market
        site.close()


def ask(site, entity, *changes):
    asked = outbox.ask_changes(site.installation, "stall", entity, changes, actor="test")
    return asked.ids


def all_done(site, ids):
    return all(row.state == "done" for row in outbox.get_operations(site.installation, ids))


def assert_one_object_each(site, market, entity, names):
    goods = market.goods[entity]
    assert goods.names() == sorted(names)
    assert set(goods.done.values()) == {1}
    found = records.export_records(site.installation, "stall", entity)
    assert len(list(found)) == len(names)


@pytest.mark.timeout(120 + 3 * KILLS)
@pytest.mark.parametrize("entity", PASSAGE)
def test_every_object_is_made_once_however_often_the_sender_is_killed(stall, entity):
    site, market = stall
    names = [f"n{number:04d}" for number in range(KILLS)]
    ids = ask(site, entity, *map(create, names))
    fault = f"push.send.after=kill@{PASSAGE[entity]}"
    site.start("worker", TIELINE_FAILPOINTS=fault, TIELINE_LOG_LEVEL="warning", **ALLOWED)
    wait_until(lambda: all_done(site, ids), seconds=60 + 3 * KILLS)
    # Of the last one nobody is left to be killed after.
    assert site.logs().count("a work-horse died") >= KILLS - 1
    assert_one_object_each(site, market, entity, names)


@pytest.mark.parametrize(
    ("point", "entity"),
    [
        ("push.claim.after_commit", "plain"),
        ("push.send.before", "keyed"),
        ("push.send.after", "bulk"),
        ("push.end.before_commit", "plain"),
        ("push.end.after_commit", "keyed"),
    ],
)
def test_worker_and_horse_killed_at_a_failpoint(stall, point, entity):
    site, market = stall
    names = [f"n{number}" for number in range(7)]
    ids = ask(site, entity, *map(create, names))
    first = site.run("worker", TIELINE_FAILPOINTS=f"{point}=killall@2", **ALLOWED)
    assert first.returncode == -signal.SIGKILL
    site.ok("worker", "--burst")
    assert all_done(site, ids)
    assert_one_object_each(site, market, entity, names)


@pytest.mark.parametrize("entity", ["keyed", "plain"])
def test_a_sender_that_is_frozen_before_it_sends_sends_nothing_when_it_wakes(stall, entity):
    """No fence reaches the provider: whoever slept has to look before the request leaves."""
    site, market = stall
    ids = ask(site, entity, create("ada"), create("bob"))
    frozen = site.start("worker", TIELINE_FAILPOINTS="push.send.before=stop@2", **ALLOWED)

    def stopped():
        return [child for child in children_of(frozen.pid) if state_of(child) == "T"]

    [horse] = wait_until(stopped)
    frozen.send_signal(signal.SIGSTOP)
    time.sleep(1.2)  # its lease lapses
    site.ok("worker", "--burst")
    assert all_done(site, ids)
    frozen.send_signal(signal.SIGCONT)
    os.kill(horse, signal.SIGCONT)
    wait_until(lambda: horse not in children_of(frozen.pid))
    assert_one_object_each(site, market, entity, ["ada", "bob"])


def test_two_workers_and_kills_at_random_keep_the_order_of_each_record(stall):
    site, market = stall
    goods = market.goods["plain"]
    for number in range(4):
        goods.put(f"r{number}", name=f"r{number}")
    site.ask("stall", "plain", mode="full")
    site.ok("worker", "--burst")
    turns = 6
    ids = ask(
        site,
        "plain",
        *(update(f"r{n}", name=f"r{n}-{turn}") for turn in range(turns) for n in range(4)),
    )
    for fault in ("push.send.after=kill@3", "push.end.after_commit=kill@4"):
        site.start("worker", TIELINE_FAILPOINTS=fault, **ALLOWED)
    wait_until(lambda: all_done(site, ids), seconds=60)
    for number in range(4):
        told = [record["name"] for key, _, record in goods.log if key == f"r{number}"]
        assert told == [f"r{number}", *(f"r{number}-{turn}" for turn in range(turns))]


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
