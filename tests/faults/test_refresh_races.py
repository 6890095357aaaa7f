"""Refreshes raced by eight processes, killed at every step, and met by odd answers.

The sandbox rotates as strictly as a provider can: each refresh ends the old
refresh token at once, and whoever presents an old one loses the whole grant.
Its log is the judge.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from refresh_kit import CLIENT, Oracle, Racer, add_connections, digest, due_again, race
from servers import sandbox
from site_of import make_site
from tieline.store import connections, grants

RACES = 1000
EIGHT = 8
KILLS = 200
POINTS = ["auth.refresh.before_call", "auth.refresh.after_reply", "auth.refresh.after_commit"]


@pytest.fixture
def books_site(database_url, redis_url, tmp_path):
    made = make_site(tmp_path / "site", database_url, redis_url, token_deadline_s="10")
    made.environ |= CLIENT
    yield made
    made.close()


@pytest.fixture
def hasty_site(database_url, redis_url, tmp_path):
    """Calls may take 0.4 s, so that a killed process's lease is over after 1.6 s."""
    made = make_site(tmp_path / "site", database_url, redis_url, token_deadline_s="0.4")
    made.environ |= CLIENT | {"TIELINE_ALLOW_FAILPOINTS": "true"}
    yield made
    made.close()


def books(rotation: str, accounts: int, **options):
    return sandbox("quickbooks", rotation=rotation, accounts=accounts, **options)


def stored(site) -> dict[str, str]:
    """Return what each connection has as its refresh token."""
    installation, found = site.installation, {}
    with installation.database.read() as transaction:
        rows = connections.list_connections(transaction)
    for row in rows:
        fields = installation.engine.opener.refresher.peek(row.id)
        found[row.id] = fields["refresh_token"]
    return found


@pytest.mark.timeout(400)
def test_an_eight_way_race_costs_one_token_call_and_no_connection_however_often(books_site):
    site = books_site
    with books("strict", RACES) as url:
        oracle = Oracle(url)
        ids = add_connections(site.installation, oracle, RACES)
        racers = [Racer(site.environ) for _ in range(EIGHT)]
        try:
            for connection_id in ids:
                answers = race(racers, connection_id)
                assert answers == [answers[0]] * EIGHT
                assert answers[0][:2] == ["held", "2"]
        finally:
            for racer in racers:
                racer.close()
        facts = oracle.facts()
    assert facts["token_calls"] == RACES
    assert Counter(grant["state"] for grant in facts["grants"]) == {"live": RACES}
    assert {grant["max_in_flight"] for grant in facts["grants"]} == {1}
    assert sorted(stored(site).values()) == sorted(g["refresh_token"] for g in facts["grants"])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("rotation", ["grace", "strict"])
def test_kills_lose_nothing_that_the_provider_can_give_again(hasty_site, rotation):
    site = hasty_site
    share = KILLS // len(POINTS) + 1
    with books(rotation, share * len(POINTS), grace_s=3600) as url:
        oracle = Oracle(url)
        ids = add_connections(site.installation, oracle, share * len(POINTS))
        plan = [(connection_id, POINTS[n % len(POINTS)]) for n, connection_id in enumerate(ids)]
        racer = Racer(site.environ)
        try:
            for connection_id, point in plan:
                assert racer.ask("die", point, connection_id) == ["died", str(int(signal.SIGKILL))]
            time.sleep(1.7)  # the leases of the dead
            ends = {connection_id: racer.ask("hold", connection_id) for connection_id, _ in plan}
            # Nobody goes on asking for what is lost.
            again = {connection_id: racer.ask("hold", connection_id) for connection_id, _ in plan}
        finally:
            racer.close()
        facts = oracle.facts()
    lost = {one for one, point in plan if point == POINTS[1] and rotation == "strict"}
    assert {one for one, end in ends.items() if end[0] != "held"} == lost
    assert {ends[one][0] for one in lost} <= {"needs_reauth"}
    assert again == ends
    states = Counter(grant["state"] for grant in facts["grants"])
    assert states == (
        {"live": len(ids)} if not lost else {"live": len(ids) - len(lost), "reused": len(lost)}
    )
    asked_twice = sum(point == POINTS[1] for _, point in plan)
    assert facts["token_calls"] == len(plan) + asked_twice
    present = {g["refresh_token"] for g in facts["grants"] if g["state"] == "live"}
    assert {token for one, token in stored(site).items() if one not in lost} == present
    with site.installation.database.read() as transaction:
        marked = {r.id for r in connections.list_connections(transaction) if r.state != "ok"}
    assert marked == lost


