"""``GET /_sandbox/guide``: how this sandbox is used by programs that try a client."""

from __future__ import annotations

from typing import Any

from tieline_quickbooks_sandbox.notices import signature

__all__ = ["guide"]


def guide(client_id: str, client_secret: str, now: float) -> dict[str, Any]:
    """Say what there is, how it is changed, how Intuit refuses, and how it signs."""
    return {
        "version": 1,
        "options": {"customers": 1010, "invoices": 1010},
        "auth": {"kind": "oauth2", "client_id": client_id, "client_secret": client_secret},
        "entities": {
            "customers": {
                **_entity("Customer", "create", "update"),
                "hidden": {"Active": False},
                "write": {
                    "create": {"DisplayName": "Written by a check"},
                    "update": {"GivenName": "Checked"},
                },
            },
            "invoices": _entity("Invoice", "create", "update", "delete"),
        },
        "refusals": {
            "throttled": {"status": 429, "body": _fault("THROTTLED", "3001", "ThrottleExceeded")},
            "denied": {
                "status": 403,
                "body": _fault("AUTHORIZATION", "6190", "Invalid subscription"),
            },
            "revoked": {"status": 401, "body": _fault("AUTHENTICATION", "3200", "Token revoked")},
        },
        # Of one company ("API call limits and throttling").
        "limits": {"per_second": 10, "at_once": 10},
        "delivery": _delivery(int(now)),
    }


def _entity(kind: str, *verbs: str) -> dict[str, Any]:
    orders = {
        verb: {"path": "/_sandbox/mutate", "body": {"entity": kind, "account": 0, verb: "$n"}}
        for verb in verbs
    }
    return {"truth": f"/_sandbox/truth?entity={kind}&account=0", "key": "{Id}", **orders}


def _fault(kind: str, code: str, message: str) -> dict[str, Any]:
    return {"Fault": {"type": kind, "Error": [{"Message": message, "code": code}]}}


def _delivery(at: int) -> dict[str, Any]:
    token, body = "6b2c5d31-1f4e-4b7a-9a53-of-the-guide", '[{"id": "evt_1"}]'
    return {
        "secret": token,
        "address": "https://hooks.example.com/quickbooks",
        "at": at,
        "headers": {"intuit-signature": signature(token, body.encode())},
        "body": body,
    }
