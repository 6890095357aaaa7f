"""How members are changed: Mailchimp's rules of consent, addresses and rows, and its words."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

DATA = Path(__file__).parents[1] / "data"
KEY = "0123456789abcdef0123456789abcdef-us6"
STATUSES = ("subscribed", "unsubscribed", "cleaned", "pending", "transactional", "archived")


def definitions() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("accounts", "audiences", "writes"):
        found |= json.loads((DATA / f"mailchimp-{name}.schema.json").read_text("utf-8"))["$defs"]
    return found


SCHEMA = definitions()


def check(name: str, value: Any) -> None:
    schema = {"$ref": f"#/$defs/{name}", "$defs": SCHEMA}
    wrong = [each.message for each in Draft202012Validator(schema).iter_errors(value)]
    assert not wrong, wrong[:3]


def hash_of(address: str) -> str:
    return hashlib.md5(address.lower().encode(), usedforsecurity=False).hexdigest()


class List:
    """One list of a sandbox, written to."""

    def __init__(self, caller: Any) -> None:
        self.caller = caller
        self.id = caller.facts("truth", entity="lists")[0]["id"]

    def ask(self, method: str, path: str = "", body: Any = None, query: str = "") -> Any:
        pair = self.caller.ask(
            method,
            f"/3.0/lists/{self.id}{path}",
            body=b"" if body is None else orjson.dumps(body),
            query=query,
            headers={"authorization": f"Bearer {self.caller.token_of_first}"},
        )
        if pair.status >= 400:
            check("problem", pair.json)
            assert pair.headers["content-type"].startswith("application/problem+json")
        return pair

    def put(self, address: str, status_if_new: str = "transactional", **fields: Any) -> Any:
        body = {"email_address": address, "status_if_new": status_if_new} | fields
        check("memberPut", body)
        return self.ask("PUT", f"/members/{hash_of(address)}", body)

    def patch(self, name: str, **fields: Any) -> Any:
        check("memberPatch", fields)
        return self.ask("PATCH", f"/members/{name}", fields)

    def many(self, *members: Any, query: str = "", **fields: Any) -> Any:
        body = {"members": list(members)} | fields
        check("batchMembersRequest", body)
        return self.ask("POST", "", body, query)

    def plant(self, address: str, **fields: Any) -> Any:
        given = {"email_address": address, "status": "subscribed"} | fields
        return self.caller.order("contacts", {"audience": self.id, "add": given})

    def leave(self, address: str, how: str = "unsubscribe") -> Any:
        return self.caller.order("contacts", {"audience": self.id, "find": address, "leave": how})

    def there(self, address: str) -> Any:
        reply = self.ask("GET", f"/members/{hash_of(address)}")
        return reply.json if reply.status == 200 else None

    def refused(self, reply: Any) -> tuple[int, str, str]:
        return reply.status, reply.json["title"], reply.json["detail"]


@pytest.fixture
def audience(sandbox: Any) -> List:
    caller = sandbox(contacts=6, audiences=1)
    caller.token_of_first = caller.token()
    return List(caller)


# --- as documented -------------------------------------------------------------------------------

EXAMPLES = json.loads((DATA / "mailchimp-writes.examples.json").read_text("utf-8"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: f"{one['schema']}, {one['note']}")
def test_every_documented_example_is_valid(example: Any) -> None:
    check(example["schema"], example["value"])


def test_refusals_are_said_as_they_are_documented(audience: List) -> None:
    audience.plant("gone@example.com")
    audience.leave("gone@example.com")
    audience.plant("ada.lovelace@example.com")
    audience.plant("there@example.com")
    said = {
        "compliance": audience.put("gone@example.com", status="subscribed"),
        "fake": audience.put("fake@example.test"),
        "exists": audience.patch(
            hash_of("there@example.com"), email_address="ada.lovelace@example.com"
        ),
        "not found": audience.patch("nobody"),
    }
    audience.ask("POST", f"/members/{hash_of('gone@example.com')}/actions/delete-permanent")
    said["forgotten"] = audience.put("gone@example.com")
    audience.caller.order("lists", {"audience": audience.id, "require": ["FNAME"]})
    said["field errors"] = audience.put("new@example.com")
    documented = {one["note"]: one["value"] for one in EXAMPLES if one["schema"] == "problem"}
    for note, reply in said.items():
        same = {"instance": documented[note]["instance"]}
        assert reply.json | same == documented[note]


# --- one member ----------------------------------------------------------------------------------


def test_put_makes_a_member_that_is_whole(audience: List) -> None:
    body = {"merge_fields": {"FNAME": "Ada", "POINTS": "7"}, "language": "cs", "vip": True}
    made = audience.put("Ada@Example.com", **body)
    check("member", made.json)
    assert made.status == 200
    assert (made.json["id"], made.json["status"]) == (hash_of("ada@example.com"), "transactional")
    assert made.json == audience.there("ada@example.com")
    merged = made.json["merge_fields"]
    assert (merged["FNAME"], merged["POINTS"], merged["ADDRESS"]) == ("Ada", 7, "")
    seeded = audience.ask("GET", "/members", query="count=1").json["members"][0]
    assert made.json.keys() | {"unsubscribe_reason"} == seeded.keys() | {"unsubscribe_reason"}


@pytest.mark.parametrize("status", STATUSES)
def test_status_if_new_says_nothing_of_who_is_there(audience: List, status: str) -> None:
    audience.plant("ada@example.com", status=status)
    changed = audience.put("ADA@example.com", "subscribed", language="de").json
    assert (changed["status"], changed["language"]) == (status, "de")
    assert changed["email_address"] == "ada@example.com"


def test_what_is_left_out_stays_and_nothing_new_is_no_change(audience: List) -> None:
    merged = {"FNAME": "Ada", "LNAME": "King"}
    member = audience.put("ada@example.com", merge_fields=merged, vip=True).json
    audience.caller.order("clock", {"advance_s": 100})
    assert audience.put("ada@example.com", merge_fields={"FNAME": "Ada"}).json == member
    changed = audience.patch(member["contact_id"], merge_fields={"FNAME": "A"}).json
    assert (changed["merge_fields"]["LNAME"], changed["vip"]) == ("King", True)
    assert changed["full_name"] == "A King"
    assert changed["last_changed"] > member["last_changed"]


def test_an_archived_member_comes_back_by_status_alone(audience: List) -> None:
    member = audience.plant("ada@example.com", status="archived")
    assert audience.put("ada@example.com", "subscribed").json["status"] == "archived"
    assert audience.patch(member["id"], status="unsubscribed").json["status"] == "unsubscribed"


def test_an_address_changes_and_the_contact_id_stays(audience: List) -> None:
    member = audience.plant("ada@example.com")
    changed = audience.patch(member["id"], email_address="king@example.com").json
    assert changed["contact_id"] == member["contact_id"]
    assert changed["id"] == hash_of("king@example.com")
    assert audience.there("ada@example.com") is None
    again = audience.put("ada@example.com").json  # somebody else, by now
    assert again["contact_id"] != member["contact_id"]
    said = "king@example.com is already a list member. Use PUT to insert or update list members."
    taken = audience.patch(again["id"], email_address="king@example.com")
    assert audience.refused(taken) == (400, "Member Exists", said)


def test_post_makes_and_never_changes(audience: List) -> None:
    body = {"email_address": "ada@example.com", "status": "pending", "tags": ["customer"]}
    check("memberCreate", body)
    made = audience.ask("POST", "/members", body).json
    check("member", made)
    assert (made["status"], [tag["name"] for tag in made["tags"]]) == ("pending", ["customer"])
    assert audience.ask("POST", "/members", body).json["title"] == "Member Exists"


@pytest.mark.parametrize("how", ["unsubscribe", "bounce"])
@pytest.mark.parametrize("way", ["PUT", "PATCH", "POST"])
def test_who_left_cannot_be_subscribed_but_asked(audience: List, way: str, how: str) -> None:
    member = audience.plant("ada@example.com")
    audience.leave("ada@example.com", how)
    said = (
        "ada@example.com is in a compliance state due to unsubscribe, bounce, or compliance "
        "review and cannot be subscribed."
    )
    ways = {
        "PUT": lambda status: audience.put("ada@example.com", status=status),
        "PATCH": lambda status: audience.patch(member["id"], status=status),
        "POST": lambda status: audience.many(
            {"email_address": "ada@example.com", "status": status, "language": "de"},
            update_existing=True,
        ),
    }
    before = audience.there("ada@example.com")
    refused = ways[way]("subscribed")
    if way != "POST":
        assert audience.refused(refused) == (400, "Member In Compliance State", said)
    elif how == "bounce":
        assert refused.json["errors"][0]["error"] == said
    assert audience.there("ada@example.com") == before
    ways[way]("pending")
    assert audience.there("ada@example.com")["status"] == "pending"


def test_who_was_deleted_for_good_is_forgotten(audience: List) -> None:
    member = audience.plant("ada@example.com")
    gone = audience.ask("POST", f"/members/{member['id']}/actions/delete-permanent")
    assert (gone.status, gone.body) == (204, b"")
    said = (
        "ada@example.com was permanently deleted and cannot be re-imported. The contact must "
        "re-subscribe to get back on the list."
    )
    refused = (400, "Forgotten Email Not Subscribed", said)
    assert audience.refused(audience.put("ada@example.com")) == refused
    row = audience.many({"email_address": "Ada@example.com", "status": "pending"}).json["errors"]
    assert "was permanently deleted" in row[0]["error"]
    other = audience.plant("king@example.com")
    moved = audience.patch(other["id"], email_address="ada@example.com")
    assert audience.refused(moved) == refused


@pytest.mark.parametrize("status", STATUSES)
def test_delete_archives_those_that_can_be(audience: List, status: str) -> None:
    """The others: amro/gibbon #320."""
    member = audience.plant("ada@example.com", status=status)
    reply = audience.ask("DELETE", f"/members/{member['contact_id']}")
    if status in {"cleaned", "pending", "archived"}:
        assert audience.refused(reply)[:2] == (405, "Method Not Allowed")
        assert "cannot be removed" in reply.json["detail"]
        assert audience.there("ada@example.com")["status"] == status
    else:
        assert (reply.status, reply.body) == (204, b"")
        assert "content-type" not in reply.headers
        assert audience.there("ada@example.com")["status"] == "archived"


