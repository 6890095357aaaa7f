"""The plugin, as it is, on Square's own description of its API and the answers in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from official import Document, Official, Request, opened
from provider_kit import Bench, make_bench

DATA = Path(__file__).parent / "data"
DOCUMENT = Document(DATA / "square-api.openapi3.json")
ANSWERS = json.loads((DATA / "square-official-answers.json").read_text("utf-8"))
LISTS = {
    "customers": ("SearchCustomersResponse", "customers"),
    "orders": ("SearchOrdersResponse", "orders"),
    "catalog": ("ListCatalogResponse", "objects"),
    "payments": ("ListPaymentsResponse", "payments"),
}
# The document's search for orders shows ids alone, which is what it answers if
# these are asked for; the orders are those of its other examples.
_ORDERS = [
    *ANSWERS["BatchRetrieveOrdersResponse"]["orders"],
    ANSWERS["RetrieveOrderResponse"]["order"],
]
ANSWERS["SearchOrdersResponse"] = {"orders": _ORDERS, "cursor": "123"}


def answer(request: Request) -> tuple[int, Any]:
    """Give Square's example of that answer; a walk that goes on comes to its end."""
    is_more = "cursor" in {**request.query, **(request.body or {})}
    return 200, {} if is_more else ANSWERS[request.schema]


def of_entity(entity: str) -> dict[str, Any]:
    schema, items = LISTS[entity]
    return {each["id"]: each for each in ANSWERS[schema][items]}


@pytest.fixture
def square() -> Iterator[Official]:
    with opened(DOCUMENT, answer) as server:
        yield server


@pytest.fixture
def bench(square: Official, tmp_path: Path) -> Iterator[Bench]:
    made = make_bench(
        "square", "tieline_square", square.url, tmp_path, "EAAAtoken", is_sandbox=False
    )
    yield made
    made.installation.close()


@pytest.mark.parametrize("schema", ANSWERS)
def test_the_answers_are_as_the_document_says(schema: str) -> None:
    assert DOCUMENT.errors(schema, ANSWERS[schema]) == []


def test_the_official_answers_have_records_of_every_entity() -> None:
    assert all(of_entity(entity) for entity in LISTS)


@pytest.mark.parametrize("entity", LISTS)
def test_the_official_answers_are_read_and_kept_as_they_are(
    square: Official, bench: Bench, entity: str
) -> None:
    run = bench.sync(entity)
    assert square.complaints == []
    assert (run.state, run.counts.quarantined) == ("succeeded", 0)
    assert bench.stored(entity) == of_entity(entity)


@pytest.mark.parametrize("entity", LISTS)
def test_changes_are_asked_for_as_the_document_says(
    square: Official, bench: Bench, entity: str
) -> None:
    bench.sync(entity)
    bench.pass_time(3600)
    square.asked.clear()
    run = bench.sync(entity)
    assert square.complaints == []
    assert (run.mode, run.state, run.counts.quarantined) == ("incremental", "succeeded", 0)
    # What Square shows for a search of the catalog are other objects than for its list.
    expected = of_entity(entity)
    if entity == "catalog":
        found = ANSWERS["SearchCatalogObjectsResponse"]["objects"]
        expected |= {each["id"]: each for each in found}
    assert bench.stored(entity) == expected


def test_the_account_is_the_merchant_of_the_example(bench: Bench) -> None:
    from tieline.services.connections import list_connections

    [row] = list_connections(bench.installation)
    merchant = ANSWERS["RetrieveMerchantResponse"]["merchant"]
    assert row.account_id == merchant["id"]


def test_a_window_is_asked_for_as_the_document_says(square: Official, bench: Bench) -> None:
    from datetime import UTC, datetime

    window = (datetime(2019, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))
    for entity in ("customers", "orders", "payments"):
        run = bench.sync(entity, "window", window=window)
        assert (square.complaints, run.state) == ([], "succeeded")


@pytest.mark.parametrize(
    ("request_", "wrong"),
    [
        (Request("get", "/v2/nonsense", {}, None), "there is no get"),
        (Request("get", "/v2/payments", {"colour": "red"}, None), "has no parameter 'colour'"),
        (Request("get", "/v2/payments", {"limit": "many"}, None), "is not of type 'integer'"),
        (Request("post", "/v2/orders/search", {}, {"limits": 5}), "'limits' was unexpected"),
        (Request("post", "/v2/orders/search", {}, {"limit": "5"}), "is not of type"),
        (Request("get", "/v2/payments", {}, {"limit": 5}), "has no body"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_the_server_refuses_what_the_document_does_not_know(request_: Request, wrong: str) -> None:
    _, complaints = DOCUMENT.read(request_)
    assert any(wrong in each for each in complaints)


def test_a_subscription_is_made_replaced_and_deleted_as_the_document_says(
    square: Official, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tieline.services import webhook_registration, webhooks

    example = ANSWERS["CreateWebhookSubscriptionResponse"]["subscription"]
    [there] = ANSWERS["ListWebhookSubscriptionsResponse"]["subscriptions"]
    made = webhooks.add_endpoint(
        bench.installation, "square", base="https://tieline.example.com", actor="test"
    )
    found, url = made.listed.endpoint, made.url.reveal()
    monkeypatch.setitem(there, "notification_url", url)  # an answer that was lost has left it
    square.asked.clear()
    given = {"by": "shop", "actor": "test"}
    row = webhook_registration.register_endpoint(bench.installation, found.id, **given).endpoint
    assert row.remote_id == example["id"]
    [secret] = webhooks.reveal_secrets(bench.installation, found.id)
    assert secret[1].reveal() == example["signature_key"]
    webhook_registration.unregister_endpoint(bench.installation, found.id, **given)
    assert square.complaints == []
    path = "/v2/webhooks/subscriptions"
    assert [(each.method, each.path) for each in square.asked] == [
        ("get", path),
        ("delete", f"{path}/{there['id']}"),
        ("post", path),
        ("delete", f"{path}/{example['id']}"),
    ]
    wanted = square.asked[2].body["subscription"]
    assert (wanted["notification_url"], wanted["api_version"]) == (url, "2026-09-16")
