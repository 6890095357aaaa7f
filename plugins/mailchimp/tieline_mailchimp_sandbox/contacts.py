"""Contacts: what Mailchimp calls members of a list, made from a seed.

Source: the official swagger, ``List Members``. As on the wire, dates that
never were are empty strings, an empty address field is one too, and
``merge_fields`` and ``interests`` are null on some.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from random import Random
from typing import Any

__all__ = [
    "INTERESTS",
    "STATUSES",
    "Member",
    "iso",
    "make_member",
    "renamed",
    "subscriber_hash",
    "with_links",
]

Member = dict[str, Any]

STATUSES = ("subscribed", "unsubscribed", "cleaned", "pending", "transactional", "archived")
_WEIGHTS = (60, 12, 8, 5, 5, 10)
# Some are there to be stored or shown wrongly by somebody.
_FIRST = ("Ada", "Grace", "Žofie", "李", "ليلى", "Renée", "O'Neill", '"Bob"', "Ng", "🌸")
_LAST = ("Lovelace", "Hopper", "Nováková", "小龍", "حداد", "Müller-Lüdenscheidt", "Null", "<b>")
_SOURCES = ("API - Generic", "Import", "Hosted Signup Form", "Admin Add")
INTERESTS = ("9143cf3bd1", "3a2a927344")
_LINKS = (
    ("self", ""),
    ("update", ""),
    ("upsert", ""),
    ("activity", "/activity"),
    ("goals", "/goals"),
    ("notes", "/notes"),
    ("events", "/events"),
)


def iso(seconds: float) -> str:
    """Write a time as Mailchimp does: whole seconds, ``+00:00``."""
    return datetime.fromtimestamp(int(seconds), UTC).isoformat()


def subscriber_hash(address: str) -> str:
    """Return the id of whoever has an address; it changes with the address."""
    return hashlib.md5(address.lower().encode(), usedforsecurity=False).hexdigest()


def make_member(
    chance: Random, *, list_id: str, address: str, contact_id: str, changed: float
) -> Member:
    """Make a contact that was last changed at a time, in seconds since the epoch."""
    first, last = chance.choice(_FIRST), chance.choice(_LAST)
    [status] = chance.choices(STATUSES, _WEIGHTS)
    is_opted_in = status not in {"transactional", "pending"}
    is_bare = chance.random() < 0.1
    opened, clicked = round(chance.random(), 4), round(chance.random() / 4, 4)
    tags = [{"id": 204522, "name": "customer"}] if chance.random() < 0.3 else []
    member: Member = {
        "id": "",
        "email_address": "",
        "unique_email_id": "",
        "contact_id": contact_id,
        "full_name": f"{first} {last}",
        "web_id": chance.randrange(1, 1 << 24),
        "email_type": chance.choice(("html", "text")),
        "status": status,
        "consents_to_one_to_one_messaging": True,
        "sms_phone_number": "",
        "sms_subscription_status": "",
        "sms_subscription_last_updated": "",
        "merge_fields": None if is_bare else _merge_fields(chance, first, last),
        "interests": None if is_bare else {name: chance.random() < 0.5 for name in INTERESTS},
        "stats": {
            "avg_open_rate": opened,
            "avg_click_rate": clicked,
            "ecommerce_data": {"total_revenue": 0, "number_of_orders": 0, "currency_code": "USD"},
        },
        "ip_signup": "",
        "timestamp_signup": "",
        "ip_opt": "192.0.2.10" if is_opted_in else "",
        "timestamp_opt": iso(changed - 86_400) if is_opted_in else "",
        "member_rating": chance.randrange(1, 6),
        "last_changed": iso(changed),
        "language": chance.choice(("", "en", "cs")),
        "vip": chance.random() < 0.05,
        "email_client": "",
        "location": {
            "latitude": 0,
            "longitude": 0,
            "gmtoff": 0,
            "dstoff": 0,
            "country_code": "",
            "timezone": "",
            "region": "",
        },
        "source": chance.choice(_SOURCES),
        "tags_count": len(tags),
        "tags": tags,
        "list_id": list_id,
    }
    if status == "unsubscribed":
        member["unsubscribe_reason"] = "N/A (Unsubscribed by admin)"
    return renamed(member, address)


def renamed(member: Member, address: str) -> Member:
    """Give a contact another address: only ``contact_id`` and ``web_id`` stay."""
    name = subscriber_hash(address)
    # Mailchimp's is of the address too, over all accounts; how it is made is not told.
    return {**member, "id": name, "email_address": address, "unique_email_id": name[10:20]}


def with_links(member: Member, origin: str) -> Member:
    """Add the links, which lead to where the sandbox was called."""
    place = f"{origin}/3.0/lists/{member['list_id']}/members/{member['id']}"
    methods = {"update": "PATCH", "upsert": "PUT"}
    return {
        **member,
        "_links": [
            {
                "rel": rel,
                "href": f"{place}{path}",
                "method": methods.get(rel, "GET"),
                "targetSchema": "https://us1.api.mailchimp.com/schema/3.0/Definitions/Lists/Members/"
                "Response.json",
            }
            for rel, path in _LINKS
        ],
    }


def _merge_fields(chance: Random, first: str, last: str) -> dict[str, Any]:
    address = {
        "addr1": "1 Grand Canal St",
        "addr2": "",
        "city": "Dublin",
        "state": "",
        "zip": "D02",
        "country": "IE",
    }
    return {
        "FNAME": first,
        "LNAME": last,
        "ADDRESS": address if chance.random() < 0.5 else "",
        "PHONE": "",
        "BIRTHDAY": "12/10" if chance.random() < 0.3 else "",
        "POINTS": chance.choice(("", 0, 7, 12.5)),
    }
