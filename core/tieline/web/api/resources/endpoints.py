"""Webhook endpoints: where providers deliver, and the secrets by which they are known."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from tieline.errors import InvalidInputError
from tieline.services import webhook_registration as registration
from tieline.services import webhooks as service
from tieline.web.api.cursors import slice_of
from tieline.web.api.operation import Call, Operation
from tieline.web.api.schemas import (
    Answer,
    Choice,
    ConnectionRef,
    Flag,
    Given,
    PageQuery,
    SecretText,
    Text,
    Time,
    Told,
    listed,
)

__all__ = ["OPERATIONS"]


class EndpointSecret(Answer):
    """A secret of an endpoint, without what it is."""

    id = fields.String()
    kind = fields.String()
    made_at = Time()
    retires_at = Time("Until when it is accepted; null: it is a present one.", allow_none=True)


class Endpoint(Answer):
    """Where a provider delivers."""

    id = fields.String()
    provider = fields.String()
    environment = fields.String()
    connection = fields.String(
        allow_none=True, metadata={"description": "Its name; null: the application's."}
    )
    connection_id = fields.String(allow_none=True)
    address = fields.String(metadata={"description": "Less the secret at its end, if it has one."})
    state = Choice("active", "disabled", "closed", doc="closed: there is no secret.")
    scheme_level = fields.String()
    secrets = fields.List(fields.Nested(EndpointSecret))
    secrets_in_settings = fields.Integer()
    remote_id = fields.String(
        allow_none=True, metadata={"description": "The provider's own; null: not registered."}
    )
    expects_every_s = fields.Integer(allow_none=True)
    last_received_at = Time(allow_none=True)
    counts = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        allow_none=True,
        metadata={"description": "Deliveries by what became of them; null: nobody can count now."},
    )
    instructions = fields.String(metadata={"description": "What to do by hand at the provider."})
    created_at = Time()
    updated_at = Time()


class MadeEndpoint(Endpoint):
    """An endpoint that was made, or got a new secret."""

    url = Told("The address to tell the provider. A secret at its end is told now and never again.")


class ShownSecret(Answer):
    """A secret that can be opened."""

    id = fields.String()
    kind = fields.String()
    secret = Told("The secret itself.")


class ShownSecrets(Answer):
    """All of an endpoint that can be opened: of one in an address only a hash is kept."""

    data = fields.List(fields.Nested(ShownSecret))


class EndpointsQuery(PageQuery):
    """Whose."""

    connection = ConnectionRef()


class NewEndpoint(Given):
    """An endpoint that is wanted: of a connection, or of a provider's application."""

    connection = ConnectionRef("Of this connection.")
    provider = Text("Of the application at this provider.", least=1, most=40)
    base = Text("Where the provider reaches `tieline serve`.", most=500, load_default="")
    environment = Text("Of an application's; its first if left out.", most=40, load_default="")
    secret = SecretText(
        "What the provider signs with, if that is known already.", most=500, least=1
    )
    expects_every = Text("After so long a silence people are told, such as 1d.", least=1, most=20)


class EndpointState(Given):
    """Whether it takes deliveries."""

    state = Choice("active", "disabled", required=True)


class NewEndpointSecret(Given):
    """A secret that is wanted."""

    secret = SecretText(
        "The provider's new one; left out: a new address is made.", most=500, least=1
    )
    overlap = Text("For how long the old ones are accepted.", least=1, most=20, load_default="24h")
    now = Flag("End the old ones at once, whatever the overlap: one leaked.", load_default=False)


class By(Given):
    """With whose credential."""

    by = ConnectionRef("Of this connection; left out: the endpoint's own.")


EndpointPage = listed(Endpoint)


def _facts(found: Any) -> dict[str, Any]:
    row = found.endpoint
    names = (
        "id", "provider", "environment", "connection_id", "address", "scheme_level", "remote_id",
        "expects_every_s", "last_received_at", "created_at", "updated_at",
    )  # fmt: skip
    return {name: getattr(row, name) for name in names} | {
        "connection": row.connection_name or None,
        "state": "closed" if found.is_closed else row.state,
        "secrets": found.secrets,
        "secrets_in_settings": len(found.from_settings),
        "counts": found.counts,
        "instructions": found.instructions,
    }


def _made(made: Any) -> dict[str, Any]:
    return _facts(made.listed) | {"url": made.url}


def list_(call: Call) -> dict[str, Any]:
    """Return endpoints, oldest first."""
    every = service.list_endpoints(call.installation, target=call.query.get("connection"))
    rows = [each for each in every if call.may_see(each.endpoint.connection_id)]
    page = slice_of(
        "list_endpoints",
        rows,
        call.query,
        lambda each: (each.endpoint.created_at.isoformat(), each.endpoint.id),
        width=2,
    )
    return page | {"data": [_facts(each) for each in page["data"]]}


def make(call: Call) -> dict[str, Any]:
    """Make an endpoint; the address is to be told to the provider."""
    body = call.body
    if ("connection" in body) == ("provider" in body):
        raise InvalidInputError("either connection or provider is wanted", code="endpoint-owner")
    if "provider" in body and call.visible is not None:
        raise InvalidInputError(
            "provider: this token sees some connections alone", code="endpoint-owner"
        )
    made = service.add_endpoint(
        call.installation,
        body.get("connection") or body["provider"],
        base=body["base"],
        environment=body["environment"],
        secret=body.get("secret"),
        expects_every=body.get("expects_every"),
        actor=call.actor,
    )
    return _made(made)


