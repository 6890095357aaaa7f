"""Subscriptions, and what is delivered to them: bodies, signatures, retries, and disorder."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
import time
from pathlib import Path

import httpx
import pytest
from jsonschema import Draft202012Validator

from tieline_square_sandbox import API_KEY
from tieline_square_sandbox.courier import Courier
from tieline_square_sandbox.events import SCOPES

SCHEMA = json.loads(
    (Path(__file__).parents[1] / "data/square-webhooks.schema.json").read_text("utf-8")
)
NOW = 1_793_491_200


@functools.cache
def validator(name):
    schema = {"$schema": SCHEMA["$schema"], "$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]}
    return Draft202012Validator(schema)


def check(name, value):
    wrong = [f"{error.json_path}: {error.message}" for error in validator(name).iter_errors(value)]
    assert not wrong, wrong[:3]
    assert value.keys() <= SCHEMA["$defs"][name]["properties"].keys()
    return value


def schema_of(kind):
    return "".join(part.title() for part in kind.split(".")) + "Event"


class Square:
    """A sandbox behind a real server, whose time stands still, and an application's token."""

    def __init__(self, base):
        self.base = base
        self.client = httpx.Client(base_url=base, trust_env=False)
        self.order("clock", {"now": NOW + 60, "frozen": True})

    def api(self, method, path, body=None, *, token=API_KEY):
        headers = {"authorization": f"Bearer {token}"}
        return self.client.request(
            method, f"/v2/webhooks/{path}", json=body if body is not None else None, headers=headers
        )

    def subscribe(self, receiver, *types, **more):
        subscription = {
            "name": "Ours",
            "event_types": list(types or SCOPES),
            "notification_url": receiver.url,
            **more,
        }
        answer = self.api("POST", "subscriptions", {"subscription": subscription})
        assert answer.status_code == 200, answer.text
        return check("CreateWebhookSubscriptionResponse", answer.json())["subscription"]

    def order(self, name, given):
        answer = self.client.post(f"/_sandbox/{name}", json=given)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def data(self, entity, **given):
        return self.order("data", {"entity": entity, **given})

    def pass_time(self, seconds):
        self.order("clock", {"advance_s": seconds})

    def deliveries(self, **query):
        return self.client.get("/_sandbox/deliveries", params=query).json()

    def delivered(self, count, *, waiting=0):
        """Wait until so many attempts were made and no more is under way; return them."""
        until = time.monotonic() + 30
        while True:
            told = self.deliveries()
            is_quiet = (told["waiting"], told["in_flight"]) == (waiting, 0)
            if told["total"] >= count and is_quiet:
                assert told["total"] == count, told
                return told["deliveries"]
            assert time.monotonic() < until, told
            time.sleep(0.01)


@pytest.fixture
def square(server):
    made = Square(server(now=NOW, customers=12, orders=12, items=4))
    yield made
    made.client.close()


def test_only_the_application_s_own_token_touches_subscriptions(square):
    grant = square.order("oauth", {"grant": {"account": 0}})
    assert square.api("GET", "subscriptions", token=grant["access_token"]).status_code == 401
    assert square.api("GET", "subscriptions", token="EAAAnobody").status_code == 401
    assert square.api("GET", "subscriptions").json() == {}


def test_a_subscription_from_its_making_to_its_end(square, receiver):
    made = square.subscribe(receiver, "payment.created", api_version="2026-09-16")
    assert made["enabled"] is True
    path = f"subscriptions/{made['id']}"
    shown = check("RetrieveWebhookSubscriptionResponse", square.api("GET", path).json())
    assert shown["subscription"] == made
    listed = check("ListWebhookSubscriptionsResponse", square.api("GET", "subscriptions").json())
    assert [each["id"] for each in listed["subscriptions"]] == [made["id"]]
    assert made["signature_key"] not in str(listed)
    changed = square.api("PUT", path, {"subscription": {"enabled": False, "name": "Later"}}).json()
    check("UpdateWebhookSubscriptionResponse", changed)
    assert (changed["subscription"]["enabled"], changed["subscription"]["name"]) == (False, "Later")
    assert square.api("GET", "subscriptions").json() == {}
    disabled = square.api("GET", "subscriptions?include_disabled=true").json()
    assert len(disabled["subscriptions"]) == 1
    renewed = square.api("POST", f"{path}/signature-key", {"idempotency_key": "k"}).json()
    check("UpdateWebhookSubscriptionSignatureKeyResponse", renewed)
    assert renewed["signature_key"] != made["signature_key"]
    again = square.api("POST", f"{path}/signature-key", {"idempotency_key": "k"}).json()
    assert again == renewed
    assert square.api("DELETE", path).json() == {}
    assert square.api("GET", path).json()["errors"][0]["code"] == "NOT_FOUND"