WRONG = {
    "no address": ({"email_address": ""}, "email_address"),
    "no status": ({"status_if_new": ""}, "status_if_new"),
    "no such status": ({"status": "archived"}, "status"),
    "no object": ({"merge_fields": []}, "merge_fields"),
    "no birthday": ({"merge_fields": {"BIRTHDAY": "31/12"}}, "BIRTHDAY"),
    "no number": ({"merge_fields": {"POINTS": "many"}}, "POINTS"),
    "half an address": ({"merge_fields": {"ADDRESS": {"addr1": "1 Way"}}}, "ADDRESS"),
    "no text": ({"merge_fields": {"FNAME": {"a": 1}}}, "FNAME"),
    "no flag": ({"vip": "yes"}, "vip"),
    "no kind of mail": ({"email_type": "morse"}, "email_type"),
    "no interests": ({"interests": {"a": "yes"}}, "interests"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_field_that_is_wrong_is_named(audience: List, case: str) -> None:
    wrong, field = WRONG[case]
    body = {"email_address": "ada@example.com", "status_if_new": "pending"} | wrong
    reply = audience.ask("PUT", f"/members/{hash_of('ada@example.com')}", body)
    assert (reply.status, reply.json["title"]) == (400, "Invalid Resource")
    assert [each["field"] for each in reply.json["errors"]] == [field]
    assert audience.there("ada@example.com") is None


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("ada", "valid email address"),
        ("ada@nowhere", "valid email address"),
        ("ada@example.test", "ada@example.test looks fake or invalid"),
        ("everywhere@example.com", "signed up to a lot of lists very recently"),
    ],
)
def test_an_address_that_is_not_taken_is_refused_in_words(
    audience: List, address: str, words: str
) -> None:
    assert words in audience.put(address).json["detail"]
    [row] = audience.many({"email_address": address, "status": "pending"}).json["errors"]
    assert words in row["error"]


