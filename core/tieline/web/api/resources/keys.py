"""The keys that seal credentials: which there are, and what they open."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from tieline.services import keys as service
from tieline.web.api.operation import Call, Operation
from tieline.web.api.schemas import Answer, Choice

__all__ = ["OPERATIONS"]


class KeyOf(Answer):
    """One key, and what is sealed under it."""

    key_id = fields.String()
    fields_ = fields.Integer(data_key="fields", attribute="fields")
    is_present = fields.Boolean()
    can_open = fields.Boolean(allow_none=True)
    reason = fields.String()


class Keys(Answer):
    """Which key seals, and which ones are needed."""

    provider = Choice("local", "kms")
    source = fields.String()
    key_id = fields.String(allow_none=True)
    reason = fields.String()
    keys = fields.List(fields.Nested(KeyOf))


def show(call: Call) -> Any:
    """Say which key seals now, what is under each key, and which keys open."""
    return service.state(call.installation)


OPERATIONS = (
    Operation(
        name="get_keys",
        method="GET",
        path="/keys",
        tag="keys",
        summary="Say which key seals now, and which keys open.",
        scope="admin",
        does=show,
        answer=Keys,
        is_for_all=True,
        command="keys status",
    ),
)
