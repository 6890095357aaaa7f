"""Queues: what waits for workers; hold it, let it go on."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from tieline.services import queues as service
from tieline.web.api.operation import Call, Operation
from tieline.web.api.schemas import Answer, Choice, Nested, Time

__all__ = ["OPERATIONS"]


class QueueJob(Answer):
    """A wake-up that waits, or is being worked."""

    what = Choice("run", "events", "unknown")
    run = fields.String(allow_none=True)
    connection = fields.String(allow_none=True, metadata={"description": "Its name."})
    entity = fields.String(allow_none=True)
    worker = fields.String(allow_none=True)
    since = Time(allow_none=True)


class Queue(Answer):
    """One queue of jobs."""

    name = fields.String()
    paused_at = Time("Since when workers take nothing; null: they do.", allow_none=True)
    paused_by = fields.String(allow_none=True)
    workers = fields.Integer(metadata={"description": "How many living ones listen to it."})
    count = fields.Integer(metadata={"description": "How many jobs wait."})
    waits_since = Time(allow_none=True)
    waiting = Nested(QueueJob, "Those that are next, 200 at most.", many=True)
    working = Nested(QueueJob, "Those that are being worked.", many=True)


class Queues(Answer):
    """All of them."""

    data = fields.List(fields.Nested(Queue))


def list_(call: Call) -> dict[str, Any]:
    """Return every queue."""
    return {"data": service.list_queues(call.installation)}


def pause(call: Call) -> service.Queue:
    """Have all workers take no further job from a queue."""
    return service.pause_queue(call.installation, call.path["queue"], actor=call.actor)


def resume(call: Call) -> service.Queue:
    """Let workers take jobs from a queue again."""
    return service.resume_queue(call.installation, call.path["queue"], actor=call.actor)


OPERATIONS = (
    Operation(
        name="list_queues",
        method="GET",
        path="/queues",
        tag="queues",
        summary="Return what waits for workers, and what they are at.",
        scope="read",
        does=list_,
        answer=Queues,
        is_for_all=True,
        command="queue show",
    ),
    Operation(
        name="pause_queue",
        method="POST",
        path="/queues/{queue}/pause",
        tag="queues",
        summary="Have all workers take no further job from a queue.",
        scope="operate",
        does=pause,
        answer=Queue,
        is_for_all=True,
        command="queue pause",
    ),
    Operation(
        name="resume_queue",
        method="POST",
        path="/queues/{queue}/resume",
        tag="queues",
        summary="Let workers take jobs from a queue again.",
        scope="operate",
        does=resume,
        answer=Queue,
        is_for_all=True,
        command="queue resume",
    ),
)
