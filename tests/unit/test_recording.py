"""Answers are masked: nobody's words are left, their form is, and the same stays the same."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marshmallow import fields, validate

from tieline.contract import PageParams, RecordSchema, RequestRejectedError, by_cursor
from tieline.errors import InvalidInputError, RefusedError
from tieline.recording import Mask, read_recording
from tieline.recording.kinds import Judge
from tieline.recording.mask import HIDDEN
from tieline.recording.play import body_sent


class Person(RecordSchema):
    """What is promised of one."""

    id = fields.String(required=True)
    plan = fields.String(validate=validate.OneOf(["small", "large"]))


def masked(*answers, secrets=(), **judged):
    mask = Mask(
        Judge(schema=Person(), key="id", **judged),
        secrets=secrets,
        base_url="http://127.0.0.1:9",
        public_url="https://api.acme.example",
        chance=random.Random(1),
    )
    for each in answers:
        mask.learn(each)
    mask.settle()
    return mask, [mask.value(each) for each in answers]


PERSON = {
    "id": "cus_8dkQ2mfP",
    "email": "ada@lovelace.example",
    "name": "Ada Lovelace",
    "phone": "+44 20 7946 0958",
    "address": {"line1": "12 St James's Square", "city": "London", "country": "GB", "no": 12345},
    "ip": "203.0.113.77",
    "birthday": "1815-12-10",
    "note": "likes engines",
    "nickname": "ada",
    "api_key": "sk_live_9999",
    "image": "https://cdn.elsewhere.example/u/ada-lovelace.png",
}
PLAIN = {
    "status": "active",
    "plan": "small",
    "currency": "GBP",
    "created": 1_700_000_000,
    "updated_at": "2026-01-02T03:04:05Z",
    "price": "19.99",
    "is_archived": False,
    "balance": -5,
    "rate": 0.25,
    "nothing": None,
    "count": 3,
}


def test_what_is_somebody_s_is_replaced_and_what_tells_a_kind_stays():
    _, [found] = masked({**PERSON, **PLAIN})
    assert {name: found[name] for name in PLAIN} == PLAIN
    text = json.dumps(found)
    for word in ("Ada", "ada", "lovelace", "Lovelace", "London", "James", "7946", "12345",
                 "engines", "1815", "203.0", "8dkQ2mfP", "sk_live", "elsewhere"):  # fmt: skip
        assert word not in text, word


def test_the_form_stays():
    _, [found] = masked(PERSON)
    assert found["id"].startswith("cus_")
    assert len(found["id"]) == len(PERSON["id"])
    assert found["email"].endswith("@example.com")
    assert len(found["name"].split()) == 2
    assert found["phone"][0] == "+"
    assert isinstance(found["address"]["no"], int)
    assert found["image"].startswith("https://example.com/")
    assert found["api_key"] == HIDDEN


def test_ids_are_the_same_everywhere_and_keep_their_order():
    people = [{"id": f"cus_{number:06d}", "parent_id": f"cus_{number - 1:06d}"}
              for number in range(100_001, 100_060)]  # fmt: skip
    mask, [found] = masked({"people": people, "next": "cus_100059"})
    ids = [each["id"] for each in found["people"]]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert [each["parent_id"] for each in found["people"]][1:] == ids[:-1]
    assert found["next"] == ids[-1]
    assert mask.asked("/people/cus_100001") == f"/people/{ids[0]}"
    assert mask.asked("Id > 'cus_100001'") == f"Id > '{ids[0]}'"
    assert set(ids).isdisjoint(each["id"] for each in people)


def test_an_id_of_any_signs_is_masked_wherever_a_request_names_it():
    keys = ["SKU 0109?ä", "SKU 0109?ä/2", "2026-01-02T03:04:05Z", "ada@lovelace.example"]
    mask, [found] = masked([{"id": key} for key in keys])
    sku, longer, time, mail = (each["id"] for each in found)
    assert set(keys).isdisjoint({sku, longer, time, mail})
    assert mask.asked_path("/v1/products/SKU 0109?ä/prices") == f"/v1/products/{sku}/prices"
    assert mask.asked_path("/v1/products/SKU 0109?ä/2") == f"/v1/products/{longer}"
    assert mask.asked_path("/people/ada@lovelace.example/orders") == f"/people/{mail}/orders"
    assert mask.asked("Id in ('SKU 0109?ä', 'SKU 0109?ä/2')") == f"Id in ('{sku}', '{longer}')"
    assert mask.asked("since 2026-01-02T03:04:05Z") == "since 2026-01-02T03:04:05Z"


def test_a_number_that_is_an_id_stays_one_of_as_many_digits():
    _, [found] = masked([{"id": 123_456_789, "owner_id": 123_456_789}, {"id": 223_456_789}])
    assert found[0]["id"] == found[0]["owner_id"] < found[1]["id"]
    assert len(str(found[0]["id"])) == 9
    assert found[0]["id"] != 123_456_789


def test_an_address_of_the_provider_leads_to_the_provider_and_names_no_account():
    _, [found] = masked({"id": "cus_8dkQ2mfP",
                         "next_url": "http://127.0.0.1:9/v1/people/cus_8dkQ2mfP?after=eyJpZCI6MTIzfQ"
                                     "&limit=100"})  # fmt: skip
    assert found["next_url"].startswith(f"https://api.acme.example/v1/people/{found['id']}?after=")
    assert found["next_url"].endswith("&limit=100")
    assert "eyJpZCI6MTIzfQ" not in found["next_url"]


def test_a_path_of_the_provider_is_no_id_and_a_container_of_records_is_nobody_s_address():
    _, [found] = masked({"url": "/v1/customers", "locations": [{"status": "ACTIVE",
                         "created_at": "2026-01-02", "address": {"country": "GB", "type": "home"},
                         "timezone": "Europe/Paris", "language_code": "en-US"}]})  # fmt: skip
    assert found["url"] == "/v1/customers"
    [place] = found["locations"]
    assert (place["status"], place["created_at"]) == ("ACTIVE", "2026-01-02")
    assert (place["timezone"], place["language_code"]) == ("Europe/Paris", "en-US")
    assert place["address"]["country"] == "GB"


def test_a_name_of_a_field_that_somebody_wrote_is_replaced_too():
    _, [found] = masked({"metadata": {"Ada's favourite": "tea"}, "cus_8dkQ2mfP": 1, "@type": "x",
                         "id": "cus_8dkQ2mfP"})  # fmt: skip
    assert "Ada's favourite" not in found["metadata"]
    assert found[found["id"]] == 1
    assert "@type" in found


def test_what_the_author_keeps_stays():
    _, [found] = masked({"name": "Gold plan", "title": "Dr."}, keep=("name",))
    assert found["name"] == "Gold plan"
    assert found["title"] != "Dr."


def test_a_request_is_the_plugin_s_own_but_for_ids_and_addresses():
    mask, _ = masked(PERSON)
    query = "query ($after: String) { people(first: 100, after: $after) { nodes { id } } }"
    assert mask.asked(query) == query
    assert mask.asked("2026-01-02T03:04:05+00:00") == "2026-01-02T03:04:05+00:00"
    assert mask.asked("ada@lovelace.example") == mask.value(PERSON)["email"]
    assert mask.asked_value({"password": "x", "id": PERSON["id"]}) == {
        "password": HIDDEN,
        "id": mask.value(PERSON)["id"],
    }


@pytest.mark.parametrize("form", ["plain", "in a text", "base64", "in a field's name"])
def test_a_credential_is_nowhere_or_nothing_is_stored(form):
    secret = "acme_live_0123456789abcdef"
    said = {
        "plain": {"status": secret},
        "in a text": {"echo": f"you sent {secret}!"},
        "base64": {"status": "YWNtZV9saXZlXzAxMjM0NTY3ODlhYmNkZWY="},
        "in a field's name": {secret: 1},
    }[form]
    mask, [found] = masked(said, secrets=[secret])
    if form == "in a field's name":
        with pytest.raises(RefusedError):
            mask.require_clean(found)
    else:
        mask.require_clean(found)


names = st.sampled_from(["name", "email", "note", "address", "title", "contact", "tags", "value"])
canaries = st.sampled_from(["Zanzibar Quux", "quux.zanzibar@mail.example", "ZANZIBAR-QUUX-99"])
objects = st.recursive(
    canaries | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(names, objects, max_size=5))
def test_whatever_the_answer_no_text_of_a_person_is_left_and_its_shape_is(answer):
    _, [found] = masked(answer)
    text = json.dumps(found).lower()
    assert "zanzibar" not in text
    assert "quux" not in text

    def shape(value):
        if isinstance(value, dict):
            return {key: shape(inner) for key, inner in value.items()}
        return [shape(inner) for inner in value] if isinstance(value, list) else type(value)

    assert shape(found) == shape(answer)


def stored(tmp_path, **changed):
    page = {"people": [{"id": "a"}], "next": "b"}
    last = {"people": [{"id": "c"}], "next": None}

    def exchange(query, body):
        return {
            "step": "page",
            "request": {"method": "GET", "path": "/people", "query": query},
            "reply": {"status": 200, "headers": {}, "body": body},
        }

    said = {
        "version": 1,
        "entity": "people",
        "source": "live",
        "account": {"id": ""},
        "exchanges": [exchange([], page), exchange([["cursor", "b"]], last)],
        **changed,
    }
    path = tmp_path / "people.json"
    path.write_text(json.dumps(said))
    return path


def ask(recording, path, query):
    words = "&".join(f"{name}={text}" for name, text in query.items())
    return recording.send("GET", f"https://api.acme.example{path}?{words}", headers={"key": "k"})


def test_a_recording_answers_the_plugin_s_own_steps(tmp_path):
    recording = read_recording(stored(tmp_path))
    step = by_cursor(ask, "/people", items="people", cursor_field="next")
    first = step(recording, PageParams(), None)
    assert [each["id"] for each in first.records] == ["a"]
    assert [each["id"] for each in step(recording, PageParams(), first.next).records] == ["c"]
    assert recording.asked == [0, 1]


def test_what_was_not_recorded_is_no_answer(tmp_path):
    recording = read_recording(stored(tmp_path))
    with pytest.raises(
        RequestRejectedError, match=r"no answer to GET /people with \{'limit': '5'\}"
    ):
        ask(recording, "/people", {"limit": 5})


@pytest.mark.parametrize(
    "changed",
    [{"version": 2}, {"exchanges": [{}]}, {"exchanges": 7}, {"entity": None, "version": 0}],
)
def test_what_is_no_recording_is_told(tmp_path, changed):
    with pytest.raises(InvalidInputError, match="no recording of version 1"):
        read_recording(stored(tmp_path, **changed))


@pytest.mark.parametrize(
    ("content", "stored_as"),
    [
        (b'{"a": [1]}', {"a": [1]}),
        (b"name=x&types[0]=a+b", {"name": "x", "types[0]": "a b"}),
        (b"SELECT * FROM c WHERE Id > '7'", "SELECT * FROM c WHERE Id > '7'"),
        (b"\xff", "\ufffd"),
    ],
)
def test_a_body_that_was_sent_is_stored_as_what_it_is(content, stored_as):
    assert body_sent(content) == stored_as
