"""An alert is raised once per crossing, told at least once, and over when its cause is."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import select

from alert_kit import SECRET, running_ops
from kit import make_bench, names, second_engine
from servers import plain_environ
from tieline.alerts import Alerter, raise_alert
from tieline.alerts.deliver import MOST_ATTEMPTS
from tieline.contract import NeedsReauthError, Secret, SettingsError
from tieline.failpoints import Crash, set_failpoints
from tieline.services import alerts as service
from tieline.services import dead_letters
from tieline.services.connect import connect_api_key
from tieline.store import alerts, connections, grants
from tieline.store import dead_letters as letter_store
from tieline.store.tables import alerts as table

CROSSING = ("needs-reauth", "con_x", "shop needs a person")


@pytest.fixture
def ops():
    with running_ops() as running:
        yield running


@pytest.fixture
def bench(database_url, tmp_path, ops):
    made = make_bench(
        database_url, tmp_path, alert_webhook_url=ops.url, alert_webhook_secret=SECRET
    )
    yield made
    set_failpoints("")
    made.installation.close()


def rows(bench, *, with_closed=True):
    with bench.database.read() as connection:
        return alerts.list_alerts(connection, with_closed=with_closed)


def connection_of(bench):
    with bench.database.read() as connection:
        return connections.find_connection(connection, bench.connection_id)


def raised(bench, subject: str = "con_x") -> bool:
    alerter = Alerter(bench.database, bench.clock)
    return alerter.raise_alert("breaker-open", subject, "api.example.com fails", facts={"n": 1})


def deliver(bench) -> int:
    return service.messenger_of(bench.installation).deliver_due()


def test_a_crossing_that_is_met_again_is_one_alert_until_it_is_over(bench):
    assert raised(bench)
    bench.clock.move(10)
    assert [raised(bench) for _ in range(3)] == [False] * 3
    [row] = rows(bench)
    assert (row.times, row.state, row.seen_at - row.since) == (4, "open", timedelta(seconds=10))
    alerter = Alerter(bench.database, bench.clock)
    assert alerter.close_alert("breaker-open", "con_x")
    assert not alerter.close_alert("breaker-open", "con_x")
    assert raised(bench)
    assert Counter(row.state for row in rows(bench)) == {"open": 1, "closed": 1}
    assert raised(bench, "con_y")


def test_an_alert_is_of_the_transaction_that_found_the_trouble(bench):
    def work(connection):
        raise_alert(connection, *CROSSING, now=bench.clock.now())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        bench.database.transact(work)
    assert rows(bench) == []
    assert deliver(bench) == 0


RAISER = """
import os, sys, time
from tieline.alerts import Alerter
from tieline.clock import SystemClock
from tieline.contract import Secret
from tieline.store.database import open_database
database = open_database(Secret(os.environ["URL"]))
with database.read():
    pass
