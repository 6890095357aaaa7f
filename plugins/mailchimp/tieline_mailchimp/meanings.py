"""What a member means in the shape that providers share.

Merge fields are the audience's own. Those that each new audience has are read
by their tags; one that means something else by them has to be mapped by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tieline.contract import Address, Contact, Record, text_of, utc
from tieline_mailchimp.keys import key_of

__all__ = ["contact"]

_CONSENT = {"subscribed": True, "unsubscribed": False, "cleaned": False}
_PARTS = ("addr1", "addr2", "city", "state", "zip", "country")


def contact(record: Record) -> Contact | None:
    """Map a member; when it was made, Mailchimp does not say.

    Who was asked and has not answered (pending), was never asked
    (transactional) or is archived has not said whether it wants mail. To an
    address from which mail came back (cleaned) none may be sent.
    """
    if (key := key_of(record)) is None:
        return None
    merged = record.get("merge_fields") or {}
    return Contact(
        id=key,
        email=_text(record, "email_address"),
        name=_text(record, "full_name"),
        given_name=_text(merged, "FNAME"),
        family_name=_text(merged, "LNAME"),
        company=_text(merged, "COMPANY"),
        phone=_text(merged, "PHONE"),
        address=_address(merged.get("ADDRESS")),
        accepts_email=_CONSENT.get(record.get("status", "")),
        is_active=record.get("status") != "archived",
        updated_at=utc(record.get("last_changed")),
    )


def _address(lives: object) -> Address | None:
    if not isinstance(lives, Mapping):
        return None  # it is an empty text where there is none
    one, two, city, state, code, country = (_text(lives, part) for part in _PARTS)
    return Address(line1=one, line2=two, city=city, region=state, postal_code=code, country=country)


def _text(found: Mapping[str, Any], name: str) -> str | None:
    return text_of(found.get(name)) or None
