"""What customers and invoices mean in the shapes that providers share."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tieline.contract import Address, Contact, Invoice, Line, Money
from tieline.contract.shapes import shapes_of
from tieline_quickbooks.entities import CUSTOMERS, INVOICES
from tieline_quickbooks.mappings import contact, invoice

EXAMPLES = json.loads((Path(__file__).parent / "data" / "quickbooks-examples.json").read_bytes())


def named(kind: str, place: int) -> dict[str, Any]:
    """Return a documented example, in the order of the file."""
    return [each["value"] for each in EXAMPLES if each["schema"] == kind][place]


def usd(minor: int) -> Money:
    return Money(amount_minor=minor, currency="USD")


def test_both_entities_say_what_their_records_are():
    assert CUSTOMERS.canonical
    assert INVOICES.canonical
    assert shapes_of(CUSTOMERS.canonical) == ("Contact",)
    assert shapes_of(INVOICES.canonical) == ("Invoice",)


def test_a_customer_is_a_contact():
    assert contact(named("customer", 0)) == Contact(
        id="1",
        email="nursery@example.com",
        name="O'Hara's Nursery",
        given_name="Nora",
        family_name="O'Hara",
        company="O'Hara's Nursery",
        phone="(555) 555-0111",
        address=Address(
            line1="12 Example Rd", city="Springfield", region="OR", postal_code="97477"
        ),
        created_at=datetime(2026, 1, 5, 17, 0, tzinfo=UTC),
        updated_at=datetime(2026, 3, 2, 9, 15, tzinfo=UTC),
    )


def test_an_inactive_customer_is_not_called_deleted():
    found = contact(named("customer", 2))
    assert (found.name, found.is_active) == ("Old Client", False)
    active = {"Id": "1", "Active": True, "DisplayName": "Odd (deleted)"}
    assert contact(active).name == "Odd (deleted)"
    again = {"Id": "1", "Active": False, "DisplayName": "Old Client (deleted 2)"}
    assert contact(again).name == "Old Client"


def test_whether_somebody_wants_mail_is_not_quickbooks_to_know():
    assert contact(named("customer", 0)).accepts_email is None


@pytest.mark.parametrize(
    ("given", "email"),
    [
        ({"Address": "a@example.com, b@example.com"}, "a@example.com"),
        ({"Address": "A@example.com"}, "A@example.com"),
        ({"Address": ""}, None),
        ({}, None),
        (None, None),
    ],
)
def test_of_several_addresses_in_one_field_the_first_is_taken(given, email):
    assert contact({"Id": "1", "PrimaryEmailAddr": given}).email == email


def test_a_customer_with_nothing_but_a_number_is_one():
    assert contact({"Id": "1"}) == Contact(id="1")
    blank = dict.fromkeys(["DisplayName", "PrimaryPhone", "BillAddr", "MetaData"])
    assert contact({"Id": "1", "CompanyName": "A Ltd"} | blank) == Contact(
        id="1", name="A Ltd", company="A Ltd"
    )


def test_further_lines_of_an_address_are_one():
    given = {"Line1": "1", "Line2": "2", "Line3": "", "Line5": "5", "Country": "DEU"}
    found = contact({"Id": "1", "BillAddr": given}).address
    assert found == Address(line1="1", line2="2, 5", country="DEU")


def test_an_open_invoice_has_its_lines_and_no_sums():
    record = named("invoice", 0)
    found = invoice(record)
    assert found == Invoice(
        id="130",
        state="open",
        number="1037",
        contact_id="1",
        total=usd(31077),
        balance=usd(31077),
        issued_on=date(2026, 2, 19),
        due_on=date(2026, 3, 21),
        lines=(
            Line(
                description="Cedar bench",
                product_id="5",
                quantity=Decimal(1),
                unit_price=usd(27500),
                total=usd(27500),
            ),
            Line(
                description="Potting soil",
                product_id="6",
                quantity=Decimal(1),
                unit_price=usd(1275),
                total=usd(1275),
            ),
        ),
        created_at=datetime(2026, 2, 19, 21, 16, 17, tzinfo=UTC),
        updated_at=datetime(2026, 2, 19, 21, 16, 17, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, "open"),
        ({"Balance": 0.01}, "open"),
        ({"Balance": 0}, "paid"),
        ({"Balance": 0, "TotalAmt": 0}, "paid"),
        ({"Balance": 0, "PrivateNote": "Voided by mistake, paid since"}, "paid"),
        ({"Balance": 0, "TotalAmt": 0, "PrivateNote": "Voided"}, "void"),
        ({"Balance": 0, "TotalAmt": 0, "PrivateNote": "Voided - see 1040"}, "void"),
        ({"Balance": 0, "TotalAmt": 0, "PrivateNote": "not Voided"}, "paid"),
    ],
)
def test_the_state_is_read_off_the_amounts_and_of_a_voided_one_off_the_note(fields, state):
    assert invoice(named("invoice", 0) | fields).state == state


def test_a_voided_invoice_stays_with_amounts_of_zero():
    found = invoice(named("invoice", 1))
    assert (found.state, found.total, found.balance) == ("void", usd(0), usd(0))
    assert [line.total for line in found.lines] == [usd(0), usd(0)]


@pytest.mark.parametrize(
    ("currency", "amount", "minor"),
    [
        ("USD", 362.07, 36207),
        ("USD", 0.29, 29),
        ("JPY", 12000.0, 12000),
        ("KWD", 1.234, 1234),
        ("EUR", 1234567890.12, 123456789012),
    ],
)
def test_amounts_are_whole_minor_units_of_the_currency_that_the_record_names(
    currency, amount, minor
):
    fields = {"CurrencyRef": {"value": currency}, "TotalAmt": amount, "Balance": amount}
    found = invoice({"Id": "1"} | fields)
    assert found.total == found.balance == Money(amount_minor=minor, currency=currency)


def test_an_amount_finer_than_its_currency_is_not_rounded():
    fields = {"CurrencyRef": {"value": "JPY"}, "TotalAmt": 0.5}
    with pytest.raises(ValueError, match="finer than 0 decimals"):
        invoice({"Id": "1"} | fields)


def test_without_a_currency_amounts_are_unknown_and_the_state_is_not():
    """A company with one currency: the record does not say which one it is."""
    record = named("invoice", 0)
    del record["CurrencyRef"]
    found = invoice(record | {"Balance": 0})
    assert (found.total, found.balance, found.state) == (None, None, "paid")
    assert [(line.total, line.unit_price) for line in found.lines] == [(None, None)] * 2


def sale(amount: float, **detail: Any) -> dict[str, Any]:
    return {"Amount": amount, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": detail}


def lines(*given: dict[str, Any]) -> list[Line]:
    record = {"Id": "1", "CurrencyRef": {"value": "USD"}, "Line": list(given)}
    return list(invoice(record).lines)


def test_of_a_group_its_positions_are_taken_and_not_their_sum():
    group = {"Quantity": 1, "Line": [sale(2, Qty=2), sale(3.5)]}
    found = lines({"Amount": 5.5, "DetailType": "GroupLineDetail", "GroupLineDetail": group})
    assert [(line.total, line.quantity) for line in found] == [
        (usd(200), Decimal(2)),
        (usd(350), None),
    ]


def test_a_discount_takes_off_and_a_price_finer_than_a_cent_is_not_rounded():
    discount = {"Amount": 1.5, "DetailType": "DiscountLineDetail", "DiscountLineDetail": {}}
    words = {"Description": "Thanks", "DetailType": "DescriptionOnly"}
    [off, said, fine] = lines(discount, words, sale(0.5, Qty=0.25, UnitPrice=0.0333))
    assert (off.total, said) == (usd(-150), Line(description="Thanks"))
    assert (fine.quantity, fine.unit_price, fine.total) == (Decimal("0.25"), None, usd(50))


@pytest.mark.parametrize("kind", ["customer", "invoice"])
def test_every_documented_example_has_its_shape(kind):
    of = {"customer": contact, "invoice": invoice}[kind]
    records = [each["value"] for each in EXAMPLES if each["schema"] == kind]
    assert [of(record).id for record in records] == [record["Id"] for record in records]
    assert len(records) >= 2


def test_every_object_of_a_company_has_its_shape(desk):
    here = desk(customers=300, invoices=300)
    here.order("mutate", "invoices", void=10, pay=10)
    here.order("mutate", "customers", deactivate=10)
    assert all(contact(each).name for each in here.truth("customers").values())
    states = {invoice(each).state for each in here.truth("invoices").values()}
    assert states == {"open", "paid", "void"}
