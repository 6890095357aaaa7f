"""What Square's objects mean in the shapes that providers share.

Amounts are in the smallest unit of their currency, which at Square is that of
ISO 4217 (Square API reference, "Money"); an amount that names no currency, or
``UNKNOWN_CURRENCY``, is refused. Fields that have nothing to say are missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tieline.contract import (
    Address,
    Contact,
    Line,
    Money,
    Order,
    OrderState,
    Payment,
    PaymentState,
    Product,
    Record,
    money,
    utc,
)

__all__ = ["contact", "order", "payment", "product"]

_ORDER_STATES: Mapping[str, OrderState] = {
    "DRAFT": "draft",
    "OPEN": "open",
    "COMPLETED": "completed",
    "CANCELED": "cancelled",
}

_PAYMENT_STATES: Mapping[str, PaymentState] = {
    "APPROVED": "pending",  # authorised, and neither captured nor let go
    "PENDING": "pending",
    "COMPLETED": "succeeded",
    "CANCELED": "cancelled",
    "FAILED": "failed",
}


def contact(record: Record) -> Contact:
    """Map a customer: who has not unsubscribed has not consented either."""
    names = [record.get("given_name"), record.get("family_name")]
    company, lives = record.get("company_name"), record.get("address")
    has_left = (record.get("preferences") or {}).get("email_unsubscribed") is True
    return Contact(
        **_known(record),
        email=record.get("email_address"),
        name=" ".join(filter(None, names)) or company,
        given_name=names[0],
        family_name=names[1],
        company=company,
        phone=record.get("phone_number"),
        address=_address(lives) if lives else None,
        accepts_email=False if has_left else None,
    )


def order(record: Record) -> Order:
    """Map an order; a return is one too, whose lines are empty and total is nothing."""
    return Order(
        **_known(record),
        state=_ORDER_STATES[record["state"]],
        number=record.get("ticket_name"),
        contact_id=record.get("customer_id"),
        total=_amount(record, "total_money"),
        lines=tuple(_line(item) for item in record.get("line_items") or ()),
        closed_at=utc(record.get("closed_at")),
    )


def payment(record: Record) -> Payment:
    """Map a payment, tip included; without ``refunded_money`` Square says nothing of refunds."""
    amount = _amount(record, "total_money") or _amount(record, "amount_money")
    if amount is None:
        raise ValueError("the payment names no amount")
    told = (record.get("card_details") or {}).get("errors") or [{}]
    return Payment(
        **_known(record),
        amount=amount,
        state=_PAYMENT_STATES[record["status"]],
        refunded=_amount(record, "refunded_money"),
        contact_id=record.get("customer_id"),
        order_id=record.get("order_id"),
        method=record.get("source_type"),
        failure=told[0].get("detail") or told[0].get("code"),
    )


def product(record: Record) -> Product | None:
    """Map an item, and each of its variations, which are what orders name; nothing else is sold.

    An item has the number and the price of its variation where it has just one.
    """
    item, piece = record.get("item_data"), record.get("item_variation_data")
    if record["type"] == "ITEM" and item:
        nested = item.get("variations") or []
        sold = nested[0].get("item_variation_data", {}) if len(nested) == 1 else {}
        is_active = not item.get("is_archived")
    elif record["type"] == "ITEM_VARIATION" and piece:
        item, sold = piece, piece
        is_active = piece.get("sellable") is not False
    else:
        return None
    return Product(
        **_known(record),
        name=item.get("name"),
        description=item.get("description_html") or item.get("description"),
        sku=sold.get("sku"),
        price=_price(sold),
        is_active=is_active,
    )


def _known(record: Record) -> dict[str, Any]:
    """Read what all of Square's records tell in the same way."""
    times = {name: utc(record.get(name)) for name in ("created_at", "updated_at")}
    return {"id": record["id"], **times}


def _price(sold: Mapping[str, Any]) -> Money | None:
    """Read the price that holds everywhere; None where the till or the place decides."""
    elsewhere = sold.get("location_overrides") or ()
    is_one = not any("price_money" in each or "pricing_type" in each for each in elsewhere)
    is_fixed = sold.get("pricing_type") == "FIXED_PRICING"
    return _amount(sold, "price_money") if is_fixed and is_one else None


def _line(item: Mapping[str, Any]) -> Line:
    return Line(
        description=item.get("name"),
        product_id=item.get("catalog_object_id"),
        quantity=Decimal(item["quantity"]),
        unit_price=_amount(item, "base_price_money"),
        total=_amount(item, "total_money"),
    )


def _address(given: Mapping[str, Any]) -> Address:
    return Address(
        line1=given.get("address_line_1"),
        line2=given.get("address_line_2"),
        city=given.get("locality"),
        region=given.get("administrative_district_level_1"),
        postal_code=given.get("postal_code"),
        country=given.get("country"),
    )


def _amount(holder: Mapping[str, Any], field: str) -> Money | None:
    found = holder.get(field)
    return money(found.get("amount"), found.get("currency")) if found else None
