"""Tokens that end while a client lives: renewed under it, by whichever process comes first."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from refresh_kit import CLIENT, Oracle, add_connections
from servers import plain_environ, sandbox
from tieline.auth import auth_of
from tieline.clock import ManualClock
from tieline.contract import NeedsReauthError, RetryLaterError, TielineError
from tieline.services.installation import Installation
from tieline.settings import load_settings
from tieline.store import connections, grants, log, schema

HOUR = 3600.0


@pytest.fixture
def books():
    with sandbox("quickbooks", rotation="strict", accounts=3) as url:
        yield Oracle(url)


@pytest.fixture
def installation(database_url, redis_url, tmp_path):
    environ = plain_environ() | CLIENT
    environ |= {"TIELINE_HOME": str(tmp_path), "TIELINE_DATABASE_URL": database_url}
    environ |= {"TIELINE_REDIS_URL": redis_url, "TIELINE_TOKEN_DEADLINE_S": "3"}
    environ["TIELINE_QUICKBOOKS_RATE_LIMITS"] = "none"
    made = Installation(load_settings(environ, tmp_path), clock=ManualClock(datetime.now(UTC)))
    made.make_key()
    schema.upgrade(made.raw_database)
    yield made
    made.close()


@pytest.fixture
def one(installation, books):
    return add_connections(installation, books, 1)[0]


def identify(opened):
    return opened.identify(auth_of(opened.plugin, "oauth2"))


def state_of(installation, connection_id):
    with installation.database.read() as transaction:
        return connections.find_connection(transaction, connection_id)


def entries(installation) -> Counter:
    with installation.database.read() as transaction:
        return Counter(entry["event"] for entry in log.list_entries(transaction))


def let_time_pass(installation, books, seconds: float) -> None:
    """Move our clock and the provider's."""
    installation.clock.move(seconds)
    given = {"advance_s": seconds}
    httpx.post(f"{books.url}/_sandbox/clock", json=given, trust_env=False)


def test_a_client_outlives_its_tokens(installation, books, one):
    opened = installation.engine.opener.open(one)
    before = opened.generation
    for hour in range(1, 6):
        let_time_pass(installation, books, HOUR)
        assert identify(opened).id
        assert opened.generation == before + hour
    opened.transport.close()
    assert books.facts()["token_calls"] == 6  # the first was due when it was opened


def test_tokens_are_renewed_a_fifth_of_their_life_before_they_end(installation, books, one):
    opener = installation.engine.opener
    first = opener.refresher.hold(one)
    left = first.ends_at - installation.clock.now()
    assert timedelta(minutes=47) < left < timedelta(minutes=51)
    installation.clock.move(left.total_seconds() - 1)
    assert opener.refresher.hold(one).generation == first.generation
    installation.clock.move(2)
    assert opener.refresher.hold(one).generation == first.generation + 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_renewed_tokens_are_on_the_disk_in_sqlite_too(installation, books, one, monkeypatch):
    real, seen = grants.advance_grant, []

    def looked_at(transaction, *given, **named):
        seen.append(transaction.exec_driver_sql("PRAGMA synchronous").scalar())
        return real(transaction, *given, **named)

    monkeypatch.setattr(grants, "advance_grant", looked_at)
    installation.engine.opener.refresher.hold(one)
    assert seen == [2]  # FULL: synced at each commit


def test_what_another_process_renewed_is_taken_over_without_a_call(installation, books, one):
    opened = installation.engine.opener.open(one)
    installation.clock.move(50 * 60)
    other = Installation(installation.settings, clock=installation.clock)
    held = other.engine.opener.refresher.hold(one)
    other.close()
    calls = books.facts()["token_calls"]
    assert identify(opened).id
    assert (opened.generation, books.facts()["token_calls"]) == (held.generation, calls)
    opened.transport.close()


def test_tokens_that_another_thread_renewed_are_used_before_it_has_stored_them(
    installation, books, one
):
    opened = installation.engine.opener.open(one)
    calls = books.facts()["token_calls"]
    let_time_pass(installation, books, HOUR)
    assert opened.watch is not None
    opened.watch.renewed()  # as a thread does that gets no further for a while
    assert identify(opened).id
    assert books.facts()["token_calls"] == calls + 1
    opened.transport.close()


def test_sixteen_threads_on_one_client_renew_once(installation, books, one):
    opened = installation.engine.opener.open(one)
    calls = books.facts()["token_calls"]
    let_time_pass(installation, books, HOUR)
    with ThreadPoolExecutor(16) as pool:
        accounts = list(pool.map(lambda _: identify(opened).id, range(64)))
    assert len(set(accounts)) == 1
    assert books.facts()["token_calls"] == calls + 1
    opened.transport.close()


def test_tokens_that_end_before_their_time_are_renewed_when_they_are_refused(
    installation, books, one
):
    opener = installation.engine.opener
    opened = opener.open(one)
    httpx.post(f"{books.url}/_sandbox/clock", json={"advance_s": 2 * HOUR}, trust_env=False)
    with pytest.raises(NeedsReauthError):
        identify(opened)
    assert opener.renew_refused(one, opened.generation)
    opened.transport.close()
    opened = opener.open(one)
    assert identify(opened).id
    opened.transport.close()
    assert state_of(installation, one).state == "ok"


