"""``GET /_sandbox/guide``: how this sandbox is used by programs that try a client."""

from __future__ import annotations

from typing import Any

from tieline_mailchimp_sandbox.hooks import signature

__all__ = ["guide"]


def guide(api_key: str, audience: str, now: float) -> dict[str, Any]:
    """Say what there is, how it is changed, how Mailchimp refuses, and how it signs.

    Args:
        api_key: Of the first account.
        audience: Id of one of its lists.
        now: Seconds since the epoch.
    """
    mutate = "/_sandbox/mutate"
    written = {"list_id": audience, "email_address": "check@example.com"}
    return {
        "version": 1,
        "options": {"contacts": 60},
        "auth": {"kind": "api_key", "fields": {"api_key": api_key}},
        "entities": {
            "contacts": {
                "truth": "/_sandbox/truth?entity=contacts",
                "key": "{list_id}:{contact_id}",
                "hidden": {"status": "archived"},
                "create": {"path": mutate, "body": {"create": "$n", "seed": "$seed"}},
                "update": {"path": mutate, "body": {"update": "$n", "seed": "$seed"}},
                "delete": {"path": mutate, "body": {"delete": "$n", "seed": "$seed"}},
                "write": {
                    "create": written | {"status_if_new": "subscribed"},
                    "update": {"language": "de"},
                },
            },
            "lists": {
                "truth": "/_sandbox/truth?entity=lists",
                "is_small": True,
                "create": {"path": "/_sandbox/lists", "body": {"add": {"name": "Made by a check"}}},
            },
        },
        "refusals": {
            "throttled": {"status": 429, "body": ""},
            "denied": _problem(403, "Forbidden"),
            "revoked": _problem(401, "API Key Invalid"),
        },
        # Of one user, over all applications ("Throttling").
        "limits": {"at_once": 10},
        "delivery": _delivery(int(now)),
    }


def _problem(status: int, title: str) -> dict[str, Any]:
    said = {"type": "about:blank", "title": title, "status": status, "detail": "On order."}
    return {"status": status, "body": said}


def _delivery(at: int) -> dict[str, Any]:
    secret, body = "guide-of-the-sandbox-0123456789", "type=subscribe&data%5Bid%5D=1"
    return {
        "secret": secret,
        "address": "https://hooks.example.com/mailchimp",
        "at": at,
        "headers": {"X-Mailchimp-Signature": signature(secret, at, body.encode())},
        "body": body,
    }
