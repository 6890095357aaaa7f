"""Create, update, delete, and idempotency keys."""

from __future__ import annotations

from typing import Any

import pytest

DAY_S = 86400


def newest_event(caller: Any) -> dict[str, Any]:
    event: dict[str, Any] = caller.get("/v1/events", limit=1).json["data"][0]
    return event


def test_a_new_customer_is_the_newest(sandbox: Any) -> None:
    caller = sandbox(customers=5)
    form = {
        "name": "Ada Lovelace",
        "email": "ada@example.com",
        "address[line1]": "12 St James Square",
        "address[country]": "GB",
        "metadata[crm_id]": "42",
        "metadata[0]": "a key may be a number",
        "preferred_locales[0]": "en-GB",
        "preferred_locales[]": "fr",
        "invoice_settings[custom_fields][0][name]": "VAT",
        "invoice_settings[custom_fields][0][value]": "DE1",
        "shipping[name]": "Ada",
        "shipping[address][city]": "London",
        "balance": "-50",
    }
    created = caller.post("/v1/customers", form).json
    assert created["metadata"] == {"crm_id": "42", "0": "a key may be a number"}
    assert created["address"]["line1"] == "12 St James Square"
    assert created["address"]["city"] is None
    assert created["preferred_locales"] == ["en-GB", "fr"]
    assert created["invoice_settings"]["custom_fields"] == [{"name": "VAT", "value": "DE1"}]
    assert created["shipping"]["address"]["city"] == "London"
    assert created["balance"] == -50
    assert caller.get(f"/v1/customers/{created['id']}").json == created
    assert caller.get("/v1/customers", limit=1).json["data"] == [created]


def test_an_update_touches_only_what_is_named(sandbox: Any) -> None:
    caller = sandbox(customers=30)
    for line in caller.truth():
        changed = caller.post(f"/v1/customers/{line['id']}", {"name": "New"}).json
        assert changed == line["object"] | {"name": "New"}


def test_an_empty_text_clears(sandbox: Any) -> None:
    caller = sandbox(customers=1)
    full = {
        "name": "A",
        "email": "a@example.com",
        "phone": "1",
        "description": "d",
        "tax_exempt": "exempt",
    }
    nested = {"address[city]": "Paris", "shipping[name]": "A", "shipping[address][city]": "Paris"}
    locales = {"preferred_locales[]": "fr"}
    name = caller.post("/v1/customers", full | nested | locales).json["id"]
    fields = [*full, "address", "shipping", "preferred_locales"]
    cleared = caller.post(f"/v1/customers/{name}", dict.fromkeys(fields, "")).json
    left = {field: cleared[field] for field in fields}
    assert left == dict.fromkeys(fields) | {"tax_exempt": "none", "preferred_locales": []}


def test_metadata_is_merged(sandbox: Any) -> None:
    caller = sandbox(customers=0)
    name = caller.post("/v1/customers", {"metadata[a]": "1", "metadata[b]": "2"}).json["id"]
    path = f"/v1/customers/{name}"
    merged = caller.post(path, {"metadata[a]": "", "metadata[c]": "3"}).json
    assert merged["metadata"] == {"b": "2", "c": "3"}
    previous = newest_event(caller)["data"]["previous_attributes"]
    assert previous == {"metadata": {"a": "1", "c": None}}
    assert caller.post(path, {"metadata": ""}).json["metadata"] == {}


@pytest.mark.parametrize(
    ("form", "code", "param"),
    [
        ({"nme": "x"}, "parameter_unknown", "nme"),
        ({"address[town]": "x"}, "parameter_unknown", "address[town]"),
        ({"invoice_settings[nothing]": "x"}, "parameter_unknown", "invoice_settings[nothing]"),
        ({"email": "nobody"}, "email_invalid", "email"),
        ({"balance": "1.5"}, "parameter_invalid_integer", "balance"),
        ({"invoice_prefix": ""}, "parameter_invalid_empty", "invoice_prefix"),
        ({"shipping[name]": "x"}, "parameter_missing", "shipping[address]"),
        ({"tax_exempt": "maybe"}, None, "tax_exempt"),
        ({"source": "tok_visa"}, "resource_missing", "source"),
        ({"payment_method": "pm_x"}, "resource_missing", "payment_method"),
        ({"test_clock": "x"}, "resource_missing", "test_clock"),
        ({"address": "x"}, None, "address"),
        ({"name": "x", "name[a]": "x"}, None, "name[a]"),
        ({"metadata[a]": "x" * 501}, None, "metadata[a]"),
        ({f"metadata[{'k' * 41}]": "x"}, None, f"metadata[{'k' * 41}]"),
        ({f"metadata[{number}]": "x" for number in range(51)}, None, "metadata"),
    ],
)
def test_bad_forms(sandbox: Any, form: dict[str, str], code: str | None, param: str) -> None:
    caller = sandbox(customers=0)
    reply = caller.post("/v1/customers", form)
    assert reply.status == 400
    assert (reply.error.get("code"), reply.error["param"]) == (code, param)
    assert caller.truth() == []


