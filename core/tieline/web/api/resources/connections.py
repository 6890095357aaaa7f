"""Connections: look, connect by a secret, test, let rest, take away."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError, fields, validates_schema

from tieline.contract import Secret
from tieline.errors import InvalidInputError
from tieline.services import connect, connection_settings
from tieline.services import connections as service
from tieline.web.api.cursors import slice_of
from tieline.web.api.operation import Call, Operation
from tieline.web.api.schemas import (
    NAME,
    Answer,
    Choice,
    Flag,
    Given,
    Nested,
    PageQuery,
    Payload,
    SecretText,
    Text,
    Time,
    listed,
)

__all__ = ["OPERATIONS", "Connection", "facts_of"]


class AccountOf(Answer):
    """Whose account it is, by the provider's words."""

    id = fields.String(allow_none=True)
    name = fields.String()


class Connection(Answer):
    """One authorised account at one provider."""

    id = fields.String()
    name = fields.String()
    provider = fields.String()
    environment = fields.String()
    base_url = fields.String()
    settings = Payload("What the plugin lets a connection set, as it was given.")
    auth = Choice("api_key", "basic", "oauth2")
    account = Nested(AccountOf)
    state = Choice("ok", "needs_reauth", "disconnected")
    trouble = fields.String(allow_none=True)
    trouble_at = Time(allow_none=True)
    paused_at = Time(allow_none=True)
    created_at = Time()
    updated_at = Time()


class EntityProgress(Answer):
    """How far one entity is."""

    name = fields.String(attribute="entity")
    position = fields.Integer()
    synced_until = Time(allow_none=True)
    last_success_at = Time(allow_none=True)


class GrantFacts(Answer):
    """What OAuth 2 gave, without the tokens."""

    generation = fields.Integer()
    scopes = fields.List(fields.String(), allow_none=True)
    refreshed_at = Time()
    access_expires_at = Time(allow_none=True)
    refresh_expires_at = Time(allow_none=True)
    retry_at = Time(allow_none=True)


class WholeConnection(Connection):
    """A connection, how its tokens are, and how far each entity is."""

    grant = Nested(GrantFacts, allow_none=True)
    entities = fields.List(fields.Nested(EntityProgress))


class ConnectionTest(Answer):
    """What a test of a connection told."""

    connection = Nested(Connection)
    account = Nested(AccountOf)
    scopes = fields.List(fields.String())
    access_expires_at = Time(allow_none=True)
    refresh_expires_at = Time(allow_none=True)
    seconds = fields.Float()


class RemovedConnection(Answer):
    """What became of a connection that was taken away."""

    connection = Nested(Connection)
    access = Choice("revoked", "shared", "untold")
    keeps_records = fields.Boolean()


class Login(Given):
    """What a provider that takes neither key nor OAuth 2 asks for."""

    username = Text("", least=1, required=True)
    password = SecretText("", most=4096, least=1, required=True)


class NewConnection(Given):
    """An account to be connected by a secret; to sign in, see `oauth`."""

    provider = Text("Name of the provider.", most=40, least=1, required=True)
    name = Text("What to call it.", pattern=NAME, most=64, required=True)
    api_key = SecretText("The API key, where the provider takes one.", most=4096, least=1)
    login = Nested(Login, "User name and password, where the provider takes those.")
    environment = Text("One of the provider's; its first if left out.", most=40, load_default="")
    base_url = Text("Another address of the API.", most=500, load_default="")
    settings = Payload("What the plugin lets a connection set; no secrets.", load_default=dict)
    is_checked = Flag("Whether the provider is asked if the secret is good.", load_default=True)

    @validates_schema
    def _one_secret(self, data: dict[str, Any], **_given: Any) -> None:
        if ("api_key" in data) == ("login" in data):
            raise ValidationError("either this or login is wanted", "api_key")


