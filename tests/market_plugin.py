"""The plugin of ``market.py``: a key or OAuth 2, ten lists."""

from datetime import timedelta
from functools import partial
from urllib.parse import quote

from marshmallow import fields

from tieline.contract import (
    CONTRACT_VERSION,
    Account,
    ApiKey,
    Entity,
    NeedsReauthError,
    OAuth2,
    Page,
    Provider,
    ProviderUnavailableError,
    RecordSchema,
    Revocation,
    hookimpl,
    parse_json,
)

ENTITIES = [f"e{number}" for number in range(10)]


class Thing(RecordSchema):
    id = fields.String(required=True)
    name = fields.String(allow_none=True)


class Client:
    def __init__(self, connection, credential, transport):
        self.connection, self.credential, self.transport = connection, credential, transport

    def get(self, path):
        field = "access_token" if self.connection.auth == "oauth2" else "api_key"
        reply = self.transport.send(
            "GET",
            f"{self.connection.base_url}{path}",
            headers={"Authorization": f"Bearer {self.credential[field].reveal()}"},
        )
        if reply.status == 401:
            raise NeedsReauthError(parse_json(reply.content)["error"])
        if reply.status != 200:
            raise ProviderUnavailableError(f"the market answered {reply.status}")
        return parse_json(reply.content)


def identify(client):
    said = client.get("/me")
    return Account(id=said["id"], name=said["name"], scopes=("things:read",))


def read(entity, client, params, cursor):
    said = client.get(f"/things/{entity}?after={quote(cursor or '')}")
    return Page(records=said["things"], next=said["next"])


def get(entity, client, key):
    return client.get(f"/thing/{entity}/{key}")["thing"]


@hookimpl
def tieline_provider():
    environments = {"live": "https://market.example.com"}
    return Provider(
        name="market", title="Market", contract=CONTRACT_VERSION, environments=environments
    )


@hookimpl
def tieline_auth():
    key = ApiKey(identify=identify)
    oauth = OAuth2(
        identify=identify,
        authorize_url="/authorize",
        token_url="/token",
        client_auth="body",
        refresh_every=timedelta(days=7),
        revocation=Revocation(url="/revoke", fields={"token": "refresh_token"}, client_auth="body"),
    )
    return key, oauth


@hookimpl
def tieline_client(connection, credential, transport):
    return Client(connection, credential, transport)


@hookimpl
def tieline_entities():
    return [
        Entity(
            name=name,
            schema=Thing(),
            page=partial(read, name),
            get=partial(get, name),
            events={"thing.changed": "re-read"},
        )
        for name in ENTITIES
    ]