def test_a_body_that_is_no_form(sandbox: Any) -> None:
    caller = sandbox(customers=0)
    headers = {"content-type": "application/json"}
    reply = caller.ask("POST", "/v1/customers", body=b'{"name": "x"}', headers=headers)
    assert reply.status == 400
    assert "x-www-form-urlencoded" in reply.error["message"]


def test_a_deleted_customer_leaves_a_stub(sandbox: Any) -> None:
    caller = sandbox(customers=5)
    line = caller.truth()[2]
    path = f"/v1/customers/{line['id']}"
    stub = {"id": line["id"], "object": "customer", "deleted": True}
    assert caller.delete(path).json == stub
    assert caller.get(path).json == stub
    assert line["id"] not in caller.get("/v1/customers").ids
    assert newest_event(caller)["type"] == "customer.deleted"
    assert newest_event(caller)["data"]["object"] == line["object"]
    assert caller.delete(path).status == 404
    assert caller.post(path, {"name": "x"}).status == 404


def test_a_key_makes_one_customer(sandbox: Any) -> None:
    caller = sandbox(customers=0)
    first = caller.post("/v1/customers", {"name": "A"}, idempotency_key="k")
    again = caller.post("/v1/customers", {"name": "A"}, idempotency_key="k")
    assert again.body == first.body
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["original-request"] == first.headers["request-id"]
    assert again.headers["idempotency-key"] == "k"
    assert "idempotent-replayed" not in first.headers
    assert len(caller.truth()) == 1
    request = newest_event(caller)["request"]
    assert request == {"id": first.headers["request-id"], "idempotency_key": "k"}


def test_a_key_with_other_parameters_is_refused(sandbox: Any) -> None:
    caller = sandbox(customers=1)
    caller.post("/v1/customers", {"name": "A"}, idempotency_key="k")
    other = caller.post("/v1/customers", {"name": "B"}, idempotency_key="k")
    elsewhere = caller.post(
        f"/v1/customers/{caller.truth()[0]['id']}", {"name": "A"}, idempotency_key="k"
    )
    for reply in (other, elsewhere):
        assert (reply.status, reply.error["type"]) == (400, "idempotency_error")


def test_a_key_is_forgotten_after_a_day(sandbox: Any) -> None:
    caller = sandbox(customers=0)
    caller.post("/v1/customers", {"name": "A"}, idempotency_key="k")
    caller.order("clock", {"advance_s": DAY_S - 60})
    caller.post("/v1/customers", {"name": "A"}, idempotency_key="k")
    assert len(caller.truth()) == 1
    caller.order("clock", {"advance_s": 120})
    assert caller.post("/v1/customers", {"name": "B"}, idempotency_key="k").status == 200
    assert len(caller.truth()) == 2


def test_a_key_in_flight_is_refused(sandbox: Any) -> None:
    caller = sandbox(customers=0, latency_ms=30)
    form = {"body": b"name=A", "headers": {"idempotency-key": "k"}}
    replies = caller.together(*(caller.send("POST", "/v1/customers", **form) for _ in range(3)))
    assert sorted(reply.status for reply in replies) == [200, 409, 409]
    refused = next(reply for reply in replies if reply.status == 409)
    assert refused.error["code"] == "idempotency_key_in_use"
    assert len(caller.truth()) == 1


def test_a_failed_validation_frees_the_key(sandbox: Any) -> None:
    caller = sandbox(customers=0)
    assert caller.post("/v1/customers", {"email": "x"}, idempotency_key="k").status == 400
    assert caller.post("/v1/customers", {"name": "A"}, idempotency_key="k").status == 200


def test_a_500_is_replayed_though_it_took_effect(sandbox: Any) -> None:
    caller = sandbox(customers=0)
    caller.order("faults", [{"kind": "status", "method": "POST", "executed": True}])
    replies = [caller.post("/v1/customers", {"name": "A"}, idempotency_key="k") for _ in range(2)]
    assert [reply.status for reply in replies] == [500, 500]
    assert replies[1].headers["idempotent-replayed"] == "true"
    assert len(caller.truth()) == 1


def test_a_key_has_at_most_255_characters(sandbox: Any) -> None:
    caller = sandbox(customers=0)
    assert caller.post("/v1/customers", idempotency_key="k" * 255).status == 200
    assert caller.post("/v1/customers", idempotency_key="k" * 256).status == 400


def test_a_key_has_no_effect_on_get(sandbox: Any) -> None:
    reply = sandbox(customers=1).ask("GET", "/v1/customers", headers={"idempotency-key": "k"})
    assert "idempotency-key" not in reply.headers
