"""Writes without a network: what is sent, held to the official schema, and how answers are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from marshmallow import ValidationError

from tieline.contract import (
    ConflictError,
    Operation,
    OutcomeUnknownError,
    ProviderUnavailableError,
    RecordNotFoundError,
    Reply,
    RequestRejectedError,
)
from tieline_mailchimp.client import MailchimpApi
from tieline_mailchimp.entities import CONTACTS
from tieline_mailchimp.errors import rejection
from tieline_mailchimp.keys import hash_of, key_of

DATA = Path(__file__).parent / "data"
HOST = "https://us6.api.mailchimp.com/3.0"
WRITE = CONTACTS.write
EXAMPLES = json.loads((DATA / "mailchimp-writes.examples.json").read_text("utf-8"))
SCHEMA = json.loads((DATA / "mailchimp-writes.schema.json").read_text("utf-8"))["$defs"]
MEMBER = next(
    one["value"]
    for one in json.loads((DATA / "mailchimp-audiences.examples.json").read_text("utf-8"))
    if one["schema"] == "member"
)
ADA = {"list_id": "a6b5da1054", "email_address": "Ada@Example.com"}


class Answers:
    """A transport that gives prepared answers and remembers what was sent."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.sent: list[tuple[str, str, Any]] = []

    def send(self, method: str, url: str, *, content: bytes | None = None, **_also: Any) -> Reply:
        self.sent.append((method, url.removeprefix(HOST), content and json.loads(content)))
        status, body = self.answers.pop(0)
        content = b"" if body is None else json.dumps(body).encode()
        headers = {"date": "Wed, 25 Nov 2026 10:00:00 GMT"}
        return Reply(status=status, headers=headers, content=content, seconds=0.1)


def api(*answers: Any) -> tuple[MailchimpApi, Answers]:
    from tieline.contract import Connection, Credential

    connection = Connection(
        id="con_1",
        name="n",
        provider="mailchimp",
        environment="production",
        base_url=HOST.removesuffix("/3.0"),
    )
    transport = Answers(*answers)
    return MailchimpApi(connection, Credential({"api_key": "0a-us6"}), transport), transport


def operation(kind: Any, key: str = "", **payload: Any) -> Operation:
    return Operation(id="op_1", kind=kind, key=key, payload=payload)


def check(name: str, value: Any) -> None:
    schema = {"$ref": f"#/$defs/{name}", "$defs": SCHEMA}
    assert not list(Draft202012Validator(schema).iter_errors(value))


EVERYTHING = {
    "merge_fields": {"FNAME": "Ada"},
    "interests": {"9143cf3bd1": True},
    "email_type": "text",
    "language": "cs",
    "vip": False,
}


# --- what is sent --------------------------------------------------------------------------------


def test_a_create_is_a_put_by_the_hash_of_the_address_that_says_nothing_of_who_is_there():
    mailchimp, transport = api((200, MEMBER))
    outcome = WRITE.create(mailchimp, operation("create", **ADA, **EVERYTHING))
    [(method, path, body)] = transport.sent
    check("memberPut", body)
    assert (method, path) == ("PUT", f"/lists/a6b5da1054/members/{hash_of('ada@example.com')}")
    assert body == EVERYTHING | {
        "email_address": "Ada@Example.com",
        "status_if_new": "transactional",
    }
    assert outcome.record == {name: MEMBER[name] for name in MEMBER if name != "_links"}
    assert outcome.as_of is not None


def test_an_address_with_server_in_it_is_sent_as_it_is():
    """The SDK would put its own server in the place of the word."""
    mailchimp, transport = api((200, MEMBER))
    given = ADA | {"email_address": "john@server.com"}
    WRITE.create(mailchimp, operation("create", **given))
    assert transport.sent[0][1].endswith(f"/members/{hash_of('john@server.com')}")
    assert transport.sent[0][2]["email_address"] == "john@server.com"


def test_the_hash_is_the_documented_one():
    assert hash_of("Urist.McVankab@freddiesjokes.com") == "62eeb292278cc15f5817cb78f7790b08"


