"""What a customer that is to be written may hold.

Only what a person would set: ids, versions, balances and paths are Intuit's.

Source:
    Lengths and forbidden characters: Intuit, "Customer" in the entity
    reference, and the XSD of its Java SDK.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates, validates_schema

__all__ = ["DELETED", "NAMES", "CustomerPayload", "without_suffix"]

DELETED = " (deleted)"
"""What QuickBooks adds to the names of those that are made inactive."""
NAMES = ("Title", "GivenName", "MiddleName", "FamilyName", "Suffix")
"""Of these it makes the name to display where none is given."""

_SUFFIX = re.compile(r" \(deleted(?: \d+)?\)$")
_PRINTABLE = validate.Regexp(r"[^\x00-\x1f\x7f]*\Z", error="No control characters, please.")


def without_suffix(record: Mapping[str, Any]) -> str | None:
    """Return the name of a customer as it was before it was made inactive."""
    name: str | None = record.get("DisplayName")
    return _SUFFIX.sub("", name) if name and record.get("Active") is False else name


def _text(most: int) -> fields.String:
    return fields.String(allow_none=True, validate=[validate.Length(max=most), _PRINTABLE])


class EmailPayload(Schema):
    """One address, or several with commas between."""

    Address = fields.String(
        required=True,
        allow_none=True,
        validate=[
            validate.Length(max=100),
            validate.Regexp(r"[^@\s,]+@[^@\s,]+\.[^@\s,]+(,\s*[^@\s,]+@[^@\s,]+\.[^@\s,]+)*\Z"),
        ],
    )


class PhonePayload(Schema):
    """A number as people write it."""

    FreeFormNumber = fields.String(
        required=True, allow_none=True, validate=[validate.Length(max=30), _PRINTABLE]
    )


class WebPayload(Schema):
    """An address of a page."""

    URI = fields.String(
        required=True, allow_none=True, validate=[validate.Length(max=1000), _PRINTABLE]
    )


class ReferencePayload(Schema):
    """Another object, by its id."""

    value = fields.String(required=True, validate=[validate.Length(min=1, max=50), _PRINTABLE])


class AddressPayload(Schema):
    """A whole address: Intuit does not say whether a part of one leaves the rest as it is.

    The country is written as Intuit writes it back, whatever it was given.
    """

    Line1 = _text(500)
    Line2 = _text(500)
    Line3 = _text(500)
    Line4 = _text(500)
    Line5 = _text(500)
    City = _text(255)
    CountrySubDivisionCode = _text(255)
    PostalCode = _text(30)
    Country = fields.String(
        allow_none=True, validate=validate.Regexp(r"[A-Z]{3}\Z", error="Three letters, as USA.")
    )

    @validates_schema
    def check_is_whole(self, data: Mapping[str, Any], **_given: object) -> None:
        """Refuse a part of an address."""
        whole = ("Line1", "Line2", "City", "CountrySubDivisionCode", "PostalCode", "Country")
        if missing := [name for name in whole if name not in data]:
            raise ValidationError(f"An address is written whole; null empties: {missing}.")


def _part(schema: type[Schema]) -> fields.Nested:
    """Make a part that holds its one field, in an update too, where none is required."""
    return fields.Nested(schema, validate=validate.Length(min=1))


class CustomerPayload(Schema):
    """A customer, or the fields of one that change; null empties a field."""

    DisplayName = fields.String(validate=[validate.Length(min=1, max=500), _PRINTABLE])
    Title = _text(16)
    GivenName = _text(100)
    MiddleName = _text(100)
    FamilyName = _text(100)
    Suffix = _text(16)
    CompanyName = _text(100)
    PrintOnCheckName = _text(110)
    Active = fields.Boolean(truthy={True}, falsy={False})
    PrimaryPhone = _part(PhonePayload)
    AlternatePhone = _part(PhonePayload)
    Mobile = _part(PhonePayload)
    Fax = _part(PhonePayload)
    PrimaryEmailAddr = _part(EmailPayload)
    WebAddr = _part(WebPayload)
    BillAddr = fields.Nested(AddressPayload)
    ShipAddr = fields.Nested(AddressPayload)
    Notes = fields.String(allow_none=True, validate=validate.Length(max=2000))
    Taxable = fields.Boolean(truthy={True}, falsy={False})
    Job = fields.Boolean(truthy={True}, falsy={False})
    BillWithParent = fields.Boolean(truthy={True}, falsy={False})
    ParentRef = _part(ReferencePayload)
    CurrencyRef = _part(ReferencePayload)
    SalesTermRef = _part(ReferencePayload)
    PaymentMethodRef = _part(ReferencePayload)
    PreferredDeliveryMethod = fields.String(validate=validate.OneOf(("Print", "Email", "None")))
    ResaleNum = _text(16)

    @validates("DisplayName")
    def check_name(self, name: str, **_given: object) -> None:
        """Refuse what parts customers from sub-customers, and what QuickBooks adds by itself."""
        if ":" in name or _SUFFIX.search(name):
            raise ValidationError(f"Neither a colon nor{DELETED} at the end.")

    @validates_schema
    def check_kind(self, data: Mapping[str, Any], *, partial: object, **_given: object) -> None:
        """Refuse what only a create, or only an update, may hold."""
        if partial:
            if "CurrencyRef" in data:
                raise ValidationError("A currency never changes.", "CurrencyRef")
            return
        if "Active" in data:
            raise ValidationError("A new customer is active.", "Active")
        if not any(data.get(name) for name in ("DisplayName", *NAMES)):
            raise ValidationError(f"This, or one of {', '.join(NAMES)}.", "DisplayName")