print(flush=True)
sys.stdin.readline()
alerter = Alerter(database, SystemClock())
print(sum(alerter.raise_alert("breaker-open", f"con_{n % 5}", "down") for n in range(50)))
"""


def test_three_processes_that_meet_the_same_crossings_make_one_alert_of_each(bench, database_url):
    started = [
        subprocess.Popen(
            [sys.executable, "-c", RAISER],
            env=plain_environ() | {"URL": database_url},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in started:
        process.stdout.readline()
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [int(process.communicate(timeout=60)[0]) for process in started]
    assert sum(told) == 5
    assert Counter(row.times for row in rows(bench)) == {30: 5}


def test_what_is_told_is_signed_and_names_what_to_do(bench, ops):
    bench.shelf.put(*names(3))
    bench.shelf.faults[1] = NeedsReauthError("token revoked")
    assert bench.sync().state == "needs_reauth"
    assert deliver(bench) == 1
    [alert] = ops.alerts  # which checks the signature
    assert alert["kind"] == "needs-reauth"
    assert alert["message"] == "shop needs a person: token revoked"
    assert alert["hint"] == "tieline connections reauth shop"
    assert (alert["connection"], alert["provider"]) == ("shop", "shelf")
    assert alert["since"] == "2026-11-01T00:00:00.000Z"
    [(headers, _)] = ops.got
    assert headers["webhook-timestamp"] == str(int(bench.clock.now().timestamp()))
    [row] = rows(bench)
    assert (sorted(row.told), row.due_at) == (["hooks", "log", "webhook"], None)
    assert row.delivered_at == bench.clock.now()
    assert deliver(bench) == 0


def test_an_incident_makes_one_notice_and_is_over_when_a_person_connected_again(bench, ops):
    bench.shelf.put(*names(3))
    bench.shelf.faults[1] = NeedsReauthError("token revoked")
    for _ in range(3):
        assert bench.sync().state == "needs_reauth"
        deliver(bench)
    assert len(ops.alerts) == 1
    connect_api_key(
        bench.installation,
        "shelf",
        name="shop",
        key=Secret("k-2"),
        base_url=connection_of(bench).base_url,
        actor="test",
        is_replacing=True,
    )
    assert service.list_alerts(bench.installation) == []
    bench.shelf.faults[bench.shelf.requests + 1] = NeedsReauthError("revoked once more")
    bench.sync()
    deliver(bench)
    assert len(ops.alerts) == 2


@pytest.mark.parametrize(("point", "times"), [("before", 1), ("after", 2)])
def test_a_crash_while_an_alert_is_told_loses_nothing(bench, ops, point, times):
    raised(bench)
    set_failpoints(f"alert.deliver.{point}=raise")
    with pytest.raises(Crash):
        deliver(bench)
    assert deliver(bench) == 0  # it is in somebody's hands, as far as anybody knows
    bench.clock.move(61)
    assert deliver(bench) == 1
    [(_, came)] = ops.times.items()  # under one id
    assert came == times
    assert rows(bench)[0].delivered_at is not None


def test_two_messengers_tell_each_alert_once(bench, ops):
    for number in range(6):
        raised(bench, f"con_{number}")
    other = second_engine(bench)
    with bench.database.write() as connection:
        mine = alerts.claim_due(connection, bench.clock.now(), lease=timedelta(seconds=60))
    messenger = service.messenger_of(bench.installation)
    messenger._database = other.database
    assert messenger.deliver_due() == 5
    assert mine.id not in ops.times
    assert set(ops.times.values()) == {1}
    other.database.close()


def test_a_late_messenger_does_not_undo_what_another_noted(bench, ops):
    raised(bench)
    with bench.database.write() as connection:
        late = alerts.claim_due(connection, bench.clock.now(), lease=timedelta(seconds=60))
    bench.clock.move(61)
    assert deliver(bench) == 1
    again = {"told": [], "again_at": bench.clock.now(), "trouble": "late"}
    with bench.database.write() as connection:
        assert not alerts.note_told(connection, late, **again, now=bench.clock.now())
    assert rows(bench)[0].delivered_at is not None


REFUSALS = {
    "away": ([500, 503], {}),
    "gone": ([404, 410], {}),
    "redirects": ([301, 302], {"Location": "http://127.0.0.1:1/elsewhere"}),
}


@pytest.mark.parametrize("case", REFUSALS, ids=REFUSALS)
def test_what_is_refused_is_told_again_later_and_to_that_sink_alone(bench, ops, case, caplog):
    statuses, ops.headers = REFUSALS[case]
    ops.statuses = list(statuses)
    raised(bench)
    deliver(bench)
    [row] = rows(bench)
    assert (sorted(row.told), row.delivered_at) == (["hooks", "log"], None)
    assert row.trouble.startswith("webhook: ")
    assert ops.url not in row.trouble
    for _ in range(2):
        bench.clock.move(4)
        assert deliver(bench) == 0
        bench.clock.move(8)
        assert deliver(bench) == 1
    assert list(ops.times.values()) == [3]
    assert rows(bench)[0].trouble is None
    told = [
        each
        for each in caplog.records
        if each.name == "tieline.alerts" and "breaker-open" in str(each.msg)
    ]
    assert len(told) == 1


def test_a_receiver_that_asks_for_time_gets_it(bench, ops):
    ops.statuses, ops.headers = [503], {"Retry-After": "120"}
    raised(bench)
    deliver(bench)
    bench.clock.move(119)
    assert deliver(bench) == 0
    bench.clock.move(2)
    assert deliver(bench) == 1


def test_a_sink_that_is_never_reached_is_given_up_and_says_so(bench, ops):
    ops.statuses = [500] * 100
    raised(bench)
    taken = 0
    while deliver(bench):
        taken += 1
        bench.clock.move(3601)
    assert taken == MOST_ATTEMPTS == len(ops.got)
    [row] = rows(bench)
    assert (row.due_at, row.delivered_at) == (None, None)
    assert row.trouble == "webhook: the alert webhook answered 500"


def test_one_alert_that_cannot_be_told_holds_up_no_other(bench, ops):
    ops.statuses = [500]
    raised(bench, "con_1")
    bench.clock.move(1)
    raised(bench, "con_2")
    assert deliver(bench) == 2
    assert Counter(row.delivered_at is not None for row in rows(bench)) == {True: 1, False: 1}


def test_a_clock_that_was_set_back_keeps_no_alert_from_being_told(bench, ops):
    raised(bench)
    bench.clock.move(-86_400)
    assert deliver(bench) == 1


def test_an_address_without_a_secret_is_refused_by_name(bench, tmp_path, database_url):
    from tieline.services.installation import Installation
    from tieline.settings import load_settings

    environ = {"TIELINE_HOME": str(tmp_path), "TIELINE_DATABASE_URL": database_url}
    environ |= {"TIELINE_ALERT_WEBHOOK_URL": "https://ops.example.com"}
    with pytest.raises(SettingsError, match="TIELINE_ALERT_WEBHOOK_SECRET"):
        service.messenger_of(Installation(load_settings(environ, tmp_path)))


def test_a_dead_run_alerts_once_and_is_over_when_its_letter_is_settled(bench, ops):
    run_id = bench.ask().run.id
    for _ in range(2):
        with bench.database.write() as connection:
            letter_store.add_dead_letter(
                connection,
                kind="run",
                connection_id=bench.connection_id,
                entity="items",
                run_id=run_id,
                reason_code="worker-lost",
                reason="three workers died",
                facts={},
                now=bench.clock.now(),
            )
            raise_alert(
                connection,
                "run-dead",
                run_id,
                "given up",
                now=bench.clock.now(),
                connection_id=bench.connection_id,
            )
    deliver(bench)
    [letter] = dead_letters.list_dead_letters(bench.installation)
    dead_letters.drop_dead_letter(bench.installation, letter.id, actor="test")
    service.messenger_of(bench.installation).tidy()
    assert rows(bench, with_closed=False) == []
    with bench.database.write() as connection:  # a worker that wakes up late
        raise_alert(connection, "run-dead", run_id, "given up", now=bench.clock.now())
    deliver(bench)
    assert len(ops.alerts) == 1


def test_too_much_in_quarantine_alerts_and_is_over_after_a_run_that_succeeded(bench, ops):
    for number in range(60):
        bench.shelf.records[f"k{number:04d}"] = {"id": f"k{number:04d}", "name": number}
    assert bench.sync().error_code == "quarantine-share"
    assert bench.sync().error_code == "quarantine-share"
    deliver(bench)
    [alert] = ops.alerts
    assert (alert["kind"], alert["facts"]["entity"]) == ("quarantine-share", "items")
    bench.shelf.put(*names(60))
    bench.clock.move(60)
    assert bench.sync().state == "succeeded"
    service.messenger_of(bench.installation).tidy()
    assert rows(bench, with_closed=False) == []


def test_a_removed_connection_takes_its_alerts_along_and_makes_no_new_ones(bench):
    given = {"connection_id": bench.connection_id, "now": bench.clock.now()}
    with bench.database.write() as connection:
        assert raise_alert(connection, "breaker-open", "s", "m", **given)
        connections.delete_connection(connection, bench.connection_id)
        assert not raise_alert(connection, "breaker-open", "s", "m", **given)
    assert rows(bench) == []


def test_what_is_over_for_three_months_is_forgotten(bench):
    raised(bench)
    Alerter(bench.database, bench.clock).close_alert("breaker-open", "con_x")
    messenger = service.messenger_of(bench.installation)
    messenger.deliver_due()
    bench.clock.move(89 * 86_400)
    messenger.tidy()
    assert len(rows(bench)) == 1
    bench.clock.move(2 * 86_400)
    messenger.tidy()
    assert rows(bench) == []


def test_no_secret_gets_into_an_alert(bench, ops):
    from tieline.telemetry import remember

    remember("sk_live_9f2c7a1b")
    alerter = Alerter(bench.database, bench.clock)
    alerter.raise_alert(
        "breaker-open", "c", "bad key sk_live_9f2c7a1b", hint="not sk_live_9f2c7a1b"
    )
    deliver(bench)
    assert b"9f2c7a1b" not in ops.got[0][1]
    with bench.database.read() as connection:
        kept = str(connection.execute(select(table)).all())
    assert "9f2c7a1b" not in kept


def test_a_consent_that_ends_is_warned_of_at_each_stretch_and_over_when_renewed(bench, ops):
    from tieline.engine.upkeep import look_after_grants
    from tieline.store.tables import grants as grants_table

    ends_at = bench.clock.now() + timedelta(days=25)
    with bench.database.write() as connection:
        connection.execute(
            grants_table.insert().values(
                connection_id=bench.connection_id,
                generation=1,
                refreshed_at=bench.clock.now(),
                refresh_expires_at=ends_at,
                failures=0,
            )
        )
    for _ in range(2):
        look_after_grants(bench.engine)
        deliver(bench)
    bench.clock.move(20 * 86_400)
    look_after_grants(bench.engine)
    deliver(bench)
    assert [alert["facts"]["days_left"] for alert in ops.alerts] == [25, 5]
    assert Counter(row.state for row in rows(bench)) == {"open": 1, "closed": 1}
    with bench.database.write() as connection:
        grants.drop_grant(connection, bench.connection_id)
    assert service.list_alerts(bench.installation) == []