@pytest.mark.parametrize("query", ["", "skip_merge_validation=True", "skip_merge_validation=true"])
def test_required_merge_fields_are_required_unless_true_is_said_in_small_letters(
    audience: List, query: str
) -> None:
    audience.caller.order("lists", {"audience": audience.id, "require": ["FNAME"]})
    [required] = [
        each["tag"]
        for each in audience.ask("GET", "/merge-fields").json["merge_fields"]
        if each["required"]
    ]
    assert required == "FNAME"
    body = {"email_address": "ada@example.com", "status_if_new": "pending"}
    reply = audience.ask("PUT", f"/members/{hash_of('ada@example.com')}", body, query)
    if query.endswith("true"):
        assert reply.status == 200
        return
    assert reply.json["errors"] == [
        {"field": "FNAME", "message": "This value should not be blank."}
    ]
    row = audience.many({"email_address": "ada@example.com", "status": "pending"}).json["errors"][0]
    assert (row["field"], row["field_message"]) == ("FNAME", "This value should not be blank.")


def test_merge_fields_are_described(audience: List) -> None:
    page = audience.ask("GET", "/merge-fields", query="count=1000").json
    for one in page["merge_fields"]:
        check("mergeField", {name: value for name, value in one.items() if name != "_links"})
    assert page["total_items"] == len(page["merge_fields"]) == 6


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/members/nobody", {}),
        ("DELETE", "/members/nobody", None),
        ("GET", "/members/nobody/tags", None),
        ("POST", "/members/nobody/tags", {"tags": []}),
        ("POST", "/members/nobody/actions/delete-permanent", None),
    ],
)
def test_who_is_not_there_is_not_found(audience: List, method: str, path: str, body: Any) -> None:
    assert audience.ask(method, path, body).status == 404


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7"])
def test_a_body_that_is_none_is_refused(audience: List, body: bytes) -> None:
    headers = {"authorization": f"Bearer {audience.caller.token_of_first}"}
    place = f"/3.0/lists/{audience.id}"
    for method, path in (("PUT", "/members/x"), ("POST", "/members"), ("POST", "")):
        reply = audience.caller.ask(method, place + path, body=body, headers=headers)
        assert (reply.status, reply.json["title"]) == (400, "JSON Parse Error")