class NewSecret(Given):
    """Another secret of the same account."""

    api_key = SecretText("The new API key.", most=4096, least=1)
    login = Nested(Login, "The new user name and password.")
    is_checked = Flag("Whether the provider is asked if the secret is good.", load_default=True)

    @validates_schema
    def _one_secret(self, data: dict[str, Any], **_given: Any) -> None:
        if ("api_key" in data) == ("login" in data):
            raise ValidationError("either this or login is wanted", "api_key")


class NewSettings(Given):
    """All that a connection is to set."""

    settings = Payload("By name: texts, numbers, booleans; no secrets.", required=True)


class RemovalQuery(Given):
    """How much of it goes."""

    keep_records = Flag(
        "Records stay to be read, and the connection, disconnected.", load_default=False
    )
    force = Flag("Go on if the provider cannot be told.", load_default=False)


ConnectionPage = listed(Connection)


def facts_of(row: Any) -> dict[str, Any]:
    """Return a row as its schema has it."""
    names = ("id", "name", "provider", "environment", "base_url", "state", "trouble", "trouble_at")
    times = ("paused_at", "created_at", "updated_at")
    return {name: getattr(row, name) for name in (*names, *times)} | {
        "auth": row.auth_kind,
        "settings": dict(row.settings),
        "account": {"id": row.account_id, "name": row.account_name},
    }


def list_(call: Call) -> dict[str, Any]:
    """Return the connections by name."""
    rows = [row for row in service.list_connections(call.installation) if call.may_see(row.id)]
    page = slice_of("list_connections", rows, call.query, lambda row: (row.name,))
    return page | {"data": [facts_of(row) for row in page["data"]]}


def show(call: Call) -> dict[str, Any]:
    """Return one connection."""
    row = call.path["connection"]
    return facts_of(row) | {
        "grant": service.get_grant(call.installation, row),
        "entities": service.connection_states(call.installation, row),
    }


def make(call: Call) -> dict[str, Any]:
    """Connect an account by its secret; nothing is stored unless the provider takes it."""
    body = dict(call.body)
    same = {
        "name": body["name"],
        "environment": body["environment"],
        "base_url": body["base_url"],
        "settings": body["settings"],
        "is_checked": body["is_checked"],
        "actor": call.actor,
    }
    return facts_of(_connect(call, body["provider"], body, same))


def give_secret(call: Call) -> dict[str, Any]:
    """Give a connection a new secret of the same account."""
    row = call.path["connection"]
    if row.auth_kind == "oauth2":
        raise InvalidInputError(
            f"{row.name} was connected by signing in, and has no key",
            hint="POST /v1/connections/{connection}/oauth-link",
            code="auth-kind",
        )
    same = {
        "name": row.name,
        "environment": row.environment,
        "is_checked": call.body["is_checked"],
        "is_replacing": True,
        "actor": call.actor,
    }
    return facts_of(_connect(call, row.provider, dict(call.body), same))


def give_settings(call: Call) -> dict[str, Any]:
    """Change all that a connection sets; what opens it from now on sees that."""
    row = connection_settings.change_settings(
        call.installation,
        call.path["connection"].id,
        call.body["settings"],
        is_whole=True,
        actor=call.actor,
    )
    return facts_of(row)


def _connect(call: Call, provider: str, body: dict[str, Any], same: dict[str, Any]) -> Any:
    if login := body.get("login"):
        return connect.connect_basic(
            call.installation,
            provider,
            username=login["username"],
            password=login["password"],
            **same,
        )
    key: Secret = body["api_key"]
    return connect.connect_api_key(call.installation, provider, key=key, **same)


def test(call: Call) -> dict[str, Any]:
    """Ask the provider whose account it is, within three seconds."""
    tested = service.test_connection(
        call.installation, call.path["connection"].id, actor=call.actor
    )
    return {
        "connection": facts_of(tested.row),
        "account": tested.account,
        "scopes": tested.scopes,
        "access_expires_at": tested.access_expires_at,
        "refresh_expires_at": tested.refresh_expires_at,
        "seconds": round(tested.seconds, 3),
    }


