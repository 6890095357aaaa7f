"""Stripe's signature: every vector and every check of the reference, by the core's verifier."""

import json
from pathlib import Path

import pytest

from tieline.contract import Secret
from tieline.inbox.verify import Keys, verify
from tieline_stripe.events import WEBHOOKS

DATA = json.loads((Path(__file__).parent / "data/stripe-webhook-vectors.json").read_text())


def reason_of(case: dict, secrets: list[str], header: str, now: int) -> str | None:
    body = bytes.fromhex(case["body_hex"]) if "body_hex" in case else case["body"].encode()
    return verify(
        WEBHOOKS.scheme,
        Keys(secrets=list(map(Secret, secrets))),
        headers={"stripe-signature": header},
        body=body,
        address="",
        now=now,
    )


@pytest.mark.parametrize("case", DATA["vectors"], ids=lambda case: case["name"])
def test_a_signed_body_is_accepted_and_read(case):
    assert reason_of(case, [case["secret"]], case["header"], case["timestamp"]) is None
    events = WEBHOOKS.parse(case["body"].encode(), {})
    assert [event.id for event in events] == [json.loads(case["body"])["id"]]


@pytest.mark.parametrize("case", DATA["checks"], ids=lambda case: case["name"])
def test_the_verdict_is_the_expected_one(case):
    reason = reason_of(case, case["secrets"], case["header"], case["now"])
    assert (reason is None) is (case["expect"] == "accept"), reason


def test_there_are_as_many_as_the_reference_has():
    assert (len(DATA["vectors"]), len(DATA["checks"])) == (8, 23)
