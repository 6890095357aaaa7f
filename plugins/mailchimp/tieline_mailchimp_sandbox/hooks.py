"""Webhooks of an audience: where it tells of what, and of whose doing.

Source: the official swagger, ``List Webhooks``, and Mailchimp's guide "Sync
Audience Data with Webhooks". Signing is newer than both: the answer to the
request that makes a webhook tells its secret, and no other answer does. Not
documented: which sources an omitted one counts as (here as wanted), and what
a second webhook of one address is (here an error).
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Any

__all__ = ["EVENTS", "SOURCES", "Hook", "signature"]

EVENTS = (
    "subscribe", "unsubscribe", "profile", "cleaned", "upemail", "campaign",
    "sms_subscribe", "sms_unsubscribe", "upsms", "sms_campaign",
)  # fmt: skip
SOURCES = ("user", "admin", "api")
_SCHEMA = "https://us1.api.mailchimp.com/schema/3.0/Definitions/Lists/Webhooks/Response.json"
# Neither has a source that could be chosen: bounces are nobody's doing.
_OF_ALL_SOURCES = {"campaign", "cleaned"}


@dataclass(slots=True, kw_only=True)
class Hook:
    """One webhook.

    Attributes:
        id: Ten hex digits.
        list_id: Of its audience.
        url: Where it delivers.
        events: Which types it wants.
        sources: Whose doing it wants to know of.
        secret: What it signs with; empty: it does not sign.
        missed: Deliveries given up since one was taken.
        is_live: It was not deleted.
    """

    id: str
    list_id: str
    url: str
    events: dict[str, bool]
    sources: dict[str, bool]
    secret: str = ""
    missed: int = 0
    is_live: bool = True

    def wants(self, event: str, source: str) -> bool:
        """Whether it is to be told of an event."""
        return self.events[event] and (event in _OF_ALL_SOURCES or self.sources[source])

    def document(self, origin: str, *, with_secret: bool = False) -> dict[str, Any]:
        """Return what the API says of it."""
        place = f"{origin}/3.0/lists/{self.list_id}/webhooks/{self.id}"
        link = {"rel": "self", "href": place, "method": "GET", "targetSchema": _SCHEMA}
        told: dict[str, Any] = {"signing_enabled": True} if self.secret else {}
        if self.secret and with_secret:
            told["signing_secret"] = self.secret
        return {
            "id": self.id,
            "url": self.url,
            "events": dict(self.events),
            "sources": dict(self.sources),
            "list_id": self.list_id,
            **told,
            "_links": [link],
        }


def signature(secret: str, at: int, body: bytes) -> str:
    """Write ``X-Mailchimp-Signature``: the time, and both time and body under the secret."""
    found = hmac.digest(secret.encode(), f"{at}.".encode() + body, "sha256").hex()
    return f"t={at},v1={found}"
