"""What Stripe's objects mean in the shapes that providers share."""

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

__all__ = ["contact", "key_of", "order", "payment", "product"]

# Where Stripe's smallest unit is not ISO 4217's: it kept two decimals for
# currencies that lost them, and has none for the ariary, whose fifth of a
# hundred nobody pays (Stripe, "Supported currencies", special cases).
_OWN_DIGITS = {"isk": 2, "ugx": 2, "mga": 0}

_ORDER_STATES: Mapping[str, OrderState] = {
    "incomplete": "draft",
    "incomplete_expired": "cancelled",
    "canceled": "cancelled",
}


def contact(record: Record) -> Contact:
    """Map a customer; whether it wants mail is not Stripe's to know."""
    lives = record.get("address")
    return Contact(
        id=record["id"],
        email=record.get("email"),
        name=record.get("name"),
        company=record.get("business_name"),
        phone=record.get("phone"),
        address=_address(lives) if lives else None,
        created_at=utc(record.get("created")),
    )


def product(record: Record) -> Product:
    """Map a product; its price is an object of its own, of which the record has the id."""
    return Product(
        id=record["id"],
        name=record.get("name"),
        description=record.get("description"),
        is_active=record.get("active") is not False,
        created_at=utc(record.get("created")),
        updated_at=utc(record.get("updated")),
    )


def order(record: Record) -> Order:
    """Map a subscription: past due, unpaid or paused ones go on until they are cancelled."""
    return Order(
        id=record["id"],
        state=_ORDER_STATES.get(record["status"], "open"),
        contact_id=key_of(record.get("customer")),
        lines=tuple(_line(item) for item in (record.get("items") or {}).get("data", ())),
        created_at=utc(record.get("created")),
        closed_at=utc(record.get("ended_at")),
    )


def payment(record: Record) -> Payment:
    """Map a charge; one that is only authorised is pending, and cancelled once it is let go."""
    state: PaymentState = record["status"]
    if state == "succeeded" and record.get("captured") is False:
        state = "cancelled" if record.get("refunded") else "pending"
    currency = record["currency"]
    return Payment(
        id=record["id"],
        amount=_amount(record["amount"], currency),
        state=state,
        refunded=None if state == "cancelled" else _amount(record["amount_refunded"], currency),
        contact_id=key_of(record.get("customer")),
        method=(record.get("payment_method_details") or {}).get("type"),
        failure=record.get("failure_message") or record.get("failure_code"),
        created_at=utc(record.get("created")),
    )


def key_of(link: object) -> str | None:
    """Read the id from a field that holds it, the object itself, or the stub of a deleted one."""
    found = link.get("id") if isinstance(link, Mapping) else link
    return found if isinstance(found, str) and found else None


def _address(given: Mapping[str, Any]) -> Address:
    same = ("line1", "line2", "city", "postal_code", "country")
    return Address(region=given.get("state"), **{name: given.get(name) for name in same})


def _line(item: Mapping[str, Any]) -> Line:
    price = item["price"]
    quantity, unit, again = item.get("quantity"), price.get("unit_amount"), price.get("recurring")
    # Below a cent only the decimal text has it, and tiers and packages have no price of one.
    is_of_one = unit is not None and not price.get("transform_quantity")
    return Line(
        description=price.get("nickname"),
        product_id=key_of(price.get("product")),
        quantity=None if quantity is None else Decimal(quantity),
        unit_price=_amount(unit, price["currency"]) if is_of_one else None,
        period=f"P{again['interval_count']}{again['interval'][0].upper()}" if again else None,
    )


def _amount(amount: int, currency: str) -> Money:
    own = _OWN_DIGITS.get(currency)
    if own is None:
        return money(amount, currency)
    return money(Decimal(amount).scaleb(-own), currency, unit="major")
