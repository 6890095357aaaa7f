"""Members in the shape that providers share: every documented one, and what is not guessed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tieline.contract import Address, Contact
from tieline_mailchimp.entities import CONTACTS, LISTS
from tieline_mailchimp.keys import key_of

EXAMPLES = [
    one["value"]
    for one in json.loads(
        (Path(__file__).parent / "data" / "mailchimp-audiences.examples.json").read_text("utf-8")
    )
    if one["schema"] == "member"
]


def mean(record: Any) -> Any:
    assert CONTACTS.canonical is not None
    return CONTACTS.canonical(record)


@pytest.mark.parametrize("record", EXAMPLES, ids=lambda one: one["status"])
def test_every_documented_member_means_a_contact(record: Any) -> None:
    found = mean(record)
    assert isinstance(found, Contact)
    assert (found.id, found.email) == (key_of(record), record["email_address"])
    assert found.updated_at == datetime.fromisoformat(record["last_changed"])
    assert found.created_at is None
    merged = record["merge_fields"] or {}
    assert (found.given_name or "") == merged.get("FNAME", "")


def test_a_whole_one_means_all_of_it() -> None:
    lives = {"addr1": "1 Example Way", "addr2": "", "city": "Springfield", "state": "OR"}
    merged = {"FNAME": "Ada", "LNAME": "Lovelace", "PHONE": "1", "COMPANY": "Engines"}
    record = {
        "id": "h",
        "list_id": "a1",
        "contact_id": "c",
        "email_address": "Ada@Example.com",
        "full_name": "Ada Lovelace",
        "status": "subscribed",
        "merge_fields": merged | {"ADDRESS": lives | {"zip": "97477", "country": "US"}},
        "last_changed": "2026-03-02T10:15:00+01:00",
    }
    assert mean(record) == Contact(
        id="a1:c",
        email="Ada@Example.com",
        name="Ada Lovelace",
        given_name="Ada",
        family_name="Lovelace",
        company="Engines",
        phone="1",
        address=Address(
            line1="1 Example Way",
            city="Springfield",
            region="OR",
            postal_code="97477",
            country="US",
        ),
        accepts_email=True,
        updated_at=datetime(2026, 3, 2, 9, 15, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("status", "accepts", "is_active"),
    [
        ("subscribed", True, True),
        ("unsubscribed", False, True),
        ("cleaned", False, True),
        ("pending", None, True),
        ("transactional", None, True),
        ("archived", None, False),
        ("something new", None, True),
    ],
)
def test_consent_is_what_was_said_and_no_more(status: str, accepts: Any, is_active: bool) -> None:
    found = mean({"id": "h", "list_id": "a1", "status": status})
    assert (found.accepts_email, found.is_active) == (accepts, is_active)


@pytest.mark.parametrize("merged", [None, {}, {"ADDRESS": "", "FNAME": "", "PHONE": None}])
def test_what_is_not_there_is_none(merged: Any) -> None:
    record = {"id": "h", "list_id": "a1", "merge_fields": merged, "full_name": ""}
    assert mean(record) == Contact(id="a1:h")


def test_merge_fields_of_another_kind_are_not_guessed_at() -> None:
    merged = {"FNAME": 7, "PHONE": {"a": 1}, "ADDRESS": {"addr1": 5}}
    record = {"id": "h", "list_id": "a1", "merge_fields": merged}
    assert mean(record) == Contact(id="a1:h", address=Address())


def test_a_list_has_no_shape_and_a_member_without_a_key_none_either() -> None:
    assert LISTS.canonical is None
    assert mean({"id": "h"}) is None
    assert CONTACTS.shapes == ("Contact",)


def test_events_name_contacts_by_what_they_are_read_again_by() -> None:
    assert dict(CONTACTS.events) == dict.fromkeys(
        ("subscribe", "unsubscribe", "profile", "upemail", "cleaned"), "re-read"
    )
