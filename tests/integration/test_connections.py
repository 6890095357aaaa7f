"""Connections are tested, given new secrets, and taken away with what the provider gave."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager

import pytest

from grants_kit import (
    NO_REDIS,
    application,
    connect_grant,
    installed,
    order,
    script,
    served,
    told,
)
from kit import START, make_bench, second_engine
from market import APPLICATION, open_market
from site_of import wait_until
from tieline.contract import (
    NeedsReauthError,
    OutcomeUnknownError,
    ProviderUnavailableError,
    RetryLaterError,
    Secret,
    SettingsError,
)
from tieline.engine import ask_run, help_run
from tieline.engine.crew import Crew
from tieline.errors import NotFoundError, RefusedError, SealBrokenError
from tieline.services import connections as service
from tieline.services import records as record_service
from tieline.services import schedules, syncs
from tieline.services.connect import connect_api_key, connect_basic
from tieline.services.installation import Installation
from tieline.settings import load_settings
from tieline.store import connections as store
from tieline.store import grants, log
from tieline.store.tables import metadata

MODULES = {"market": "market_plugin", "depot": "depot_plugin"}
SIGNED_IN = ["square", "quickbooks", "stripe", "mailchimp"]


@pytest.fixture
def market():
    with open_market() as opened:
        opened.put("e0", 20)
        yield opened


@pytest.fixture
def made(database_url, tmp_path):
    opened = installed(database_url, tmp_path, modules=MODULES, hands="1", **APPLICATION)
    yield opened
    opened.close()


@pytest.fixture
def lite(sqlite_url, tmp_path):
    """One database is enough for what concerns the provider alone."""
    opened = installed(sqlite_url, tmp_path, modules=MODULES, **APPLICATION)
    yield opened
    opened.close()


def connect(made, market, name="shop", *, account="m0", key="", **options):
    key = key or f"key-of-{name}-{account}"
    market.members[key] = account
    return connect_api_key(
        made, "market", name=name, key=Secret(key), base_url=market.url, actor="test", **options
    )


def connect_pair(made, market, password="password-1", *, account="m0", **options):
    market.members[f"keeper:{password}"] = account
    return connect_basic(
        made,
        "depot",
        name="store",
        username="keeper",
        password=Secret(password),
        base_url=market.url,
        actor="test",
        **options,
    )


def sync(made, row, entity, mode="full"):
    declared = made.registry.get(row.provider).entity(entity)
    run = ask_run(made.engine, row, declared, mode=mode, asked_by="test").run
    help_run(made.engine, run.id, threading.Event())
    return syncs.get_run(made, run.id)


def events(made, name="") -> list[str]:
    with made.database.read() as transaction:
        found = [entry["event"] for entry in log.list_entries(transaction)]
    return [event for event in found if event.startswith(name)]


def credential(made, row) -> dict[str, str]:
    with made.database.read() as transaction:
        return store.read_sealed(transaction, row.id)[0]


def remove(made, name="shop", **options):
    return service.remove_connection(made, name, actor="test", **options)


# --- a new key -----------------------------------------------------------------------------------


def test_a_new_key_of_the_same_account_serves_a_run_under_way(made, market):
    row = connect(made, market)

    def rotate(path):
        if path == "/things/e0" and market.calls[path] == 3:
            market.before = lambda _path: None
            market.members.clear()  # the owner ended the old one
            connect(made, market, key="another-key", is_replacing=True)

    market.before = rotate
    run = sync(made, row, "e0")
    assert (run.state, run.counts.seen, run.counts.created) == ("succeeded", 20, 20)
    assert "connection.needs_reauth" not in events(made)


def test_a_new_password_serves_a_run_under_way(made, market):
    row = connect_pair(made, market)
    assert (row.auth_kind, row.account_id) == ("basic", "m0")

    def rotate(path):
        if path == "/things/e0" and market.calls[path] == 3:
            market.before = lambda _path: None
            market.members.clear()
            connect_pair(made, market, "password-2", is_replacing=True)

    market.before = rotate
    run = sync(made, row, "things")
    assert (run.state, run.counts.seen, run.counts.created) == ("succeeded", 20, 20)


def test_a_key_of_another_account_is_refused_and_the_old_one_stays(made, market):
    row = connect(made, market)
    before = credential(made, row)
    with pytest.raises(RefusedError) as caught:
        connect(made, market, key="another-key", account="m1", is_replacing=True)
    assert caught.value.slug == "other-account"
    assert credential(made, row) == before
    with pytest.raises(RefusedError):
        connect(made, market)  # a name that is taken, without saying so
    pair = connect_pair(made, market)
    before = credential(made, pair)
    with pytest.raises(RefusedError):
        connect_pair(made, market, "password-2", account="m1", is_replacing=True)
    assert credential(made, pair) == before


def test_a_wrong_new_key_is_refused_and_the_old_one_stays(made, market):
    row = connect(made, market)
    before = credential(made, row)
    with pytest.raises(NeedsReauthError):
        connect_api_key(
            made,
            "market",
            name="shop",
            key=Secret("key-that-is-none"),
            actor="test",
            is_replacing=True,
        )
    assert credential(made, row) == before
    assert service.get_connection(made, "shop").state == "ok"


# --- test ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", SIGNED_IN)
def test_a_test_tells_whose_account_it_is_within_three_seconds(sqlite_url, tmp_path, provider):
    with served(provider) as url:
        made = installed(sqlite_url, tmp_path, **application(provider))
        row = connect_grant(made, provider, url, name="shop", account=1)
        began = time.monotonic()
        tested = service.test_connection(made, "shop", actor="test")
        assert time.monotonic() - began < 3
        owner = told(url, "")["accounts"][1]
        assert (tested.account.id, row.account_id) == (owner["id"], owner["id"])
        assert tested.row.environment in made.registry.get(provider).provider.environments
        if provider == "square":
            assert "MERCHANT_PROFILE_READ" in tested.scopes
        if provider == "quickbooks":
            assert tested.refresh_expires_at > tested.access_expires_at
        assert tested.limits.concurrency or tested.limits.rates
        made.close()


@contextmanager
def mute():
    """Accept connections, and never answer."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def aim(made, row, url) -> None:
    """Let a connection's provider be elsewhere from now on."""
    with made.database.write() as transaction:
        transaction.exec_driver_sql(f"UPDATE connections SET base_url = '{url}'")


