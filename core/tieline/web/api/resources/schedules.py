"""Schedules: when an entity is synced."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from tieline.services import schedules as service
from tieline.services.schedules import Schedule
from tieline.web.api.cursors import slice_of
from tieline.web.api.operation import Call, Operation
from tieline.web.api.schemas import (
    Answer,
    Choice,
    ConnectionRef,
    Flag,
    Given,
    PageQuery,
    Text,
    Time,
    listed,
    whole,
)

__all__ = ["OPERATIONS"]

_MOST_JITTER_S = 86_400


class ScheduleFacts(Answer):
    """When one entity is synced."""

    id = fields.String()
    connection = fields.String(metadata={"description": "Its name."})
    connection_id = fields.String()
    entity = fields.String()
    rule = fields.String()
    zone = fields.String()
    jitter_s = fields.Integer()
    full_every_s = fields.Integer(allow_none=True)
    state = Choice("active", "paused", "parked")
    reason = fields.String(metadata={"description": "Why it is parked; empty otherwise."})
    hint = fields.String()
    next_at = Time("Its next tick, if it is active.", allow_none=True)
    last_tick_at = Time(allow_none=True)
    last_run_id = fields.String(allow_none=True)
    ticks = fields.Integer()
    paused_at = Time(allow_none=True)
    created_at = Time()
    updated_at = Time()


class Tick(Answer):
    """One tick to come."""

    at = Time("In the past: it is due, and no scheduler took it.")
    connection = fields.String()
    entity = fields.String()


class Ticks(Answer):
    """The next ones, soonest first."""

    data = fields.List(fields.Nested(Tick))


class SchedulesQuery(PageQuery):
    """Whose."""

    connection = ConnectionRef()


class TicksQuery(Given):
    """Whose, and how many."""

    connection = ConnectionRef()
    limit = whole("The most to return.", least=1, most=100, load_default=10)


class NewSchedule(Given):
    """When an entity is to be synced, in place of what was said before."""

    rule = Text(
        "`every 15m`; with `is_cron` five fields of cron.", least=1, most=100, required=True
    )
    is_cron = Flag("Whether the rule is cron's.", load_default=False)
    zone = Text("Time zone of a cron rule.", least=1, most=64, load_default="UTC")
    jitter_s = whole(
        "The most seconds by which a run comes later; left out: a tenth of the rule's gap.",
        least=0,
        most=_MOST_JITTER_S,
        load_default=None,
    )
    full_every = Text(
        "How old the last full run may be before a tick asks for a full one, such as 7d.",
        least=1,
        most=20,
        load_default=None,
    )


SchedulePage = listed(ScheduleFacts)


def _facts(schedule: Schedule) -> dict[str, Any]:
    row = schedule.row
    names = ("id", "connection_id", "entity", "rule", "zone", "jitter_s", "full_every_s", "ticks")
    times = ("last_tick_at", "last_run_id", "paused_at", "created_at", "updated_at")
    return {name: getattr(row, name) for name in (*names, *times)} | {
        "connection": row.connection_name,
        "state": schedule.state,
        "reason": schedule.reason,
        "hint": schedule.hint,
        "next_at": row.next_at if schedule.state == "active" else None,
    }


def list_(call: Call) -> dict[str, Any]:
    """Return schedules by connection and entity."""
    every = service.list_schedules(call.installation, connection=call.query.get("connection"))
    rows = [each for each in every if call.may_see(each.row.connection_id)]
    page = slice_of(
        "list_schedules",
        rows,
        call.query,
        lambda each: (each.row.connection_name, each.row.entity),
        width=2,
    )
    return page | {"data": [_facts(each) for each in page["data"]]}


def next_ticks(call: Call) -> dict[str, Any]:
    """Return the next ticks of active schedules, soonest first."""
    found = service.next_ticks(
        call.installation,
        connection=call.query.get("connection"),
        visible=call.visible,
        count=call.query["limit"],
    )
    return {
        "data": [
            {"at": at, "connection": each.row.connection_name, "entity": each.row.entity}
            for at, each in found
        ]
    }


def _of(call: Call) -> tuple[str, str]:
    return call.path["connection"].id, call.path["entity"]


def show(call: Call) -> dict[str, Any]:
    """Return the schedule of an entity."""
    return _facts(service.get_schedule(call.installation, *_of(call)))


def set_(call: Call) -> dict[str, Any]:
    """Say when an entity is synced; a schedule that is paused stays so."""
    body = call.body
    made = service.set_schedule(
        call.installation,
        *_of(call),
        body["rule"],
        is_cron=body["is_cron"],
        zone=body["zone"],
        jitter_s=body["jitter_s"],
        full_every=body["full_every"],
        actor=call.actor,
        unchanged_since=call.seen and call.seen["updated_at"],
    )
    return _facts(made)


def remove(call: Call) -> None:
    """Remove a schedule; runs that it asked for go on."""
    service.remove_schedule(
        call.installation,
        *_of(call),
        actor=call.actor,
        unchanged_since=call.seen and call.seen["updated_at"],
    )


def pause(call: Call) -> dict[str, Any]:
    """Let a schedule rest until it is resumed."""
    return _facts(service.pause_schedule(call.installation, *_of(call), actor=call.actor))


def resume(call: Call) -> dict[str, Any]:
    """Let a paused schedule go on; ticks that went by are not made up for."""
    return _facts(service.resume_schedule(call.installation, *_of(call), actor=call.actor))


_PATH = "/connections/{connection}/schedules/{entity}"

OPERATIONS = (
    Operation(
        name="list_schedules",
        method="GET",
        path="/schedules",
        tag="schedules",
        summary="List schedules.",
        scope="read",
        does=list_,
        query=SchedulesQuery,
        answer=SchedulePage,
        command="schedules list",
    ),
    Operation(
        name="list_ticks",
        method="GET",
        path="/ticks",
        tag="schedules",
        summary="List the next ticks of active schedules.",
        scope="read",
        does=next_ticks,
        query=TicksQuery,
        answer=Ticks,
        command="schedules next",
    ),
    Operation(
        name="get_schedule",
        method="GET",
        path=_PATH,
        tag="schedules",
        summary="Return the schedule of an entity.",
        scope="read",
        does=show,
        answer=ScheduleFacts,
        version=lambda facts: f"{facts['id']} {facts['updated_at'].isoformat()}",
        command="schedules list",
    ),
    Operation(
        name="set_schedule",
        method="PUT",
        path=_PATH,
        tag="schedules",
        summary="Say when an entity is synced.",
        scope="operate",
        does=set_,
        body=NewSchedule,
        answer=ScheduleFacts,
        example={"rule": "every 15m", "full_every": "7d"},
        command="schedules set",
    ),
    Operation(
        name="remove_schedule",
        method="DELETE",
        path=_PATH,
        tag="schedules",
        summary="Remove a schedule.",
        scope="operate",
        does=remove,
        status=204,
        command="schedules remove",
    ),
    Operation(
        name="pause_schedule",
        method="POST",
        path=f"{_PATH}/pause",
        tag="schedules",
        summary="Let a schedule rest.",
        scope="operate",
        does=pause,
        answer=ScheduleFacts,
        command="schedules pause",
    ),
    Operation(
        name="resume_schedule",
        method="POST",
        path=f"{_PATH}/resume",
        tag="schedules",
        summary="Let a paused schedule go on.",
        scope="operate",
        does=resume,
        answer=ScheduleFacts,
        command="schedules resume",
    ),
)
