"""Deliveries come in: what is accepted is committed, what is not leaves nothing behind."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import pytest

from ingest_kit import FORGED, SECRETS, forgeries, make_harbour
from tieline.clock import SystemClock
from tieline.errors import DependencyError
from tieline.inbox import SPREAD_S
from tieline.store import connections, deliveries, endpoints
from tieline.store.endpoints import change_endpoint

SCHEMES = ["stripe", "square", "quickbooks", "mailchimp", "mailchimp-unsigned", "hooked"]


@pytest.fixture
def harbour(database_url, tmp_path):
    made = make_harbour(database_url, tmp_path)
    yield made
    made.close()


@pytest.fixture
def sqlite_harbour(sqlite_url, tmp_path):
    made = make_harbour(sqlite_url, tmp_path)
    yield made
    made.close()


def test_a_good_delivery_of_any_scheme_is_committed_before_it_is_answered(harbour):
    for number, scheme in enumerate(SCHEMES):
        signed = harbour.senders[scheme].signed()
        assert harbour.accept(signed) == 200, scheme
        event = harbour.events()[number]
        assert bytes(event["body"]) == signed.body
        assert event["endpoint_id"] == harbour.senders[scheme].endpoint_id
        assert event["state"] == "pending"
        assert event["received_at"] == harbour.clock.now()
    assert harbour.count() == len(SCHEMES)


def test_what_is_acknowledged_is_on_the_disk_in_sqlite_too(sqlite_harbour, monkeypatch):
    real, seen = deliveries.insert_events, []

    def looked_at(connection, rows):
        seen.append(connection.exec_driver_sql("PRAGMA synchronous").scalar())
        return real(connection, rows)

    monkeypatch.setattr(deliveries, "insert_events", looked_at)
    assert sqlite_harbour.accept(sqlite_harbour.senders["stripe"].signed()) == 200
    assert seen == [2]  # FULL: synced at each commit
    sqlite_harbour.inbox.committer.close()  # its connection goes back to where others take theirs
    database = sqlite_harbour.installation.database
    with ExitStack() as stack:
        for _ in range(3):
            connection = stack.enter_context(database.read())
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1


def test_a_delivery_that_comes_a_thousand_times_makes_one_event(sqlite_harbour):
    for scheme in SCHEMES:
        signed = sqlite_harbour.senders[scheme].signed()
        statuses = Counter(sqlite_harbour.accept(signed) for _ in range(1000))
        assert statuses == {200: 1000}, scheme
    assert sqlite_harbour.count() == len(SCHEMES)


def test_one_event_from_eight_connections_at_once_makes_one_row(harbour):
    sender = harbour.senders["stripe"]
    deliveries = [sender.signed(f"evt_{number}") for number in range(40)]
    barrier = threading.Barrier(8)

    def send(_hand: int) -> list[int]:
        barrier.wait()
        return [harbour.accept(each) for each in deliveries]

    with ThreadPoolExecutor(8) as pool:
        statuses = [status for hand in pool.map(send, range(8)) for status in hand]
    assert set(statuses) == {200}
    assert sorted(event["event_key"] for event in harbour.events()) == sorted(
        f"evt_{number}" for number in range(40)
    )


def test_a_hundred_thousand_forgeries_in_twelve_shapes_over_all_schemes_open_nothing(
    sqlite_harbour,
):
    assert len(FORGED) == 12
    statuses = Counter()
    for shape, scheme, forged in forgeries(sqlite_harbour, 100_000):
        status = sqlite_harbour.accept(forged)
        statuses[status] += 1
        assert status in {401, 404}, (shape, scheme)
    assert sum(statuses.values()) == 100_000
    assert min(statuses[401], statuses[404]) > 5_000
    assert sqlite_harbour.count() == 0
    for scheme in SCHEMES:  # what was forged from was good, or this would prove nothing
        assert sqlite_harbour.accept(sqlite_harbour.senders[scheme].signed()) == 200


def test_an_endpoint_without_a_secret_is_closed(sqlite_harbour):
    sender = sqlite_harbour.add("stripe", "shop")
    assert sqlite_harbour.accept(sender.signed()) == 401
    assert sqlite_harbour.accept(sender.signed(secret="None")) == 401


def test_one_body_with_events_of_several_companies_goes_to_each_of_them(harbour):
    other = harbour.add_connection("quickbooks", "books2", "9341450000000002")
    sender = harbour.senders["quickbooks"]
    realms = [sender.account, "9341450000000002", "none-of-ours", sender.account]
    assert harbour.accept(sender.signed("e", realms=realms)) == 200
    found = [(each["connection_id"], each["event_key"]) for each in harbour.events()]
    own = harbour.connections["books"]
    assert found == [
        (own, "intuit.dGVzdA==:e-0"),
        (other, "intuit.dGVzdA==:e-1"),
        (own, "intuit.dGVzdA==:e-3"),
    ]
    bodies = [each["body"] is not None for each in harbour.events()]
    assert bodies == [True, False, False]
    assert len({each["delivery_id"] for each in harbour.events()}) == 1


def test_an_account_that_is_connected_twice_has_each_event_twice(sqlite_harbour):
    sqlite_harbour.clock.move(1)  # the older connection comes first
    again = sqlite_harbour.add_connection(
        "quickbooks", "books-again", sqlite_harbour.senders["quickbooks"].account
    )
    signed = sqlite_harbour.senders["quickbooks"].signed("e")
    assert [sqlite_harbour.accept(signed) for _ in range(2)] == [200, 200]
    found = [each["connection_id"] for each in sqlite_harbour.events()]
    assert found == [sqlite_harbour.connections["books"], again]


def test_an_application_s_delivery_for_nobody_of_ours_is_taken_and_leaves_nothing(sqlite_harbour):
    """A refusal would make QuickBooks hold back all later events."""
    assert (
        sqlite_harbour.accept(sqlite_harbour.senders["quickbooks"].signed(realms=["none"])) == 200
    )
    assert sqlite_harbour.accept(sqlite_harbour.senders["quickbooks"].signed(realms=[])) == 200
    assert sqlite_harbour.count() == 0


def test_the_event_of_another_account_at_a_connection_s_endpoint_is_not_there(sqlite_harbour):
    sender = sqlite_harbour.senders["stripe"]
    assert sqlite_harbour.accept(sender.signed(account="acct_other")) == 404
    assert sqlite_harbour.accept(sender.signed(account="acct_1")) == 200
    assert sqlite_harbour.count() == 1


def test_another_tenant_s_secret_opens_only_its_own_door(sqlite_harbour):
    sqlite_harbour.add_connection("stripe", "other", "acct_2")
    other = sqlite_harbour.add("stripe", "other", secret="whsec_of_another_tenant_0001")
    mine = sqlite_harbour.senders["stripe"]
    signed = replace(other.signed(), path=mine.path)
    assert sqlite_harbour.accept(signed) == 401
    assert sqlite_harbour.accept(replace(mine.signed(), path=other.path)) == 401


def test_endpoints_that_are_disabled_removed_or_of_a_disconnected_account_are_not_there(harbour):
    sender = harbour.senders["stripe"]
    database, clock = harbour.installation.database, harbour.clock

    def closes(change) -> None:
        assert harbour.accept(sender.signed()) == 200
        with database.write() as transaction:
            change(transaction)
        assert harbour.accept(sender.signed()) == 404

    def set_state(state: str):
        return lambda at: change_endpoint(at, sender.endpoint_id, now=clock.now(), state=state)

    closes(set_state("disabled"))
    with database.write() as transaction:
        set_state("active")(transaction)
    clock.move(SPREAD_S)
    connection_id = harbour.connections["shop"]
    assert harbour.accept(sender.signed()) == 200
    with database.write() as transaction:
        connections.mark_disconnected(transaction, connection_id, clock.now())
    clock.move(SPREAD_S)
    assert harbour.accept(sender.signed()) == 404
    with database.write() as transaction:
        connections.accept_credential(transaction, connection_id, now=clock.now())
    clock.move(SPREAD_S)
    closes(lambda at: endpoints.remove_endpoint(at, sender.endpoint_id))


def test_a_connection_that_waits_for_a_person_still_hears(sqlite_harbour):
    with sqlite_harbour.installation.database.write() as transaction:
        connections.refuse_credential(
            transaction,
            sqlite_harbour.connections["shop"],
            generation=None,
            words="revoked",
            now=sqlite_harbour.clock.now(),
        )
    assert sqlite_harbour.accept(sqlite_harbour.senders["stripe"].signed()) == 200
    assert sqlite_harbour.count() == 1


BAD_BODIES = {
    "not UTF-8": b"\xff\xfe{}",
    "no JSON": b"<html>",
    "5,000 deep": b"[" * 5000,
    "a number": b"7",
    "null": b"null",
    "an event without an id": b'{"object": "event"}',
}


def test_an_authentic_body_that_cannot_be_read_is_refused_as_such(sqlite_harbour):
    sender = sqlite_harbour.senders["stripe"]
    for name, body in BAD_BODIES.items():
        signed = replace(sender.signed(), body=body, headers=sender.sign(body))
        assert sqlite_harbour.accept(signed) == 400, name
    assert sqlite_harbour.count() == 0


def test_of_keys_that_come_twice_the_last_counts_and_nothing_breaks(sqlite_harbour):
    sender = sqlite_harbour.senders["stripe"]
    body = b'{"id": "evt_a", "id": "evt_b", "object": "event", "type": "x"}'
    signed = replace(sender.signed(), body=body, headers=sender.sign(body))
    assert sqlite_harbour.accept(signed) == 200
    assert [each["event_key"] for each in sqlite_harbour.events()] == ["evt_b"]


def test_a_plugin_that_fails_refuses_that_delivery_alone(sqlite_harbour):
    sender = sqlite_harbour.senders["hooked"]
    assert sqlite_harbour.accept(sender.signed(type="bug")) == 400
    assert sqlite_harbour.accept(sender.signed(type="nonsense")) == 400
    assert sqlite_harbour.accept(sender.signed()) == 200
    assert sqlite_harbour.count() == 1


ODD_EVENTS = {
    "a long id": {"id": "x" * 300},
    "NUL in the id": {"id": "a\0b"},
    "half a character in the id": {"id": "a\ud800b"},
    "a long key": {"key": "k" * 300},
    "NUL in the key": {"key": "a\0"},
    "a long type": {"type": "t" * 300},
    "NUL in the type": {"type": "a\0b"},
    "a long entity": {"entity": "e" * 99},
    "NUL in the entity": {"entity": "a\0b"},
    "half a character in the entity": {"entity": "\ud800"},
    "a time before the first year": {"happened": "0001-01-01T00:00:00+14:00"},
    "a time after the last year": {"happened": "9999-12-31T23:59:59-12:00"},
    "NUL in the record": {"record": {"name": "a\0b"}},
    "half a character in the record": {"record": {"name": "\ud800"}},
    "a huge number in the record": {"record": {"n": 2**70}},
    "an endless number in the record": {"record": {"n": float("inf")}},
}


def test_whatever_an_authentic_event_holds_is_stored_and_counts_once(harbour):
    sender = harbour.senders["hooked"]
    for number, (name, told) in enumerate(ODD_EVENTS.items(), 1):
        signed = sender.signed(**told)
        assert [harbour.accept(signed) for _ in range(2)] == [200, 200], name
        assert harbour.count() == number, name
    assert len(harbour.events()) == len(ODD_EVENTS)  # and what was stored can be read


@pytest.mark.parametrize("realm", ["a\0b", "\ud800", "9" * 300])
def test_an_account_that_nobody_can_have_costs_the_other_events_nothing(harbour, realm):
    sender = harbour.senders["quickbooks"]
    assert harbour.accept(sender.signed("e", realms=[realm, sender.account])) == 200
    assert [each["event_key"] for each in harbour.events()] == ["intuit.dGVzdA==:e-1"]


def changes_of(sender, names):
    """One signed body with an event of each name."""
    body = json.dumps(
        [
            {
                "type": "qbo.customer.updated.v1",
                "source": "s",
                "id": name,
                "intuitentityid": str(at),
            }
            | {"intuitaccountid": sender.account}
            for at, name in enumerate(names)
        ]
    ).encode()
    return replace(sender.signed(), body=body, headers=sender.sign(body))


def test_a_body_whose_first_event_came_before_is_kept_with_the_next(harbour):
    sender = harbour.senders["quickbooks"]
    first, second = changes_of(sender, ["n0"]), changes_of(sender, ["n0", "n1", "n2"])
    assert [harbour.accept(each) for each in (first, second, second)] == [200, 200, 200]
    found = [(each["event_key"], each["body"]) for each in harbour.events()]
    assert found == [("s:n0", first.body), ("s:n1", second.body), ("s:n2", None)]
    kept = [each["headers"] for each in harbour.events()]
    assert [each is None for each in kept] == [False, False, True]


def test_of_an_event_that_a_body_holds_twice_the_first_stays_and_has_the_body(harbour):
    sender = harbour.senders["quickbooks"]
    signed = changes_of(sender, [f"n{number % 7}" for number in range(70)])
    body = signed.body
    assert harbour.accept(signed) == 200
    found = harbour.events()
    assert [(each["event_key"], each["record_key"]) for each in found] == [
        (f"s:n{number}", str(number)) for number in range(7)
    ]
    assert [each["body"] for each in found] == [body, *[None] * 6]


def test_a_header_that_is_kept_may_hold_what_postgresql_does_not_take(harbour):
    signed = harbour.senders["hooked"].signed("evt_\0")
    assert harbour.accept(signed) == 200
    assert harbour.events()[0]["headers"] == {"webhook-id": "evt_?"}


def test_only_the_headers_that_were_declared_are_kept(sqlite_harbour):
    sender = sqlite_harbour.senders["hooked"]
    signed = sender.signed("evt_h").changed(authorization="Bearer canary", cookie="canary")
    assert sqlite_harbour.accept(signed) == 200
    assert sqlite_harbour.events()[0]["headers"] == {"webhook-id": "evt_h"}


def test_events_are_numbered_in_the_order_in_which_they_came(harbour):
    sender = harbour.senders["stripe"]
    names = [f"evt_{number:02d}" for number in reversed(range(20))]
    for name in names:
        assert harbour.accept(sender.signed(name)) == 200
    assert [event["event_key"] for event in harbour.events()] == names


def test_a_delivery_with_one_event_that_cannot_be_stored_does_not_spoil_its_neighbours(
    harbour, monkeypatch
):
    """A connection that is removed at that moment, say: the batch is refused, then each alone."""
    from tieline.inbox import committer

    real = committer.rows_of

    def spoilt(delivery, owners):
        rows, strangers = real(delivery, owners)
        if b"spoilt" in delivery.body:
            rows = [row._replace(connection_id="con_gone") for row in rows]
        return rows, strangers

    monkeypatch.setattr(committer, "rows_of", spoilt)
    sender = harbour.senders["hooked"]
    outcomes: dict[str, str] = {}
    done = threading.Semaphore(0)

    def told(pairs) -> None:
        outcomes.update(pairs)
        for _ in pairs:
            done.release()

    endpoint = harbour.inbox.endpoints.read("hooked", sender.endpoint_id)
    names = ["a", "spoilt", "b"]
    batch = [harbour.inbox.judge(endpoint, sender.signed(name).arrival) for name in names]
    gate = threading.Event()
    real_transact = committer._commit

    def held(desk, deliveries, after):
        gate.wait()
        return real_transact(desk, deliveries, after)

    monkeypatch.setattr(committer, "_commit", held)
    first = harbour.inbox.judge(endpoint, sender.signed("first").arrival)
    assert harbour.inbox.committer.put(first, "first", told)
    for name, delivery in zip(names, batch, strict=True):
        assert harbour.inbox.committer.put(delivery, name, told)
    gate.set()
    for _ in range(4):
        assert done.acquire(timeout=10)
    assert outcomes == {"first": "stored", "a": "stored", "spoilt": "down", "b": "stored"}
    assert [event["event_key"] for event in harbour.events()] == ["first", "a", "b"]


def test_a_database_that_is_down_acknowledges_nothing(sqlite_harbour, monkeypatch):
    sender = sqlite_harbour.senders["stripe"]
    assert sqlite_harbour.accept(sender.signed()) == 200

    def down(*_given, **_named):
        raise DependencyError("the database does not answer", code="database-down")

    with monkeypatch.context() as patch:
        patch.setattr("tieline.store.deliveries.insert_events", down)
        assert sqlite_harbour.accept(sender.signed()) == 503
        patch.setattr("tieline.store.endpoints.find_endpoint", down)
        sqlite_harbour.clock.move(SPREAD_S)
        assert sqlite_harbour.accept(sender.signed()) == 503
    assert sqlite_harbour.accept(sender.signed()) == 200
    assert sqlite_harbour.count() == 2


def test_many_who_wait_for_a_database_that_is_down_wait_once_and_not_one_after_the_other(
    sqlite_url, tmp_path, monkeypatch
):
    harbour = make_harbour(sqlite_url, tmp_path, clock=SystemClock())
    tries: list[str] = []

    def slowly_down(_transaction, endpoint_id):
        tries.append(endpoint_id)
        time.sleep(0.3)
        raise DependencyError("the database does not answer", code="database-down")

    monkeypatch.setattr("tieline.store.endpoints.find_endpoint", slowly_down)
    try:
        signed = harbour.senders["stripe"].signed()
        began = threading.Barrier(20)

        def send(_hand: int) -> int:
            began.wait()
            return harbour.accept(signed)

        with ThreadPoolExecutor(20) as pool:
            assert set(pool.map(send, range(20))) == {503}
        assert len(tries) <= 3
    finally:
        harbour.close()


def test_a_name_that_no_endpoint_can_have_costs_no_look_at_the_database(
    sqlite_harbour, monkeypatch
):
    signed = sqlite_harbour.senders["stripe"].signed()
    monkeypatch.setattr("tieline.store.endpoints.find_endpoint", None)
    for name in ("x", "whe_" + "a" * 15, "whe_" + "a" * 17, "whe_AAAAAAAAAAAAAAAA", "\ud800"):
        assert sqlite_harbour.accept(signed.changed(path=f"/webhooks/stripe/{name}")) == 404


def test_without_redis_deliveries_are_taken_and_counted_later(sqlite_url, tmp_path, redis_url):
    harbour = make_harbour(sqlite_url, tmp_path)  # nothing listens there
    try:
        assert harbour.accept(harbour.senders["stripe"].signed()) == 200
        assert harbour.accept(harbour.senders["stripe"].signed(secret="no")) == 401
        assert harbour.counts() == {}
        import redis as redis_package

        harbour.installation.__dict__["redis"] = redis_package.Redis.from_url(redis_url)
        counts = harbour.counts()[harbour.senders["stripe"].endpoint_id]
        assert counts == {"accepted": 1, "signature-wrong": 1}
    finally:
        harbour.close()


def test_refusals_are_counted_by_reason_and_what_strangers_write_is_not_kept(
    sqlite_url, tmp_path, redis_url
):
    harbour = make_harbour(sqlite_url, tmp_path, redis_url=redis_url)
    try:
        stripe, books = harbour.senders["stripe"], harbour.senders["quickbooks"]
        signed = stripe.signed()
        for each in (signed, signed, stripe.signed(secret="no"), stripe.signed().changed(body=b"")):
            harbour.accept(each)
        harbour.accept(books.signed(realms=["none-of-ours"]))
        for stranger in ("whe_aaaaaaaaaaaaaaaa", "x" * 500, "a\0b", "é"):
            harbour.accept(signed.changed(path=f"/webhooks/stripe/{stranger}"))
        harbour.accept(signed.changed(path="/webhooks/nobody/whe_aaaaaaaaaaaaaaaa"))
        assert harbour.counts() == {
            None: {"endpoint-unknown": 5},
            stripe.endpoint_id: {
                "accepted": 2,
                "repeated": 1,
                "signature-wrong": 1,
                "body-empty": 1,
            },
            books.endpoint_id: {"accepted": 1, "account-unknown": 1},
        }
    finally:
        harbour.close()


def test_the_drain_is_rung_for_what_was_committed_and_for_nothing_else(sqlite_url, tmp_path):
    harbour = make_harbour(sqlite_url, tmp_path)
    rung: list[str] = []
    harbour.inbox.after._ring = rung.append
    try:
        signed = harbour.senders["stripe"].signed()
        harbour.accept(signed)
        harbour.inbox.after.do()
        assert rung == [harbour.connections["shop"]]
        harbour.accept(signed)
        harbour.accept(harbour.senders["stripe"].signed(secret="no"))
        harbour.inbox.after.do()
        assert rung == [harbour.connections["shop"]]
    finally:
        harbour.close()


def test_an_endpoint_remembers_about_when_it_last_heard(sqlite_harbour):
    sqlite_harbour.accept(sqlite_harbour.senders["stripe"].signed())
    sqlite_harbour.inbox.after.do()
    with sqlite_harbour.installation.database.read() as transaction:
        row = endpoints.find_endpoint(transaction, sqlite_harbour.senders["stripe"].endpoint_id)
        other = endpoints.find_endpoint(transaction, sqlite_harbour.senders["square"].endpoint_id)
    assert row.last_received_at == sqlite_harbour.clock.now()
    assert row.generation == 1
    assert other.last_received_at is None


def test_an_application_s_secret_may_come_from_the_settings(sqlite_url, tmp_path):
    harbour = make_harbour(
        sqlite_url, tmp_path, quickbooks_webhook_secret="token-of-the-settings,the-one-before"
    )
    try:
        sender = harbour.add(
            "quickbooks", "quickbooks", account=harbour.senders["quickbooks"].account
        )
        assert harbour.accept(sender.signed(secret="token-of-the-settings")) == 200
        assert harbour.accept(sender.signed(secret="the-one-before")) == 200
        assert harbour.accept(sender.signed(secret=SECRETS["quickbooks"])) == 401
    finally:
        harbour.close()
