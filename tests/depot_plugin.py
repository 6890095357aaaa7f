"""A plugin of ``market.py`` that takes a user name and a password."""

from base64 import b64encode
from urllib.parse import quote

from marshmallow import fields

from tieline.contract import (
    CONTRACT_VERSION,
    Account,
    Basic,
    Entity,
    NeedsReauthError,
    Page,
    Provider,
    RecordSchema,
    hookimpl,
    parse_json,
)


class Thing(RecordSchema):
    id = fields.String(required=True)
    name = fields.String(allow_none=True)


class Client:
    def __init__(self, base_url, credential, transport):
        self.base_url, self.credential, self.transport = base_url, credential, transport

    def get(self, path):
        pair = f"{self.credential['username'].reveal()}:{self.credential['password'].reveal()}"
        headers = {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}
        reply = self.transport.send("GET", f"{self.base_url}{path}", headers=headers)
        if reply.status != 200:
            raise NeedsReauthError("the depot knows no such user, or another password")
        return parse_json(reply.content)


def identify(client):
    said = client.get("/me")
    return Account(id=said["id"], name=said["name"])


def read(client, params, cursor):
    said = client.get(f"/things/e0?after={quote(cursor or '')}")
    return Page(records=said["things"], next=said["next"])


@hookimpl
def tieline_provider():
    environments = {"live": "https://depot.example.com"}
    return Provider(
        name="depot", title="Depot", contract=CONTRACT_VERSION, environments=environments
    )


@hookimpl
def tieline_auth():
    return Basic(identify=identify)


@hookimpl
def tieline_client(connection, credential, transport):
    return Client(connection.base_url, credential, transport)


@hookimpl
def tieline_entities():
    return [Entity(name="things", schema=Thing(), page=read)]
