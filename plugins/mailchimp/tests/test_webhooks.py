"""Mailchimp's deliveries: the optional signature by every vector and check, and the form."""

import json
import re
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

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
    events = WEBHOOKS.parse(case["body"].encode(), FORM)
    assert len(events) == (2 if case["name"] == "upemail" else 1)
    told = datetime.fromisoformat(case["decoded"]["fired_at"]).replace(tzinfo=UTC)
    assert {event.type for event in events} == {case["decoded"]["type"]}
    assert {event.occurred_at for event in events} == {told}


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


def test_after_a_change_of_address_the_new_one_is_read_and_then_the_old_one():
    new, old = WEBHOOKS.parse(BODIES["upemail"], FORM)
    assert new.key == only(form(**{"data[email]": "ada.king@example.com"})).key
    assert old.key == only(form(**{"data[email]": "ada.lovelace@example.com"})).key
    assert new.id != old.id


def test_a_record_is_never_made_from_a_form():
    for body in BODIES.values():
        assert {event.record for event in WEBHOOKS.parse(body, FORM)} == {None}


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


FIXTURES = {file.name: file for file in resources.files(WEBHOOKS.fixtures).iterdir()}
NOW = datetime(2026, 11, 1, 9, 30, tzinfo=UTC)


def filled(file, new_id: str) -> bytes:
    """Fill the markers of a fixture in, whose fields stand in a line each."""

    def fill(found: re.Match) -> str:
        return new_id if found[1] == "id" else NOW.strftime(found[1].removeprefix("now:"))

    pairs = parse_qsl("".join(file.read_text().split("\n")), keep_blank_values=True)
    return urlencode([(key, re.sub(r"\{\{(.+?)\}\}", fill, text)) for key, text in pairs]).encode()


def test_there_is_a_fixture_of_each_type():
    assert {name.partition(".")[0].partition("+")[0] for name in FIXTURES} == set(WEBHOOKS.types)
    assert {name.rpartition(".")[2] for name in FIXTURES} == {"form"}


@pytest.mark.parametrize("name", FIXTURES)
def test_a_fixture_is_an_event_of_its_type_and_a_new_one_each_time(name):
    first, second = (
        WEBHOOKS.parse(filled(FIXTURES[name], text), FORM) for text in ("8a25ff1d98", "8a25ff1d99")
    )
    told = {(event.type, event.entity, event.occurred_at) for event in first}
    assert told == {(name.partition(".")[0].partition("+")[0], "contacts", NOW)}
    assert all(event.key.startswith(f"{LIST}:") for event in first)
    assert not {event.id for event in first} & {event.id for event in second}


@pytest.mark.parametrize("case", MARKETING["events"][:6], ids=lambda case: case["name"])
def test_a_fixture_has_the_fields_of_the_documented_example(case):
    name = case["name"].replace("-delete", "+deleted")
    fields = parse_qsl(filled(FIXTURES[f"{name}.form"], "x").decode(), keep_blank_values=True)
    documented = parse_qsl(case["body"], keep_blank_values=True)
    assert [key for key, _ in fields] == [key for key, _ in documented]