def test_subscriptions_are_listed_page_by_page(square, receiver):
    names = [square.subscribe(receiver)["id"] for _ in range(3)]
    one = square.api("GET", "subscriptions?limit=2").json()
    two = square.api("GET", f"subscriptions?limit=2&cursor={one['cursor']}").json()
    assert [each["id"] for each in one["subscriptions"] + two["subscriptions"]] == names
    assert "cursor" not in two
    assert square.api("GET", "subscriptions?limit=0").status_code == 400


WANTED = {"event_types": ["payment.created"], "notification_url": "https://app.example.com/h"}
WRONG = {
    "plain http": {"notification_url": "http://app.example.com/hooks"},
    "no address": {"notification_url": None},
    "no types": {"event_types": []},
    "an unknown type": {"event_types": ["hologram.created"]},
    "a long name": {"name": "n" * 65},
    "a key of one's own": {"signature_key": "mine"},
    "a text for a flag": {"enabled": "yes"},
}


@pytest.mark.parametrize("fields", WRONG.values(), ids=list(WRONG))
def test_what_makes_no_sense_is_refused_in_square_s_words(sandbox, fields):
    caller = sandbox(customers=0, orders=0, items=0)
    answer = caller.post("/v2/webhooks/subscriptions", {"subscription": WANTED | fields})
    assert answer.status == 400
    check("ErrorBody", answer.json)
    assert caller.post("/v2/webhooks/subscriptions", {"subscription": WANTED}).status == 200


def test_an_idempotency_key_makes_one_subscription(sandbox):
    caller, path = sandbox(customers=0, orders=0, items=0), "/v2/webhooks/subscriptions"
    body = {"idempotency_key": "one", "subscription": WANTED}
    first = caller.post(path, body).json
    assert caller.post(path, body).json == first
    other = body | {"subscription": WANTED | {"name": "other"}}
    assert caller.post(path, other).code == "IDEMPOTENCY_KEY_REUSED"
    assert caller.post(path, body | {"idempotency_key": "k" * 46}).status == 400
    assert len(caller.get(path).json["subscriptions"]) == 1


def events(square, receiver, count):
    square.delivered(count)
    for event in receiver.events:
        check(schema_of(event["type"]), event)
        assert validator("WebhookBody").is_valid(event)
    return {event["type"]: event for event in receiver.events}


def test_each_change_is_told_as_square_tells_it(square, receiver):
    square.subscribe(receiver)
    [made] = square.data("customers", create=1)["created"]
    square.data("customers", alter={made: {"note": "new"}})
    square.data("customers", remove=[made])
    told = events(square, receiver, 3)
    assert {kind: event["data"]["id"] for kind, event in told.items()} == {
        "customer.created": made,
        "customer.updated": made,
        "customer.deleted": made,
    }
    gone = told["customer.deleted"]["data"]
    assert gone["deleted"] is True
    assert "group_ids" not in gone["object"]["customer"]
    updated = told["customer.updated"]["data"]["object"]["customer"]
    assert (updated["note"], "segment_ids" in updated, "group_ids" in updated) == (
        "new",
        False,
        True,
    )
    assert len({event["event_id"] for event in told.values()}) == 3
    seller = square.client.get("/_sandbox/").json()["accounts"][0]["id"]
    assert {event["merchant_id"] for event in told.values()} == {seller}


