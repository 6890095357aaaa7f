"""What HubSpot's records mean in the shapes that providers share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tieline.contract import Address, Contact, Record, utc

__all__ = ["company_contact", "contact"]


def contact(record: Record) -> Contact:
    """Read a person; HubSpot keeps consent elsewhere, so nothing is known of it."""
    has = record["properties"]
    names = (has.get("firstname") or "", has.get("lastname") or "")
    return Contact(
        id=record["id"],
        email=has.get("email") or None,
        name=" ".join(filter(None, names)) or None,
        given_name=names[0] or None,
        family_name=names[1] or None,
        company=has.get("company") or None,
        phone=has.get("phone") or None,
        address=_address(has),
        is_active=not record.get("archived"),
        created_at=utc(record["createdAt"]),
        updated_at=utc(record["updatedAt"]),
    )


def company_contact(record: Record) -> Contact:
    """Read a company."""
    has = record["properties"]
    return Contact(
        id=record["id"],
        name=has.get("name") or None,
        company=has.get("name") or None,
        phone=has.get("phone") or None,
        address=_address(has),
        is_active=not record.get("archived"),
        created_at=utc(record["createdAt"]),
        updated_at=utc(record["updatedAt"]),
    )


def _address(has: Mapping[str, Any]) -> Address | None:
    parts = {
        "line1": has.get("address"),
        "city": has.get("city"),
        "region": has.get("state"),
        "postal_code": has.get("zip"),
        "country": has.get("country"),
    }
    given = {name: text for name, text in parts.items() if text}
    return Address(**given) if given else None