# --- tags ----------------------------------------------------------------------------------------


def test_tags_go_by_the_address_and_move_no_time(audience: List) -> None:
    member = audience.plant("ada@example.com", tags=[{"id": 1, "name": "Lead"}], tags_count=1)
    wanted = [{"name": "lead", "status": "inactive"}, {"name": "customer", "status": "active"}]
    body = {"tags": wanted, "is_syncing": True}
    check("tagsUpdate", body)
    reply = audience.ask("POST", f"/members/{member['id']}/tags", body)
    assert (reply.status, reply.body) == (204, b"")
    there = audience.there("ada@example.com")
    assert [tag["name"] for tag in there["tags"]] == ["customer"]
    assert (there["tags_count"], there["last_changed"]) == (1, member["last_changed"])
    listed = audience.ask("GET", f"/members/{member['id']}/tags").json
    check("memberTags", listed)
    assert [tag["name"] for tag in listed["tags"]] == ["customer"]
    assert audience.ask("POST", f"/members/{member['contact_id']}/tags", body).status == 404
    for wrong in ({}, {"tags": ["a"]}, {"tags": [{"name": "a", "status": "on"}]}):
        assert audience.ask("POST", f"/members/{member['id']}/tags", wrong).status == 400


def test_put_passes_tags_over(audience: List) -> None:
    body = {"email_address": "ada@example.com", "status_if_new": "pending", "tags": ["customer"]}
    made = audience.ask("PUT", f"/members/{hash_of('ada@example.com')}", body).json
    assert made["tags"] == []


