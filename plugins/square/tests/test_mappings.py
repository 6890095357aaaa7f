"""What Square's objects mean: documented examples, every state, and money in every size of unit."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from tieline.contract import Address, Contact, Line, Money, Order, Payment, Product, exponent_of
from tieline_square.entities import CATALOG, CUSTOMERS, ORDERS, PAYMENTS, TYPES

DATA = Path(__file__).parent / "data"
EXAMPLES = json.loads((DATA / "square-examples.json").read_text("utf-8"))
SCHEMAS = json.loads((DATA / "square-entities.schema.json").read_text("utf-8"))["$defs"]
MADE = datetime(2026, 3, 2, 9, 15, 0, 1000, tzinfo=UTC)
MEANS = {
    "customer": CUSTOMERS.canonical,
    "customers": CUSTOMERS.canonical,
    "order": ORDERS.canonical,
    "orders": ORDERS.canonical,
    "object": CATALOG.canonical,
    "objects": CATALOG.canonical,
    "payment": PAYMENTS.canonical,
    "payments": PAYMENTS.canonical,
}


def usd(amount_minor):
    return Money(amount_minor=amount_minor, currency="USD")


def named(kind, note):
    schema = f"record_{kind}"
    [found] = [e["value"] for e in EXAMPLES if e["schema"] == schema and note in e["note"]]
    return found


def official_answers():
    """Objects in the example answers of Square's own specification."""
    for example in EXAMPLES:
        if "api.json" in example["source"] and example["schema"].endswith("Response"):
            for name in MEANS.keys() & example["value"].keys():
                found = example["value"][name]
                for record in found if isinstance(found, list) else [found]:
                    yield pytest.param(name, record, id=f"{example['schema']} {record['id']}")


ANSWERS = list(official_answers())


@pytest.mark.parametrize(("name", "record"), ANSWERS)
def test_every_object_of_an_official_answer_has_a_meaning(name, record):
    if name == "orders" and "state" not in record:  # one example is cut down to its totals
        with pytest.raises(KeyError, match="state"):
            MEANS[name](record)
        return
    shape = MEANS[name](record)
    if record.get("type", "ITEM") in {"ITEM", "ITEM_VARIATION"}:
        assert shape.id == record["id"]
    else:
        assert shape is None


def test_the_official_answers_are_of_every_entity():
    names = {each.values[0].rstrip("s") for each in ANSWERS}
    assert names == {"customer", "order", "object", "payment"}


