"""The operator's incidents, as their pages in docs/how-to tell them, on real processes.

A is in test_limits_cli.py and tests/faults/test_throttle_workers.py (five seconds over all
workers), B in test_oauth_trouble.py, the thousand deliveries of D in
tests/integration/test_webhook_endpoints.py; here is what ties them to what people type.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import servers
from cli_kit import run_cli, use_environment
from ingest_kit import SECRETS, harbour_of
from site_of import kill_group, make_site, wait_until

PAGES = {
    "A": "a-provider-throttles.md",
    "B": "a-token-was-revoked.md",
    "C": "a-worker-died.md",
    "D": "a-webhook-secret-rotates.md",
}
HOW_TO = Path(__file__).parents[2] / "docs/how-to"


@pytest.mark.parametrize("incident", PAGES)
def test_every_incident_has_a_page_with_commands(incident):
    assert "tieline " in (HOW_TO / PAGES[incident]).read_text()


@pytest.fixture
def site(sqlite_url, redis_url, tmp_path, monkeypatch):
    made = make_site(tmp_path / "site", sqlite_url, redis_url, lease_s="1", sweep_s="0.2")
    use_environment(
        monkeypatch, made.cwd, sqlite_url, redis_url, home=str(made.cwd), lease_s="1", sweep_s="0.2"
    )
    yield made
    made.close()


def codes() -> set[str]:
    return {each["code"] for each in run_cli("doctor", "--json").json["findings"]} - {None}


def test_a_worker_that_dies_is_seen_and_what_it_left_is_taken_over(site):
    with servers.sandbox(customers=3000, latency_ms=100) as url:
        site.connect(url)
        first = site.start("worker")
        run_id = site.ask(mode="full")
        wait_until(lambda: site.state_of(run_id).counts.seen > 0)
        kill_group(first)  # its work-horse, too: no lease is given back
        wait_until(lambda: not site.installation.presence.alive())
        assert "no-worker" in codes()
        status = wait_until(
            lambda: (s := run_cli("status", "--json").json)["stuck"] and s, seconds=30
        )
        assert status["workers"] == []
        assert "held by one that is gone" in run_cli("status").stdout
        site.start("worker")
        wait_until(lambda: site.state_of(run_id).is_over, seconds=60)
    assert site.state_of(run_id).state == "succeeded"
    assert len(site.exported()) == 3000
    assert run_cli("status", "--json").json["stuck"] == 0
    assert "no-worker" not in codes()


def commands_of(incident: str) -> list[str]:
    return re.findall(
        r"^\$ tieline ([^<\n]+)", (HOW_TO / PAGES[incident]).read_text(), re.MULTILINE
    )


def test_a_webhook_secret_is_rotated_and_a_leaked_one_traced_as_the_page_says(site):
    harbour = harbour_of(site.installation)
    sender, old = harbour.senders["stripe"], SECRETS["stripe"]
    began = datetime.now(UTC) - timedelta(seconds=1)
    rotate, finish, at_once, traced = commands_of("D")
    named = {"whe_4k1x": sender.endpoint_id, "2026-11-20": began.isoformat()}

    def follow(command: str, stdin: str = ""):
        for example, real in named.items():
            command = command.replace(example, real)
        done = run_cli(*command.split(), "--json", stdin=stdin)
        assert done.code == 0, done.stderr
        return done.json

    assert harbour.accept(sender.signed(secret=old)) == 200
    follow(rotate, stdin="whsec_second")
    assert harbour.accept(sender.signed(secret=old)) == 200
    assert harbour.accept(sender.signed(secret="whsec_second")) == 200
    site.installation.inbox.after.do()
    assert "webhook-secret-old" in codes()
    follow(finish)
    assert harbour.accept(sender.signed(secret=old)) == 401
    assert len(follow(traced)["events"]) == 2
    follow(at_once, stdin="whsec_third")
    assert harbour.accept(sender.signed(secret="whsec_second")) == 401
    assert harbour.accept(sender.signed(secret="whsec_third")) == 200
    found = follow(traced)["events"]
    assert len(found) == 3  # what came by the two that are gone
    [last] = set(event_ids(harbour)) - {each["id"] for each in found}
    shown = run_cli("webhooks", "events", "show", last, "--json").json["event"]
    present = run_cli("webhooks", "show", sender.endpoint_id, "--json").json["endpoint"]["secrets"]
    assert shown["verified_with"] in {each["id"] for each in present}
    by_name = run_cli(
        "webhooks", "events", "list", "--verified-with", shown["verified_with"], "--json"
    )
    assert [each["id"] for each in by_name.json["events"]] == [last]


def event_ids(harbour) -> list[str]:
    return [each["id"] for each in harbour.events()]
