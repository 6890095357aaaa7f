"""What a record means, whoever sent it: the shapes that providers have in common.

A plugin maps a record to one of them; the payload stays beside it as it was
received. What a provider does not say is None, never a guess.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, TypeAlias, get_args, get_type_hints, overload

from tieline.contract.values import Money, Record

__all__ = [
    "Address",
    "Canonical",
    "Contact",
    "Invoice",
    "InvoiceState",
    "Line",
    "Order",
    "OrderState",
    "Payment",
    "PaymentState",
    "Product",
    "Shape",
    "exponent_of",
    "money",
    "shapes_of",
    "utc",
]

OrderState = Literal["draft", "open", "completed", "cancelled"]
PaymentState = Literal["pending", "succeeded", "failed", "cancelled"]
InvoiceState = Literal["draft", "open", "paid", "void", "uncollectible"]

# ISO 4217:2015, list one of 2026-01-01 (SIX Financial Information), and what
# was withdrawn since 2010, for old records name it. Written down and not taken
# from a library, for CLDR's digits (Babel's) are those that people write: it
# has no decimals for LAK, RSD or MGA, which would make amounts a hundredfold.
_CODES = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF BYR",
    2: "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN"
    " BZD CAD CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP"
    " GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT"
    " LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN"
    " NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE"
    " SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES"
    " WST XAD XCD XCG YER ZAR ZMW ZWG"
    " ANG BGN CUC EEK HRK LTL LVL MRO SLL STD VEF ZMK ZWL",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
_EXPONENTS = {code: digits for digits, codes in _CODES.items() for code in codes.split()}


def exponent_of(currency: str) -> int:
    """Say how many decimals a currency's minor unit is away from its major one.

    Args:
        currency: ISO 4217 code, in upper or lower case.

    Raises:
        ValueError: It is no currency with a minor unit; to assume two
            decimals could be wrong by a hundredfold.
    """
    try:
        return _EXPONENTS[currency.upper()]
    except (KeyError, AttributeError):
        raise ValueError(f"{currency!r} is no currency of ISO 4217 with a minor unit") from None


@overload
def money(
    amount: float | str | Decimal, currency: str, *, unit: Literal["minor", "major"] = ...
) -> Money: ...
@overload
def money(amount: None, currency: Any, *, unit: Literal["minor", "major"] = ...) -> None: ...
def money(
    amount: float | str | Decimal | None,
    currency: Any,
    *,
    unit: Literal["minor", "major"] = "minor",
) -> Money | None:
    """Make an amount from what a provider wrote, without rounding.

    Args:
        amount: A number or a plain decimal text; a float counts as the digits
            that it prints, which are those of the JSON it was read from. None
            stays None.
        currency: ISO 4217 code, in upper or lower case.
        unit: What the amount is counted in: ISO's minor unit (cents, yen,
            fils) or the major one (euros, yen, dinars). Where a provider has
            a minor unit of its own, bring the amount to the major one first.

    Raises:
        ValueError: No such currency, no such number, or finer than the
            currency's minor unit.
    """
    if amount is None:
        return None
    digits = exponent_of(currency)
    exact = _exact(amount).scaleb(digits if unit == "major" else 0)
    if exact != exact.to_integral_value():
        raise ValueError(f"{amount} {currency.upper()} is finer than {digits} decimals")
    return Money(amount_minor=int(exact), currency=currency.upper())


def _exact(amount: object) -> Decimal:
    try:
        if isinstance(amount, (int, float, str, Decimal)) and not isinstance(amount, bool):
            found = Decimal(str(amount))
            if found.is_finite() and found.adjusted() < 24:  # within Decimal's 28 digits
                return found
    except InvalidOperation:
        pass
    raise ValueError(f"{amount!r} is no amount")


def utc(value: float | str | None) -> datetime | None:
    """Read a time: seconds since 1970, or ISO 8601 with its offset.

    Where a provider writes none, add the one that its reference names:
    ``utc(f"{text}+00:00")``.

    Returns:
        Aware UTC; None for None and for empty text.

    Raises:
        ValueError: It is no time, or says no offset.
    """
    if value is None or value == "":
        return None
    try:
        if isinstance(value, str):
            time = datetime.fromisoformat(value)
            if time.tzinfo is None:
                raise ValueError(f"{value!r} says no offset from UTC: add the provider's, +00:00")
            return time.astimezone(UTC)
        if not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
    except (OverflowError, OSError, TypeError):
        pass
    raise ValueError(f"{value!r} is no time")


class _Checked:
    """Refuses what a shape must not hold, where it is made."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            where = f"{type(self).__name__}.{field.name}"
            if isinstance(value, datetime) and value.utcoffset() != timedelta(0):
                raise ValueError(f"{where}: {value.isoformat()} is not aware UTC")
            if field.name == "state" and value not in _STATES[type(self).__name__]:
                raise ValueError(f"{where}: {value!r}, not one of {_STATES[type(self).__name__]}")
            if field.name == "id" and not (isinstance(value, str) and value):
                raise ValueError(f"{where} must be text")