@pytest.mark.parametrize("lax", [True, False])
def test_missing_merge_fields_are_passed_over_in_small_letters(lax: bool):
    """The SDK writes ``True``, which Mailchimp does not read."""
    answers = (200, MEMBER), (200, MEMBER), (200, {"new_members": []})
    mailchimp, transport = api(*answers)
    how = {"skip_merge_validation": lax}
    WRITE.create(mailchimp, operation("create", **ADA, **how))
    WRITE.update(mailchimp, operation("update", "a:b", vip=True, **how))
    WRITE.batch(mailchimp, [operation("create", **ADA, **how)])
    for _, path, body in transport.sent:
        assert path.partition("?")[2] == ("skip_merge_validation=true" if lax else "")
        assert "skip_merge_validation" not in json.dumps(body)


def test_an_update_is_a_patch_of_what_it_names():
    mailchimp, transport = api((200, MEMBER))
    given = EVERYTHING | {"status": "unsubscribed", "email_address": "king@example.com"}
    WRITE.update(mailchimp, operation("update", "a6b5da1054:c9", **given))
    [(method, path, body)] = transport.sent
    check("memberPatch", body)
    assert (method, path, body) == ("PATCH", "/lists/a6b5da1054/members/c9", given)


def test_tags_are_sent_by_the_hash_and_start_no_automation():
    mailchimp, transport = api((204, None))
    tags = [{"name": "customer", "status": "active"}]
    given = {"email_address": "Ada@example.com", "tags": tags}
    outcome = WRITE.update(mailchimp, operation("update", "a6b5da1054:c9", **given))
    [(method, path, body)] = transport.sent
    check("tagsUpdate", body)
    place = f"/lists/a6b5da1054/members/{hash_of('ada@example.com')}/tags"
    assert (method, path, body) == ("POST", place, {"tags": tags, "is_syncing": True})
    assert (outcome.record, outcome.error, outcome.is_gone) == (None, None, False)


def test_a_delete_archives():
    mailchimp, transport = api((204, None))
    outcome = WRITE.delete(mailchimp, operation("delete", "a6b5da1054:c9"))
    assert transport.sent == [("DELETE", "/lists/a6b5da1054/members/c9", None)]
    assert (outcome.record, outcome.is_gone) == (None, False)


def test_a_batch_only_adds_and_replaces_no_tags():
    mailchimp, transport = api((200, {"new_members": []}))
    one = operation("create", **ADA, **EVERYTHING)
    two = operation("create", **ADA | {"email_address": "b@example.com"}, status_if_new="pending")
    WRITE.batch(mailchimp, [one, two])
    [(method, path, body)] = transport.sent
    check("batchMembersRequest", body)
    assert (method, path) == ("POST", "/lists/a6b5da1054")
    assert (body["update_existing"], body.get("sync_tags", False)) == (False, False)
    assert [row["status"] for row in body["members"]] == ["transactional", "pending"]


def test_those_of_one_list_share_a_request():
    lax = operation("create", **ADA, skip_merge_validation=True)
    others = [operation("create", **ADA), operation("create", **ADA, vip=True)]
    elsewhere = operation("create", **ADA | {"list_id": "b"})
    assert len({WRITE.batch_by(each) for each in others}) == 1
    assert len({WRITE.batch_by(each) for each in (lax, *others, elsewhere)}) == 3
    assert (WRITE.batch_size, WRITE.batch_kinds) == (500, {"create"})


SENT = [one for one in EXAMPLES if one["schema"] in {"memberPut", "memberPatch", "tagsUpdate"}]


@pytest.mark.parametrize("example", SENT, ids=lambda one: one["schema"])
def test_every_documented_request_can_be_asked_for(example: Any):
    value, is_new = dict(example["value"]), example["schema"] == "memberPut"
    value |= {"list_id": "a6b5da1054"} if is_new else {}
    if value.pop("is_syncing", False):
        value["email_address"] = "ada@example.com"
    assert WRITE.schema.load(value, partial=not is_new) == value


def test_a_payload_with_what_nobody_knows_is_refused():
    with pytest.raises(ValidationError, match="Unknown field"):
        WRITE.schema.load(ADA | {"ip_signup": "192.0.2.1"})


# --- how answers are read ------------------------------------------------------------------------


