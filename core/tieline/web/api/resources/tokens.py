"""Tokens of this API: who may call it, and for what."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from tieline.services import tokens as service
from tieline.services.tokens import SCOPES, TokenRow
from tieline.web.api.cursors import slice_of
from tieline.web.api.operation import Call, Operation
from tieline.web.api.schemas import (
    NAME,
    Answer,
    Choice,
    Given,
    PageQuery,
    Several,
    Text,
    Time,
    Told,
    listed,
)

__all__ = ["OPERATIONS"]

_MOST_CONNECTIONS = 100


class Token(Answer):
    """A token, without what it is."""

    id = fields.String()
    name = fields.String(metadata={"description": "What the sync log calls who shows it."})
    scope = Choice(*SCOPES)
    connections = Several(
        fields.String(),
        allow_none=True,
        metadata={"description": "Names of those that it may see; null: all."},
    )
    created_by = fields.String()
    created_at = Time()
    expires_at = Time(allow_none=True)
    last_used_at = Time("Within five minutes.", allow_none=True)
    revoked_at = Time(allow_none=True)


class MadeToken(Token):
    """A token that was just made."""

    token = Told("The token itself; it is told now and never again.")


class NewToken(Given):
    """A token to be made."""

    name = Text(
        "What the sync log calls who shows it.",
        pattern=r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}",
        most=60,
        required=True,
    )
    scope = Choice(*SCOPES, doc="Each may what those before it may.", required=True)
    connections = Several(
        Text(pattern=NAME, most=64),
        load_default=tuple,
        validate=validate.Length(min=1, max=_MOST_CONNECTIONS),  # none at all is not: everything
        metadata={"description": "Names or ids of all that it may see; left out: everything."},
    )
    expires_in = Text(
        "Until when it is good: a whole number and s, m, h or d; left out: until it is revoked.",
        pattern=r"[0-9]{1,9}[smhd]",
        most=10,
        load_default=None,
    )


TokenPage = listed(Token)


def _facts(call: Call, row: TokenRow) -> dict[str, Any]:
    names = [name for name in Token().fields if name != "connections"]
    seen = {"connections": service.names_of(call.installation, row)}
    return {name: getattr(row, name) for name in names} | seen


def list_(call: Call) -> dict[str, Any]:
    """Return all tokens by name, those that are over too."""
    rows = service.list_tokens(call.installation)
    page = slice_of("list_tokens", rows, call.query, lambda row: (row.name,))
    return page | {"data": [_facts(call, row) for row in page["data"]]}


def make(call: Call) -> dict[str, Any]:
    """Make a token."""
    made = service.create_token(
        call.installation,
        call.body["name"],
        scope=call.body["scope"],
        connections=call.body["connections"],
        expires_in=call.body["expires_in"],
        actor=call.actor,
    )
    return _facts(call, made.row) | {"token": made.token}


def revoke(call: Call) -> dict[str, Any]:
    """End a token; whoever shows it is refused from this moment on."""
    row = service.revoke_token(call.installation, call.path["token"], actor=call.actor)
    return _facts(call, row)


OPERATIONS = (
    Operation(
        name="list_tokens",
        method="GET",
        path="/tokens",
        tag="tokens",
        summary="List the tokens of this API.",
        scope="admin",
        does=list_,
        query=PageQuery,
        answer=TokenPage,
        is_for_all=True,
        command="tokens list",
    ),
    Operation(
        name="create_token",
        method="POST",
        path="/tokens",
        tag="tokens",
        summary="Make a token.",
        scope="admin",
        does=make,
        body=NewToken,
        answer=MadeToken,
        status=201,
        is_secret=True,
        is_for_all=True,
        example={"name": "warehouse", "scope": "read", "connections": ["shop"]},
        command="tokens create",
    ),
    Operation(
        name="revoke_token",
        method="DELETE",
        path="/tokens/{token}",
        tag="tokens",
        summary="End a token.",
        scope="admin",
        does=revoke,
        answer=Token,
        is_for_all=True,
        command="tokens revoke",
    ),
)