_STATES = {
    "Order": get_args(OrderState),
    "Payment": get_args(PaymentState),
    "Invoice": get_args(InvoiceState),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """Where somebody can be found, as the provider wrote it.

    Attributes:
        line1: Street and number.
        line2: What else the postman needs.
        city: Town.
        region: State, province or county.
        postal_code: As written.
        country: Two letters of ISO 3166-1 where the provider has them, else
            what it has.
    """

    line1: str | None = None
    line2: str | None = None
    city: str | None = None
    region: str | None = None
    postal_code: str | None = None
    country: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Contact(_Checked):
    """A person or a company that the account deals with.

    Attributes:
        id: The record's key.
        email: As written; addresses differ in case at some providers.
        name: Whole name, or the company's where there is nothing else.
        given_name: Where the provider has it apart.
        family_name: Where the provider has it apart.
        company: Where the provider has it apart.
        phone: As written.
        address: The main one, for bills if there are several.
        accepts_email: Consent to marketing, as far as the provider knows it.
            None: nobody said; that is no consent.
        is_active: False for who was archived or switched off, but not deleted.
        created_at: When the provider made the record, aware UTC.
        updated_at: When it last changed, where the provider says, aware UTC.
    """

    id: str
    email: str | None = None
    name: str | None = None
    given_name: str | None = None
    family_name: str | None = None
    company: str | None = None
    phone: str | None = None
    address: Address | None = None
    accepts_email: bool | None = None
    is_active: bool = True
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Product(_Checked):
    """Something that is sold.

    Attributes:
        id: The record's key.
        name: What people call it.
        description: In the provider's own text or markup.
        sku: Number that the merchant gave it.
        price: Of one piece, where there is exactly one price and it is a
            whole number of minor units.
        is_active: False for what can no longer be bought.
        created_at: As for :class:`Contact`.
        updated_at: As for :class:`Contact`.
    """

    id: str
    name: str | None = None
    description: str | None = None
    sku: str | None = None
    price: Money | None = None
    is_active: bool = True
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One position of an order or an invoice.

    Attributes:
        description: What it says.
        product_id: Key of the product's record.
        quantity: How many; fractions where the provider has them.
        unit_price: Of one piece.
        total: Of the line, as the provider computed it.
        period: How often it is due again, an ISO 8601 duration such as
            ``P1M``; None: once.
    """

    description: str | None = None
    product_id: str | None = None
    quantity: Decimal | None = None
    unit_price: Money | None = None
    total: Money | None = None
    period: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Order(_Checked):
    """What a contact asked for, once or again and again (a subscription).

    Attributes:
        id: The record's key.
        state: ``open`` while something is still to come: goods, a payment, or
            a further period.
        number: What people call it.
        contact_id: Key of the contact's record.
        total: What it costs, as the provider computed it; of a subscription
            none does: its invoices say.
        lines: Its positions, as far as the record has them.
        created_at: As for :class:`Contact`.
        updated_at: As for :class:`Contact`.
        closed_at: When it was completed or cancelled, aware UTC.
    """

    id: str
    state: OrderState
    number: str | None = None
    contact_id: str | None = None
    total: Money | None = None
    lines: tuple[Line, ...] = ()
    created_at: datetime | None = None
    updated_at: datetime | None = None
    closed_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Payment(_Checked):
    """Money that a contact paid or tried to.

    Attributes:
        id: The record's key.
        amount: What was to be paid.
        state: ``pending`` while the provider does not know how it ends, and
            for what is only reserved.
        refunded: How much of it went back; None: the provider does not say.
        contact_id: Key of the contact's record.
        order_id: Key of the order's record.
        invoice_id: Key of the invoice's record.
        method: ``card`` and the like, in the provider's words.
        failure: Why it failed, in the provider's words.
        created_at: As for :class:`Contact`.
        updated_at: As for :class:`Contact`.
    """

    id: str
    amount: Money
    state: PaymentState
    refunded: Money | None = None
    contact_id: str | None = None
    order_id: str | None = None
    invoice_id: str | None = None
    method: str | None = None
    failure: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Invoice(_Checked):
    """A bill.

    Attributes:
        id: The record's key.
        state: Whether anything is still to be paid.
        number: What is printed on it.
        contact_id: Key of the contact's record.
        total: What it asks for, taxes included.
        balance: What is still to be paid.
        issued_on: Date on it, in the account's own time zone.
        due_on: Date by which it is to be paid, in the same.
        lines: Its positions, as far as the record has them.
        created_at: As for :class:`Contact`.
        updated_at: As for :class:`Contact`.
    """

    id: str
    state: InvoiceState
    number: str | None = None
    contact_id: str | None = None
    total: Money | None = None
    balance: Money | None = None
    issued_on: date | None = None
    due_on: date | None = None
    lines: tuple[Line, ...] = ()
    created_at: datetime | None = None
    updated_at: datetime | None = None


Shape: TypeAlias = Contact | Product | Order | Payment | Invoice
Canonical: TypeAlias = Callable[[Record], Shape | None]
"""``(record) -> shape``, or None for a record that has none of them."""


def shapes_of(canonical: Canonical) -> tuple[str, ...]:
    """Read from a mapping's return annotation which shapes it makes.

    Raises:
        TypeError: It has no annotation, or one that names something else.
    """
    try:
        said = get_type_hints(canonical).get("return")
    except (NameError, TypeError):
        said = None
    kinds = [kind for kind in get_args(said) or (said,) if kind is not type(None)]
    if not kinds or any(kind not in get_args(Shape) for kind in kinds):
        known = ", ".join(kind.__name__ for kind in get_args(Shape))
        raise TypeError(f"Entity.canonical must say by its annotation what it returns: {known}")
    return tuple(kind.__name__ for kind in kinds)
