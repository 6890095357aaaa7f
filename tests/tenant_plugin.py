"""A plugin of ``market.py`` whose connections set something: a shop, a region, a size of pages."""

from marshmallow import Schema, fields, validate

from tieline.contract import (
    CONTRACT_VERSION,
    Account,
    ApiKey,
    Entity,
    NeedsReauthError,
    Page,
    Provider,
    Rate,
    RateLimitPolicy,
    RecordSchema,
    SettingsError,
    hookimpl,
    parse_json,
)


class TenantSettings(Schema):
    shop = fields.String(
        required=True,
        validate=validate.Regexp(r"[a-z]{1,20}\Z"),
        metadata={"description": "The shop's name in its address."},
    )
    region = fields.String(
        load_default="eu",
        validate=validate.OneOf(["eu", "us"]),
        metadata={"description": "Where its data is."},
    )
    per_second = fields.Integer(
        data_key="per-second", metadata={"description": "Calls that it may make."}
    )


class Thing(RecordSchema):
    id = fields.String(required=True)
    name = fields.String(allow_none=True)


class Client:
    def __init__(self, connection, credential, transport):
        self.connection, self.credential, self.transport = connection, credential, transport

    def get(self, path):
        headers = {"Authorization": f"Bearer {self.credential['api_key'].reveal()}"}
        url = f"{self.connection.base_url}{path}"
        reply = self.transport.send("GET", url, headers=headers)
        if reply.status != 200:
            raise NeedsReauthError("the market does not know this key")
        return parse_json(reply.content)


def identify(client):
    said, shown = client.get("/me"), client.connection.settings
    return Account(id=said["id"], name=f"{shown['shop']} in {shown['region']}")


def read(client, _params, cursor):
    shop = client.connection.settings["shop"]
    said = client.get(f"/{shop}/things/e0?after={cursor or ''}")
    return Page(records=said["things"], next=said["next"])


@hookimpl
def tieline_provider():
    return Provider(
        name="tenant",
        title="Tenant",
        contract=CONTRACT_VERSION,
        environments={"live": "https://tenant.example.com"},
        settings=TenantSettings(),
    )


@hookimpl
def tieline_auth():
    return ApiKey(identify=identify)


@hookimpl
def tieline_client(connection, credential, transport):
    return Client(connection, credential, transport)


@hookimpl
def tieline_rate_limits(connection):
    allowed = connection.settings.get("per_second", 10)
    if allowed > 100:
        raise SettingsError("Tenant allows nobody more than 100 calls a second")
    return RateLimitPolicy(rates=[Rate(limit=f"{allowed}/second")])


@hookimpl
def tieline_entities():
    return [Entity(name="things", schema=Thing(), page=read)]