@pytest.mark.parametrize("kind", ["key", "grant"])
def test_a_provider_that_never_answers_is_given_up_in_time(lite, market, kind):
    row = (
        connect(lite, market)
        if kind == "key"
        else connect_grant(lite, "market", market.url, name="shop")
    )
    with mute() as url:
        aim(lite, row, url)
        began = time.monotonic()
        with pytest.raises(ProviderUnavailableError):
            service.test_connection(lite, "shop", actor="test")
        assert 2.5 < time.monotonic() - began < 4
    assert service.get_connection(lite, "shop").state == "ok"
    assert market.calls["/token"] == 0  # tokens that are good are left alone


def test_a_provider_that_answers_drop_by_drop_is_given_up_too(sqlite_url, tmp_path):
    """Each of Square's two calls alone would be in time."""
    with served("square") as url:
        made = installed(sqlite_url, tmp_path, **application("square"))
        connect_grant(made, "square", url, name="shop")
        script(url, {"kind": "delay", "path": "*", "times": 0, "seconds": 2.0})
        began = time.monotonic()
        with pytest.raises(ProviderUnavailableError, match="Square did not answer within 3 s"):
            service.test_connection(made, "shop", actor="test")
        assert time.monotonic() - began < 4
        script(url)
        made.close()


def test_a_dead_key_is_marked_by_a_test_once(made, market):
    connect(made, market)
    market.members.clear()
    market.calls.clear()
    for _ in range(2):
        with pytest.raises(NeedsReauthError, match="does not know this credential") as caught:
            service.test_connection(made, "shop", actor="cli:ada")
        assert caught.value.hint == "tieline connections reauth shop"
    assert market.calls.total() == 1  # the second test knew
    assert events(made, "connection.needs") == ["connection.needs_reauth"]
    assert service.get_connection(made, "shop").state == "needs_reauth"


