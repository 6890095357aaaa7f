"""Mailchimp's deliveries: forms, one event each, set up audience by audience.

They are hints and no more: what they say of a contact is incomplete and
ambiguous, so it is read again. Most are not signed: the address holds a
secret, and newer webhooks have a signature beside it. There is no id of an
event; a repeated delivery repeats its body.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from tieline.contract import (
    Event,
    EventAction,
    Hmac,
    InvalidRecordError,
    PathSecret,
    Webhooks,
)

__all__ = ["EVENTS", "WEBHOOKS"]

_TYPES = ("subscribe", "unsubscribe", "profile", "upemail", "cleaned")
EVENTS: Mapping[str, Mapping[str, EventAction]] = {"contacts": dict.fromkeys(_TYPES, "re-read")}
"""Entity to the types of its events, and what each means for it."""

_LARGEST = 65_536
_MOST_FIELDS = 500
_DEEPEST = 3


def parse(body: bytes, headers: Mapping[str, str]) -> list[Event]:
    """Read one verified delivery.

    The key names a contact by the MD5 of its address, by which it can be read;
    the record that comes tells its own. After ``upemail`` it is the new address's.
    """
    content = headers.get("content-type", "").partition(";")[0].strip().lower()
    if content != "application/x-www-form-urlencoded" or len(body) > _LARGEST:
        raise _malformed("it is no form, or too large")
    try:
        pairs = parse_qsl(
            body.decode(),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=_MOST_FIELDS,
        )
    except ValueError:
        raise _malformed("its form cannot be read") from None
    if any(name.count("[") > _DEEPEST for name, _ in pairs):
        raise _malformed("its form is nested too deeply")
    form = dict(pairs)
    if len(form) < len(pairs) or not form.get("type"):
        raise _malformed("a field is missing, or there twice")
    audience = form.get("data[list_id]", "")
    address = form.get("data[new_email]") or form.get("data[email]", "")
    name = hashlib.md5(address.lower().encode(), usedforsecurity=False).hexdigest()
    is_contact = form["type"] in _TYPES
    return [
        Event(
            id=hashlib.sha256(repr(sorted(pairs)).encode()).hexdigest(),
            type=form["type"],
            entity="contacts" if is_contact else None,
            key=f"{audience}:{name}" if is_contact and audience and address else None,
            occurred_at=_time(form.get("fired_at", "")),
        )
    ]


def answer_probe(_method: str, _query: Mapping[str, str], _body: bytes) -> bytes:
    """Answer the look that Mailchimp takes before it stores an address."""
    return b""


def _time(text: str) -> datetime | None:
    """Read a time without a zone; that it is UTC is nowhere said."""
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _malformed(reason: str) -> InvalidRecordError:
    return InvalidRecordError(
        f"the delivery is none of Mailchimp's: {reason}", code="delivery-malformed"
    )


WEBHOOKS = Webhooks(
    scheme=PathSecret(
        also=Hmac(
            header="x-mailchimp-signature",
            signed=("timestamp", ".", "body"),
            signature="v1",
            timestamp="t",
            is_spaced=True,
        )
    ),
    parse=parse,
    challenge=answer_probe,
    types=_TYPES,
    instructions="In Mailchimp open the audience, Settings, Webhooks: add one for this address"
    " with the updates above, made by subscribers, by admins and by the API. Do so for each"
    " audience.",
)