# --- many ----------------------------------------------------------------------------------------


def test_many_are_answered_one_by_one_in_two_hundred(audience: List) -> None:
    audience.plant("there@example.com", status="transactional")
    addresses = ["a@example.com", "there@example.com", "x@example.test", "b@example.com"]
    rows = [{"email_address": address, "status": "subscribed"} for address in addresses]
    reply = audience.many(*rows)
    check("batchMembersResponse", reply.json)
    assert reply.status == 200
    made = [each["email_address"] for each in reply.json["new_members"]]
    assert made == ["a@example.com", "b@example.com"]
    assert [(each["email_address"], each["error_code"]) for each in reply.json["errors"]] == [
        ("there@example.com", "ERROR_CONTACT_EXISTS"),
        ("x@example.test", "ERROR_GENERIC"),
    ]
    counts = [reply.json[name] for name in ("total_created", "total_updated", "error_count")]
    assert counts == [2, 0, 2]
    assert audience.there("there@example.com")["status"] == "transactional"


def test_update_existing_moves_consent_and_that_is_the_trap(audience: List) -> None:
    audience.plant("ada@example.com", status="transactional")
    row = {"email_address": "ada@example.com", "status": "subscribed"}
    [changed] = audience.many(row, update_existing=True).json["updated_members"]
    assert changed["status"] == "subscribed"


def test_to_subscribe_who_unsubscribed_is_passed_over_without_a_word(audience: List) -> None:
    """strangerstudios/pmpro-mailchimp #152."""
    audience.plant("ada@example.com", status="unsubscribed")
    row = {"email_address": "ada@example.com", "status": "subscribed"}
    said = audience.many(row, update_existing=True).json
    assert (said["new_members"], said["updated_members"], said["errors"]) == ([], [], [])
    assert audience.there("ada@example.com")["status"] == "unsubscribed"


@pytest.mark.parametrize("query", ["", "skip_duplicate_check=true"])
def test_an_address_that_is_there_twice_is_an_error_or_passed_over(
    audience: List, query: str
) -> None:
    rows = [
        {"email_address": "ada@example.com", "status": "pending"},
        {"email_address": "ADA@example.com", "status": "subscribed"},
    ]
    said = audience.many(*rows, query=query).json
    assert [each["status"] for each in said["new_members"]] == ["pending"]
    assert len(said["errors"]) == (0 if query else 1)


@pytest.mark.parametrize(("sync", "left"), [(False, ["old", "new"]), (True, ["new"])])
def test_sync_tags_takes_all_others_off(audience: List, sync: bool, left: list[str]) -> None:
    audience.plant("ada@example.com", tags=[{"id": 1, "name": "old"}], tags_count=1)
    row = {"email_address": "ada@example.com", "tags": ["new"]}
    [changed] = audience.many(row, update_existing=True, sync_tags=sync).json["updated_members"]
    assert [tag["name"] for tag in changed["tags"]] == left


@pytest.mark.parametrize("number", [0, 501])
def test_as_many_as_five_hundred_and_no_more(audience: List, number: int) -> None:
    rows = [{"email_address": f"n{n}@example.com", "status": "pending"} for n in range(number)]
    reply = audience.ask("POST", "", {"members": rows})
    assert (reply.status, reply.json["errors"][0]["field"]) == (400, "members")
    if rows:
        assert len(audience.many(*rows[:500]).json["new_members"]) == 500


def test_a_new_row_without_a_status_is_an_error(audience: List) -> None:
    [row] = audience.many({"email_address": "ada@example.com"}).json["errors"]
    assert row["field"] == "status"


def test_rows_may_be_short_of_what_the_swagger_lacks(sandbox: Any) -> None:
    caller = sandbox(contacts=2, audiences=1, short_rows=True)
    caller.token_of_first = caller.token()
    rows = [{"email_address": "ada@example.com", "status": "pending"}]
    [made] = List(caller).many(*rows).json["new_members"]
    check("member", made)
    assert "contact_id" not in made
