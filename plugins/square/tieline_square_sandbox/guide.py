"""``GET /_sandbox/guide``: how this sandbox is used by programs that try a client."""

from __future__ import annotations

from typing import Any

from tieline_square_sandbox.application import API_KEY

__all__ = ["guide"]


def guide() -> dict[str, Any]:
    """Say what there is, how it is changed, and how Square refuses."""
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
