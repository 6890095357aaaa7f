"""Money keeps its currency's unit, times say where they are, and shapes hold no nonsense."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieline.contract import (
    Contact,
    Entity,
    Invoice,
    Money,
    Order,
    Page,
    Payment,
    Product,
    RecordSchema,
    exponent_of,
    money,
    utc,
)
from tieline.contract.shapes import _CODES

CODES = [code for codes in _CODES.values() for code in codes.split()]
ONE_HOUR_EAST = timezone(timedelta(hours=1))
EURO = Money(amount_minor=1, currency="EUR")


def test_no_currency_has_two_exponents():
    assert len(CODES) == len(set(CODES))
    assert all(len(code) == 3 and code.isascii() and code.isupper() for code in CODES)


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("19.99", "usd", 1999),
        (19.99, "USD", 1999),
        (1.1, "EUR", 110),
        (0.07, "EUR", 7),
        (-5, "GBP", -500),
        ("500", "JPY", 500),
        ("500.00", "jpy", 500),
        ("1.234", "KWD", 1234),
        ("1.2", "BHD", 1200),
        ("12.3456", "CLF", 123456),
        (7, "MGA", 700),
        (7, "ISK", 7),
        ("1E+2", "USD", 10000),
        (Decimal("0.10"), "HRK", 10),
        (1234567890123.45, "USD", 123456789012345),
    ],
)
def test_an_amount_in_the_major_unit_counts_the_decimals_of_its_currency(amount, currency, minor):
    assert money(amount, currency, unit="major") == Money(
        amount_minor=minor, currency=currency.upper()
    )


@pytest.mark.parametrize("currency", ["usd", "JPY", "kwd", "CLF"])
def test_an_amount_in_the_minor_unit_stays_what_it_is(currency):
    assert money(1999, currency).amount_minor == 1999
    assert money("1999", currency).currency == currency.upper()


@given(st.integers(-(10**18), 10**18), st.sampled_from(CODES))
def test_what_is_written_in_the_major_unit_comes_back(minor, code):
    text = str(Decimal(minor).scaleb(-exponent_of(code)))
    assert money(text, code, unit="major") == Money(amount_minor=minor, currency=code)
    assert money(text.lower(), code.lower(), unit="major").amount_minor == minor


@pytest.mark.parametrize(
    ("amount", "currency", "unit"),
    [
        ("0.001", "USD", "major"),
        ("0.5", "JPY", "major"),
        ("1.0001", "KWD", "major"),
        (1.5, "USD", "minor"),
        (True, "USD", "minor"),
        ("", "USD", "minor"),
        ("ten", "USD", "minor"),
        ("nan", "USD", "minor"),
        (float("inf"), "USD", "minor"),
        ("1e400", "USD", "minor"),
        ([1], "USD", "minor"),
        (1, "XXX", "minor"),
        (1, "XAU", "minor"),
        (1, "US", "minor"),
        (1, "", "minor"),
        (1, None, "minor"),
        (1, 840, "minor"),
    ],
)
def test_what_would_have_to_be_guessed_or_rounded_is_refused(amount, currency, unit):
    with pytest.raises(ValueError, match=r"."):
        money(amount, currency, unit=unit)


def test_no_amount_is_none_and_not_zero():
    assert money(None, "USD") is None
    assert money(None, None) is None
    assert money(0, "USD") == Money(amount_minor=0, currency="USD")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (1.5, datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)),
        (-86400, datetime(1969, 12, 31, tzinfo=UTC)),
        ("2026-11-25T10:00:00Z", datetime(2026, 11, 25, 10, tzinfo=UTC)),
        ("2026-11-25T10:00:00.250-08:00", datetime(2026, 11, 25, 18, 0, 0, 250_000, tzinfo=UTC)),
        (None, None),
        ("", None),
    ],
)
def test_times_are_aware_utc(value, expected):
    found = utc(value)
    assert found == expected
    assert found is None or found.tzinfo is UTC


@pytest.mark.parametrize(
    "value", ["2026-11-25", "2026-11-25T10:00:00", "soon", True, 10**20, float("nan"), [1], {}]
)
def test_what_is_no_instant_is_refused(value):
    with pytest.raises(ValueError, match=r"."):
        utc(value)


@pytest.mark.parametrize(
    ("shape", "given"),
    [
        (Contact, {"id": "1", "created_at": datetime(2026, 1, 1)}),  # noqa: DTZ001
        (Product, {"id": "1", "updated_at": datetime(2026, 1, 1, tzinfo=ONE_HOUR_EAST)}),
        (Contact, {"id": ""}),
        (Contact, {"id": 5}),
        (Order, {"id": "1", "state": "shipped"}),
        (Payment, {"id": "1", "amount": EURO, "state": "open"}),
        (Invoice, {"id": "1", "state": "pending"}),
    ],
)
def test_a_shape_refuses_what_it_must_not_hold(shape, given):
    with pytest.raises(ValueError, match=shape.__name__):
        shape(**given)


def test_unknown_consent_is_neither_yes_nor_no():
    assert Contact(id="1").accepts_email is None


def entity(canonical):
    return Entity(
        name="people",
        schema=RecordSchema(),
        page=lambda client, params, cursor: Page(records=[], next=None),
        canonical=canonical,
    )


def test_an_entity_names_the_shapes_of_its_records():
    def one(record) -> Contact:
        return Contact(id=record["id"])

    def some(record) -> Product | Order | None:
        return None

    assert entity(None).shapes == ()
    assert entity(one).shapes == ("Contact",)
    assert entity(some).shapes == ("Product", "Order")


def test_a_mapping_that_does_not_say_what_it_makes_is_refused_where_it_is_written():
    def nothing(record):
        return None

    def number(record) -> int:
        return 1

    def unknown(record) -> Kontakt:  # noqa: F821
        return None

    for odd in (nothing, number, unknown, lambda record: None):
        with pytest.raises(TypeError, match="annotation"):
            entity(odd)
    with pytest.raises(TypeError, match="function"):
        entity("Contact")