def test_a_merge_is_told_by_the_one_that_came_out_and_by_those_that_went_in(square, receiver):
    square.subscribe(receiver)
    names = sorted(each["id"] for each in map(json.loads, truth(square, "customers")))[:2]
    [merged] = square.data("customers", merge=names)["created"]
    square.delivered(3)
    context = {"merge": {"from_customer_ids": names, "to_customer_id": merged}}
    told = {(event["type"], event["data"]["id"]): event["data"] for event in receiver.events}
    assert set(told) == {
        ("customer.created", merged),
        *(("customer.deleted", name) for name in names),
    }
    assert all(data["object"]["event_context"] == context for data in told.values())


def truth(square, entity):
    asked = square.client.get("/_sandbox/truth", params={"entity": entity})
    return asked.text.splitlines()


def test_segments_alone_are_told_to_nobody(square, receiver):
    square.subscribe(receiver)
    one = json.loads(truth(square, "customers")[0])["id"]
    square.data("customers", alter={one: {"segment_ids": ["S"]}})
    square.data("customers", alter={one: {"segment_ids": ["T"], "note": "n"}})
    assert [each["type"] for each in square.delivered(1)] == ["customer.updated"]


def test_a_sale_at_the_till_is_told_by_its_payment_alone(square, receiver):
    square.subscribe(receiver)
    orders = square.data("orders", create=8)["created"]
    square.delivered(8 + 7)
    told = [event for event in receiver.events if event["type"] == "order.created"]
    till = {each["data"]["id"] for each in told} ^ set(orders)
    assert len([name for name in till if name in orders]) == 1
    data = told[0]["data"]
    assert data["object"].keys() == {"order_created"}
    assert data["object"]["order_created"].keys() == {
        *("order_id", "location_id", "state", "version", "created_at")
    }
    paid = [event for event in receiver.events if event["type"] == "payment.created"]
    assert set(orders) <= {event["data"]["object"]["payment"]["order_id"] for event in paid}


def test_updates_of_orders_payments_and_the_catalog(square, receiver):
    square.subscribe(receiver)
    order, payment = (json.loads(truth(square, name)[0]) for name in ("orders", "payments"))
    flow = [{"uid": "f1", "state": "RESERVED"}]
    square.data("orders", alter={order["id"]: {"fulfillments": flow}})
    refunded = {"refunded_money": {"amount": 5, "currency": "USD"}, "refund_ids": ["R1"]}
    square.data("payments", alter={payment["id"]: refunded})
    square.data("catalog", create=1)
    told = events(square, receiver, 5)
    moved = told["order.fulfillment.updated"]["data"]["object"]["order_fulfillment_updated"]
    assert moved["fulfillment_update"] == [{"fulfillment_uid": "f1", "new_state": "RESERVED"}]
    assert told["order.updated"]["data"]["object"]["order_updated"]["order_id"] == order["id"]
    refund = told["refund.created"]["data"]["object"]["refund"]
    assert (refund["id"], refund["payment_id"], refund["amount_money"]["amount"]) == (
        "R1",
        payment["id"],
        5,
    )
    whole = told["payment.updated"]["data"]["object"]["payment"]
    assert whole["refund_ids"] == ["R1"]
    catalog = told["catalog.version.updated"]["data"]
    assert catalog["object"]["catalog_version"].keys() == {"updated_at"}


def test_a_seller_is_told_of_only_where_it_granted_the_right(square, receiver):
    square.subscribe(receiver)
    square.data("customers", account=1, create=1)
    scopes = ["CUSTOMERS_READ", "MERCHANT_PROFILE_READ"]
    square.order("oauth", {"grant": {"account": 1, "scopes": scopes}})
    [made] = square.data("customers", account=1, create=1)["created"]
    square.data("payments", account=1, create=1)
    told = square.delivered(1)
    assert made in told[0]["body"]
    merchant = told[0]["merchant_id"]
    square.order("oauth", {"revoke": merchant})
    square.data("customers", account=1, create=1)
    told = square.delivered(2)
    assert (told[1]["type"], told[1]["merchant_id"]) == ("oauth.authorization.revoked", merchant)
    check("OauthAuthorizationRevokedEvent", json.loads(told[1]["body"]))


def signature(key, url, body):
    found = hmac.new(key.encode(), url.encode() + body, hashlib.sha256).digest()
    return base64.b64encode(found).decode()