def test_the_documented_answer_to_many_is_read_row_by_row():
    """In any order: rows are known by their addresses, whatever their letters."""
    [example] = [one["value"] for one in EXAMPLES if one["schema"] == "batchMembersResponse"]
    [member] = example["updated_members"]
    answer = example | {"new_members": [member], "updated_members": []}
    mailchimp, _ = api((200, answer))
    addresses = ["fake@example.test", "ADA.lovelace@example.com", "lost@example.com"]
    given = [operation("create", **ADA | {"email_address": each}) for each in addresses]
    fake, ada, lost = WRITE.batch(mailchimp, given)
    assert "looks fake or invalid" in fake.error.message
    assert ada.record == {name: member[name] for name in member if name != "_links"}
    assert isinstance(lost.error, OutcomeUnknownError)


def test_who_is_there_and_who_is_there_twice_is_left_undone():
    said = {"email_address": "ada@example.com", "error": "x", "error_code": "ERROR_CONTACT_EXISTS"}
    mailchimp, transport = api((200, {"new_members": [], "errors": [said]}))
    given = [operation("create", **ADA), operation("create", **ADA, vip=True)]
    assert [each.is_undone for each in WRITE.batch(mailchimp, given)] == [True, True]
    assert len(transport.sent[0][2]["members"]) == 1


def test_a_row_that_is_no_whole_record_tells_its_key_alone():
    row = {name: MEMBER[name] for name in MEMBER if name not in {"contact_id", "full_name"}}
    mailchimp, _ = api((200, {"new_members": [row]}))
    given = operation("create", **ADA | {"email_address": row["email_address"]})
    [outcome] = WRITE.batch(mailchimp, [given])
    assert (outcome.record, outcome.key) == (None, f"a6b5da1054:{row['id']}")


@pytest.mark.parametrize("answer", [None, [], {}, "x", {"new_members": None}])
def test_an_answer_that_is_none_leaves_open_what_was_done(answer: Any):
    mailchimp, _ = api((200, answer))
    with pytest.raises(ProviderUnavailableError):
        WRITE.batch(mailchimp, [operation("create", **ADA)])
    mailchimp, _ = api((200, answer))
    with pytest.raises(ProviderUnavailableError):
        WRITE.create(mailchimp, operation("create", **ADA))


PROBLEMS = {
    "compliance": (ConflictError, "consent-conflict"),
    "exists": (ConflictError, "contact-exists"),
    "forgotten": (RequestRejectedError, "contact-forgotten"),
    "fake": (RequestRejectedError, "request-rejected"),
    "field errors": (RequestRejectedError, "request-rejected"),
    "not found": (RecordNotFoundError, "record-not-found"),
}


@pytest.mark.parametrize("note", PROBLEMS)
def test_every_documented_refusal_says_what_follows_in_mailchimp_s_words(note: str):
    expected, code = PROBLEMS[note]
    [problem] = [one["value"] for one in EXAMPLES if one["note"] == note]
    for step in (WRITE.create, WRITE.update):
        mailchimp, _ = api((problem["status"], problem))
        with pytest.raises(RequestRejectedError) as caught:
            step(mailchimp, operation("update", "a:b", **ADA))
        assert (type(caught.value), caught.value.slug) == (expected, code)
        assert problem["title"] in caught.value.message
        assert problem["detail"] in caught.value.message
        for each in problem.get("errors", ()):
            assert f"{each['field']} ({each['message']})" in caught.value.message
    if code.startswith(("consent", "contact")):  # rows have the sentence and no title
        assert (type(rejection(problem["detail"])), rejection(problem["detail"]).slug) == (
            expected,
            code,
        )


@pytest.mark.parametrize("errors", [7, "x", [7], [None], {"a": 1}])
def test_errors_of_another_shape_hide_nothing(errors: Any):
    problem = {"title": "Invalid Resource", "status": 400, "detail": "No.", "errors": errors}
    mailchimp, _ = api((400, problem))
    with pytest.raises(RequestRejectedError, match=r"Invalid Resource: No\."):
        WRITE.create(mailchimp, operation("create", **ADA))


# --- looking again -------------------------------------------------------------------------------