def test_a_revoked_grant_is_marked_by_a_test(made, market):
    connect_grant(made, "market", market.url, name="shop")
    market.members.clear()
    market.grants.clear()
    market.calls.clear()
    with pytest.raises(NeedsReauthError, match="Token revoked") as caught:
        service.test_connection(made, "shop", actor="test")
    assert caught.value.hint == "tieline connections reauth shop"
    assert market.calls.total() == 2
    assert service.get_connection(made, "shop").state == "needs_reauth"


def test_a_token_that_ended_early_is_renewed_by_a_test(made, market):
    connect_grant(made, "market", market.url, name="shop")
    market.members.clear()
    tested = service.test_connection(made, "shop", actor="test")
    assert (tested.account.name, tested.row.state) == ("Stall m0", "ok")
    assert market.calls["/token"] == 1


def test_a_provider_in_trouble_marks_nobody(lite, market):
    connect(lite, market)

    def break_down(path):
        raise ConnectionError(path)

    market.before = break_down
    with pytest.raises(RetryLaterError):
        service.test_connection(lite, "shop", actor="test")
    assert service.get_connection(lite, "shop").state == "ok"


# --- remove --------------------------------------------------------------------------------------

REVOKED = {"square": "revoked", "quickbooks": "revoked", "stripe": "revoked", "mailchimp": "untold"}


@pytest.mark.parametrize("provider", SIGNED_IN)
def test_access_is_given_back_before_the_credential_is_destroyed(sqlite_url, tmp_path, provider):
    with served(provider) as url:
        made = installed(sqlite_url, tmp_path, **application(provider))
        row = connect_grant(made, provider, url, name="shop", account=1)
        removed = remove(made)
        assert removed.access == REVOKED[provider]
        is_live = [grant["state"] == "live" for grant in told(url)["grants"]]
        assert is_live == [REVOKED[provider] == "untold"]
        assert credential(made, row) == {}
        with pytest.raises(NotFoundError):
            service.get_connection(made, "shop")
        made.close()


@pytest.mark.parametrize("provider", ["square", "quickbooks", "stripe"])
def test_access_that_its_owner_took_away_before_counts_as_given_back(
    sqlite_url, tmp_path, provider
):
    with served(provider) as url:
        made = installed(sqlite_url, tmp_path, **application(provider))
        row = connect_grant(made, provider, url, name="shop", account=1)
        order(url, revoke=row.account_id)
        assert remove(made).access == "revoked"
        made.close()


def test_a_provider_that_is_down_keeps_all_as_it_is(made, market):
    row = connect_grant(made, "market", market.url, name="shop")
    before = credential(made, row)

    def break_down(path):
        raise ConnectionError(path)

    market.before = break_down
    with pytest.raises(RetryLaterError, match="nothing was removed") as caught:
        remove(made)
    assert "--force" in caught.value.hint
    assert caught.value.slug == OutcomeUnknownError.code
    assert credential(made, row) == before
    assert service.get_connection(made, "shop").state == "ok"
    assert remove(made, is_forced=True).access == "untold"
    assert service.list_connections(made) == []
    assert market.grants  # the owner has to end it there


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_provider_that_refuses_for_now_keeps_all_as_it_is(sqlite_url, tmp_path, status):
    with served("square") as url:
        made = installed(sqlite_url, tmp_path, **application("square"))
        connect_grant(made, "square", url, name="shop")
        script(url, {"kind": "status", "path": "/oauth2/revoke", "times": 0, "status": status})
        with pytest.raises(RetryLaterError, match="nothing was removed"):
            remove(made)
        script(url)
        assert remove(made).access == "revoked"
        made.close()


