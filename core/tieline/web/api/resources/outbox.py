"""The outbox: changes that are to be sent to a provider."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError, fields, validate, validates_schema

from tieline.services import outbox as service
from tieline.services.changes import Change
from tieline.web.api.cursors import page_of, read_cursor
from tieline.web.api.operation import Call, Operation
from tieline.web.api.resources.runs import Run, run_facts
from tieline.web.api.schemas import (
    Answer,
    Choice,
    ConnectionRef,
    Given,
    Json,
    Nested,
    PageQuery,
    Payload,
    Several,
    Text,
    Time,
    listed,
)

__all__ = ["OPERATIONS"]

_STATES = ("queued", "sending", "unknown", "held", "dead", "done", "dropped")
_KINDS = ("create", "update", "delete")
_MOST_CHANGES = 500


class Reason(Answer):
    """Why it waits, or how it ended."""

    code = fields.String()
    message = fields.String(allow_none=True)


class BlockerOf(Answer):
    """The operation of the same record that has to be finished first."""

    id = fields.String()
    state = Choice(*_STATES)


class OutboxOperation(Answer):
    """One change that is to be sent."""

    id = fields.String()
    connection = fields.String(metadata={"description": "Its name."})
    connection_id = fields.String()
    provider = fields.String()
    entity = fields.String()
    kind = Choice(*_KINDS)
    record_id = fields.String(allow_none=True)
    payload = Json()
    policy = fields.String()
    state = Choice(*_STATES)
    attempts = fields.Integer()
    reason = Nested(Reason, allow_none=True)
    run_id = fields.String(allow_none=True)
    asked_by = fields.String()
    due_at = Time(allow_none=True)
    created_at = Time()
    updated_at = Time()
    finished_at = Time(allow_none=True)


class ListedOperation(OutboxOperation):
    """The same, and what it waits for."""

    blocked_by = Nested(BlockerOf, allow_none=True)


class AskedChanges(Answer):
    """What became of asking for changes."""

    operations = fields.List(fields.Nested(OutboxOperation))
    run = Nested(Run, "The run that sends them.", allow_none=True)
    waits_for = fields.String(
        allow_none=True, metadata={"description": "What has to happen before they are sent."}
    )


class OutboxQuery(PageQuery):
    """Which."""

    connection = ConnectionRef()
    entity = Text("Only of this entity.", least=1, most=40, load_default=None)
    state = Several(
        Choice(*_STATES),
        validate=validate.Length(max=len(_STATES)),
        metadata={"description": "Only in this; may come several times. Left out: not finished."},
    )


class OneChange(Given):
    """A change of one record."""

    kind = Choice(*_KINDS, required=True)
    key = Text("The record, for update and delete.", most=255, load_default="")
    payload = Payload("The fields, for create and update.", load_default=dict)

    @validates_schema
    def _has_what_it_needs(self, data: dict[str, Any], **_given: Any) -> None:
        if (data.get("kind") == "create") == bool(data.get("key")):
            raise ValidationError("goes with update and delete, and those take one", "key")
        if data.get("kind") == "delete" and data.get("payload"):
            raise ValidationError("does not go with delete", "payload")


class NewChanges(Given):
    """Changes that are wanted, all or none."""

    entity = Text("What to change.", least=1, most=40, required=True)
    changes = Several(
        fields.Nested(OneChange),
        required=True,
        validate=validate.Length(min=1, max=_MOST_CHANGES),
        metadata={"description": "In this order."},
    )
    policy = Choice(
        *service.POLICIES,
        doc="What is to happen if the record is another one at the provider by now.",
        load_default="hold",
    )


class Retry(Given):
    """What is to be sent."""

    payload = Payload("In place of the one it has.", load_default=None, allow_none=True)


class Decision(Given):
    """Which side stands."""

    take = Choice(
        "provider",
        "local",
        doc="provider: its record stands. local: the change is sent over it.",
        required=True,
    )


OperationPage = listed(ListedOperation)


def _facts(row: Any) -> dict[str, Any]:
    names = (
        "id", "connection_id", "provider", "entity", "kind", "record_id", "payload", "policy",
        "state", "attempts", "run_id", "asked_by", "created_at", "updated_at", "finished_at",
    )  # fmt: skip
    return {name: getattr(row, name) for name in names} | {
        "connection": row.connection_name,
        "reason": {"code": row.reason_code, "message": row.reason} if row.reason_code else None,
        "due_at": row.due_at if row.finished_at is None else None,
    }


def _listed(found: Any) -> dict[str, Any]:
    return _facts(found.row) | {"blocked_by": found.blocker}


def list_(call: Call) -> dict[str, Any]:
    """Return the newest operations first: those that are not finished, or those of some states."""
    query = call.query
    [before] = read_cursor("list_outbox", query.get("cursor"), [int]) or (None,)
    rows = service.list_outbox(
        call.installation,
        connection=query.get("connection"),
        visible=call.visible,
        entity=query["entity"],
        states=query.get("state", ()),
        before=before,
        limit=query["limit"] + 1,
    )
    page = page_of("list_outbox", rows, query["limit"], lambda each: (each.row.number,))
    return page | {"data": [_listed(each) for each in page["data"]]}


def ask(call: Call) -> dict[str, Any]:
    """Put changes into the outbox, all or none, and ask for a run that sends them."""
    changes = [
        Change(
            kind=each["kind"],
            key=each["key"],
            payload=each["payload"],
            where=f"/changes/{number}",
        )
        for number, each in enumerate(call.body["changes"])
    ]
    asked = service.ask_changes(
        call.installation,
        call.path["connection"].id,
        call.body["entity"],
        changes,
        policy=call.body["policy"],
        actor=call.actor,
    )
    rows = service.get_operations(call.installation, asked.ids)
    return {
        "operations": [_facts(row) for row in rows],
        "run": run_facts(asked.run) if asked.run else None,
        "waits_for": asked.waits_for or None,
    }


def show(call: Call) -> dict[str, Any]:
    """Return one operation, and what it waits for."""
    return _listed(call.path["operation"])


def retry(call: Call) -> dict[str, Any]:
    """Send an operation again that waits for a person, as it is or with another payload."""
    row = service.retry_operation(
        call.installation,
        call.path["operation"].row.id,
        payload=call.body["payload"],
        actor=call.actor,
    )
    return _facts(row)


def resolve(call: Call) -> dict[str, Any]:
    """Settle an operation that is held."""
    row = service.resolve_operation(
        call.installation,
        call.path["operation"].row.id,
        take=call.body["take"],
        actor=call.actor,
    )
    return _facts(row)


def drop(call: Call) -> dict[str, Any]:
    """Send an operation never, or never again; later ones of its record go on."""
    row = service.drop_operation(call.installation, call.path["operation"].row.id, actor=call.actor)
    return _facts(row)


OPERATIONS = (
    Operation(
        name="list_outbox",
        method="GET",
        path="/outbox",
        tag="outbox",
        summary="List changes that are not sent yet, or those of some states.",
        scope="read",
        does=list_,
        query=OutboxQuery,
        answer=OperationPage,
        command="outbox list",
    ),
    Operation(
        name="create_changes",
        method="POST",
        path="/connections/{connection}/outbox",
        tag="outbox",
        summary="Change records at the provider; a worker sends them.",
        scope="operate",
        does=ask,
        body=NewChanges,
        answer=AskedChanges,
        status=202,
        example={
            "entity": "contacts",
            "changes": [{"kind": "update", "key": "c_81", "payload": {"name": "Ada"}}],
        },
        command="push",
    ),
    Operation(
        name="get_operation",
        method="GET",
        path="/outbox/{operation}",
        tag="outbox",
        summary="Return one operation, and what it waits for.",
        scope="read",
        does=show,
        answer=ListedOperation,
        command="outbox show",
    ),
    Operation(
        name="retry_operation",
        method="POST",
        path="/outbox/{operation}/retry",
        tag="outbox",
        summary="Send an operation again that waits for a person.",
        scope="operate",
        does=retry,
        body=Retry,
        answer=OutboxOperation,
        command="outbox retry",
    ),
    Operation(
        name="resolve_operation",
        method="POST",
        path="/outbox/{operation}/resolve",
        tag="outbox",
        summary="Settle an operation that is held.",
        scope="operate",
        does=resolve,
        body=Decision,
        answer=OutboxOperation,
        example={"take": "local"},
        command="outbox resolve",
    ),
    Operation(
        name="drop_operation",
        method="DELETE",
        path="/outbox/{operation}",
        tag="outbox",
        summary="Send an operation never.",
        scope="operate",
        does=drop,
        answer=OutboxOperation,
        command="outbox drop",
    ),
)
