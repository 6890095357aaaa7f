"""The rights that a seller can grant, by Square's names ("OAuth permissions")."""

from __future__ import annotations

__all__ = ["DEFAULT", "KNOWN"]

DEFAULT = ("MERCHANT_PROFILE_READ", "PAYMENTS_READ", "SETTLEMENTS_READ", "BANK_ACCOUNTS_READ")
"""What is meant when the authorize address names none."""

_READ_AND_WRITE = (
    "APPOINTMENTS",
    "APPOINTMENTS_ALL",
    "CUSTOMERS",
    "DISPUTES",
    "EMPLOYEES",
    "GIFTCARDS",
    "INVENTORY",
    "INVOICES",
    "ITEMS",
    "LOYALTY",
    "MERCHANT_PROFILE",
    "ONLINE_STORE_SNIPPETS",
    "ORDERS",
    "PAYMENTS",
    "SUBSCRIPTIONS",
    "TIMECARDS",
    "TIMECARDS_SETTINGS",
    "VENDOR",
)

KNOWN = frozenset(
    {
        *(f"{name}_{way}" for name in _READ_AND_WRITE for way in ("READ", "WRITE")),
        *DEFAULT,
        "APPOINTMENTS_BUSINESS_SETTINGS_READ",
        "CASH_DRAWER_READ",
        "DEVICES_READ",
        "DEVICE_CREDENTIAL_MANAGEMENT",
        "ONLINE_STORE_SITE_READ",
        "PAYMENTS_WRITE_ADDITIONAL_RECIPIENTS",
        "PAYMENTS_WRITE_IN_PERSON",
        "PAYMENTS_WRITE_SHARED_ONFILE",
        "PAYOUTS_READ",
    }
)
