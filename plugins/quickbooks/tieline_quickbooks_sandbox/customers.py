"""What a customer may hold that somebody writes, and what it becomes.

Source:
    Field names of the Customer entity in the XSD of Intuit's Java SDK; lengths
    and forbidden characters from its entity reference. Which code goes with
    which of them is known for 2010, 2020, 2050, 2210, 610, 5010 and 6240; 2040
    and 6000 are guesses at the same level.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tieline_quickbooks_sandbox.answers import (
    ApiError,
    bad_property,
    missing_argument,
    refused_value,
)
from tieline_quickbooks_sandbox.seeds import DELETED_SUFFIX, Object

__all__ = ["NAME_PARTS", "WRITABLE", "display_name", "emptied", "new_names", "read_given"]

NAME_PARTS = ("Title", "GivenName", "MiddleName", "FamilyName", "Suffix")
_TEXTS = {
    "DisplayName": 500, "Title": 16, "GivenName": 100, "MiddleName": 100, "FamilyName": 100,
    "Suffix": 16, "CompanyName": 100, "PrintOnCheckName": 110, "Notes": 2000, "ResaleNum": 16,
    "PreferredDeliveryMethod": 20, "PrimaryTaxIdentifier": 20, "SecondaryTaxIdentifier": 20,
    "BusinessNumber": 20, "GSTIN": 15, "GSTRegistrationType": 15, "OpenBalanceDate": 30,
}  # fmt: skip
_FLAGS = ("Active", "Taxable", "Job", "BillWithParent")
_REFERENCES = (
    "ParentRef", "CurrencyRef", "SalesTermRef", "PaymentMethodRef", "CustomerTypeRef",
    "DefaultTaxCodeRef", "ARAccountRef",
)  # fmt: skip
_PHONE = {"FreeFormNumber": 30}
_PLACE = {
    "Line1": 500, "Line2": 500, "Line3": 500, "Line4": 500, "Line5": 500, "City": 255,
    "Country": 255, "CountrySubDivisionCode": 255, "PostalCode": 30,
}  # fmt: skip
_PARTS = {
    "PrimaryPhone": _PHONE,
    "AlternatePhone": _PHONE,
    "Mobile": _PHONE,
    "Fax": _PHONE,
    "PrimaryEmailAddr": {"Address": 100},
    "WebAddr": {"URI": 1000},
    "BillAddr": _PLACE,
    "ShipAddr": _PLACE,
}
_PASSED_OVER = {"BillAddr": {"Id", "Lat", "Long"}, "ShipAddr": {"Id", "Lat", "Long"}}
WRITABLE = frozenset({*_TEXTS, *_FLAGS, *_REFERENCES, *_PARTS})
_READ_ONLY = frozenset(
    {
        "Id", "SyncToken", "sparse", "domain", "MetaData", "Balance", "BalanceWithJobs", "Level",
        "FullyQualifiedName", "IsProject", "ClientEntityId", "V4IDPseudonym", "status",
        "OverDueBalance", "ClientCompanyId", "CustomField", "TaxExemptionReasonId",
    }
)  # fmt: skip
_EMAIL = re.compile(r"[^@]+@[^@]+\.[^@]+(,[^@]+@[^@]+\.[^@]+)*")
_FORBIDDEN = re.compile(r"[:\t\n]")
_WRONG_EMAIL = (
    "Invalid Email Address format",
    "Email Address does not conform to the syntax rules of RFC 822.",
)


def read_given(body: Any, time: str) -> Object:
    """Check what somebody wants to write; return the fields that can be written.

    Raises:
        ApiError: It names what there is not, or a value is none of its field.
    """
    if not isinstance(body, dict):
        raise bad_property("", time)
    given = {}
    for name, value in body.items():
        if name in _READ_ONLY:
            continue
        if name not in WRITABLE or not _has_kind(name, value):
            raise bad_property(name, time)
        given[name] = _checked(name, value, time)
    if _FORBIDDEN.search(given.get("DisplayName") or ""):
        words = "DisplayName contains a colon, a tab or a new line"
        raise refused_value("2040", "Invalid String", words, "DisplayName", time)
    email = (given.get("PrimaryEmailAddr") or {}).get("Address")
    if email and not _EMAIL.fullmatch(email):
        raise refused_value("2210", *_WRONG_EMAIL, "PrimaryEmailAddr", time)
    return given


def display_name(given: Object, time: str) -> str:
    """Return the name that a new customer has.

    Raises:
        ApiError: It is given none, and nothing that one could be made of.
    """
    parts = (given.get(part) for part in NAME_PARTS)
    name: str = given.get("DisplayName") or " ".join(filter(None, parts))
    if not name:
        raise missing_argument("DisplayName", time)
    return name


def emptied(given: Object) -> tuple[Object, list[str]]:
    """Part what is set from what is emptied: an empty text empties, null says nothing.

    A part such as an address is put in place of the one before, whole: nobody
    says that its lines are changed one by one.
    """
    kept: Object = {}
    gone = []
    for name, value in given.items():
        if isinstance(value, dict):
            filled = {key: text for key, text in value.items() if text not in (None, "")}
            kept |= {name: filled} if filled else {}
            gone += [] if filled else [name]
        elif value == "":
            gone.append(name)
        elif value is not None:
            kept[name] = value
    return kept, gone


def new_names(old: Object, fields: Object, is_taken: Callable[[str], bool]) -> Object:
    """Return how the name changes with being made inactive or active again."""
    name: str = (fields if "DisplayName" in fields else old)["DisplayName"]
    was = old.get("Active") is not False
    if fields.get("Active", was) == was:
        return {"DisplayName": name}
    if not was:
        return {"DisplayName": re.sub(r" \(deleted(?: \d+)?\)$", "", name)}
    marked, place = name + DELETED_SUFFIX, 0
    while is_taken(marked):
        place += 1
        marked = f"{name} (deleted {place})"
    return {"DisplayName": marked}


def _has_kind(name: str, value: Any) -> bool:
    if value is None:
        return True
    if name in _FLAGS:
        return isinstance(value, bool)
    if name in _TEXTS:
        return isinstance(value, str)
    return isinstance(value, dict) and (name in _PARTS or isinstance(value.get("value"), str))


def _checked(name: str, value: Any, time: str) -> Any:
    """Look at lengths, and at what stands in a part."""
    if isinstance(value, str) and len(value) > _TEXTS[name]:
        raise _too_long(name, time)
    if not isinstance(value, dict) or name not in _PARTS:
        return value
    lengths = _PARTS[name]
    inner = {key: text for key, text in value.items() if key not in _PASSED_OVER.get(name, ())}
    for key, text in inner.items():
        if key not in lengths or not (text is None or isinstance(text, str)):
            raise bad_property(key, time)
        if text and len(text) > lengths[key]:
            raise _too_long(key, time)
    return inner


def _too_long(name: str, time: str) -> ApiError:
    message = "String length is either shorter or longer than supported by specification"
    return refused_value("2050", message, f"{name} is too long", name, time)
