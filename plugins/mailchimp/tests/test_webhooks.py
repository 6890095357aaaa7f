"""Mailchimp's deliveries: the optional signature by every vector and check, and the form."""

import json
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tieline.contract import InvalidRecordError, Secret
from tieline.inbox.verify import Keys, digest_of, verify
from tieline_mailchimp.webhooks import WEBHOOKS

DATA = json.loads((Path(__file__).parent / "data/mailchimp-webhook-vectors.json").read_text())
MARKETING = DATA["marketing"]
BODIES = {case["name"]: case["body"].encode() for case in MARKETING["events"]}
FORM = {"content-type": "application/x-www-form-urlencoded"}
LIST = "a6b5da1054"


def reason_of(case: dict) -> str | None:
    secret = case.get("secret", MARKETING["signing_secret"])
    header = case["header"]
    return verify(
        WEBHOOKS.scheme,
        Keys(secrets=[Secret(secret)], path_digests=[digest_of("x" * 43)]),
        headers={} if header is None else {"x-mailchimp-signature": header},
        body=case["body"].encode(),
        address="",
        now=case.get("now", case.get("timestamp")),
    )


@pytest.mark.parametrize("case", MARKETING["events"], ids=lambda case: case["name"])
def test_a_signed_body_is_accepted_and_read(case):
    assert reason_of(case) is None
    (event,) = WEBHOOKS.parse(case["body"].encode(), FORM)
    assert event.type == case["decoded"]["type"]
    told = datetime.fromisoformat(case["decoded"]["fired_at"]).replace(tzinfo=UTC)
    assert event.occurred_at == told


@pytest.mark.parametrize("case", MARKETING["checks"], ids=lambda case: case["name"])
def test_the_verdict_is_the_expected_one(case):
    assert (reason_of(case) is None) is case["valid"]


def test_there_are_as_many_as_the_reference_has():
    assert (len(MARKETING["events"]), len(MARKETING["checks"])) == (7, 10)


def only(body: bytes):
    (event,) = WEBHOOKS.parse(body, FORM)
    return event


def form(**fields: str) -> bytes:
    return urlencode({"type": "profile", "data[list_id]": LIST} | fields).encode()


@pytest.mark.parametrize("case", DATA["member_hash"], ids=lambda case: case["email"])
def test_a_contact_is_named_by_the_hash_of_its_address_in_lower_case(case):
    assert only(form(**{"data[email]": case["email"]})).key == f"{LIST}:{case['md5']}"


def test_after_a_change_of_address_the_new_one_is_read():
    new = only(form(**{"data[email]": "ada.king@example.com"}))
    assert only(BODIES["upemail"]).key == new.key


def test_a_record_is_never_made_from_a_form():
    for body in BODIES.values():
        assert only(body).record is None


def test_a_campaign_is_about_nothing_of_ours():
    event = only(BODIES["campaign"])
    assert (event.entity, event.key) == (None, None)


def test_a_repeated_delivery_is_the_same_event_and_two_edits_in_one_second_are_two():
    first = only(BODIES["profile"])
    assert only(BODIES["profile"]).id == first.id
    edited = BODIES["profile"].replace(b"FNAME%5D=Ada", b"FNAME%5D=Augusta")
    assert edited != BODIES["profile"]
    assert only(edited).id != first.id


BAD = {
    "not a form": (b'{"type": "profile"}', {"content-type": "application/json"}),
    "no content type": (form(), {}),
    "JSON that claims to be a form": (b'{"type": "profile"}', FORM),
    "not UTF-8": (b"type=profile&x=%ff", FORM),
    "bytes that are not UTF-8": (b"type=profile&x=\xff", FORM),
    "too deep": (form(**{"data[a][b][c][d]": "x"}), FORM),
    "too large": (form(x="y" * 65_536), FORM),
    "too many fields": (b"type=profile" + b"&a=b" * 500, FORM),
    "a field twice": (b"type=profile&type=upemail", FORM),
    "no type": (b"data%5Bid%5D=1", FORM),
    "empty": (b"", FORM),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_what_is_no_such_form_is_refused(case):
    with pytest.raises(InvalidRecordError):
        WEBHOOKS.parse(*case)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_the_look_before_an_address_is_stored_is_answered(method):
    assert WEBHOOKS.challenge(method, {}, b"") == b""
