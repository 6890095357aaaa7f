"""A refused credential: one notice, all is parked, and then goes on by itself."""

from __future__ import annotations

import threading

import pytest

from grants_kit import connect_grant, engine_of, installed
from market import APPLICATION, open_market
from tieline.contract import NeedsReauthError, Secret
from tieline.engine import ask_run, help_run
from tieline.engine.ask import plan_run
from tieline.errors import RefusedError
from tieline.services import connections as service
from tieline.services import schedules, syncs
from tieline.services.connect import connect_api_key
from tieline.store import log, parking, records, runs, sightings
from tieline.store import schedules as schedule_store

MODULES = {"market": "market_plugin"}
ENTITIES = [f"e{number}" for number in range(10)]
WORDS = "the market does not know this credential"


@pytest.fixture
def market():
    with open_market() as opened:
        for entity in ENTITIES:
            opened.put(entity, 8)
        yield opened


@pytest.fixture
def made(database_url, tmp_path):
    opened = installed(database_url, tmp_path, modules=MODULES, **APPLICATION)
    yield opened
    opened.close()


def connect(made, market, name="shop", *, account="m0", key="", **options):
    key = key or f"key-of-{name}-{account}"
    market.members[key] = account
    return connect_api_key(
        made, "market", name=name, key=Secret(key), base_url=market.url, actor="test", **options
    )


def ask(made, row, entity="e0", mode="full", **options) -> str:
    declared = made.registry.get("market").entity(entity)
    return ask_run(made.engine, row, declared, mode=mode, asked_by="test", **options).run.id


def ask_all(made, rows) -> list[str]:
    """Ask for a run of every entity of every connection, all at once."""
    market, now = made.registry.get("market"), made.clock.now()
    with made.database.write() as transaction:
        return [
            plan_run(
                made.engine,
                transaction,
                row,
                market.entity(entity),
                mode="full",
                asked_by="test",
                now=now,
            )
            for entity in ENTITIES
            for row in rows
        ]


def work(made, run_id):
    help_run(made.engine, run_id, threading.Event())
    return syncs.get_run(made, run_id)


def notices(made) -> list[tuple[str, str]]:
    """Return connection and words of every notice."""
    with made.database.read() as transaction:
        entries = log.list_entries(transaction, limit=10_000)
    return [
        (entry["connection_id"], entry["detail"])
        for entry in entries
        if entry["event"] == "connection.needs_reauth"
    ]


def stored(made, row, entity="e0") -> list[str]:
    with made.database.read() as transaction:
        found = records.read_records(transaction, row.id, entity, limit=1000, with_deleted=False)
    return sorted(each.record_id for each in found)


def pages(market, entity="e0") -> int:
    return market.calls[f"/things/{entity}"]


def refuse_at(market, page: int, entity="e0", *, then=lambda: None) -> None:
    """Let every credential be refused from the n-th page of an entity on."""

    def before(path):
        if path == f"/things/{entity}" and market.calls[path] == page:
            market.members.clear()
            then()

    market.before = before


# --- one notice ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_five_hundred_runs_of_fifty_connections_make_one_notice_each(made, market):
    rows = [connect(made, market, f"shop{n}", account=f"m{n}") for n in range(50)]
    run_ids = ask_all(made, rows)
    assert len(set(run_ids)) == 500
    market.members.clear()
    market.calls.clear()
    for run_id in run_ids:
        help_run(made.engine, run_id, threading.Event())
    assert sorted(notices(made)) == sorted((row.id, WORDS) for row in rows)
    assert market.calls.total() == 50  # the others never asked
    ended = syncs.list_runs(made, limit=1000)
    assert {(run.state, run.error_code) for run in ended} == {("needs_reauth", "needs-reauth")}
    assert {row.state for row in service.list_connections(made)} == {"needs_reauth"}


def test_a_revoked_grant_costs_two_calls_however_many_runs_wait(made, market):
    rows = [connect_grant(made, "market", market.url, name=f"b{n}", account=n) for n in range(5)]
    run_ids = ask_all(made, rows)
    market.members.clear()
    market.grants.clear()
    market.calls.clear()
    for run_id in run_ids:
        help_run(made.engine, run_id, threading.Event())
    assert len(notices(made)) == 5
    assert {words for _, words in notices(made)} == {
        "Market answered 400: invalid_grant: Token revoked"
    }
    assert market.calls["/token"] == 5
    assert market.calls.total() == 10


def test_workers_that_meet_the_refusal_at_once_tell_of_it_once(made, market):
    row = connect(made, market)
    run_ids = [ask(made, row, entity) for entity in ENTITIES]
    together = threading.Barrier(8)

    def before(path):
        if market.calls.total() <= 8:
            together.wait(20)

    market.members.clear()
    market.calls.clear()
    market.before = before
    engines = [engine_of(made, is_another=True) for _ in range(8)]
    hands = [
        threading.Thread(target=help_run, args=(engine, run_id, threading.Event()))
        for engine, run_id in zip(engines, run_ids, strict=False)
    ]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join(30)
    for engine in engines:
        engine.database.close()
    assert notices(made) == [(row.id, WORDS)]
    assert market.calls.total() == 8  # each was under way when the first was refused
    states = [syncs.get_run(made, run_id).state for run_id in run_ids]
    assert states == ["needs_reauth"] * 8 + ["queued"] * 2