def test_an_application_that_is_no_longer_set_is_named_and_force_goes_on(
    sqlite_url, tmp_path, market
):
    made = installed(sqlite_url, tmp_path, modules=MODULES, **APPLICATION)
    connect_grant(made, "market", market.url, name="shop")
    environ = {
        "TIELINE_HOME": str(tmp_path),
        "TIELINE_DATABASE_URL": sqlite_url,
        "TIELINE_REDIS_URL": NO_REDIS,
    }
    bare = Installation(load_settings(environ, tmp_path), registry=made.registry)
    with pytest.raises(SettingsError, match=r"TIELINE_MARKET_CLIENT_ID.*nothing was removed"):
        remove(bare)
    assert remove(bare, is_forced=True).access == "untold"
    bare.close()
    made.close()


def test_a_credential_that_does_not_open_is_no_dead_end(lite, market):
    connect_grant(lite, "market", market.url, name="shop")
    with lite.database.write() as transaction:
        transaction.exec_driver_sql("UPDATE credentials SET sealed = 'x'")
    with pytest.raises(SealBrokenError, match="nothing was removed"):
        remove(lite)
    assert remove(lite, is_forced=True).access == "untold"


def test_access_to_an_account_is_given_back_with_its_last_connection(made, market):
    connect_grant(made, "market", market.url, name="one", account=4)
    connect_grant(made, "market", market.url, name="two", account=4)
    connect_grant(made, "market", market.url, name="other", account=5)
    assert remove(made, "one", keeps_records=True).access == "shared"
    assert market.calls["/revoke"] == 0
    tested = service.test_connection(made, "two", actor="test")
    assert tested.account.id == "m4"
    assert remove(made, "two").access == "revoked"  # the one that is left is disconnected
    assert service.test_connection(made, "other", actor="test").account.id == "m5"


def test_a_key_has_no_access_to_give_back(lite, market):
    connect(lite, market)
    assert remove(lite).access == "untold"
    assert market.calls["/revoke"] == 0


def test_records_that_are_kept_can_be_read_and_nothing_else_goes_on(made, market):
    row = connect_grant(made, "market", market.url, name="shop")
    sync(made, row, "e0")
    schedules.set_schedule(made, "shop", "e0", "every 15m", jitter_s=0, actor="test")
    waiting = ask_run(
        made.engine, row, made.registry.get("market").entity("e1"), mode="full", asked_by="test"
    ).run
    removed = remove(made, keeps_records=True)
    assert (removed.access, removed.row.state) == ("revoked", "disconnected")
    assert credential(made, row) == {}
    with made.database.read() as transaction:
        assert grants.read_grant(transaction, row.id) is None
    assert schedules.list_schedules(made) == []
    assert syncs.get_run(made, waiting.id).state == "cancelled"
    assert len(record_service.list_records(made, "shop", "e0", limit=100)) == 20
    exported = list(record_service.export_records(made, "shop", "e0"))
    assert len(exported) == 20
    with pytest.raises(NeedsReauthError, match="has no credential"):
        syncs.start_sync(made, "shop", "e0", actor="test")
    with pytest.raises(RefusedError, match="disconnected already"):
        remove(made, keeps_records=True)
    assert market.calls["/revoke"] == 1
    assert remove(made).access == "untold"  # and now the records too
    assert service.list_connections(made) == []
    assert events(made, "connection.")[-2:] == ["connection.disconnected", "connection.removed"]


def test_a_run_that_disconnecting_ends_keeps_its_counts(made, market):
    row = connect(made, market)

    def disconnect(path):
        if path == "/things/e0" and market.calls[path] == 4:
            wait_until(lambda: len(stored()) == 9)  # a page is asked for while others are written
            remove(made, keeps_records=True)

    def stored():
        return record_service.list_records(made, "shop", "e0", limit=100)

    market.before = disconnect
    run = sync(made, row, "e0")
    assert (run.state, run.counts.seen) == ("cancelled", 9)
    assert len(stored()) == 9


