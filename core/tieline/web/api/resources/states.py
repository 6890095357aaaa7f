"""States: how far each entity is synced."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from marshmallow import fields

from tieline.services import states as service
from tieline.web.api.operation import Call, Operation
from tieline.web.api.schemas import Answer, Given, Time

__all__ = ["OPERATIONS"]

_PATH = "/connections/{connection}/entities/{entity}/state"


class StateFacts(Answer):
    """How far one entity is."""

    entity = fields.String()
    synced_until = Time("The provider's time up to which it is known.", allow_none=True)
    reads_from = Time(
        "Where its log of changes is read next; null: everything is read.", allow_none=True
    )
    last_success_at = Time(allow_none=True)
    position = fields.Integer(metadata={"description": "Last position of its change feed."})
    records = fields.Integer(metadata={"description": "How many live ones are stored."})
    active = fields.String(allow_none=True, metadata={"description": "The run under way."})
    undoes = Time("What undoing a reset would bring back.", allow_none=True)


class States(Answer):
    """How far each entity of a connection is."""

    data = fields.List(fields.Nested(StateFacts))


class MovedState(Answer):
    """What became of a cursor."""

    connection = fields.String()
    entity = fields.String()
    was = Time(allow_none=True)
    to = Time(allow_none=True)


class ResetOrder(Given):
    """Where a cursor is to be."""

    to = Time("Read changes from then on; before where it is. Null: everything.", load_default=None)


def list_(call: Call) -> dict[str, Any]:
    """Return how far each entity of a connection is."""
    found = service.list_states(call.installation, call.path["connection"].id)
    return {"data": [asdict(each) | {"active": each.active and each.active.id} for each in found]}


def reset(call: Call) -> service.Moved:
    """Set a cursor back: the next run reads more than it would."""
    return service.reset_state(
        call.installation,
        call.path["connection"].id,
        call.path["entity"],
        to=call.body["to"],
        actor=call.actor,
    )


def undo(call: Call) -> service.Moved:
    """Put a cursor back to where it was before it was last set back."""
    return service.undo_reset(
        call.installation, call.path["connection"].id, call.path["entity"], actor=call.actor
    )


OPERATIONS = (
    Operation(
        name="list_states",
        method="GET",
        path="/connections/{connection}/states",
        tag="connections",
        summary="Say how far each entity of a connection is synced.",
        scope="read",
        does=list_,
        answer=States,
        command="state show",
    ),
    Operation(
        name="reset_state",
        method="POST",
        path=f"{_PATH}/reset",
        tag="connections",
        summary="Set an entity's cursor back: the next run reads more.",
        scope="operate",
        does=reset,
        body=ResetOrder,
        answer=MovedState,
        example={"to": "2026-03-01T00:00:00Z"},
        command="state reset",
    ),
    Operation(
        name="undo_reset",
        method="POST",
        path=f"{_PATH}/undo",
        tag="connections",
        summary="Put a cursor back to where it was before it was last set back.",
        scope="operate",
        does=undo,
        answer=MovedState,
        command="state undo",
    ),
)