def test_since_when_and_the_provider_s_words_are_kept(made, market):
    row = connect(made, market)
    refused_at = made.clock.now()
    run_id = ask(made, row)
    market.members.clear()
    work(made, run_id)
    made.clock.move(3600)
    work(made, ask(made, row, "e1"))
    row = service.get_connection(made, "shop")
    assert (row.state, row.trouble, row.trouble_at) == ("needs_reauth", WORDS, refused_at)
    for run in syncs.list_runs(made):
        assert (run.error_message, run.error_hint) == (WORDS, "tieline connections reauth shop")


def test_schedules_are_parked_and_take_no_tick(made, market):
    row = connect(made, market)
    schedules.set_schedule(made, "shop", "e0", "every 15m", jitter_s=0, actor="test")
    market.members.clear()
    work(made, ask(made, row, "e1"))
    [parked] = schedules.list_schedules(made)
    assert (parked.state, parked.hint) == ("parked", "tieline connections reauth shop")
    made.clock.move(86400)
    with made.database.read() as transaction:
        assert schedule_store.next_due_at(transaction) is None


def test_a_sync_is_refused_with_the_words_and_the_way_out(made, market):
    row = connect(made, market)
    market.members.clear()
    work(made, ask(made, row))
    with pytest.raises(NeedsReauthError, match=WORDS) as caught:
        syncs.start_sync(made, "shop", "e1", actor="test")
    assert caught.value.hint == "tieline connections reauth shop"


# --- going on ------------------------------------------------------------------------------------


def test_a_new_key_lets_the_parked_run_go_on_from_its_checkpoint(made, market):
    row = connect(made, market)
    market.put("e0", 20)
    refuse_at(market, 4)
    run_id = ask(made, row)
    assert work(made, run_id).state == "needs_reauth"
    assert len(stored(made, row)) == 9
    before = pages(market)
    connect(made, market, key="another-key", is_replacing=True)
    assert syncs.get_run(made, run_id).state == "queued"
    done = work(made, run_id)
    assert done.state == "succeeded"
    assert pages(market) - before == 4  # pages 4 to 7: of the first three none is read again
    assert stored(made, row) == market.things["e0"]
    assert (done.counts.seen, done.counts.created, done.counts.deleted) == (20, 20, 0)
    assert service.get_connection(made, "shop").trouble is None


def test_a_full_run_takes_nothing_for_gone_that_it_met_before_it_was_parked(made, market):
    row = connect(made, market)
    market.put("e0", 20)
    work(made, ask(made, row))
    refuse_at(market, pages(market) + 4)
    run_id = ask(made, row)
    assert work(made, run_id).state == "needs_reauth"
    market.things["e0"].pop()  # gone for good, and still to be found out
    connect(made, market, key="another-key", is_replacing=True)
    done = work(made, run_id)
    assert (done.state, done.counts.deleted) == ("succeeded", 1)
    assert stored(made, row) == market.things["e0"]


def test_that_rests_on_the_sightings_that_a_parked_run_keeps(made, market):
    """Break it: without them the same story buries all that the first pages held."""
    row = connect(made, market)
    market.put("e0", 20)
    work(made, ask(made, row))
    refuse_at(market, pages(market) + 4)
    run_id = ask(made, row)
    work(made, run_id)
    with made.database.write() as transaction:
        sightings.drop_sightings(transaction, run_id)
    connect(made, market, key="another-key", is_replacing=True)
    assert work(made, run_id).counts.deleted == 9


def test_a_new_consent_does_the_same_for_a_grant(made, market):
    row = connect_grant(made, "market", market.url, name="books", account=3)
    market.put("e0", 20)
    refuse_at(market, 4, then=market.grants.clear)
    run_id = ask(made, row)
    assert work(made, run_id).state == "needs_reauth"
    again = _consent_again(made, market, row)
    assert (again.id, again.state) == (row.id, "ok")
    done = work(made, run_id)
    assert (done.state, done.counts.seen, done.counts.deleted) == ("succeeded", 20, 0)
    assert stored(made, row) == market.things["e0"]


def _consent_again(made, market, row):
    """Store a new grant of the same account, as a sign-in does."""
    from tieline.auth import auth_of
    from tieline.services.connect import prepare, store_connection

    declared = auth_of(made.registry.get("market"), "oauth2")
    answer = market._control("POST", b'{"grant": {"account": %s}}' % row.account_id[1:].encode())
    grant = made.engine.opener.endpoint(row, declared)._grant(
        answer, made.clock.now(), given={}, is_new=True
    )
    prepared = prepare(made, row.id, grant.fields)
    from dataclasses import replace

    fresh = replace(row, state="ok", trouble=None, trouble_at=None)
    store_connection(made, fresh, grant.fields, prepared, actor="test", grant=grant)
    return service.get_connection(made, row.id)