def test_a_customer_is_a_contact():
    assert CUSTOMERS.canonical(named("customer", "complete")) == Contact(
        id="TIECUSTOMERADA0000000000001",
        email="ada.lovelace@example.com",
        name="Ada Lovelace",
        given_name="Ada",
        family_name="Lovelace",
        phone="+15555550100",
        address=Address(
            line1="12 St James Square", city="London", postal_code="SW1Y 4JH", country="GB"
        ),
        created_at=datetime(2026, 3, 2, 9, 15, 0, 123000, tzinfo=UTC),
        updated_at=datetime(2026, 3, 2, 9, 15, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("names", "whole"),
    [
        ({"given_name": "Zoë", "family_name": "Łukasz"}, "Zoë Łukasz"),
        ({"family_name": "Curie"}, "Curie"),
        ({"given_name": "", "family_name": "Curie"}, "Curie"),
        ({"given_name": "Ada", "company_name": "Engines Ltd"}, "Ada"),
        ({"company_name": "Engines Ltd"}, "Engines Ltd"),
        ({"nickname": "Zo"}, None),
        ({}, None),
    ],
)
def test_the_name_is_the_company_s_where_nobody_has_one(names, whole):
    found = CUSTOMERS.canonical({"id": "C1", **names})
    assert found.name == whole
    assert found.company == names.get("company_name")


@pytest.mark.parametrize(
    ("preferences", "accepts"),
    [
        ({"email_unsubscribed": True}, False),
        ({"email_unsubscribed": False}, None),
        ({}, None),
        (None, None),
    ],
)
def test_not_to_have_unsubscribed_is_no_consent(preferences, accepts):
    record = {"id": "C1", "preferences": preferences}
    assert CUSTOMERS.canonical(record).accepts_email is accepts


def test_an_order_has_its_lines_and_the_total_that_square_computed():
    assert ORDERS.canonical(named("order", "completed sale")) == Order(
        id="TIEORDERCOMPLETE000000000001",
        state="completed",
        contact_id="TIECUSTOMERADA0000000000001",
        total=usd(327),
        lines=(
            Line(
                description="Tea",
                product_id="TIEVARIATION0000000000001",
                quantity=Decimal(2),
                unit_price=usd(150),
                total=usd(327),
            ),
        ),
        created_at=MADE,
        updated_at=datetime(2026, 3, 2, 9, 15, 0, 900000, tzinfo=UTC),
        closed_at=datetime(2026, 3, 2, 9, 15, 0, 900000, tzinfo=UTC),
    )


def test_a_fraction_of_a_piece_stays_exact():
    line = {"quantity": "0.12345", "base_price_money": {"amount": 1999, "currency": "USD"}}
    record = {"id": "O1", "state": "OPEN", "ticket_name": "Table 4", "line_items": [line]}
    found = ORDERS.canonical(record)
    assert found.lines == (Line(quantity=Decimal("0.12345"), unit_price=usd(1999)),)
    assert (found.number, found.total) == ("Table 4", None)


def test_a_line_names_a_product_that_the_catalog_has():
    sold = ORDERS.canonical(named("order", "completed sale")).lines[0].product_id
    assert CATALOG.canonical(named("catalog_object", "variation on its own")).id == sold


@pytest.mark.parametrize("state", SCHEMAS["OrderState"]["x-known-values"])
def test_every_state_of_an_order_is_known(state):
    found = ORDERS.canonical({"id": "O1", "state": state})
    expected = {"CANCELED": "cancelled"}.get(state, state.lower())
    assert found.state == expected


def test_an_order_that_changed_after_it_was_closed_keeps_the_time():
    record = named("order", "completed sale") | {"closed_at": "2026-03-02T10:15:00+01:00"}
    found = ORDERS.canonical(record)
    assert found.closed_at == datetime(2026, 3, 2, 9, 15, tzinfo=UTC) != found.updated_at


def test_a_payment_says_what_was_paid_and_refunded():
    assert PAYMENTS.canonical(named("payment", "seven weeks later")) == Payment(
        id="TIEPAYMENT00000000000000000004",
        amount=usd(327),
        state="succeeded",
        refunded=usd(164),
        contact_id="TIECUSTOMERADA0000000000001",
        order_id="TIEORDERCOMPLETE000000000001",
        method="CARD",
        created_at=MADE,
        updated_at=datetime(2026, 4, 20, tzinfo=UTC),
    )


def test_a_failed_attempt_says_why():
    found = PAYMENTS.canonical(named("payment", "failed attempt"))
    assert (found.state, found.failure) == ("failed", "Card declined.")
    assert found.refunded is None


def test_a_tip_is_part_of_what_was_to_be_paid():
    record = {"id": "P1", "status": "COMPLETED"}
    amounts = {"amount_money": 1000, "tip_money": 200, "total_money": 1200}
    paid = {name: {"amount": each, "currency": "USD"} for name, each in amounts.items()}
    assert PAYMENTS.canonical(record | paid).amount == usd(1200)
    del paid["total_money"]
    assert PAYMENTS.canonical(record | paid).amount == usd(1000)
    with pytest.raises(ValueError, match="names no amount"):
        PAYMENTS.canonical(record)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("APPROVED", "pending"),
        ("PENDING", "pending"),
        ("COMPLETED", "succeeded"),
        ("CANCELED", "cancelled"),
        ("FAILED", "failed"),
    ],
)
def test_what_is_only_reserved_is_not_paid(status, state):
    record = named("payment", "card payment") | {"status": status}
    assert PAYMENTS.canonical(record).state == state


