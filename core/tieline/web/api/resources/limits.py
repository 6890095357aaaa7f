"""Limits: how the accounts stand with their providers, and what corrects that for a while."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from tieline.services import limits as service
from tieline.services.limits import AccountLimits
from tieline.web.api.operation import Call, Operation
from tieline.web.api.schemas import Answer, Choice, ConnectionRef, Given, Nested, Text, Time

__all__ = ["OPERATIONS"]


class UsageFacts(Answer):
    """One window of an account."""

    counts = fields.String(attribute="label", metadata={"description": "What it counts."})
    scope = Choice("account", "application", "endpoint")
    limit = fields.Integer(metadata={"description": "Calls that the policy allows in it."})
    period_s = fields.Integer()
    allowed = fields.Integer(
        attribute="lowered",
        metadata={"description": "Calls allowed in it now; fewer after refusals."},
    )
    used = fields.Integer()
    waiting = fields.Integer(metadata={"description": "Calls that wait for room in it."})
    by_class = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        metadata={"description": "`used` by what the calls were for: live, sync, backfill."},
    )
    resets_at = Time("When it will be empty if nobody calls; null: it is.", allow_none=True)


class UnderWay(Answer):
    """Calls under way, over all processes."""

    limit = fields.Integer()
    allowed = fields.Integer(attribute="lowered")
    used = fields.Integer()
    waiting = fields.Integer()


class BreakerFacts(Answer):
    """Whether calls are made to one host."""

    host = fields.String()
    state = Choice("closed", "open", "half-open")
    failures = fields.Integer()
    until = Time(allow_none=True)


class Limits(Answer):
    """How one account stands with its provider's limits."""

    connections = fields.List(fields.String(), metadata={"description": "Names of its own."})
    provider = fields.String()
    account = fields.String(allow_none=True)
    windows = fields.List(fields.Nested(UsageFacts))
    in_flight = Nested(UnderWay, allow_none=True)
    calls = fields.Dict(keys=fields.String(), values=fields.Integer())
    refused = fields.Integer()
    paused_until = Time("Until when the provider wants no call.", allow_none=True)
    share = fields.Float(metadata={"description": "Part of the policy that is allowed now."})
    share_whole_at = Time(allow_none=True)
    override = fields.String(
        allow_none=True, metadata={"description": "What holds in place of the policy."}
    )
    override_until = Time(allow_none=True)
    breakers = fields.List(fields.Nested(BreakerFacts))


class AllLimits(Answer):
    """Of each account."""

    data = fields.List(fields.Nested(Limits))


class LimitsQuery(Given):
    """Whose."""

    connection = ConnectionRef()


class NewLimits(Given):
    """Other limits, for a while."""

    limits = Text(
        "As TIELINE_<PROVIDER>_RATE_LIMITS is written; `none`: no limit.",
        least=1,
        most=300,
        required=True,
    )
    lasting = Text(
        "For how long: a whole number and s, m, h or d; 30 d at most.",
        pattern=r"[0-9]{1,9}[smhd]",
        most=10,
        required=True,
    )


class BreakerReset(Answer):
    """Whether there was anything to close."""

    was_there = fields.Boolean()


def _facts(call: Call, account: AccountLimits) -> dict[str, Any]:
    standing = account.standing
    names = ("windows", "in_flight", "calls", "refused", "paused_until", "share_whole_at")
    seen = [each.row.name for each in account.accounts if call.may_see(each.row.id)]
    return {name: getattr(standing, name) for name in (*names, "override_until", "breakers")} | {
        "connections": seen,
        "provider": account.accounts[0].row.provider,
        "account": account.accounts[0].row.account_id,
        "share": round(standing.share, 3),
        "override": standing.override or None,
    }


def _all(call: Call, found: list[AccountLimits]) -> dict[str, Any]:
    told = [_facts(call, account) for account in found]
    return {"data": [account for account in told if account["connections"]]}


def show(call: Call) -> dict[str, Any]:
    """Say how the accounts stand: all, or that of one connection."""
    return _all(call, service.show_limits(call.installation, call.query.get("connection")))


def set_for_connection(call: Call) -> dict[str, Any]:
    """Let other limits hold for a while; every process obeys at its next call."""
    return _all(call, _set(call, call.path["connection"].id, is_provider=False))


def set_for_provider(call: Call) -> dict[str, Any]:
    """Let other limits hold for a while for each account at a provider."""
    return _all(call, _set(call, call.path["provider"], is_provider=True))


def _set(call: Call, name: str, *, is_provider: bool) -> list[AccountLimits]:
    return service.set_limits(
        call.installation,
        name,
        call.body["limits"],
        lasting=call.body["lasting"],
        actor=call.actor,
        is_provider=is_provider,
    )


def reset_for_connection(call: Call) -> dict[str, Any]:
    """Let the policy hold again, whole: no override, no pause, nothing learned."""
    name = call.path["connection"].id
    return _all(call, service.reset_limits(call.installation, name, actor=call.actor))


def reset_for_provider(call: Call) -> dict[str, Any]:
    """Let the policy hold again, whole, for each account at a provider."""
    name = call.path["provider"]
    found = service.reset_limits(call.installation, name, actor=call.actor, is_provider=True)
    return _all(call, found)


def reset_breaker(call: Call) -> dict[str, Any]:
    """Let calls pass again at once, after you know that the provider is back."""
    name = call.path["connection"].id
    return {"was_there": service.reset_breaker(call.installation, name, actor=call.actor)}


_EXAMPLE = {"limits": "8/second; concurrency=4", "lasting": "2h"}

OPERATIONS = (
    Operation(
        name="list_limits",
        method="GET",
        path="/limits",
        tag="limits",
        summary="Show who uses which limit, and what waits.",
        scope="read",
        does=show,
        query=LimitsQuery,
        answer=AllLimits,
        command="limits show",
    ),
    Operation(
        name="set_connection_limits",
        method="PUT",
        path="/connections/{connection}/limits",
        tag="limits",
        summary="Let other limits hold for an account, for a time.",
        scope="operate",
        does=set_for_connection,
        body=NewLimits,
        answer=AllLimits,
        example=_EXAMPLE,
        command="limits set",
    ),
    Operation(
        name="reset_connection_limits",
        method="DELETE",
        path="/connections/{connection}/limits",
        tag="limits",
        summary="Let the policy hold again for an account.",
        scope="operate",
        does=reset_for_connection,
        answer=AllLimits,
        command="limits reset",
    ),
    Operation(
        name="set_provider_limits",
        method="PUT",
        path="/providers/{provider}/limits",
        tag="limits",
        summary="Let other limits hold for every account at a provider, for a time.",
        scope="operate",
        does=set_for_provider,
        body=NewLimits,
        answer=AllLimits,
        is_for_all=True,
        example=_EXAMPLE,
        command="limits set",
    ),
    Operation(
        name="reset_provider_limits",
        method="DELETE",
        path="/providers/{provider}/limits",
        tag="limits",
        summary="Let the policy hold again for every account at a provider.",
        scope="operate",
        does=reset_for_provider,
        answer=AllLimits,
        is_for_all=True,
        command="limits reset",
    ),
    Operation(
        name="reset_breaker",
        method="POST",
        path="/connections/{connection}/reset-breaker",
        tag="limits",
        summary="Let calls pass again at once.",
        scope="operate",
        does=reset_breaker,
        answer=BreakerReset,
        command="limits reset-breaker",
    ),
)
