"""The companies that can be connected: ids, names, and what Intuit tells of them."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

__all__ = ["Company", "company_info", "make_companies"]

_AWKWARD = (
    "Hazel & Sons Garden Supply",
    "<b>Bäckerei</b> & \"Söhne\" 'GmbH'",
    "\u202bמאפיית השחר\u202c 🥐",
)


@dataclass(slots=True, kw_only=True, eq=False)
class Company:
    """One company.

    Attributes:
        index: Its number in the control surface.
        id: The realm id: 16 digits, or 19 as newer companies have.
        name: As people call it.
        has_lost_rights: The user who connected it may no longer use it.
        is_suspended: Its subscription has ended.
    """

    index: int
    id: str
    name: str
    has_lost_rights: bool = False
    is_suspended: bool = False


def make_companies(count: int, seed: int) -> list[Company]:
    """Make companies; the first three have awkward names and ids of both lengths."""
    return [
        Company(index=index, id=_realm(index, seed), name=_name(index)) for index in range(count)
    ]


def company_info(company: Company, seed: int) -> dict[str, Any]:
    """Write a company as Intuit's CompanyInfo entity does.

    Source:
        Field names of the CompanyInfo entity in python-quickbooks and in the
        XSD of Intuit's Java SDK; the values are invented.
    """
    address = {
        "Id": "1",
        "Line1": f"{company.index + 1} Example Way",
        "City": "Springfield",
        "Country": "US",
        "CountrySubDivisionCode": "OR",
        "PostalCode": "97477",
    }
    return {
        "CompanyName": company.name,
        "LegalName": company.name,
        "CompanyAddr": address,
        "CustomerCommunicationAddr": address,
        "LegalAddr": address,
        "CustomerCommunicationEmailAddr": {"Address": f"books-{seed}@example.com"},
        "PrimaryPhone": {},
        "CompanyStartDate": "2024-11-01",
        "FiscalYearStartMonth": "January",
        "Country": "US",
        "Email": {"Address": f"owner-{seed}@example.com"},
        "WebAddr": {},
        "SupportedLanguages": "en",
        "NameValue": [
            {"Name": "NeoEnabled", "Value": "true"},
            {"Name": "SubscriptionStatus", "Value": "PAID"},
            {"Name": "OfferingSku", "Value": "QuickBooks Online Plus"},
        ],
        "domain": "QBO",
        "sparse": False,
        "Id": "1",
        "SyncToken": "4",
        "MetaData": {
            "CreateTime": "2024-11-01T09:15:00-08:00",
            "LastUpdatedTime": "2026-10-01T09:15:00-08:00",
        },
    }


def _realm(index: int, seed: int) -> str:
    digest = blake2b(f"realm:{seed}:{index}".encode(), digest_size=8).digest()
    digits = f"{int.from_bytes(digest, 'big') % 10**11:011d}"
    return f"93414{digits}" if index % 2 == 0 else f"46208163{digits}"


def _name(index: int) -> str:
    return _AWKWARD[index] if index < len(_AWKWARD) else f"Company {index + 1:04d}, Inc."
