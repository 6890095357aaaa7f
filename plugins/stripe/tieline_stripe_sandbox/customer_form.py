"""What may be sent to create or update a customer, and what it does.

Names and kinds are those of the official parameters (API version
2026-10-28.endive). ``""`` clears a field; ``metadata[k]=""`` removes a key.
Parameters that change nothing which can be read here are checked by name only.
Source: Stripe API reference, "Create a customer", "Update a customer", "Metadata".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tieline_stripe_sandbox.answers import (
    ApiError,
    invalid_request,
    missing,
    missing_parameter,
    unknown_parameters,
)
from tieline_stripe_sandbox.params import Params, Value, as_hash, as_integer, as_list, as_text
from tieline_stripe_sandbox.people import Customer, blank_customer

__all__ = ["Patch", "merge_metadata", "read_customer_form", "read_metadata"]

Patch = Callable[[Customer], Customer]
_Reader = Callable[[Value, str], Any]

_ADDRESS = ("city", "country", "line1", "line2", "postal_code", "state")
_EXEMPTIONS = ("none", "exempt", "reverse")
_LONGEST_KEY = 40
_LONGEST_TEXT = 500
_MOST_KEYS = 50
_WITHOUT_EFFECT = frozenset({"cash_balance", "expand", "tax", "tax_id_data", "validate"})


def read_customer_form(form: Params, *, is_new: bool) -> Patch:
    """Check a form and return the change that it asks for.

    Raises:
        ApiError: 400, naming the parameter.
    """
    known = _READERS.keys() | _WITHOUT_EFFECT | _MERGED | ({"test_clock"} if is_new else set())
    if unknown := [name for name in form if name not in known]:
        raise unknown_parameters(unknown)
    plain = {name: _READERS[name](value, name) for name, value in form.items() if name in _READERS}
    if is_new and "test_clock" in form:
        plain["test_clock"] = _test_clock(form["test_clock"])
    metadata = read_metadata(form.get("metadata", {}))
    settings = _settings(form.get("invoice_settings", {}))

    def patch(customer: Customer) -> Customer:
        merged: Customer = {}
        if "metadata" in form:
            kept = {} if form["metadata"] == "" else customer["metadata"] or {}
            merged["metadata"] = merge_metadata(kept, metadata)
        if settings:
            merged["invoice_settings"] = (customer["invoice_settings"] or _no_settings()) | settings
        return customer | plain | merged

    return patch


def _clearable(value: Value, name: str) -> str | None:
    return None if value == "" else as_text(value, name)


def _email(value: Value, name: str) -> str | None:
    email = _clearable(value, name)
    if email is not None and "@" not in email.strip("@"):
        raise invalid_request(f"Invalid email address: {email}", name, "email_invalid")
    return email


def _address(value: Value, name: str) -> Customer | None:
    if value == "":
        return None
    given = as_hash(value, name)
    if unknown := [f"{name}[{key}]" for key in given if key not in _ADDRESS]:
        raise unknown_parameters(unknown)
    return {key: _clearable(given.get(key, ""), f"{name}[{key}]") for key in _ADDRESS}


def _shipping(value: Value, name: str) -> Customer | None:
    if value == "":
        return None
    given = as_hash(value, name)
    for key in ("address", "name"):
        if key not in given:
            raise missing_parameter(f"{name}[{key}]")
    return {
        "address": _address(given["address"], f"{name}[address]"),
        "name": as_text(given["name"], f"{name}[name]"),
        "phone": _clearable(given.get("phone", ""), f"{name}[phone]"),
    }


def _locales(value: Value, name: str) -> list[str]:
    return [] if value == "" else [as_text(item, name) for item in as_list(value, name)]


def _tax_exempt(value: Value, name: str) -> str:
    if value == "":
        return "none"
    if value not in _EXEMPTIONS:
        raise invalid_request(f"Invalid {name}: must be one of none, exempt, or reverse", name)
    return str(value)


def _payment_source(value: Value, name: str) -> None:
    """No payment method exists in this account."""
    raise missing(
        "PaymentMethod" if name == "payment_method" else name, as_text(value, name), param=name
    )


def _test_clock(value: Value) -> str:
    clock = as_text(value, "test_clock")
    if not clock.startswith("clock_"):
        raise missing("testclock", clock, param="test_clock")
    return clock


_READERS: dict[str, _Reader] = {
    "address": _address,
    "balance": as_integer,
    "business_name": _clearable,
    "default_source": _payment_source,
    "description": _clearable,
    "email": _email,
    "individual_name": _clearable,
    "invoice_prefix": as_text,
    "name": _clearable,
    "next_invoice_sequence": as_integer,
    "payment_method": _payment_source,
    "phone": _clearable,
    "preferred_locales": _locales,
    "shipping": _shipping,
    "source": _payment_source,
    "tax_exempt": _tax_exempt,
}
_MERGED = frozenset({"invoice_settings", "metadata"})


def read_metadata(value: Value) -> dict[str, str]:
    """Read keys and texts; an empty text removes its key."""
    given = {} if value == "" else as_hash(value, "metadata")
    for key, text in given.items():
        if not isinstance(text, str):
            raise invalid_request("Metadata values must be strings", f"metadata[{key}]")
        if len(key) > _LONGEST_KEY:
            raise _metadata_error(
                f"keys can be up to {_LONGEST_KEY} characters, but {key!r} has {len(key)}", key
            )
        if len(text) > _LONGEST_TEXT:
            raise _metadata_error(
                f"values can have up to {_LONGEST_TEXT} characters, but you passed in a value "
                f"that is {len(text)} characters",
                key,
            )
    return {key: str(text) for key, text in given.items()}


def merge_metadata(kept: dict[str, str], given: dict[str, str]) -> dict[str, str]:
    """Put new keys to those that there are, and take those away that are to go."""
    merged = {key: text for key, text in (kept | given).items() if text}
    if len(merged) > _MOST_KEYS:
        raise _metadata_error(f"can have up to {_MOST_KEYS} keys", None)
    return merged


def _metadata_error(message: str, key: str | None) -> ApiError:
    return invalid_request(f"Metadata {message}.", f"metadata[{key}]" if key else "metadata")


def _settings(value: Value) -> Customer:
    given = as_hash(value, "invoice_settings")
    known = _no_settings()
    if unknown := [f"invoice_settings[{key}]" for key in given if key not in known]:
        raise unknown_parameters(unknown)
    return {key: _SETTINGS[key](item, f"invoice_settings[{key}]") for key, item in given.items()}


def _no_settings() -> Customer:
    settings: Customer = blank_customer()["invoice_settings"]
    return settings


def _custom_fields(value: Value, name: str) -> list[Customer] | None:
    if value == "":
        return None
    return [_custom_field(as_hash(item, name), name) for item in as_list(value, name)]


def _custom_field(given: Params, name: str) -> Customer:
    for key in ("name", "value"):
        if key not in given:
            raise missing_parameter(f"{name}[{key}]")
    return {key: as_text(given[key], f"{name}[{key}]") for key in ("name", "value")}


def _rendering_options(value: Value, name: str) -> Customer | None:
    if value == "":
        return None
    given = as_hash(value, name)
    keys = ("amount_tax_display", "template")
    return {key: _clearable(given.get(key, ""), f"{name}[{key}]") for key in keys}


_SETTINGS: dict[str, _Reader] = {
    "custom_fields": _custom_fields,
    "default_payment_method": _payment_source,
    "footer": _clearable,
    "rendering_options": _rendering_options,
}