@pytest.mark.parametrize(
    ("currency", "amount", "text"),
    [
        ("JPY", 300, "300"),  # no decimals
        ("KRW", 9, "9"),
        ("USD", 327, "3.27"),
        ("KWD", 12_340, "12.340"),  # three
        ("BHD", 1, "0.001"),
        ("CLF", 10_000, "1.0000"),  # four
        ("USD", -164, "-1.64"),  # a return
        ("USD", 9_007_199_254_740_993, "90071992547409.93"),  # more than a float holds
    ],
)
def test_amounts_are_counted_in_the_currency_s_own_smallest_unit(currency, amount, text):
    given = {"amount": amount, "currency": currency}
    [order, payment, product] = [
        ORDERS.canonical({"id": "O1", "state": "OPEN", "total_money": given}).total,
        PAYMENTS.canonical({"id": "P1", "status": "PENDING", "total_money": given}).amount,
        CATALOG.canonical(variation(price_money=given)).price,
    ]
    assert order == payment == product == Money(amount_minor=amount, currency=currency)
    assert f"{Decimal(order.amount_minor).scaleb(-exponent_of(currency)):f}" == text


@pytest.mark.parametrize("given", [{"amount": 5, "currency": "UNKNOWN_CURRENCY"}, {"amount": 5}])
def test_an_amount_of_no_known_currency_is_refused_and_not_guessed(given):
    record = {"id": "P1", "status": "COMPLETED", "total_money": given}
    with pytest.raises(ValueError, match="no currency of ISO 4217"):
        PAYMENTS.canonical(record)


def variation(**facts):
    """A variation that costs 1.50 dollars everywhere, but for what is given."""
    price = {"amount": 150, "currency": "USD"}
    data = {"name": "Large", "sku": "T-L", "pricing_type": "FIXED_PRICING", "price_money": price}
    return {"type": "ITEM_VARIATION", "id": "V1", "item_variation_data": {**data, **facts}}


def test_an_item_with_one_variation_has_its_number_and_price():
    assert CATALOG.canonical(named("catalog_object", "item with its variation")) == Product(
        id="TIEITEM000000000000000001",
        name="Tea",
        description="Black tea",
        sku="TEA-1",
        price=usd(150),
        updated_at=datetime(2026, 3, 2, 9, 15, 0, 123000, tzinfo=UTC),
    )


def test_an_item_with_several_variations_has_no_price_of_its_own():
    item = {"name": "Tea", "variations": [variation(), variation(sku="T-S")], "is_archived": True}
    found = CATALOG.canonical({"type": "ITEM", "id": "I1", "item_data": item})
    assert found == Product(id="I1", name="Tea", is_active=False)


def test_a_description_is_kept_as_it_is_formatted():
    item = {"description": "Black tea", "description_html": "<p>Black <b>tea</b></p>"}
    found = CATALOG.canonical({"type": "ITEM", "id": "I1", "item_data": item})
    assert found.description == "<p>Black <b>tea</b></p>"


@pytest.mark.parametrize(
    ("facts", "price", "is_active"),
    [
        ({}, usd(150), True),
        ({"sellable": False}, usd(150), False),
        ({"pricing_type": "VARIABLE_PRICING"}, None, True),
        ({"location_overrides": [{"location_id": "L1", "sold_out": True}]}, usd(150), True),
        (
            {"location_overrides": [{"price_money": {"amount": 99, "currency": "USD"}}]},
            None,
            True,
        ),
        ({"location_overrides": [{"pricing_type": "VARIABLE_PRICING"}]}, None, True),
    ],
)
def test_a_variation_has_a_price_where_it_is_the_same_everywhere(facts, price, is_active):
    found = CATALOG.canonical(variation(**facts))
    assert (found.name, found.sku) == ("Large", "T-L")
    assert (found.price, found.is_active) == (price, is_active)


@pytest.mark.parametrize("kind", [*sorted(set(TYPES) - {"ITEM", "ITEM_VARIATION"}), "HOLOGRAM"])
def test_what_is_not_sold_is_no_product(kind):
    assert CATALOG.canonical({"type": kind, "id": "X1", "tax_data": {"name": "VAT"}}) is None


def test_a_tombstone_has_no_meaning():
    assert CATALOG.canonical(named("catalog_object", "tombstone")) is None