def pause(call: Call) -> dict[str, Any]:
    """Let it rest: its schedules and runs wait until it is resumed."""
    row = call.path["connection"]
    return facts_of(service.pause_connection(call.installation, row.id, actor=call.actor))


def resume(call: Call) -> dict[str, Any]:
    """Let it go on; its runs continue where they were."""
    row = call.path["connection"]
    return facts_of(service.resume_connection(call.installation, row.id, actor=call.actor))


def remove(call: Call) -> dict[str, Any]:
    """Give access back, destroy the credential, and with it all records unless they are kept."""
    removed = service.remove_connection(
        call.installation,
        call.path["connection"].id,
        actor=call.actor,
        keeps_records=call.query["keep_records"],
        is_forced=call.query["force"],
    )
    return {
        "connection": facts_of(removed.row),
        "access": removed.access,
        "keeps_records": call.query["keep_records"],
    }


OPERATIONS = (
    Operation(
        name="list_connections",
        method="GET",
        path="/connections",
        tag="connections",
        summary="List connections by name.",
        scope="read",
        does=list_,
        query=PageQuery,
        answer=ConnectionPage,
        command="connections list",
    ),
    Operation(
        name="create_connection",
        method="POST",
        path="/connections",
        tag="connections",
        summary="Connect an account by its API key, or by user name and password.",
        scope="admin",
        does=make,
        body=NewConnection,
        answer=Connection,
        status=201,
        is_for_all=True,
        asks_provider=True,
        example={"provider": "acme", "name": "shop", "api_key": "ak_live_…"},
        command="connect",
    ),
    Operation(
        name="get_connection",
        method="GET",
        path="/connections/{connection}",
        tag="connections",
        summary="Return a connection, how its tokens are, and how far each entity is.",
        scope="read",
        does=show,
        answer=WholeConnection,
        command="connections show",
    ),
    Operation(
        name="remove_connection",
        method="DELETE",
        path="/connections/{connection}",
        tag="connections",
        summary="Disconnect an account, and remove its records unless they are to be kept.",
        scope="admin",
        does=remove,
        query=RemovalQuery,
        answer=RemovedConnection,
        asks_provider=True,
        command="connections remove",
    ),
    Operation(
        name="test_connection",
        method="POST",
        path="/connections/{connection}/test",
        tag="connections",
        summary="Ask the provider whose account it is.",
        scope="operate",
        does=test,
        answer=ConnectionTest,
        asks_provider=True,
        command="connections test",
    ),
    Operation(
        name="pause_connection",
        method="POST",
        path="/connections/{connection}/pause",
        tag="connections",
        summary="Let a connection rest: its schedules and runs wait.",
        scope="operate",
        does=pause,
        answer=Connection,
        command="connections pause",
    ),
    Operation(
        name="resume_connection",
        method="POST",
        path="/connections/{connection}/resume",
        tag="connections",
        summary="Let a paused connection go on; its runs continue where they were.",
        scope="operate",
        does=resume,
        answer=Connection,
        command="connections resume",
    ),
    Operation(
        name="replace_secret",
        method="PUT",
        path="/connections/{connection}/secret",
        tag="connections",
        summary="Give a connection a new secret of the same account.",
        scope="admin",
        does=give_secret,
        body=NewSecret,
        answer=Connection,
        asks_provider=True,
        example={"api_key": "ak_live_…"},
        command="connections rotate-key",
    ),
    Operation(
        name="set_settings",
        method="PUT",
        path="/connections/{connection}/settings",
        tag="connections",
        summary="Change all that a connection sets, by the schema of its plugin.",
        scope="admin",
        does=give_settings,
        body=NewSettings,
        answer=Connection,
        example={"settings": {"region": "eu"}},
        command="connections set",
    ),
)
