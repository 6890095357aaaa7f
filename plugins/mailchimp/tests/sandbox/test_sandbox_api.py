"""The API: who may call, how often at once, and what is answered."""

from __future__ import annotations

import base64
from typing import Any

import pytest

KEY = "0123456789abcdef0123456789abcdef-us6"

REFUSED = {
    "nothing": ({}, "API Key Missing"),
    "basic without a password": ({"authorization": "Basic YW55Og=="}, "API Key Missing"),
    "broken basic": ({"authorization": "Basic *"}, "API Key Missing"),
    "unknown key": ({"authorization": "Basic YW55OjAwLXVzNg=="}, "API Key Invalid"),
    "unknown token": ({"authorization": "Bearer 00"}, "API Key Invalid"),
    "a key as a token": ({"authorization": f"Bearer {KEY}"}, "API Key Invalid"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("path", ["/3.0/", "/3.0/ping", "/3.0/nothing"])
def test_who_has_no_good_key_is_refused(sandbox: Any, case: str, path: str) -> None:
    headers, title = REFUSED[case]
    reply = sandbox().ask("GET", path, headers=headers)
    assert (reply.status, reply.json["title"]) == (401, title)
    assert reply.headers["content-type"] == "application/problem+json; charset=utf-8"


def test_the_key_of_another_data_centre_is_refused(sandbox: Any) -> None:
    assert sandbox().get("/3.0/", key=KEY.replace("us6", "us7")).status == 401


def test_an_error_s_instance_is_the_request_s_id(sandbox: Any) -> None:
    reply = sandbox().get("/3.0/nothing")
    assert reply.json["instance"] == reply.headers["x-request-id"]
    assert (reply.status, reply.json["title"]) == (404, "Resource Not Found")


@pytest.mark.parametrize("path", ["/3.0", "/3.0/", "/3.0/ping", "/3.0/ping/"])
def test_methods_that_a_path_lacks_are_refused(sandbox: Any, path: str) -> None:
    pair = base64.b64encode(f"x:{KEY}".encode()).decode()
    reply = sandbox().ask("POST", path, headers={"authorization": f"Basic {pair}"})
    assert (reply.status, reply.headers["allow"]) == (405, "GET")
    assert sandbox().get(path).status == 200


@pytest.mark.parametrize("scheme", ["Bearer", "OAuth", "bearer"])
def test_a_token_goes_by_either_scheme(sandbox: Any, scheme: str) -> None:
    caller = sandbox()
    assert caller.get_as(scheme, caller.token(), "/3.0/ping").json == {
        "health_status": "Everything's Chimpy!"
    }


def test_each_key_opens_its_own_account(sandbox: Any) -> None:
    caller = sandbox(accounts=8)
    shown = caller.facts()["accounts"]
    assert shown[0]["api_key"] == KEY
    opened = [caller.get("/3.0/", key=account["api_key"]).json for account in shown]
    assert [account["account_id"] for account in opened] == [account["id"] for account in shown]
    assert len({account["account_id"] for account in opened}) == 8
    assert opened[1]["account_name"] == 'Smith & <b>Sons</b> "Bakery"'
    assert "🌸" in opened[2]["account_name"]


def test_the_account_s_id_is_not_the_user_s(sandbox: Any) -> None:
    caller = sandbox()
    root = caller.get("/3.0/").json
    metadata = caller.get_as("OAuth", caller.token(), "/oauth2/metadata").json
    assert root["account_id"] != str(metadata["user_id"])
    assert root["login_id"] == str(metadata["login"]["login_id"])


FIELDS = {
    "some": ({"fields": "account_id,contact.city"}, {"account_id", "contact"}),
    "inside a list": ({"fields": "_links.rel"}, {"_links"}),
    "unknown": ({"fields": "nothing"}, set()),
    "both": ({"fields": "account_id,role", "exclude_fields": "role"}, {"account_id"}),
}


@pytest.mark.parametrize("case", FIELDS)
def test_fields_are_chosen(sandbox: Any, case: str) -> None:
    query, names = FIELDS[case]
    assert set(sandbox().get("/3.0/", **query).json) == names


def test_parts_of_fields_are_chosen(sandbox: Any) -> None:
    caller = sandbox()
    assert caller.get("/3.0/", fields="contact.city").json == {"contact": {"city": "Dublin"}}
    links = caller.get("/3.0/", fields="_links.rel").json["_links"]
    assert links == [{"rel": "self"}, {"rel": "lists"}]
    whole = caller.get("/3.0/").json
    less = caller.get("/3.0/", exclude_fields="contact.city,_links").json
    assert set(whole) - set(less) == {"_links"}
    assert set(whole["contact"]) - set(less["contact"]) == {"city"}


def test_the_eleventh_call_of_a_user_in_flight_is_refused(sandbox: Any) -> None:
    caller = sandbox(latency_ms=30)
    token = caller.token()
    bearer = {"authorization": f"Bearer {token}"}
    pair = base64.b64encode(f"x:{KEY}".encode()).decode()
    other = caller.facts()["accounts"][1]["api_key"]
    others = {"authorization": "Basic " + base64.b64encode(f"x:{other}".encode()).decode()}
    replies = caller.together(
        *(caller.send("GET", "/3.0/ping", headers=bearer) for _ in range(6)),
        *(
            caller.send("GET", "/3.0/ping", headers={"authorization": f"Basic {pair}"})
            for _ in range(6)
        ),
        *(caller.send("GET", "/3.0/ping", headers=others) for _ in range(10)),
    )
    statuses = [reply.status for reply in replies]
    assert statuses == [200] * 10 + [429] * 2 + [200] * 10
    assert replies[10].json["title"] == "Too Many Requests"
    assert "retry-after" not in replies[10].headers
    first, second = (account["in_flight"] for account in caller.facts()["accounts"][:2])
    assert first == {"now": 0, "most": 10, "refused": 2}
    assert second == {"now": 0, "most": 10, "refused": 0}
    assert caller.get("/3.0/ping").status == 200


def test_answers_carry_the_sandbox_s_time(sandbox: Any) -> None:
    caller = sandbox()
    caller.order("clock", {"now": 1_800_000_000, "frozen": True})
    assert caller.get("/3.0/ping").headers["date"] == "Fri, 15 Jan 2027 08:00:00 GMT"
