"""Providers: what is installed, and what each can do."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from tieline.errors import NotFoundError, nearest
from tieline.services.providers import list_providers
from tieline.web.api.operation import Call, Operation
from tieline.web.api.schemas import Answer, Choice, Nested

__all__ = ["OPERATIONS", "one_provider"]


class Cause(Answer):
    """Why a plugin is broken."""

    code = fields.String()
    message = fields.String()
    hint = fields.String()


class Incremental(Answer):
    """How a run finds what changed since the last one."""

    by = fields.String()
    retention_days = fields.Integer(allow_none=True)
    overlap_s = fields.Float(allow_none=True)


class ProviderEntity(Answer):
    """A kind of record that a provider has."""

    name = fields.String()
    directions = fields.List(fields.String())
    deletes = fields.String()
    windows = fields.String(allow_none=True)
    feed = fields.Boolean()
    incremental = Nested(Incremental)
    order = Choice("version", "time")
    canonical = fields.List(fields.String())
    scope = fields.String(allow_none=True)
    hides = fields.String(allow_none=True)


class Provider(Answer):
    """An installed plugin: what it declares, or why it is broken."""

    name = fields.String()
    title = fields.String(allow_none=True)
    distribution = fields.String()
    version = fields.String()
    contract = fields.String(allow_none=True)
    api_version = fields.String(allow_none=True)
    state = Choice("ok", "broken", "disabled")
    cause = Nested(Cause, allow_none=True)
    environments = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        metadata={"description": "Name of each to its base address, the default one first."},
    )
    settings = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        metadata={"description": "What a connection may set, by name, to what each does."},
    )
    auth = fields.List(fields.String(), metadata={"description": "Ways to connect an account."})
    webhooks = fields.Boolean()
    entities = fields.List(fields.Nested(ProviderEntity))


class Providers(Answer):
    """All of them."""

    data = fields.List(fields.Nested(Provider))


def _whole(said: dict[str, Any]) -> dict[str, Any]:
    """Add what only a plugin that works declares."""
    absent: dict[str, Any] = {
        "title": None,
        "api_version": None,
        "environments": {},
        "settings": {},
        "webhooks": False,
    }
    return absent | said


def list_(call: Call) -> dict[str, Any]:
    """Return every installed provider, the broken ones with their cause."""
    return {"data": [_whole(said) for said in list_providers(call.installation)]}


def one_provider(call: Call) -> dict[str, Any]:
    """Return one provider with its entities."""
    name = call.path["provider"]
    every = list_providers(call.installation)
    for said in every:
        if said["name"] == name:
            return _whole(said)
    raise NotFoundError(
        f"there is no provider {name!r}",
        hint=nearest(name, [said["name"] for said in every]),
        code="provider-unknown",
    )


OPERATIONS = (
    Operation(
        name="list_providers",
        method="GET",
        path="/providers",
        tag="providers",
        summary="List the installed providers.",
        scope="read",
        does=list_,
        answer=Providers,
        command="providers list",
    ),
    Operation(
        name="get_provider",
        method="GET",
        path="/providers/{provider}",
        tag="providers",
        summary="Return one provider with its entities.",
        scope="read",
        does=one_provider,
        answer=Provider,
        command="providers show",
    ),
)