def test_the_signature_is_over_the_registered_address_and_the_body(square, receiver):
    made = square.subscribe(receiver, "catalog.version.updated")
    square.data("catalog", create=1)
    square.delivered(1)
    [(headers, body)] = receiver.got
    name = "x-square-hmacsha256-signature"
    assert headers[name] == signature(made["signature_key"], receiver.url, body)
    assert headers["content-type"] == "application/json"
    assert headers["square-environment"] == "Sandbox"
    assert headers["square-initial-delivery-timestamp"] == "2026-11-01T00:01:00.000Z"
    assert "square-retry-number" not in headers
    path = f"subscriptions/{made['id']}/signature-key"
    key = square.api("POST", path, {}).json()["signature_key"]
    square.order("deliveries", {"resend": "all"})
    square.delivered(2)
    headers, again = receiver.got[1]
    assert again == body
    assert headers[name] == signature(key, receiver.url, body)


def test_what_is_not_taken_is_sent_again_ever_later_for_a_day(square, receiver):
    square.subscribe(receiver, "catalog.version.updated")
    receiver.statuses[:] = [500, 302] * 20
    square.data("catalog", create=1)
    square.delivered(1, waiting=1)
    square.pass_time(59)
    assert (square.deliveries()["total"], square.deliveries()["waiting"]) == (1, 1)
    square.pass_time(1)
    for attempt, minutes in enumerate((2, 4, 8, 16, 32, *[60] * 22), 2):
        square.delivered(attempt, waiting=1)
        square.pass_time(minutes * 60)
    told = square.delivered(29)
    assert square.deliveries()["given_up"] == 1
    hours = (told[-1]["at"] - told[0]["at"]) / 3600
    assert 23 < hours <= 24
    assert {(each["status"], each["reason"]) for each in told} == {
        (500, "http_error"),
        (302, "http_error"),
    }
    assert len({each["event_id"] for each in told}) == 1
    headers, _ = receiver.got[1]
    assert (headers["square-retry-number"], headers["square-retry-reason"]) == ("1", "http_error")
    assert len(receiver.got) == 29  # and no redirect was followed


def test_silence_is_no_answer_and_an_answer_ends_the_retries(square, receiver):
    square.subscribe(receiver, "catalog.version.updated")
    square.order("deliveries", {"timeout_s": 0.1})
    receiver.statuses[:] = [0]
    square.data("catalog", create=1)
    [first] = square.delivered(1, waiting=1)
    assert (first["status"], first["reason"]) == (0, "http_timeout")
    square.order("deliveries", {"timeout_s": 10})
    square.pass_time(60)
    assert [each["status"] for each in square.delivered(2)] == [0, 200]
    assert receiver.got[1][0]["square-retry-reason"] == "http_timeout"
    square.pass_time(86_400)
    square.delivered(2)


def test_nobody_there_is_no_answer(square, receiver):
    receiver.url = "http://127.0.0.1:1/hooks"
    square.subscribe(receiver, "catalog.version.updated")
    square.data("catalog", create=1)
    [told] = square.delivered(1, waiting=1)
    assert (told["status"], told["reason"]) == (0, "other_error")


def test_three_weeks_without_an_answer_disable_a_subscription(square, receiver):
    made = square.subscribe(receiver, "catalog.version.updated")
    receiver.statuses[:] = [500, 200, *[500] * 40]
    square.data("catalog", create=1)
    square.delivered(1, waiting=1)
    square.pass_time(60)
    square.delivered(2)
    square.data("catalog", create=1)
    square.delivered(3, waiting=1)
    square.pass_time(21 * 86_400)
    square.delivered(4)  # given up, and told to the subscription
    shown = square.api("GET", f"subscriptions/{made['id']}").json()
    assert shown["subscription"]["enabled"] is False
    square.data("catalog", create=1)
    square.delivered(4)
    enabled = {"subscription": {"enabled": True}}
    square.api("PUT", f"subscriptions/{made['id']}", enabled)
    square.data("catalog", create=1)
    square.delivered(5, waiting=1)


