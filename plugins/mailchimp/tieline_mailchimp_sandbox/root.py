"""What ``GET /3.0/`` says of an account.

Source: the official swagger, ``getRoot``; a plan that is free leaves
``first_payment`` empty, as the API leaves dates that never were.
"""

from __future__ import annotations

from typing import Any

from tieline_mailchimp_sandbox.world import Account

__all__ = ["root_of"]


def root_of(account: Account, origin: str) -> dict[str, Any]:
    """Describe an account; links lead to where the sandbox was called."""
    first, last = account.owner
    return {
        "account_id": account.id,
        "login_id": str(account.login_id),
        "account_name": account.name,
        "email": account.email,
        "first_name": first,
        "last_name": last,
        "username": account.email,
        "avatar_url": "",
        "role": "owner",
        "member_since": "2019-03-11T08:30:00+00:00",
        "pricing_plan_type": "forever_free",
        "first_payment": "",
        "account_timezone": "Etc/UTC",
        "account_industry": "Food and Drink",
        "contact": {
            "company": account.name,
            "addr1": "1 Grand Canal St",
            "addr2": "",
            "city": "Dublin",
            "state": "",
            "zip": "",
            "country": "IE",
        },
        "pro_enabled": False,
        "last_login": "2026-10-30T16:05:11+00:00",
        "total_subscribers": sum(
            one.statistics()["member_count"] for one in account.audiences.all().values()
        ),
        "industry_stats": {"open_rate": 22.1, "bounce_rate": 0.4, "click_rate": 2.3},
        "_links": [_link(origin, "self", "", "Root"), _link(origin, "lists", "lists", "Lists")],
    }


def _link(origin: str, rel: str, path: str, kind: str) -> dict[str, str]:
    schema = f"https://us1.api.mailchimp.com/schema/3.0/Definitions/{kind}/Response.json"
    return {"rel": rel, "href": f"{origin}/3.0/{path}", "method": "GET", "targetSchema": schema}
