"""Square's deliveries: the signature by every vector and check, and what each one says."""

import json
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tieline.contract import InvalidRecordError, Secret
from tieline.inbox.verify import Keys, verify
from tieline_square.webhooks import EVENTS, WEBHOOKS

DATA = json.loads((Path(__file__).parent / "data/square-webhook-vectors.json").read_text())
SCHEMA = json.loads((Path(__file__).parent / "data/square-webhooks.schema.json").read_text("utf-8"))
SELLER = "MCSIET6P8THSW"  # the first one of a sandbox with its defaults
BODIES = {case["name"]: case["body"].encode() for case in DATA["vectors"]}


def reason_of(case: dict, keys: list[str]) -> str | None:
    body = bytes.fromhex(case["body_hex"]) if "body_hex" in case else case["body"].encode()
    return verify(
        WEBHOOKS.scheme,
        Keys(secrets=list(map(Secret, keys))),
        headers={"x-square-hmacsha256-signature": case["signature"]},
        body=body,
        address=case["notification_url"],
        now=0,
    )


@pytest.mark.parametrize("case", [*DATA["vectors"], DATA["official"]], ids=lambda c: c.get("name"))
def test_a_signed_body_is_accepted_and_read(case):
    assert reason_of(case, [case["signature_key"]]) is None
    told = json.loads(case["body"])
    event = WEBHOOKS.parse(case["body"].encode(), {})[0]
    assert (event.id, event.type, event.account) == (
        told["event_id"],
        told["type"],
        told["merchant_id"],
    )


@pytest.mark.parametrize("case", DATA["checks"], ids=lambda case: case["name"])
def test_the_verdict_is_the_expected_one(case):
    reason = reason_of(case, case["signature_keys"])
    assert (reason is None) is (case["expect"] == "accept"), reason


def test_there_are_as_many_as_the_reference_has():
    assert (len(DATA["vectors"]), len(DATA["checks"])) == (12, 19)


def about(name: str) -> list[tuple]:
    events = WEBHOOKS.parse(BODIES[name], {})
    assert len({event.id for event in events}) == len(events)
    return [(each.type, each.entity, each.key, each.record is not None) for each in events]


MEANS = {
    "customer.created": [("customer.created", "customers", "TIECUSTOMERINSTANT000000002", False)],
    "order.updated": [("order.updated", "orders", "TIEORDERCOMPLETE000000000001", False)],
    "refund.created": [("refund.created", "payments", "TIEPAYMENT00000000000000000004", False)],
    "catalog.version.updated": [("catalog.version.updated", "catalog", None, False)],
    "oauth.authorization.revoked": [("oauth.authorization.revoked", None, None, False)],
    "unknown type": [("hologram.created", None, None, False)],
}


@pytest.mark.parametrize("name", MEANS)
def test_a_delivery_means_what_the_reference_says(name):
    assert about(name) == MEANS[name]


def test_a_payment_comes_whole_and_has_its_order_read_since_tills_tell_of_no_orders():
    assert about("payment.updated") == [
        ("payment.updated", "payments", "TIEPAYMENT00000000000000000004", True),
        ("payment.updated", "orders", "TIEORDERCOMPLETE000000000001", False),
    ]
    assert EVENTS["orders"]["payment.updated"] == "re-read"


def test_a_merge_takes_away_every_customer_that_went_in_and_reads_the_one_that_came_out():
    assert about("customer.deleted by a merge") == [
        ("customer.deleted", "customers", "TIECUSTOMERINSTANT000000002", False),
        ("customer.deleted", "customers", "TIECUSTOMEROLD0000000000009", False),
        ("customer.merged", "customers", "TIECUSTOMERMERGED0000000003", False),
    ]
    assert EVENTS["customers"] == {
        "customer.created": "re-read",
        "customer.updated": "re-read",
        "customer.deleted": "delete",
        "customer.merged": "re-read",
    }


def test_a_customer_in_a_delivery_lacks_its_segments_and_is_never_taken_for_the_record():
    assert all(action != "upsert" for action in EVENTS["customers"].values())


def test_only_types_that_square_has_are_asked_for():
    assert "customer.merged" not in WEBHOOKS.types
    assert "catalog.version.updated" in WEBHOOKS.types


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"event_id": 7}', b"\xff", b"[" * 5000])
def test_what_is_no_event_is_refused(body):
    with pytest.raises(InvalidRecordError):
        WEBHOOKS.parse(body, {})


FOLDER = resources.files(WEBHOOKS.fixtures)
FIXTURES = sorted(each.name for each in FOLDER.iterdir() if each.name.endswith(".json"))


def test_there_is_a_delivery_to_try_out_of_every_type_that_is_asked_for():
    assert {name.removesuffix(".json").partition("+")[0] for name in FIXTURES} == set(
        WEBHOOKS.types
    )


@pytest.mark.parametrize("name", FIXTURES)
def test_a_delivery_to_try_out_is_one_that_square_might_send(name):
    text = FOLDER.joinpath(name).read_text("utf-8")
    one, two = (
        text.replace("{{id}}", mark).replace("{{now}}", "2026-11-01T00:00:00Z")
        for mark in ("7d1c0f5a", "7d1c0f5b")
    )
    assert "{{" not in one
    kind = name.removesuffix(".json").partition("+")[0]
    check("".join(part.title() for part in kind.split(".")) + "Event", json.loads(one))
    first, second = (WEBHOOKS.parse(each.encode(), {})[0] for each in (one, two))
    assert first.type == kind
    assert kind in EVENTS[first.entity]
    assert first.key or first.entity == "catalog"
    assert first.id != second.id
    assert (first.occurred_at, first.account) == (datetime(2026, 11, 1, tzinfo=UTC), SELLER)


def check(definition: str, value: object) -> None:
    schema = {"$ref": f"#/$defs/{definition}", "$defs": SCHEMA["$defs"]}
    assert not list(Draft202012Validator(schema).iter_errors(value))
