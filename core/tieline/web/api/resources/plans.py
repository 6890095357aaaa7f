"""Plans: what a run would do if it were asked for now."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from tieline.services import plans as service
from tieline.services.plans import SyncPlan
from tieline.web.api.operation import Call, Operation
from tieline.web.api.resources.runs import RunError, RunWindow
from tieline.web.api.schemas import Answer, Choice, Given, Nested, Text, Time

__all__ = ["OPERATIONS"]


class Plan(Answer):
    """What a run of one entity would do."""

    entity = fields.String()
    mode = Choice("incremental", "full", "window")
    reason = fields.String(metadata={"description": "Why, if something else was asked for."})
    source = Choice("feed", "list", doc="The provider's log of changes, or its list.")
    window = Nested(RunWindow)
    is_split = fields.Boolean(metadata={"description": "Whether many hands may read it."})
    synced_until = Time(allow_none=True)
    records = fields.Integer(metadata={"description": "How many live ones are stored."})
    requests = fields.Integer(
        allow_none=True, metadata={"description": "About how many, by the run of `basis`."}
    )
    basis = fields.String(allow_none=True)
    least_s = fields.Float(
        allow_none=True, metadata={"description": "The seconds that so many take at least."}
    )
    active = fields.String(
        allow_none=True, metadata={"description": "The run that asking returns instead."}
    )
    trouble = Nested(RunError, doc="Why asking would be refused now.", allow_none=True)


class PlanLimits(Answer):
    """How fast the provider may be called now, as far as that is known."""

    rates = fields.List(fields.String())
    concurrency = fields.Integer(allow_none=True)
    share = fields.Float(metadata={"description": "Less than 1 after refusals."})
    paused_until = Time(allow_none=True)
    breaker_until = Time(allow_none=True)


class Plans(Answer):
    """What runs would do, and what limits them."""

    plans = fields.List(fields.Nested(Plan))
    limits = Nested(PlanLimits)


class PlanQuery(Given):
    """What would be asked for."""

    entity = Text("Only of this entity; left out: of all.", least=1, most=40)
    mode = Choice("incremental", "full", "window", load_default="incremental")
    since = Time("For mode window: what was made then or later.", load_default=None)
    until = Time("For mode window: what was made before.", load_default=None)


def plan(call: Call) -> dict[str, Any]:
    """Say what runs would do; the provider is not asked, and nothing is stored."""
    query = call.query
    plans, limits = service.plan_syncs(
        call.installation,
        call.path["connection"].id,
        [query["entity"]] if query.get("entity") else [],
        mode=query["mode"],
        window=(query["since"], query["until"]),
    )
    return {"plans": [_facts(each) for each in plans], "limits": limits}


def _facts(planned: SyncPlan) -> dict[str, Any]:
    same = (
        "entity", "mode", "reason", "source", "is_split", "synced_until", "records", "requests",
        "least_s",
    )  # fmt: skip
    since, until = planned.window
    trouble = planned.trouble
    return {name: getattr(planned, name) for name in same} | {
        "window": {"since": since, "until": until},
        "basis": planned.basis and planned.basis.id,
        "active": planned.active and planned.active.id,
        "trouble": trouble
        and {"code": trouble.slug, "message": trouble.message, "hint": trouble.hint},
    }


OPERATIONS = (
    Operation(
        name="plan_runs",
        method="GET",
        path="/connections/{connection}/plan",
        tag="runs",
        summary="Say what a run would do if it were asked for now.",
        scope="read",
        does=plan,
        query=PlanQuery,
        answer=Plans,
        command="sync plan",
    ),
)
