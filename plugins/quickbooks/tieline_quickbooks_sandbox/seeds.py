"""What a company has from the start: customers and invoices of two years.

Source:
    Field names of the Customer and Invoice entities in the XSD of Intuit's Java
    SDK; the values are invented.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from tieline_quickbooks_sandbox.clock import BASE, company_text

__all__ = [
    "CUSTOMER",
    "DELETED_SUFFIX",
    "INVOICE",
    "SAME_SECOND",
    "Object",
    "new_customer",
    "new_invoice",
    "seeded_customers",
    "seeded_invoices",
    "voided",
]

CUSTOMER = "Customer"
INVOICE = "Invoice"
DELETED_SUFFIX = " (deleted)"
SAME_SECOND = range(40, 90)
"""These were imported: all of them were created in one second."""

_YEARS_2 = 2 * 365 * 86400
_DOLLAR = {"value": "USD", "name": "United States Dollar"}
_NAMES = (
    ("Nora", "O'Hara"),
    ("Jürgen", "Groß-Öztürk"),
    ("Łukasz", "Żak"),
    ("Ελένη", "Παπαδόπουλος"),
    ("山田", "花子"),
    ("\u202bרחל\u202c", "כהן"),
    ("Zoë 🌱", "d'Aubigné"),
    ('Ann "Quote"', "Back\\slash"),
    ("<b>Bold</b>", "& Sons"),
    ("Wilson", "Fault"),
)
_PLACES = (
    {"Line1": "12 Example Rd", "City": "Springfield", "CountrySubDivisionCode": "OR"},
    {"Line1": "7 Ehrenstraße", "City": "Köln", "Country": "DEU", "PostalCode": "50672"},
    {"Line1": "千代田区丸の内1-9-1", "City": "東京都", "Country": "JPN"},
)
_GOODS = (("5", "Cedar bench", 275.0), ("6", "Potting soil", 12.75), ("7", "Pflanzkübel", 0.99))

Object = dict[str, Any]


def seeded_customers(seed: str, count: int) -> Iterator[Object]:
    """Make the customers of the start: jobs, inactive ones and imports among them."""
    chance = Random(f"customers:{seed}")  # noqa: S311 - no secret
    for index in range(count):
        fields = new_customer(chance, index + 1)
        if index % 7 == 6:
            fields |= {
                "Job": True,
                "BillWithParent": True,
                "ParentRef": {"value": str(index)},
                "Level": 1,
                "FullyQualifiedName": f"Parent {index}:{fields['DisplayName']}",
            }
        if index % 9 == 8:
            fields |= {"Active": False, "Balance": 0, "BalanceWithJobs": 0}
            for name in ("DisplayName", "FullyQualifiedName"):
                fields[name] += DELETED_SUFFIX
        yield fields | _header(chance, index, count)


def seeded_invoices(seed: str, count: int, customers: int) -> Iterator[Object]:
    """Make the invoices of the start: open, paid and voided ones."""
    chance = Random(f"invoices:{seed}")  # noqa: S311 - no secret
    for index in range(count):
        fields = new_invoice(chance, index + 1, 1 + chance.randrange(max(customers, 1)))
        fields |= _header(chance, index, count)
        if index % 11 == 10:
            fields |= voided(fields)
        elif index % 3 == 0:
            payment = {"TxnId": str(900_000 + index), "TxnType": "Payment"}
            fields |= {"Balance": 0, "LinkedTxn": [*fields["LinkedTxn"], payment]}
        yield fields


def new_customer(chance: Random, number: int) -> Object:
    """Make the fields of a customer whose name nobody else has."""
    given, family = chance.choice(_NAMES)
    name = f"{given} {family} {number}"
    balance = chance.choice((0, 0, 239.0, 1_250.5, -12.34))
    fields: Object = {
        "Taxable": chance.random() < 0.5,
        "Job": False,
        "BillWithParent": False,
        "Balance": balance,
        "BalanceWithJobs": balance,
        "CurrencyRef": _DOLLAR,
        "PreferredDeliveryMethod": chance.choice(("Print", "Email", "None")),
        "IsProject": False,
        "ClientEntityId": "0",
        "GivenName": given,
        "FamilyName": family,
        "FullyQualifiedName": name,
        "DisplayName": name,
        "PrintOnCheckName": name,
        "Active": True,
        "V4IDPseudonym": f"002{number:029d}",
    }
    if chance.random() < 0.8:
        address = {"Id": str(number + 1)} | chance.choice(_PLACES)
        fields |= {"BillAddr": address, "ShipAddr": address}
    if chance.random() < 0.7:
        # People put several addresses into the one field.
        more = f", second.{number}@example.org" if chance.random() < 0.1 else ""
        fields["PrimaryEmailAddr"] = {"Address": f"shop.{number}@example.com{more}"}
    if chance.random() < 0.5:
        fields["PrimaryPhone"] = {"FreeFormNumber": f"(555) 555-{number % 10_000:04d}"}
    if chance.random() < 0.3:
        fields["Notes"] = "Prefers e-mail;\ncall after 10:00 – “thanks”"
    return fields


def new_invoice(chance: Random, number: int, customer: int) -> Object:
    """Make the fields of an open invoice."""
    lines = [_sale(chance, place) for place in range(1, chance.randint(2, 5))]
    if chance.random() < 0.2:
        inner = _sale(chance, 1)
        group = {"GroupItemRef": {"value": "9", "name": "Set"}, "Quantity": 1, "Line": [inner]}
        detail = {"DetailType": "GroupLineDetail", "GroupLineDetail": group}
        lines.append({"Id": str(len(lines) + 1), "Amount": inner["Amount"]} | detail)
    subtotal = round(sum(line["Amount"] for line in lines), 2)
    tax = round(subtotal * 0.08, 2)
    lines.append({"Amount": subtotal, "DetailType": "SubTotalLineDetail", "SubTotalLineDetail": {}})
    rate = {"TaxRateRef": {"value": "3"}, "PercentBased": True, "TaxPercent": 8}
    tax_line = {"Amount": tax, "DetailType": "TaxLineDetail", "TaxLineDetail": rate}
    total = round(subtotal + tax, 2)
    return {
        "Deposit": 0,
        "AllowIPNPayment": False,
        "AllowOnlinePayment": False,
        "AllowOnlineCreditCardPayment": False,
        "AllowOnlineACHPayment": False,
        "CustomField": [
            {"DefinitionId": "1", "Name": "Route", "Type": "StringType", "StringValue": "102"}
        ],
        "DocNumber": f"{1000 + number}",
        "TxnDate": "2026-02-19",
        "DueDate": "2026-03-21",
        "CurrencyRef": _DOLLAR,
        "LinkedTxn": [],
        "Line": lines,
        "TxnTaxDetail": {"TotalTax": tax, "TaxLine": [tax_line]},
        "CustomerRef": {"value": str(customer), "name": f"Customer {customer}"},
        "CustomerMemo": {"value": "Many thanks – グラシアス"},
        "TotalAmt": total,
        "ApplyTaxAfterDiscount": False,
        "PrintStatus": chance.choice(("NotSet", "NeedToPrint", "PrintComplete")),
        "EmailStatus": chance.choice(("NotSet", "EmailSent")),
        "Balance": total,
    }


def voided(fields: Object) -> Object:
    """Return what changes when an invoice is voided: it stays, and all its amounts are zero."""
    note = fields.get("PrivateNote", "")
    return {
        "Balance": 0,
        "TotalAmt": 0,
        "TxnTaxDetail": {"TotalTax": 0},
        "LinkedTxn": [],
        "Line": [_emptied(line) for line in fields["Line"]],
        "PrivateNote": f"Voided - {note}" if note else "Voided",
    }


def _emptied(line: Object) -> Object:
    if "SalesItemLineDetail" in line:
        line = line | {"SalesItemLineDetail": line["SalesItemLineDetail"] | {"Qty": 0}}
    return line | {"Amount": 0}


def _sale(chance: Random, place: int) -> Object:
    item, name, price = chance.choice(_GOODS)
    quantity = chance.randint(1, 12)
    return {
        "Id": str(place),
        "LineNum": place,
        "Description": name,
        "Amount": round(price * quantity, 2),
        "DetailType": "SalesItemLineDetail",
        "SalesItemLineDetail": {
            "ItemRef": {"value": item, "name": name},
            "UnitPrice": price,
            "Qty": quantity,
            "TaxCodeRef": {"value": "TAX"},
        },
    }


def _header(chance: Random, index: int, count: int) -> Object:
    """Spread objects evenly over the two years before the sandbox's first day."""
    place = SAME_SECOND.start if index in SAME_SECOND else index
    created = BASE - _YEARS_2 + place * _YEARS_2 // max(count, 1)
    changes = chance.choice((0, 0, 1, 3))
    updated = created + (chance.randrange(max(BASE - created, 1)) if changes else 0)
    return {
        "domain": "QBO",
        "sparse": False,
        "Id": str(index + 1),
        "SyncToken": str(changes),
        "MetaData": {
            "CreateTime": company_text(created),
            "LastUpdatedTime": company_text(updated),
        },
    }