def test_a_token_refused_before_its_time_is_renewed_and_nobody_is_asked(made, market):
    row = connect_grant(made, "market", market.url, name="books", account=3)
    market.put("e0", 20)
    refuse_at(market, 4)  # the tokens alone: the grant stands
    done = work(made, ask(made, row))
    assert (done.state, done.counts.seen) == ("succeeded", 20)
    assert market.calls["/token"] == 1
    assert notices(made) == []


def test_a_replaced_key_that_an_open_client_still_holds_marks_nobody(made, market):
    """The refusal is about a credential of before: the run goes on with the present one."""
    row = connect(made, market)
    market.put("e0", 20)

    def replace():
        connect(made, market, key="another-key", is_replacing=True)

    refuse_at(market, 4, then=replace)
    done = work(made, ask(made, row))
    assert (done.state, done.counts.seen) == ("succeeded", 20)
    assert notices(made) == []
    assert service.get_connection(made, "shop").state == "ok"


def test_a_key_that_comes_while_a_run_is_being_parked_is_not_taken_for_the_refused_one(
    made, market, monkeypatch
):
    from tieline.engine import help as engine_help

    row = connect(made, market)
    first, second = ask(made, row), ask(made, row, "e1")
    market.members.clear()
    assert work(made, first).state == "needs_reauth"
    park = engine_help._need_reauth

    def late(*given):
        connect(made, market, key="another-key", is_replacing=True)
        park(*given)

    monkeypatch.setattr(engine_help, "_need_reauth", late)
    assert work(made, second).state == "retrying"  # in a second, with the new key
    assert service.get_connection(made, "shop").state == "ok"
    made.clock.move(2)
    assert work(made, second).state == "succeeded"
    assert work(made, first).state == "succeeded"


def test_a_hand_that_held_a_part_when_its_run_was_parked_costs_no_wait(made, market):
    """Its lease is given back with the new key, and it is no worker's death."""
    row = connect(made, market)
    run_id = ask(made, row)
    market.members.clear()
    work(made, run_id)
    with made.database.write() as transaction:
        transaction.exec_driver_sql(
            "UPDATE partitions SET state = 'running', lease_owner = 'other',"
            " lease_until = '2099-01-01T00:00:00.000000+00:00'"
        )
    connect(made, market, key="another-key", is_replacing=True)
    assert work(made, run_id).state == "succeeded"


def test_of_each_entity_the_newest_run_goes_on(made, market):
    row = connect(made, market)
    with made.database.read() as transaction:
        assert runs.list_runs(transaction) == []
    old = ask(made, row)
    with made.database.write() as transaction:  # as if it had been parked long ago
        transaction.exec_driver_sql("UPDATE runs SET state = 'needs_reauth', finished_at = due_at")
    made.clock.move(60)
    new, other = ask(made, row), ask(made, row, "e1")
    market.members.clear()
    work(made, new)
    work(made, other)
    connect(made, market, key="another-key", is_replacing=True)
    states = {run.id: run.state for run in syncs.list_runs(made)}
    assert states == {old: "needs_reauth", new: "queued", other: "queued"}


def test_a_run_that_is_active_already_is_not_doubled(made, market):
    row = connect(made, market)
    parked = ask(made, row)
    market.members.clear()
    work(made, parked)
    active = ask(made, row)  # at the same instant, by somebody who had looked before
    connect(made, market, key="another-key", is_replacing=True)
    states = {run.id: run.state for run in syncs.list_runs(made)}
    assert states == {parked: "needs_reauth", active: "queued"}
    assert work(made, active).state == "succeeded"


def test_a_parked_run_may_be_cancelled_and_stays_so(made, market):
    row = connect(made, market)
    run_id = ask(made, row)
    market.members.clear()
    work(made, run_id)
    assert syncs.cancel_run(made, run_id, actor="test").state == "cancelled"
    with pytest.raises(RefusedError, match="is over: cancelled"):
        syncs.cancel_run(made, run_id, actor="test")
    connect(made, market, key="another-key", is_replacing=True)
    assert syncs.get_run(made, run_id).state == "cancelled"


def test_a_run_met_after_a_disconnect_ends_and_is_not_tried_again(made, market):
    row = connect(made, market)
    service.remove_connection(made, "shop", actor="test", keeps_records=True)
    run_id = ask(made, row)  # asked for at that very moment
    ended = work(made, run_id)
    assert (ended.state, ended.error_message) == (
        "needs_reauth",
        "the connection 'shop' was disconnected",
    )
    assert notices(made) == []


def test_what_unparking_leaves_behind_is_forgotten(made, market):
    row = connect(made, market)
    market.put("e0", 20)
    work(made, ask(made, row))
    refuse_at(market, pages(market) + 4)
    parked = ask(made, row)
    work(made, parked)
    made.clock.move(60)
    ask(made, row)
    with made.database.write() as transaction:
        count = "SELECT COUNT(*) FROM sightings"
        assert transaction.exec_driver_sql(count).scalar() == 3
        assert parking.unpark(transaction, row.id, made.clock.now()) == []
        assert transaction.exec_driver_sql(count).scalar() == 0
