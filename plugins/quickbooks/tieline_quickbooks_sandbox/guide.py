"""``GET /_sandbox/guide``: how this sandbox is used by programs that try a client."""

from __future__ import annotations

from typing import Any

__all__ = ["guide"]


def guide(client_id: str, client_secret: str) -> dict[str, Any]:
    """Say what there is, how it is changed, and how Intuit refuses."""
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
    }


def _entity(kind: str, *verbs: str) -> dict[str, Any]:
    orders = {
        verb: {"path": "/_sandbox/mutate", "body": {"entity": kind, "account": 0, verb: "$n"}}
        for verb in verbs
    }
    return {"truth": f"/_sandbox/truth?entity={kind}&account=0", "key": "{Id}", **orders}


def _fault(kind: str, code: str, message: str) -> dict[str, Any]:
    return {"Fault": {"type": kind, "Error": [{"Message": message, "code": code}]}}