def test_who_was_made_is_looked_for_by_the_hash_of_the_address():
    record = MEMBER | {"email_address": "ada@example.com"}
    name = MEMBER["merge_fields"]["FNAME"]
    mailchimp, transport = api((200, record), (200, record), (404, None))
    found = WRITE.find(
        mailchimp,
        operation("create", **ADA, status_if_new="pending", merge_fields={"FNAME": name}),
    )
    assert found.record == record
    other = operation("create", **ADA, merge_fields={"FNAME": "somebody else"})
    assert WRITE.find(mailchimp, other) is None
    assert WRITE.find(mailchimp, other) is None
    place = f"/lists/a6b5da1054/members/{hash_of('ada@example.com')}"
    assert {sent[1].partition("?")[0] for sent in transport.sent} == {place}


def test_a_contact_is_read_again_by_the_hash_of_its_address_as_deliveries_name_it():
    mailchimp, transport = api((200, MEMBER))
    name = f"{MEMBER['list_id']}:{MEMBER['id']}"
    record = CONTACTS.get(mailchimp, name)
    assert key_of(record) == f"{MEMBER['list_id']}:{MEMBER['contact_id']}" != name
    place = f"/lists/{MEMBER['list_id']}/members/{MEMBER['id']}"
    assert transport.sent[0][1].partition("?")[0] == place


SAME = {
    "number in a text": ({"merge_fields": {"N": "7"}}, {"merge_fields": {"N": 7}}, True),
    "whole float": ({"merge_fields": {"N": 7.0}}, {"merge_fields": {"N": 7}}, True),
    "null is empty": ({"merge_fields": {"N": None}}, {"merge_fields": {"N": ""}}, True),
    "all null": ({"merge_fields": {"N": ""}}, {"merge_fields": None}, True),
    "other": ({"merge_fields": {"N": "8"}}, {"merge_fields": {"N": 7}}, False),
    "part of an address": (
        {"merge_fields": {"A": {"city": "Rome"}}},
        {"merge_fields": {"A": {"city": "Rome", "zip": "1"}}},
        True,
    ),
    "an address that is none": (
        {"merge_fields": {"A": {"city": "Rome"}}},
        {"merge_fields": {"A": ""}},
        False,
    ),
    "a flag": ({"vip": True}, {"vip": False}, False),
    "letters of an address": ({"email_address": "A@x.com"}, {"email_address": "a@x.com"}, False),
    "only for new ones": ({"status_if_new": "pending"}, {"status": "subscribed"}, True),
    "consent": ({"status": "pending"}, {"status": "subscribed"}, False),
}


@pytest.mark.parametrize("case", SAME)
def test_a_contact_is_as_wanted_in_mailchimp_s_way_of_writing(case: str):
    payload, record, expected = SAME[case]
    assert WRITE.matches(payload, record) is expected


def tags(*names: str, count: int | None = None) -> dict[str, Any]:
    found = [{"id": number, "name": name} for number, name in enumerate(names)]
    return {"tags": found, "tags_count": len(names) if count is None else count}


@pytest.mark.parametrize(
    ("on", "off", "record", "expected"),
    [
        ("a", "b", tags("a"), True),
        ("a", "b", tags("a", "b"), False),
        ("a", "b", tags("a", "B"), False),
        ("a", "b", tags("A"), False),
        ("a", "b", tags("a", count=51), False),
        ("a", "", tags("a", count=51), True),
        ("", "b", tags(), True),
        ("", "b", {}, False),
    ],
)
def test_tags_are_as_wanted_only_if_all_are_shown(on: str, off: str, record: Any, expected: bool):
    wanted = [{"name": name, "status": "active"} for name in on]
    wanted += [{"name": name, "status": "inactive"} for name in off]
    assert WRITE.matches({"tags": wanted}, record) is expected


def test_when_a_contact_changed_and_whether_it_is_archived_is_told_by_the_record():
    assert WRITE.changed_at(MEMBER).isoformat() == MEMBER["last_changed"]
    assert WRITE.changed_at({"last_changed": ""}) is None
    assert [WRITE.is_deleted({"status": status}) for status in ("archived", "cleaned")] == [
        True,
        False,
    ]
