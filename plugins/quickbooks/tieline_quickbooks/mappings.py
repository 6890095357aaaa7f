"""What QuickBooks' objects mean in the shapes that providers share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from tieline.contract import (
    Address,
    Contact,
    Invoice,
    InvoiceState,
    Line,
    Money,
    Record,
    money,
    utc,
)
from tieline_quickbooks.payloads import without_suffix

__all__ = ["contact", "invoice"]


def contact(record: Record) -> Contact:
    """Map a customer; the suffix of one that was made inactive is not a part of the name.

    Several e-mail addresses may stand in the one field: the first is taken.
    """
    email = _part(record, "PrimaryEmailAddr", "Address")
    lives = record.get("BillAddr")
    return Contact(
        id=record["Id"],
        email=email.partition(",")[0].strip() if email else None,
        name=without_suffix(record) or record.get("CompanyName"),
        given_name=record.get("GivenName"),
        family_name=record.get("FamilyName"),
        company=record.get("CompanyName"),
        phone=_part(record, "PrimaryPhone", "FreeFormNumber"),
        address=_address(lives) if lives else None,
        is_active=record.get("Active") is not False,
        created_at=utc(_part(record, "MetaData", "CreateTime")),
        updated_at=utc(_part(record, "MetaData", "LastUpdatedTime")),
    )


def invoice(record: Record) -> Invoice:
    """Map an invoice.

    Amounts are in the currency that the record names. Where a company has but
    one, Intuit may leave that out; then they are unknown, for the record does
    not say which one it is.
    """
    currency = _part(record, "CurrencyRef", "value")
    return Invoice(
        id=record["Id"],
        state=_state(record),
        number=record.get("DocNumber"),
        contact_id=_part(record, "CustomerRef", "value"),
        total=_amount(record.get("TotalAmt"), currency),
        balance=_amount(record.get("Balance"), currency),
        issued_on=_date(record.get("TxnDate")),
        due_on=_date(record.get("DueDate")),
        lines=tuple(_lines(record.get("Line") or (), currency)),
        created_at=utc(_part(record, "MetaData", "CreateTime")),
        updated_at=utc(_part(record, "MetaData", "LastUpdatedTime")),
    )


def _state(record: Record) -> InvoiceState:
    """Read the state off the amounts; of an invoice that was voided its note alone tells."""
    if (record.get("PrivateNote") or "").startswith("Voided") and not record.get("TotalAmt"):
        return "void"
    return "open" if record.get("Balance") else "paid"


def _lines(given: Iterable[Mapping[str, Any]], currency: str | None) -> Iterator[Line]:
    """Map positions; of a group those in it, and no sums."""
    for line in given:
        kind = line.get("DetailType")
        detail: Mapping[str, Any] = line.get(str(kind)) or {}
        if kind == "GroupLineDetail":
            yield from _lines(detail.get("Line") or (), currency)
        elif kind != "SubTotalLineDetail":
            quantity, sign = detail.get("Qty"), -1 if kind == "DiscountLineDetail" else 1
            yield Line(
                description=line.get("Description"),
                product_id=_part(detail, "ItemRef", "value"),
                quantity=None if quantity is None else Decimal(str(quantity)),
                unit_price=_price(detail.get("UnitPrice"), currency),
                total=_amount(line.get("Amount"), currency, sign),
            )


def _amount(amount: float | None, currency: str | None, sign: int = 1) -> Money | None:
    if amount is None or not currency:
        return None
    return money(sign * amount, currency, unit="major")


def _price(amount: float | None, currency: str | None) -> Money | None:
    """Map the price of one piece, which may be finer than the currency: then there is none."""
    try:
        return _amount(amount, currency)
    except ValueError:
        return None


def _address(given: Mapping[str, Any]) -> Address:
    more = [given.get(f"Line{place}") for place in range(2, 6)]
    return Address(
        line1=given.get("Line1"),
        line2=", ".join(filter(None, more)) or None,
        city=given.get("City"),
        region=given.get("CountrySubDivisionCode"),
        postal_code=given.get("PostalCode"),
        country=given.get("Country"),
    )


def _part(record: Mapping[str, Any], name: str, inner: str) -> Any:
    return (record.get(name) or {}).get(inner)


def _date(text: str | None) -> date | None:
    return date.fromisoformat(text[:10]) if text else None
