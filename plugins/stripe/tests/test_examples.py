"""Documented objects go through the plugin unchanged, and mean what Stripe says they do."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tieline.contract import (
    Address,
    Contact,
    Line,
    Money,
    Order,
    PageParams,
    Payment,
    Product,
    Reply,
    Secret,
)
from tieline.records import canonical
from tieline_stripe import events
from tieline_stripe.client import API_VERSION, StripeApi
from tieline_stripe.entities import CHARGES, CUSTOMERS, PRODUCTS, SUBSCRIPTIONS

EXAMPLES = json.loads((Path(__file__).parent / "data" / "stripe-examples.json").read_text("utf-8"))
ENTITIES = {each.name: each for each in (CUSTOMERS, PRODUCTS, SUBSCRIPTIONS, CHARGES)}
OF = {"customer": CUSTOMERS, "product": PRODUCTS, "subscription": SUBSCRIPTIONS, "charge": CHARGES}
MADE = datetime.fromtimestamp(1_772_442_900, UTC)


class Answers:
    """A transport that gives prepared bodies and remembers what was asked."""

    def __init__(self, *bodies: Any) -> None:
        self.bodies = list(bodies)
        self.asked: list[str] = []

    def send(self, _method: str, url: str, **_given: Any) -> Reply:
        self.asked.append(url)
        content = json.dumps(self.bodies.pop(0)).encode()
        return Reply(status=200, headers={}, content=content, seconds=0.1)


def api(*bodies: Any) -> tuple[StripeApi, Answers]:
    transport = Answers(*bodies)
    return StripeApi("https://api.stripe.com", Secret("sk_test_1"), transport), transport


def examples(*schemas: str) -> list[Any]:
    return [
        pytest.param(each["schema"], each["value"], id=f"{each['schema']}: {each['note']}")
        for each in EXAMPLES
        if each["schema"] in schemas
    ]


def named(schema: str, note: str) -> dict[str, Any]:
    [found] = [e["value"] for e in EXAMPLES if e["schema"] == schema and note in e["note"]]
    return found


def listed(*records: Any) -> dict[str, Any]:
    return {"object": "list", "data": list(records), "has_more": False, "url": "/v1/x"}


@pytest.mark.parametrize(("schema", "value"), examples(*OF))
def test_an_example_is_read_loaded_and_kept_as_it_is(schema: str, value: dict[str, Any]) -> None:
    entity, is_cut = OF[schema], value.get("items", {}).get("has_more", False)
    item = {"id": "si_all"}
    client, transport = api(listed(value), *[listed(item)] * is_cut)
    [record] = entity.page(client, PageParams(), None).records
    if is_cut:
        assert "/v1/subscription_items?limit=100&subscription=" in transport.asked[1]
        full = value["items"] | {"data": [item], "has_more": False}
        assert record == value | {"items": full}
    else:
        assert record == value
    loaded = entity.schema.load(dict(record))
    assert loaded["id"] == value["id"]
    assert {name: record.get(name) for name in loaded} == loaded
    assert json.loads(canonical(record).text) == record


@pytest.mark.parametrize(
    ("schema", "value"),
    examples("list_customer", "list_product", "list_subscription", "list_charge"),
)
def test_an_example_list_is_a_page(schema: str, value: dict[str, Any]) -> None:
    client, _ = api(value)
    page = OF[schema.removeprefix("list_")].page(client, PageParams(), None)
    assert page.records == value["data"]
    assert page.next == (value["data"][-1]["id"] if value["has_more"] else None)


@pytest.mark.parametrize(("schema", "value"), examples("deleted_customer", "deleted_product"))
def test_a_stub_is_no_record(schema: str, value: dict[str, Any]) -> None:
    client, _ = api(value)
    entity = OF[schema.removeprefix("deleted_")]
    assert entity.get
    assert entity.get(client, value["id"]) is None


@pytest.mark.parametrize(("schema", "value"), examples("event"))
def test_an_example_event_is_a_change_of_its_entity_alone(
    schema: str, value: dict[str, Any]
) -> None:
    found = value["data"]["object"]
    about = "charge" if found["object"] in {"refund", "dispute"} else found["object"]
    for name, entity in ENTITIES.items():
        client, transport = api(listed(value))
        assert entity.feed
        changes = entity.feed.page(client, PageParams(), None).changes
        assert transport.asked[0].count("types[") == len(entity.events) <= 20
        if OF.get(about) is not entity:
            assert changes == []
            continue
        [change] = changes
        assert change.key == (found["id"] if about == found["object"] else found["charge"])
        is_snapshot = value["api_version"] == API_VERSION and about == found["object"]
        assert change.record == (found if is_snapshot else None)
        assert change.is_deleted == (value["type"] in {"customer.deleted", "product.deleted"})
        assert entity.events[value["type"]] == (
            "delete" if change.is_deleted else "upsert" if about == found["object"] else "re-read"
        )
        [told] = events.parse(json.dumps(value).encode(), {})
        assert (told.entity, told.key, told.record) == (name, change.key, change.record)
        assert (told.type, told.account) == (value["type"], value.get("account"))


@pytest.mark.parametrize(("schema", "value"), examples("event_notification"))
def test_a_thin_example_names_what_to_read(schema: str, value: dict[str, Any]) -> None:
    [told] = events.parse(json.dumps(value).encode(), {})
    related = value.get("related_object") or {}
    assert (told.key, told.record) == (related.get("id"), None)
    assert told.entity == (f"{related['type']}s" if related else None)
    assert told.account == value["context"]


def test_no_event_of_a_test_clock_is_one_of_ours() -> None:
    event = named("event", "customer.created")
    found = event["data"]["object"] | {"test_clock": "clock_1"}
    hidden = event | {"data": {"object": found}}
    client, _ = api(listed(hidden))
    assert CUSTOMERS.feed
    assert CUSTOMERS.feed.page(client, PageParams(), None).changes == []
    assert events.parse(json.dumps(hidden).encode(), {})[0].entity is None


def test_a_refund_without_a_charge_changes_none() -> None:
    event = named("event", "refund.created")
    orphan = event | {"data": {"object": event["data"]["object"] | {"charge": None}}}
    client, _ = api(listed(orphan))
    assert CHARGES.feed
    assert CHARGES.feed.page(client, PageParams(), None).changes == []


def test_a_customer_is_a_contact_whose_consent_nobody_knows() -> None:
    record = named("customer", "complete customer")
    assert CUSTOMERS.canonical
    assert CUSTOMERS.canonical(record) == Contact(
        id="cus_TieAda000000001",
        email="ada.lovelace@example.com",
        name="Ada Lovelace",
        phone="+15555550100",
        address=Address(
            line1="12 St James Square", city="London", postal_code="SW1Y 4JH", country="GB"
        ),
        accepts_email=None,
        created_at=MADE,
    )
    bare = {"id": "cus_1", "object": "customer", "created": 0, "livemode": False}
    assert CUSTOMERS.canonical(bare) == Contact(
        id="cus_1", created_at=datetime(1970, 1, 1, tzinfo=UTC)
    )


def test_an_archived_product_is_not_active() -> None:
    assert PRODUCTS.canonical
    assert PRODUCTS.canonical(named("product", "archived")) == Product(
        id="my-sku-0042",
        name="Imported good",
        is_active=False,
        created_at=datetime.fromtimestamp(1_772_362_900, UTC),
        updated_at=MADE,
    )


def test_a_subscription_is_an_order_that_comes_again() -> None:
    assert SUBSCRIPTIONS.canonical
    found = SUBSCRIPTIONS.canonical(named("subscription", "active, two items"))
    assert found == Order(
        id="sub_TieActive000001",
        state="open",
        contact_id="cus_TieAda000000001",
        lines=(
            Line(
                product_id="prod_TieGold0000001",
                quantity=Decimal(3),
                unit_price=Money(amount_minor=2000, currency="USD"),
                period="P1M",
            ),
            # Half a cent is no whole number of minor units: it is not rounded.
            Line(
                description="half a cent per unit",
                product_id="prod_TieGold0000001",
                quantity=Decimal(1000),
                period="P1M",
            ),
        ),
        created_at=MADE,
    )


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("incomplete", "draft"),
        ("incomplete_expired", "cancelled"),
        ("trialing", "open"),
        ("active", "open"),
        ("past_due", "open"),
        ("unpaid", "open"),
        ("paused", "open"),
        ("canceled", "cancelled"),
    ],
)
def test_every_status_of_a_subscription_has_its_state(status: str, state: str) -> None:
    record = named("subscription", "active, two items") | {"status": status}
    assert SUBSCRIPTIONS.canonical
    found = SUBSCRIPTIONS.canonical(record)
    assert isinstance(found, Order)
    assert found.state == state


def test_a_subscription_of_a_deleted_customer_keeps_the_id() -> None:
    assert SUBSCRIPTIONS.canonical
    found = SUBSCRIPTIONS.canonical(named("subscription", "customer expanded and deleted"))
    assert isinstance(found, Order)
    assert str(found.contact_id).startswith("cus_")
    ended = SUBSCRIPTIONS.canonical(named("subscription", "canceled, of a customer"))
    assert isinstance(ended, Order)
    assert ended.closed_at is not None


@pytest.mark.parametrize(
    ("note", "minor", "currency", "state"),
    [
        ("zero-decimal", 1099, "JPY", "succeeded"),
        ("three-decimal", 12340, "KWD", "succeeded"),
        ("failed attempt", 2000, "USD", "failed"),
        ("partly refunded", 5000, "EUR", "succeeded"),
        ("bank debit", 7500, "USD", "pending"),
    ],
)
def test_a_charge_is_a_payment(note: str, minor: int, currency: str, state: str) -> None:
    record = named("charge", note)
    assert CHARGES.canonical
    found = CHARGES.canonical(record)
    assert isinstance(found, Payment)
    assert found.amount == Money(amount_minor=minor, currency=currency)
    assert (found.id, found.state, found.contact_id) == (record["id"], state, record["customer"])
    assert found.refunded == Money(amount_minor=record["amount_refunded"], currency=currency)
    assert found.method == record["payment_method_details"]["type"]
    assert found.failure == record["failure_message"]


@pytest.mark.parametrize(
    ("currency", "amount", "minor"),
    [
        ("isk", 50_000, 500),  # Stripe counts hundredths of a króna, which ISO has not
        ("ugx", 100, 1),
        ("mga", 5, 500),  # and whole ariary, which ISO divides
        ("clp", 7, 7),
        ("huf", 1050, 1050),
        ("bhd", 1230, 1230),
        ("krw", 9, 9),
    ],
)
def test_stripe_s_own_smallest_unit_becomes_that_of_iso_4217(
    currency: str, amount: int, minor: int
) -> None:
    record = named("charge", "zero-decimal") | {"currency": currency, "amount": amount}
    assert CHARGES.canonical
    found = CHARGES.canonical(record)
    assert isinstance(found, Payment)
    assert found.amount == Money(amount_minor=minor, currency=currency.upper())


def test_an_amount_that_iso_cannot_write_is_refused_and_not_rounded() -> None:
    record = named("charge", "zero-decimal") | {"currency": "isk", "amount": 1050}
    assert CHARGES.canonical
    with pytest.raises(ValueError, match="finer"):
        CHARGES.canonical(record)


@pytest.mark.parametrize(
    ("captured", "refunded", "state"),
    [(True, True, "succeeded"), (False, False, "pending"), (False, True, "cancelled")],
)
def test_what_is_only_authorised_is_not_paid(captured: bool, refunded: bool, state: str) -> None:
    record = named("charge", "three-decimal") | {"captured": captured, "refunded": refunded}
    assert CHARGES.canonical
    found = CHARGES.canonical(record)
    assert isinstance(found, Payment)
    assert found.state == state
    assert (found.refunded is None) == (state == "cancelled")
