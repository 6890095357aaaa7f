"""Limits and alerts as a person meets them: one command, one screen, exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from alert_kit import SECRET, running_ops
from site_of import make_site, wait_until
from tieline.alerts import Alerter
from tieline.services import connections


@pytest.fixture
def shop(sqlite_url, redis_url, shop_sandbox, tmp_path):
    with running_ops() as ops:
        made = make_site(
            tmp_path / "site",
            sqlite_url,
            redis_url,
            lease_s="1",
            sweep_s="0.2",
            alert_webhook_url=ops.url,
            alert_webhook_secret=SECRET,
        )
        made.ops = ops
        made.connect(shop_sandbox)
        yield made
        made.close()


def test_incident_a_is_seen_corrected_and_undone_without_a_restart(shop):
    worker = shop.start("worker")
    run_id = shop.ask()
    wait_until(lambda: shop.state_of(run_id).state == "succeeded")

    [seen] = shop.json("limits", "shop")["limits"]
    assert seen["connections"] == ["shop"]
    assert (seen["share"], seen["override"], seen["breakers"]) == (1.0, None, [])
    table = shop.ok("limits")
    assert table.splitlines()[0].split("\t")[:4] == ["CONNECTION", "PROVIDER", "COUNTS", "LIMIT"]
    assert "shop\tstripe\t" in table

    [set_] = shop.json("limits", "set", "stripe", "2/s; concurrency=1", "--for", "2h")["limits"]
    assert set_["override"] == "2/second; concurrency=1"
    assert "set for a time: 2/second; concurrency=1" in shop.ok("limits")
    run_id = shop.ask(mode="full")
    wait_until(lambda: shop.state_of(run_id).counts.requests >= 4)
    seen = shop.json("limits", "show", "shop")["limits"][0]
    assert seen["in_flight"]["limit"] == 1
    narrow = [window for window in seen["windows"] if window["limit"] == 2]
    assert all(window["used"] <= 2 for window in narrow)

    [reset] = shop.json("limits", "reset", "shop")["limits"]
    assert reset["override"] is None
    wait_until(lambda: shop.state_of(run_id).state == "succeeded")
    assert worker.poll() is None
    assert shop.json("limits", "reset-breaker", "shop") == {"was_there": False}


def test_limits_can_be_watched_until_ctrl_c(shop):
    process = subprocess.Popen(
        [sys.executable, "-m", "tieline", "limits", "--watch", "--json"],
        env=shop.environ,
        cwd=shop.cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        for _ in range(2):
            [account] = json.loads(process.stdout.readline())["limits"]
            assert account["connections"] == ["shop"]
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate()


MISTAKES = {
    "unknown": (("limits", "shp"), 3, "did you mean shop?"),
    "unknown to set": (("limits", "set", "shp", "8/s", "--for", "1h"), 3, "did you mean shop?"),
    "no time": (("limits", "set", "shop", "8/s"), 2, "--for"),
    "wrong time": (("limits", "set", "shop", "8/s", "--for", "soon"), 2, "for: 'soon'"),
    "wrong limit": (("limits", "set", "shop", "fast", "--for", "1h"), 2, "limits: 'fast'"),
    "no such breaker": (("limits", "reset-breaker", "shp"), 3, "did you mean shop?"),
    "alerts of nobody": (("alerts", "--connection", "shp"), 3, "did you mean shop?"),
}


@pytest.mark.parametrize("case", MISTAKES, ids=MISTAKES)
def test_a_mistake_is_one_line_and_an_exit_code(shop, case):
    arguments, code, words = MISTAKES[case]
    done = shop.run(*arguments)
    assert (done.returncode, len(done.stderr.splitlines())) == (code, 1)
    assert words in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("command", ["scheduler", "worker"])
def test_nobody_starts_who_could_not_tell_alerts(shop, command):
    for secret in ("", "whsec_short"):
        done = shop.run(command, TIELINE_ALERT_WEBHOOK_SECRET=secret)
        assert (done.returncode, len(done.stderr.splitlines())) == (7, 1)
        assert "TIELINE_ALERT_WEBHOOK_SECRET" in done.stderr


def test_an_alert_is_listed_told_and_over(shop):
    assert "nothing needs you" in shop.run("alerts").stderr
    row = connections.get_connection(shop.installation, "shop")
    alerter = Alerter(shop.installation.database, shop.installation.clock)
    alerter.raise_alert(
        "webhooks-silent", row.id, "no event came", connection_id=row.id, hint="tieline doctor"
    )
    assert "\tnot yet\t" in shop.ok("alerts")
    shop.start("scheduler")
    wait_until(lambda: shop.ops.alerts)
    [told] = shop.ops.alerts

    def is_noted():
        [alert] = shop.json("alerts")["alerts"]
        return alert["delivered_at"] and alert

    listed = wait_until(is_noted)
    assert listed["id"] == told["id"]
    assert (listed["state"], listed["connection"], listed["kind"]) == (
        "open",
        "shop",
        "webhooks-silent",
    )
    assert "no event came (next: tieline doctor)" in shop.ok("alerts", "--connection", "shop")
    assert '"event": "alert"' in shop.logs()

    alerter.close_alert("webhooks-silent", row.id)
    assert shop.json("alerts")["alerts"] == []
    [alert] = shop.json("alerts", "--all")["alerts"]
    assert alert["state"] == "closed"