@pytest.mark.parametrize("rotation", ["grace", "strict"])
def test_a_lost_answer_is_asked_for_once_more_and_never_again(hasty_site, rotation):
    site = hasty_site
    with books(rotation, 1, grace_s=3600) as url:
        oracle = Oracle(url)
        [one] = add_connections(site.installation, oracle, 1)
        oracle.fault({"kind": "drop", "path": "/oauth2/v1/tokens/bearer", "executed": True})
        racer = Racer(site.environ)
        try:
            end = racer.ask("hold", one)
            assert racer.ask("hold", one) == end
        finally:
            racer.close()
        calls = oracle.facts()["token_calls"]
    assert end[0] == ("held" if rotation == "grace" else "needs_reauth")
    assert calls == 2


def test_an_endpoint_that_is_down_is_left_alone_for_a_while_and_marks_nobody(hasty_site):
    site = hasty_site
    with books("strict", 1) as url:
        oracle = Oracle(url)
        [one] = add_connections(site.installation, oracle, 1)
        oracle.fault(
            {"kind": "status", "path": "/oauth2/v1/tokens/bearer", "status": 503, "times": 0}
        )
        racer = Racer(site.environ)
        try:
            assert [racer.ask("hold", one)[0] for _ in range(20)] == ["later"] * 20
            assert oracle.facts()["token_calls"] <= 1
            oracle.fault()
            with site.installation.database.write() as transaction:
                from tieline.store.tables import grants as table

                transaction.execute(table.update().values(retry_at=None))
            assert racer.ask("hold", one)[0] == "held"
        finally:
            racer.close()


def test_a_frozen_process_that_wakes_after_its_lease_calls_no_more(hasty_site):
    """It would present a refresh token that another has used by then."""
    site = hasty_site
    with books("strict", 1) as url:
        oracle = Oracle(url)
        [one] = add_connections(site.installation, oracle, 1)
        frozen = site.environ | {"TIELINE_FAILPOINTS": "auth.refresh.before_call=stop"}
        sleeper, other = Racer(frozen), Racer(site.environ)
        try:
            sleeper.send("hold", one)
            pid = sleeper._process.pid
            until = time.monotonic() + 20
            while _state(pid) != "T":
                assert time.monotonic() < until
                time.sleep(0.02)
            time.sleep(1.7)
            held = other.ask("hold", one)
            assert held[0] == "held"
            os.kill(pid, signal.SIGCONT)
            assert sleeper.answer() in (held, ["later", "5.0"])
            assert sleeper.ask("hold", one) == held
        finally:
            sleeper.close()
            other.close()
        facts = oracle.facts()
    assert (facts["token_calls"], facts["grants"][0]["state"]) == (1, "live")


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_the_previous_refresh_token_helps_when_the_new_one_never_counted(hasty_site):
    """Providers that take the old token for a while may forget a new one that was never used."""
    site = hasty_site
    with books("grace", 1, grace_s=3600) as url:
        oracle = Oracle(url)
        [one] = add_connections(site.installation, oracle, 1)
        before = stored(site)[one]
        racer = Racer(site.environ)
        try:
            assert racer.ask("hold", one)[0] == "held"
            assert stored(site)[one] != before
            due_again(site.installation)
            oracle.fault(
                {
                    "kind": "status",
                    "path": "/oauth2/v1/tokens/bearer",
                    "status": 400,
                    "body": {"error": "invalid_grant"},
                }
            )
            assert racer.ask("hold", one)[:2] == ["held", "3"]
        finally:
            racer.close()
        [grant] = oracle.facts()["grants"]
    assert grant["state"] == "live"
    with site.installation.database.read() as transaction:
        row = grants.read_grant(transaction, one)
    assert row.generation == 3
    assert digest(stored(site)[one]) == digest(grant["refresh_token"])