def _id(call: Call) -> str:
    return str(call.path["endpoint"].endpoint.id)


def show(call: Call) -> dict[str, Any]:
    """Return one endpoint."""
    return _facts(call.path["endpoint"])


def set_state(call: Call) -> dict[str, Any]:
    """Let an endpoint take deliveries, or none; the provider repeats those for a while."""
    is_active = call.body["state"] == "active"
    return _facts(
        service.set_state(call.installation, _id(call), is_active=is_active, actor=call.actor)
    )


def remove(call: Call) -> None:
    """Remove an endpoint; what came in stays, and is handled."""
    service.remove_endpoint(call.installation, _id(call), actor=call.actor)


def rotate(call: Call) -> dict[str, Any]:
    """Add a new secret; those before are accepted for an overlap more."""
    made = service.rotate_secret(
        call.installation,
        _id(call),
        secret=call.body.get("secret"),
        overlap=call.body["overlap"],
        ends_old=call.body["now"],
        actor=call.actor,
    )
    return _made(made)


def finish(call: Call) -> dict[str, Any]:
    """End every secret but the present ones."""
    return _facts(service.finish_rotation(call.installation, _id(call), actor=call.actor))


def secrets(call: Call) -> dict[str, Any]:
    """Open what can be opened."""
    found = service.reveal_secrets(call.installation, _id(call))
    return {"data": [{"id": row.id, "kind": row.kind, "secret": secret} for row, secret in found]}


def register(call: Call) -> dict[str, Any]:
    """Make an endpoint known at the provider, and keep the secret that it gives."""
    return _facts(
        registration.register_endpoint(
            call.installation, _id(call), by=call.body.get("by"), actor=call.actor
        )
    )


def unregister(call: Call) -> dict[str, Any]:
    """Take an endpoint back at the provider; here it stays."""
    return _facts(
        registration.unregister_endpoint(
            call.installation, _id(call), by=call.body.get("by"), actor=call.actor
        )
    )


_ONE = "/webhook-endpoints/{endpoint}"
_VERSION = "{0[id]} {0[updated_at]} {0[state]} {0[secrets]}"

OPERATIONS = (
    Operation(
        name="list_endpoints",
        method="GET",
        path="/webhook-endpoints",
        tag="webhook endpoints",
        summary="List endpoints, oldest first.",
        scope="read",
        does=list_,
        query=EndpointsQuery,
        answer=EndpointPage,
        command="webhooks list",
    ),
    Operation(
        name="create_endpoint",
        method="POST",
        path="/webhook-endpoints",
        tag="webhook endpoints",
        summary="Make an endpoint.",
        scope="admin",
        does=make,
        body=NewEndpoint,
        answer=MadeEndpoint,
        status=201,
        is_secret=True,
        example={"connection": "shop"},
        command="webhooks add",
    ),
    Operation(
        name="get_endpoint",
        method="GET",
        path=_ONE,
        tag="webhook endpoints",
        summary="Return one endpoint.",
        scope="read",
        does=show,
        answer=Endpoint,
        version=_VERSION.format,
        command="webhooks show",
    ),
    Operation(
        name="set_endpoint_state",
        method="PATCH",
        path=_ONE,
        tag="webhook endpoints",
        summary="Let an endpoint take deliveries, or none.",
        scope="admin",
        does=set_state,
        body=EndpointState,
        answer=Endpoint,
        example={"state": "disabled"},
        command="webhooks disable",
    ),
    Operation(
        name="remove_endpoint",
        method="DELETE",
        path=_ONE,
        tag="webhook endpoints",
        summary="Remove an endpoint.",
        scope="admin",
        does=remove,
        status=204,
        command="webhooks remove",
    ),
    Operation(
        name="rotate_endpoint_secret",
        method="POST",
        path=f"{_ONE}/rotate-secret",
        tag="webhook endpoints",
        summary="Add a new secret; those before are accepted for an overlap more.",
        scope="admin",
        does=rotate,
        body=NewEndpointSecret,
        answer=MadeEndpoint,
        is_secret=True,
        example={"overlap": "24h"},
        command="webhooks secret rotate",
    ),
    Operation(
        name="finish_endpoint_rotation",
        method="POST",
        path=f"{_ONE}/finish-rotation",
        tag="webhook endpoints",
        summary="End every secret but the present ones.",
        scope="admin",
        does=finish,
        answer=Endpoint,
        command="webhooks secret finish",
    ),
    Operation(
        name="list_endpoint_secrets",
        method="GET",
        path=f"{_ONE}/secrets",
        tag="webhook endpoints",
        summary="Open the secrets that can be opened.",
        scope="admin",
        does=secrets,
        answer=ShownSecrets,
        is_secret=True,
        command="webhooks secret show",
    ),
    Operation(
        name="register_endpoint",
        method="POST",
        path=f"{_ONE}/register",
        tag="webhook endpoints",
        summary="Make an endpoint known at the provider.",
        scope="admin",
        does=register,
        body=By,
        answer=Endpoint,
        asks_provider=True,
        command="webhooks register",
    ),
    Operation(
        name="unregister_endpoint",
        method="POST",
        path=f"{_ONE}/unregister",
        tag="webhook endpoints",
        summary="Take an endpoint back at the provider.",
        scope="admin",
        does=unregister,
        body=By,
        answer=Endpoint,
        asks_provider=True,
        command="webhooks unregister",
    ),
)
