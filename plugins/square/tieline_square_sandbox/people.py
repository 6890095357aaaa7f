"""Customers as sellers have them, awkward ones among them.

=========  ==================================================================
number     what is awkward
=========  ==================================================================
5 of 13    bare: no name, company, e-mail or phone, so no list ever shows it
7 of 11    an instant profile: little is known, absent fields are absent
3 of 11    a birthday without a year: ``0000-MM-DD``
2 of 11    letters of many scripts, and emoji
=========  ==================================================================

Shapes: Square API reference, "Customer".
"""

from __future__ import annotations

from tieline_square_sandbox.shelf import Copy, Object
from tieline_square_sandbox.times import write_time

__all__ = ["alter_customer", "is_listed", "make_customer", "merge_customers"]

_TELLING = ("given_name", "family_name", "company_name", "email_address", "phone_number")
_NAMES = (
    ("Ada", "Lovelace"),
    ("Grace", "Hopper"),
    ("Zoë", "Łukasz 株式会社 🚀"),
    ("Amelia", "Earhart"),
    ("שלום", "\u202bעולם\u202c"),
    ("O'Neil", '<b>"&amp;"</b>'),
)


def is_listed(copy: Copy) -> bool:
    """Whether lists and searches show it ("ListCustomers": one of five fields is needed)."""
    return any(copy.value.get(name) for name in _TELLING)


def make_customer(name: str, number: int, created: int, updated: int) -> Object:
    """Make one; the same number makes the same one.

    Args:
        name: Its id.
        number: Chooses what it is like.
        created: Microseconds since 1970.
        updated: The same.
    """
    value: Object = {
        "id": name,
        "created_at": write_time(created, number % 4),
        "updated_at": write_time(updated, (number + 1) % 4),
        "creation_source": "THIRD_PARTY",
        "preferences": {"email_unsubscribed": number % 5 == 0},
        "version": number % 3,
    }
    if number % 13 == 5:
        return value | {"creation_source": "INSTANT_PROFILE"}
    email = {"email_address": f"customer.{number}@example.com"}
    if number % 11 == 7:
        return value | email | {"creation_source": "INSTANT_PROFILE"}
    given, family = _NAMES[2 if number % 11 == 2 else number % len(_NAMES)]
    value |= email | {
        "given_name": given,
        "family_name": family,
        "phone_number": f"+1555555{number % 10_000:04}",
        "address": {
            "address_line_1": f"{number} Electric Ave",
            "locality": "New York",
            "administrative_district_level_1": "NY",
            "postal_code": "10003",
            "country": "US",
        },
        "reference_id": f"crm-{number}",
        "group_ids": ["TIEGROUP.REACHABLE"],
        "segment_ids": ["MLTIELINE0001.REACHABLE"],
    }
    return value | ({"birthday": "0000-12-10"} if number % 11 == 3 else {})


def alter_customer(value: Object, fields: Object, now: int) -> Object:
    """Change one. Membership of segments moves neither version nor time."""
    changed = value | fields
    if fields.keys() == {"segment_ids"}:
        return changed
    version = value.get("version", 0) + 1
    return changed | {"version": version, "updated_at": write_time(now, version % 4)}


def merge_customers(name: str, values: list[Object], now: int) -> Object:
    """Make the new profile that takes the place of several."""
    merged = {key: field for value in reversed(values) for key, field in value.items()}
    return merged | {
        "id": name,
        "version": 0,
        "creation_source": "MERGE",
        "created_at": write_time(now),
        "updated_at": write_time(now),
    }
