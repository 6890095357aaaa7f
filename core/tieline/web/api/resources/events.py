"""Webhook events: what providers delivered, and having it handled once more."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from tieline.services import events as service
from tieline.services.events import EventsWanted
from tieline.web.api.cursors import page_of, read_cursor
from tieline.web.api.operation import Call, Operation
from tieline.web.api.schemas import (
    Answer,
    Choice,
    ConnectionRef,
    Given,
    Nested,
    PageQuery,
    Several,
    Text,
    Time,
    listed,
)

__all__ = ["OPERATIONS"]

_STATES = ("pending", "done", "ignored", "dead")
_MOST_IDS = 200
_ID = r"evt_[a-z0-9]{1,27}"


class EventError(Answer):
    """Why it is not handled."""

    code = fields.String()
    message = fields.String(allow_none=True)
    fault = fields.String(allow_none=True, metadata={"description": "theirs or ours, once dead."})


class WebhookEvent(Answer):
    """One thing that a provider told."""

    id = fields.String()
    event_key = fields.String(metadata={"description": "The provider's own id of it."})
    endpoint = fields.String()
    connection = fields.String()
    connection_id = fields.String()
    provider = fields.String()
    type = fields.String()
    entity = fields.String(allow_none=True)
    record_id = fields.String(allow_none=True)
    occurred_at = Time(allow_none=True)
    received_at = Time()
    delivery = fields.String()
    state = Choice(*_STATES)
    attempts = fields.Integer()
    due_at = Time(allow_none=True)
    error = Nested(EventError, allow_none=True)
    handled_at = Time(allow_none=True)
    replays = fields.Integer()
    verified_with = fields.String(
        allow_none=True, metadata={"description": "Id of the secret that let it in."}
    )


class WholeEvent(WebhookEvent):
    """An event, and the delivery that brought it."""

    headers = fields.Dict(keys=fields.String(), values=fields.String())
    body = fields.String(
        allow_none=True,
        metadata={
            "description": "Bytes that are no text are written as escapes. null: it is gone; or it"
            " came to an application's endpoint, where one delivery may tell of several accounts,"
            " and the token is limited to some connections."
        },
    )


class Replayed(Answer):
    """How many are handled once more."""

    count = fields.Integer()


def _states() -> Any:
    return Several(
        Choice(*_STATES),
        validate=validate.Length(min=1, max=len(_STATES)),
        load_default=tuple,
        metadata={"description": "Only in this state; may come several times."},
    )


def _verified_with() -> Any:
    doc = "Let in by the secret of this id; `old`: by one that is no present one."
    return Text(doc, least=1, most=32, load_default=None)


def _types() -> Any:
    return Several(
        Text(least=1, most=120),
        validate=validate.Length(min=1, max=50),
        load_default=tuple,
        metadata={"description": "Only of this type; may come several times."},
    )


class EventsQuery(PageQuery):
    """Which."""

    connection = ConnectionRef()
    endpoint = Text("Through this endpoint.", least=1, most=32, load_default=None)
    entity = Text("About this entity.", least=1, most=40, load_default=None)
    type = _types()
    state = _states()
    since = Time("Received then or later.", load_default=None)
    until = Time("Received before then.", load_default=None)
    verified_with = _verified_with()


class Replay(Given):
    """Which are to be handled once more: something has to be said."""

    ids = Several(
        Text(pattern=_ID, most=32),
        validate=validate.Length(min=1, max=_MOST_IDS),
        load_default=tuple,
        metadata={"description": "These."},
    )
    connection = ConnectionRef()
    endpoint = Text("Through this endpoint.", least=1, most=32, load_default=None)
    entity = Text("About this entity.", least=1, most=40, load_default=None)
    types = _types()
    states = _states()
    since = Time("Received then or later.", load_default=None)
    until = Time("Received before then.", load_default=None)
    verified_with = _verified_with()


EventPage = listed(WebhookEvent)


def _facts(row: Any) -> dict[str, Any]:
    names = (
        "id", "event_key", "connection_id", "provider", "type", "entity", "occurred_at",
        "received_at", "state", "attempts", "handled_at", "replays",
        "verified_with",
    )  # fmt: skip
    error = {"code": row.error_code, "message": row.error_message, "fault": row.dead_kind}
    return {name: getattr(row, name) for name in names} | {
        "endpoint": row.endpoint_id,
        "connection": row.connection_name,
        "record_id": row.record_key,
        "delivery": row.delivery_id,
        "due_at": row.due_at if row.state == "pending" else None,
        "error": error if row.error_code else None,
    }


def list_(call: Call) -> dict[str, Any]:
    """Return the newest events first."""
    query = call.query
    [before] = read_cursor("list_events", query.get("cursor"), [int]) or (None,)
    wanted = EventsWanted(
        connection_id=query.get("connection"),
        connection_ids=call.visible,
        endpoint_id=query["endpoint"],
        entity=query["entity"],
        types=query["type"],
        states=query["state"],
        since=query["since"],
        until=query["until"],
        verified_with=query["verified_with"],
        before=before,
    )
    rows = service.list_events(call.installation, wanted, limit=query["limit"] + 1)
    page = page_of("list_events", rows, query["limit"], lambda row: (row.seq,))
    return page | {"data": [_facts(row) for row in page["data"]]}


def show(call: Call) -> dict[str, Any]:
    """Return one event, and the delivery that brought it."""
    shown = call.path["event"]
    facts = _facts(shown.row)
    if call.visible is not None and not shown.is_own:
        return facts | {"headers": {}, "body": None}
    return facts | {"headers": shown.headers, "body": shown.text}


def replay(call: Call) -> dict[str, Any]:
    """Have events handled once more: those named, or all that fit everything that is given."""
    body = call.body
    wanted = EventsWanted(
        ids=body["ids"],
        connection_id=body.get("connection"),
        endpoint_id=body["endpoint"],
        entity=body["entity"],
        types=body["types"],
        states=body["states"],
        since=body["since"],
        until=body["until"],
        verified_with=body["verified_with"],
    )
    count = service.replay_events(call.installation, wanted, visible=call.visible, actor=call.actor)
    return {"count": count}


OPERATIONS = (
    Operation(
        name="list_events",
        method="GET",
        path="/webhook-events",
        tag="webhook events",
        summary="List the newest events first.",
        scope="read",
        does=list_,
        query=EventsQuery,
        answer=EventPage,
        command="webhooks events list",
    ),
    Operation(
        name="get_event",
        method="GET",
        path="/webhook-events/{event}",
        tag="webhook events",
        summary="Return one event, and the delivery that brought it.",
        scope="read",
        does=show,
        answer=WholeEvent,
        command="webhooks events show",
    ),
    Operation(
        name="replay_events",
        method="POST",
        path="/webhook-events/replay",
        tag="webhook events",
        summary="Have events handled once more.",
        scope="operate",
        does=replay,
        body=Replay,
        answer=Replayed,
        example={"connection": "shop", "since": "2026-03-01T00:00:00Z"},
        command="webhooks events replay",
    ),
)
