"""QuickBooks' deliveries: the signature by every vector and check, both forms read alike."""

import json
import re
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tieline.contract import InvalidRecordError, Secret
from tieline.inbox.verify import Keys, verify
from tieline_quickbooks.webhooks import EVENTS, WEBHOOKS

DATA = json.loads((Path(__file__).parent / "data/quickbooks-webhook-vectors.json").read_text())
SCHEMA = json.loads((Path(__file__).parent / "data/quickbooks.schema.json").read_text("utf-8"))
FOLDER = resources.files(WEBHOOKS.fixtures)
VECTORS = {case["name"]: case for case in DATA["vectors"]}
TOKEN = VECTORS["legacy"]["verifier_token"]


def reason_of(case: dict) -> str | None:
    signature = case["signature"]
    return verify(
        WEBHOOKS.scheme,
        Keys(secrets=[Secret(case.get("verifier_token", TOKEN))]),
        headers={} if signature is None else {"intuit-signature": signature},
        body=case["body"].encode(),
        address="",
        now=0,
    )


@pytest.mark.parametrize("case", DATA["vectors"], ids=lambda case: case["name"])
def test_a_signed_body_is_accepted(case):
    assert reason_of(case) is None


@pytest.mark.parametrize("case", DATA["checks"], ids=lambda case: case["name"])
def test_the_verdict_is_the_expected_one(case):
    assert (reason_of(case) is None) is case["valid"]


def test_there_are_as_many_as_the_reference_has():
    assert (len(DATA["vectors"]), len(DATA["checks"]), len(DATA["normalised"])) == (5, 8, 8)


def parsed(name: str):
    return WEBHOOKS.parse(VECTORS[name]["body"].encode(), {})


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("legacy", "legacy"),
        ("cloudevents", "cloudevents-compact"),
        ("cloudevents", "cloudevents-pretty"),
    ],
)
def test_both_forms_mean_what_the_reference_says(form, name):
    expected = []
    for each in (each for each in DATA["normalised"] if each["from"] == form):
        kind = f"{each['entity'].lower()}.{each['op']}"
        expected.append((each["realm"], kind, each["id"]))
        if "deleted_id" in each:
            expected.append((each["realm"], kind, each["deleted_id"]))
    assert [(each.account, each.type, each.key) for each in parsed(name)] == expected


def test_events_of_several_companies_come_in_one_body():
    assert len({event.account for event in parsed("cloudevents-compact")}) == 2


def test_ids_are_apart_and_stay_when_it_comes_again():
    for name in ("legacy", "cloudevents-compact"):
        ids = [event.id for event in parsed(name)]
        assert len(set(ids)) == len(ids)
        assert ids == [event.id for event in parsed(name)]


def test_of_two_merges_in_one_moment_neither_is_taken_for_the_other_come_again():
    body = VECTORS["legacy"]["body"]
    told = WEBHOOKS.parse(body.encode(), {}) + WEBHOOKS.parse(body.replace("27", "28").encode(), {})
    assert {each.key for each in {event.id: event for event in told}.values()} >= {"27", "28"}


def test_nanoseconds_are_cut_and_a_zone_without_a_colon_is_read():
    event = parsed("cloudevents-compact")[0]
    assert event.occurred_at == datetime(2026, 3, 2, 9, 15, 0, 179851, tzinfo=UTC)
    body = VECTORS["legacy"]["body"].replace("09:15:00.000Z", "01:15:00-0800").encode()
    assert WEBHOOKS.parse(body, {})[0].occurred_at == datetime(2026, 3, 2, 9, 15, tzinfo=UTC)


def cloud(**changed) -> bytes:
    event = {"id": "e", "source": "s", "type": "qbo.invoice.updated.v1", "intuitentityid": "1"}
    return json.dumps([event | {"intuitaccountid": "9", "data": {}} | changed]).encode()


OTHERS = {
    "another product": ({"type": "payroll.employee.created.v1"}, None),
    "another entity": ({"type": "qbo.vendor.created.v1"}, None),
    "a version to come": ({"type": "qbo.invoice.updated.v12"}, "invoices"),
    "data as a list": ({"data": [1]}, "invoices"),
}


@pytest.mark.parametrize("case", OTHERS.values(), ids=OTHERS)
def test_what_is_unknown_is_taken_and_about_nothing_of_ours(case):
    changed, entity = case
    assert [event.entity for event in WEBHOOKS.parse(cloud(**changed), {})] == [entity]


@pytest.mark.parametrize("spelling", ["void", "voided"])
def test_a_void_is_one_in_both_spellings_and_keeps_its_invoice(spelling):
    (event,) = WEBHOOKS.parse(cloud(type=f"qbo.invoice.{spelling}.v1"), {})
    assert event.type == "invoice.void"
    assert EVENTS["invoices"][event.type] == "re-read"


def test_a_list_without_events_is_fine_or_it_would_hold_back_all_later_ones():
    assert parsed("empty-array") == []


FIXTURES = {each.name.removesuffix(".json"): each for each in FOLDER.iterdir()}


def filled(name: str, second: int = 0) -> bytes:
    """Fill the markers in, as ``tieline webhooks send`` does."""
    text = FIXTURES[name].read_text().replace("{{id}}", f"id{second}")
    text = re.sub(r"\{\{now(:[^}]*)?\}\}", f"2026-11-01T00:00:{second:02d}Z", text)
    assert "{{" not in text
    return text.encode()


@pytest.mark.parametrize("name", FIXTURES)
def test_each_fixture_is_a_delivery_of_its_type(name):
    body = filled(name)
    definition = "webhookLegacy" if name.endswith("+older") else "webhookCloudEvents"
    schema = {"$ref": f"#/$defs/{definition}", "$defs": SCHEMA["$defs"]}
    assert not list(Draft202012Validator(schema).iter_errors(json.loads(body)))
    events = WEBHOOKS.parse(body, {})
    assert {event.type for event in events} == {name.partition("+")[0]}
    assert all(event.entity and event.key and event.account for event in events)
    again = WEBHOOKS.parse(filled(name, 1), {})
    assert not {event.id for event in events} & {event.id for event in again}


def test_there_is_a_fixture_in_both_forms_for_each_type():
    assert FIXTURES.keys() >= {*WEBHOOKS.types, *(f"{kind}+older" for kind in WEBHOOKS.types)}


@pytest.mark.parametrize("body", [b"", b"{}", b'"x"', b"\xff", b"[" * 5000, b"null"])
def test_what_is_of_neither_form_is_refused(body):
    with pytest.raises(InvalidRecordError):
        WEBHOOKS.parse(body, {})