def test_removing_takes_all_but_the_log_and_other_connections(made, market):
    row = connect_grant(made, "market", market.url, name="shop")
    other = connect(made, market, "other", account="m7")
    for each in (row, other):
        sync(made, each, "e0")
        schedules.set_schedule(made, each.name, "e0", "every 15m", jitter_s=0, actor="test")
    before = _rows_by_table(made)
    remove(made)
    left = _rows_by_table(made)
    assert {name for name in left if row.id in left[name]} == {"sync_log"}
    assert {name: left[name][other.id] for name in left if other.id in left[name]} == {
        name: before[name][other.id] for name in before if other.id in before[name]
    }


def _rows_by_table(made) -> dict[str, dict[str, int]]:
    """Count the rows of every table that hang on a connection, through their run if need be."""
    counted = {}
    with made.database.read() as transaction:
        for name, table in metadata.tables.items():
            of = "connection_id"
            source = name
            if name == "connections":
                of = "id"
            elif "connection_id" not in table.c and "run_id" in table.c:
                source = f"{name} JOIN runs ON runs.id = {name}.run_id"
                of = "runs.connection_id"
            elif "connection_id" not in table.c:
                continue
            rows = transaction.exec_driver_sql(f"SELECT {of}, COUNT(*) FROM {source} GROUP BY 1")
            counted[name] = dict(map(tuple, rows))
    return counted


def test_a_run_under_way_ends_quietly_when_its_connection_is_removed(made, market, caplog):
    row = connect(made, market)

    def take_away(path):
        if path == "/things/e0" and market.calls[path] == 4:
            remove(made)

    market.before = take_away
    declared = made.registry.get("market").entity("e0")
    run = ask_run(made.engine, row, declared, mode="full", asked_by="test").run
    help_run(made.engine, run.id, threading.Event())
    with pytest.raises(NotFoundError):
        syncs.get_run(made, run.id)
    assert "a bug of ours" not in caplog.text
    assert _rows_by_table(made)["records"] == {}


def test_a_connection_that_goes_after_the_last_page_ends_its_run_quietly(
    database_url, tmp_path, caplog, monkeypatch
):
    """All is read, and what was counted on the way has nobody any more whose it is."""
    bench = make_bench(database_url, tmp_path, provider="ledger", hands="1", read_ahead="0")
    bench.ledger.put("r1", unheard="of")
    monkeypatch.setattr(Crew, "_tell", lambda *_given: remove(bench.installation))
    assert bench.sync("rows") is None
    assert "a bug of ours" not in caplog.text
    bench.installation.close()


@pytest.mark.parametrize("keeps_records", [True, False])
def test_what_many_hands_read_can_be_taken_away_at_any_moment(
    database_url, tmp_path, caplog, keeps_records
):
    bench = make_bench(database_url, tmp_path, provider="ledger", hands="4")
    for number in range(200):
        bench.ledger.put(f"r{number:03d}", created=int(START.timestamp()) - number * 86400)
    enough, failed = threading.Event(), []

    def slowly(ledger):
        time.sleep(0.002)
        if ledger.count("list") >= 25:
            enough.set()

    def work(engine):
        try:
            help_run(engine, run_id, threading.Event())
        except BaseException as error:  # noqa: BLE001 - for the test's own thread
            failed.append(error)

    bench.ledger.before_page = slowly
    run_id = bench.ask("rows").run.id
    other = second_engine(bench)
    workers = [threading.Thread(target=work, args=(each,)) for each in (bench.engine, other)]
    for worker in workers:
        worker.start()
    assert enough.wait(20)
    remove(bench.installation, keeps_records=keeps_records)
    for worker in workers:
        worker.join(20)
    other.database.close()
    assert failed == []
    assert "a bug of ours" not in caplog.text
    assert (bench.run(run_id) is not None) == keeps_records
    bench.installation.close()
