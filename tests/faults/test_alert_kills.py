"""Schedulers and workers killed while they tell alerts: none is lost, none comes as a new one."""

from __future__ import annotations

import pytest

from alert_kit import SECRET, running_ops
from site_of import make_site, wait_until
from tieline.alerts import Alerter
from tieline.store import alerts
from tieline.store.tables import alerts as table

ALLOWED = {"TIELINE_ALLOW_FAILPOINTS": "true"}


@pytest.fixture
def ops():
    with running_ops() as running:
        yield running


@pytest.fixture
def site(database_url, redis_url, tmp_path, ops):
    made = make_site(
        tmp_path / "site",
        database_url,
        redis_url,
        lease_s="1",
        sweep_s="0.2",
        alert_webhook_url=ops.url,
        alert_webhook_secret=SECRET,
    )
    yield made
    made.close()


def alert(site, subject: str) -> None:
    alerter = Alerter(site.installation.database, site.installation.clock)
    assert alerter.raise_alert("webhooks-silent", subject, "nothing came for a day")


def waiting(site) -> list[str]:
    with site.installation.database.read() as connection:
        rows = alerts.list_alerts(connection)
    return [row.subject for row in rows if row.delivered_at is None]


def let_its_hold_lapse(site) -> None:
    with site.installation.database.write() as connection:
        connection.execute(
            table.update()
            .where(table.c.due_at.is_not(None))
            .values(due_at=site.installation.clock.now())
        )


@pytest.mark.parametrize(
    ("point", "times"), [("alert.deliver.before", 1), ("alert.deliver.after", 2)]
)
def test_a_scheduler_that_is_killed_while_it_tells_loses_no_alert(site, ops, point, times):
    alert(site, "con_1")
    dying = site.start("scheduler", TIELINE_FAILPOINTS=f"{point}=kill", **ALLOWED)
    assert dying.wait(30) == -9
    assert waiting(site) == ["con_1"]
    let_its_hold_lapse(site)
    site.start("scheduler")
    wait_until(lambda: not waiting(site))
    assert list(ops.times.values()) == [times]  # under one id


def test_a_worker_tells_alerts_by_a_child_and_works_on_when_that_is_killed(site, ops):
    alert(site, "con_1")
    worker = site.start("worker", TIELINE_FAILPOINTS="alert.deliver.after=kill", **ALLOWED)
    wait_until(lambda: ops.alerts)
    assert waiting(site) == ["con_1"]
    let_its_hold_lapse(site)  # its children inherit the failpoint, each anew
    wait_until(lambda: len(ops.alerts) == 2)
    assert worker.poll() is None
    worker.terminate()
    worker.wait(30)
    let_its_hold_lapse(site)
    site.start("worker")
    wait_until(lambda: not waiting(site))
    assert list(ops.times.values()) == [3]


def test_three_processes_that_tell_at_once_tell_each_alert_once(site, ops):
    for number in range(12):
        alert(site, f"con_{number}")
    for command in ("scheduler", "scheduler", "worker"):
        site.start(command)
    wait_until(lambda: not waiting(site), seconds=60)
    assert set(ops.times.values()) == {1}
    assert len(ops.times) == 12