def test_what_waits_for_a_subscription_that_is_deleted_is_not_sent(square, receiver):
    made = square.subscribe(receiver, "catalog.version.updated")
    square.order("deliveries", {"hold": True})
    square.data("catalog", create=3)
    assert square.deliveries()["waiting"] == 3
    square.api("DELETE", f"subscriptions/{made['id']}")
    square.order("deliveries", {"hold": False})
    square.delivered(0)
    assert receiver.got == []


def test_events_come_twice_late_in_disorder_or_never_as_ordered(square, receiver):
    square.subscribe(receiver, "customer.created")
    square.order("deliveries", {"copies": 2, "delay_s": 5, "disorder_s": 30, "drop": 1, "seed": 3})
    made = square.data("customers", create=6)["created"]
    square.delivered(0, waiting=10)
    square.pass_time(4)
    square.delivered(0, waiting=10)
    square.pass_time(31)
    told = square.delivered(10)
    ids = [json.loads(each["body"])["data"]["id"] for each in told]
    assert sorted(ids) == sorted([*made[1:], *made[1:]])
    assert ids != sorted(ids)
    assert len({each["event_id"] for each in told}) == 5
    assert square.deliveries()["lost"] == 1
    again = told[0]["event_id"]
    square.order("deliveries", {"copies": 1, "delay_s": 0, "disorder_s": 0, "resend": [again]})
    assert square.delivered(11)[-1]["event_id"] == again
    assert len(square.deliveries(after=10)["deliveries"]) == 1


@pytest.mark.parametrize(
    "given",
    [{"copies": 0}, {"drop": -1}, {"hold": 1}, {"timeout_s": 0}, {"resend": ["x"]}, {"x": 1}],
    ids=str,
)
def test_orders_that_make_no_sense_are_refused(sandbox, given):
    caller = sandbox(customers=0, orders=0, items=0)
    answer = caller.post("/_sandbox/deliveries", given)
    assert (answer.status, answer.json["error"] != "") == (400, True)


def test_a_test_of_a_subscription_sends_a_sample_and_tells_the_answer(square, receiver):
    made = square.subscribe(receiver)
    path = f"subscriptions/{made['id']}/test"
    receiver.statuses[:] = [404, 503]
    assert square.api("POST", path, {}).json()["status_code"] == 404
    for kind in SCOPES:
        answer = square.api("POST", path, {"event_type": kind}).json()
        check("TestWebhookSubscriptionResponse", answer)
        event = check(schema_of(kind), receiver.events[-1])
        assert (event["type"], event) == (kind, answer["payload"])
        result = answer["subscription_test_result"]
        assert json.loads(result["payload"]) == event
        assert result["status_code"] == (503 if kind == "customer.created" else 200)
    assert receiver.events[0]["type"] == "webhooks.test_notification"
    headers, sent = receiver.got[-1]
    name = "x-square-hmacsha256-signature"
    assert headers[name] == signature(made["signature_key"], receiver.url, sent)


def test_a_test_of_another_type_is_refused(square, receiver):
    made = square.subscribe(receiver, "customer.created")
    body = {"event_type": "order.created"}
    assert square.api("POST", f"subscriptions/{made['id']}/test", body).status_code == 400
    assert receiver.got == []


def test_without_a_subscription_nothing_is_made(sandbox, monkeypatch):
    caller = sandbox(customers=12, orders=12, items=4)
    monkeypatch.delattr(Courier, "send")
    caller.data("customers", create=5)
    told = caller.get("/_sandbox/deliveries").json
    assert (told["total"], told["waiting"], told["lost"]) == (0, 0, 0)


def test_what_waits_is_bounded(sandbox, monkeypatch):
    monkeypatch.setattr("tieline_square_sandbox.courier._MOST_WAITING", 3)
    caller = sandbox(customers=12, orders=12, items=4)
    wanted = WANTED | {"event_types": ["customer.created"]}
    assert caller.post("/v2/webhooks/subscriptions", {"subscription": wanted}).status == 200
    caller.order("deliveries", {"hold": True})
    caller.data("customers", create=5)
    told = caller.get("/_sandbox/deliveries").json
    assert (told["waiting"], told["lost"]) == (3, 2)
