"""What Intuit tells an application of: that an object changed, and no more than its id.

Source:
    Intuit, "Webhooks", its samples of both bodies, and the developer blog of
    2025-11-12 on CloudEvents.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import orjson

from tieline_quickbooks_sandbox.clock import PACIFIC
from tieline_quickbooks_sandbox.seeds import CUSTOMER, INVOICE

__all__ = ["FORMS", "OPERATIONS", "Notice", "body_of", "signature"]

FORMS = ("cloudevents", "older")
"""The bodies: since 2026 an array of CloudEvents, before that one object."""

OPERATIONS = {
    CUSTOMER: ("Create", "Update", "Delete", "Merge"),
    INVOICE: ("Create", "Update", "Delete", "Void", "Emailed"),
}
"""What can be chosen for each kind of object."""

_NEW_NAMES = {
    "Create": "created",
    "Update": "updated",
    "Delete": "deleted",
    "Merge": "merged",
    "Void": "void",
    "Emailed": "emailed",
}
_SOURCE = f"intuit.{b64encode(b'tieline-quickbooks-sandbox').decode()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One change.

    Attributes:
        number: From 1, in the order of the changes.
        id: A UUID, the same whenever it is told again.
        realm: The company's id.
        kind: ``Customer`` or ``Invoice``.
        operation: One of those of its kind.
        of: The object's id; after a merge that of the one that stays.
        gone: Id of the one that was merged away; else empty.
        at: When, in seconds since the epoch.
    """

    number: int
    id: str
    realm: str
    kind: str
    operation: str
    of: str
    gone: str = ""
    at: float


def body_of(notices: Sequence[Notice], form: str) -> bytes:
    """Write a delivery; it may be about several companies."""
    return orjson.dumps(_older(notices) if form == "older" else [_cloud(each) for each in notices])


def signature(token: str, content: bytes) -> str:
    """Write ``intuit-signature``: the body under the verifier token.

    Source: Intuit, "Webhooks", "Validating the notification".
    """
    return b64encode(hmac.digest(token.encode(), content, "sha256")).decode()


def _cloud(notice: Notice) -> dict[str, Any]:
    """Write an event; of what Intuit writes in two ways, one and the other in turn."""
    is_odd = notice.number % 2
    spelling = "deletedid" if is_odd else "deletedId"
    at = datetime.fromtimestamp(notice.at, UTC)
    fraction = f".{at.microsecond:06d}517" if is_odd else f".{at.microsecond // 1000:03d}"
    suffix = f"-{notice.kind}-{notice.of}" if notice.gone else ""
    return {
        "specversion": "1.0",
        "id": notice.id + suffix,
        "source": _SOURCE,
        "type": f"qbo.{notice.kind.lower()}.{_NEW_NAMES[notice.operation]}.v1",
        "datacontenttype": "application/json",
        "time": f"{at:%Y-%m-%dT%H:%M:%S}{fraction}Z",
        "intuitentityid": notice.of,
        "intuitaccountid": notice.realm,
        "data": {spelling: notice.gone} if notice.gone else {},
    }


def _older(notices: Sequence[Notice]) -> dict[str, Any]:
    by_realm = sorted(notices, key=lambda each: each.realm)
    return {
        "eventNotifications": [
            {"realmId": realm, "dataChangeEvent": {"entities": [_entity(each) for each in found]}}
            for realm, found in groupby(by_realm, key=lambda each: each.realm)
        ]
    }


def _entity(notice: Notice) -> dict[str, Any]:
    at = datetime.fromtimestamp(notice.at, PACIFIC if notice.number % 2 else UTC)
    zone = "-0800" if notice.number % 2 else "Z"
    told = {
        "name": notice.kind,
        "id": notice.of,
        "operation": notice.operation,
        "lastUpdated": f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}{zone}",
    }
    return told | ({"deletedId": notice.gone} if notice.gone else {})
