"""``GET /_sandbox/guide``: how this sandbox is used by programs that try a client."""

from __future__ import annotations

from typing import Any

from tieline_square_sandbox.application import API_KEY
from tieline_square_sandbox.subscriptions import signature

__all__ = ["guide"]


def guide(now: float) -> dict[str, Any]:
    """Say what there is, how it is changed, how Square refuses, and how it signs."""
    return {
        "version": 1,
        "options": {"customers": 220, "orders": 510, "items": 350, "locations": 2},
        "auth": {"kind": "api_key", "fields": {"access_token": API_KEY}},
        "entities": {
            "customers": _entity("customers", "create", "update", "delete"),
            "orders": _entity("orders", "create", "update"),
            "catalog": _entity("catalog", "create", "update", "delete"),
            "payments": _entity("payments", "create", "update"),
        },
        "refusals": {
            "throttled": _refused(429, "RATE_LIMIT_ERROR", "RATE_LIMITED"),
            "denied": _refused(403, "AUTHENTICATION_ERROR", "INSUFFICIENT_SCOPES"),
            "revoked": _refused(401, "AUTHENTICATION_ERROR", "UNAUTHORIZED"),
            "cursor": _refused(400, "INVALID_REQUEST_ERROR", "INVALID_CURSOR"),
        },
        "delivery": _delivery(int(now)),
    }


def _entity(name: str, *verbs: str) -> dict[str, Any]:
    orders = {
        verb: {"path": "/_sandbox/data", "body": {"entity": name, verb: "$n", "seed": "$seed"}}
        for verb in verbs
    }
    return {"truth": f"/_sandbox/truth?entity={name}", **orders}


def _refused(status: int, category: str, code: str) -> dict[str, Any]:
    said = {"category": category, "code": code, "detail": "A refusal on order."}
    return {"status": status, "body": {"errors": [said]}}


def _delivery(at: int) -> dict[str, Any]:
    """Sign a delivery to an address as people write it; Square signs it as it was registered."""
    key, address = "guide-of-the-sandbox_0123456789", "https://hooks.example.com/square?from=Square"
    body = '{"merchant_id": "M1", "type": "customer.updated"}'
    return {
        "secret": key,
        "address": address,
        "at": at,
        "headers": {"x-square-hmacsha256-signature": signature(key, address, body.encode())},
        "body": body,
    }
