"""``GET /_sandbox/guide``: how this sandbox is used by programs that try a client."""

from __future__ import annotations

from typing import Any

from tieline_stripe_sandbox.posting import signature

__all__ = ["guide"]


def guide(seed: int, now: float) -> dict[str, Any]:
    """Say what there is, how it is changed, how Stripe refuses, and how it signs.

    Args:
        seed: Of this world.
        now: Seconds since the epoch.
    """
    return {
        "version": 1,
        "options": {
            "customers": 220,
            "products": 110,
            "subscriptions": 110,
            "charges": 110,
            "seed": seed,
        },
        "auth": {"kind": "api_key", "fields": {"api_key": "sk_test_51TielineSandboxCheck0001"}},
        "entities": {
            "customers": _entity("customers", "create", "update", "delete"),
            "products": _entity("products", "create", "update", "delete"),
            "subscriptions": {"hidden": {"status": "canceled"}}
            | _entity("subscriptions", "create", "update"),
            "charges": _entity("charges", "create", "update"),
        },
        "refusals": {
            "throttled": {"status": 429, "body": _error("rate_limit", "Too many requests")},
            "denied": {"status": 403, "body": _error("", "The provided key lacks permissions")},
            "revoked": {"status": 401, "body": _error("", "Invalid API Key provided")},
            "cursor": {
                "status": 400,
                "body": {
                    "error": {
                        "type": "invalid_request_error",
                        "code": "resource_missing",
                        "param": "starting_after",
                        "message": "No such object",
                    }
                },
            },
        },
        # Of test mode ("Rate limits").
        "limits": {"per_second": 25},
        "delivery": _delivery(int(now)),
    }


def _entity(name: str, *verbs: str) -> dict[str, Any]:
    orders = {
        verb: {"path": "/_sandbox/mutate", "body": {"entity": name, verb: "$n", "seed": "$seed"}}
        for verb in verbs
    }
    return {"truth": f"/_sandbox/truth?entity={name}", **orders}


def _error(code: str, message: str) -> dict[str, Any]:
    said = {"type": "invalid_request_error", "message": message}
    return {"error": said | ({"code": code} if code else {})}


def _delivery(at: int) -> dict[str, Any]:
    """Sign a delivery; while a secret is rolled there are two signatures, the old one last."""
    secret, body = "whsec_GuideOfTheSandbox0123456789", '{"id": "evt_1", "object": "event"}'
    signed = signature(["whsec_AnotherOne0123456789", secret], at, body.encode())
    return {
        "secret": secret,
        "address": "https://hooks.example.com/stripe",
        "at": at,
        "headers": {"Stripe-Signature": signed},
        "body": body,
    }