@pytest.mark.parametrize("hours", [2, -2])
def test_a_clock_that_jumps_costs_one_refresh_at_most(installation, books, one, hours):
    refresher = installation.engine.opener.refresher
    refresher.hold(one)
    calls = books.facts()["token_calls"]
    installation.clock.move(hours * HOUR)
    for _ in range(20):
        refresher.hold(one)
        installation.clock.move(1)
    assert books.facts()["token_calls"] - calls == (1 if hours > 0 else 0)


def test_access_that_was_taken_away_is_noticed_once_and_asked_about_no_more(
    installation, books, one
):
    refresher = installation.engine.opener.refresher
    refresher.hold(one)
    [grant] = books.facts()["grants"]
    books.order(revoke=grant["id"])
    let_time_pass(installation, books, HOUR)
    calls = books.facts()["token_calls"]
    for _ in range(10):
        with pytest.raises(NeedsReauthError, match="invalid_grant"):
            refresher.hold(one)
    assert books.facts()["token_calls"] <= calls + 2  # the newest, and the one before it
    row = state_of(installation, one)
    assert row.state == "needs_reauth"
    assert "invalid_grant" in row.trouble
    assert entries(installation)["connection.needs_reauth"] == 1


@pytest.mark.parametrize(
    ("fault", "is_marked"),
    [
        pytest.param({"status": 503}, False, id="5xx"),
        pytest.param({"status": 400, "body": "<html>no</html>"}, False, id="400 with HTML"),
        pytest.param({"status": 401, "body": {"error": "invalid_client"}}, False, id="our secret"),
        pytest.param({"status": 429}, False, id="throttled"),
        pytest.param({"status": 400, "body": {"error": "invalid_grant"}}, True, id="the grant"),
    ],
)
def test_only_a_refused_grant_marks_the_connection(installation, books, one, fault, is_marked):
    path = "/oauth2/v1/tokens/bearer"
    books.fault({"kind": "status", "path": path, "times": 0} | fault)
    with pytest.raises(TielineError) as caught:
        installation.engine.opener.refresher.hold(one)
    assert isinstance(caught.value, NeedsReauthError) == is_marked
    assert (state_of(installation, one).state == "needs_reauth") == is_marked


def test_an_answer_without_a_refresh_token_leaves_the_stored_one(installation, books, one):
    refresher = installation.engine.opener.refresher
    before = refresher.peek(one)["refresh_token"]
    body = {"access_token": "lent", "token_type": "bearer", "expires_in": 3600}
    path = "/oauth2/v1/tokens/bearer"
    books.fault({"kind": "status", "path": path, "status": 200, "body": body})
    held = refresher.hold(one)
    assert (held.fields["access_token"], held.fields["refresh_token"]) == ("lent", before)
    assert held.fields["realm_id"]


def test_tokens_that_are_still_good_serve_while_the_endpoint_is_down(installation, books, one):
    refresher = installation.engine.opener.refresher
    first = refresher.hold(one)
    path = "/oauth2/v1/tokens/bearer"
    books.fault({"kind": "status", "path": path, "status": 503, "times": 0})
    installation.clock.move(50 * 60)
    calls = books.facts()["token_calls"]
    assert refresher.hold(one).generation == first.generation
    assert refresher.hold(one).generation == first.generation
    installation.clock.move(15 * 60)
    with pytest.raises(RetryLaterError):
        refresher.hold(one)
    assert books.facts()["token_calls"] == calls  # a 503 is carried out by nobody
    books.fault()
    installation.clock.move(300)
    assert refresher.hold(one).generation == first.generation + 1


def test_a_late_answer_takes_a_connection_out_of_its_trouble(installation, books, one):
    """Another process found the old token dead, for this one's call had ended it."""
    refresher = installation.engine.opener.refresher
    found = refresher._find(one)
    oauth, endpoint = refresher._endpoint_of(found.row)
    sealer_for = [*found.sealed, "previous_refresh_token"]
    from tieline.contract import Secret
    from tieline.vault import Context

    contexts = [Context(connection_id=one, field=field) for field in sealer_for]
    sealer = installation.vault.prepare(*contexts)
    token = refresher.peek(one)["refresh_token"]
    given = endpoint.refresh(Secret(token), now=installation.clock.now())
    books.fault(
        {
            "kind": "status",
            "path": "/oauth2/v1/tokens/bearer",
            "status": 400,
            "body": {"error": "invalid_grant"},
        }
    )
    with pytest.raises(NeedsReauthError):
        refresher.hold(one)
    assert state_of(installation, one).state == "needs_reauth"
    refresher._store(found, found.grant, oauth, token, given, sealer)
    assert state_of(installation, one).state == "ok"
    assert refresher.hold(one).fields["access_token"] == given.fields["access_token"]
    assert entries(installation)["connection.recovered"] == 1


def test_deadlines_of_the_consent_are_kept(installation, books, one):
    installation.engine.opener.refresher.hold(one)
    with installation.database.read() as transaction:
        grant = grants.read_grant(transaction, one)
    left = grant.refresh_expires_at - installation.clock.now()
    assert timedelta(days=99) < left < timedelta(days=102)
