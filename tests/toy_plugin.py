"""A whole plugin in forty lines: notes of an imaginary provider, over real HTTP."""

from marshmallow import fields

from tieline.contract import (
    CONTRACT_VERSION,
    Account,
    ApiKey,
    Entity,
    NeedsReauthError,
    Provider,
    ProviderUnavailableError,
    RecordSchema,
    by_cursor,
    hookimpl,
)


class Note(RecordSchema):
    id = fields.String(required=True)
    text = fields.String(allow_none=True)


def get(client, path, query):
    reply = client.send(path, query)
    if reply.status == 401:
        raise NeedsReauthError("Toy refused the key")
    if reply.status != 200:
        raise ProviderUnavailableError(f"Toy answered {reply.status}")
    return reply


class Client:
    def __init__(self, base_url, key, transport):
        self.base_url, self.key, self.transport = base_url, key, transport

    def send(self, path, query):
        words = "&".join(f"{name}={text}" for name, text in query.items())
        headers = {"Authorization": f"Bearer {self.key.reveal()}"}
        return self.transport.send("GET", f"{self.base_url}{path}?{words}", headers=headers)


@hookimpl
def tieline_provider():
    environments = {"live": "https://toy.example.com"}
    return Provider(name="toy", title="Toy", contract=CONTRACT_VERSION, environments=environments)


@hookimpl
def tieline_auth():
    return ApiKey(identify=lambda client: get(client, "/notes", {}) and Account(name="Toy Box"))


@hookimpl
def tieline_client(connection, credential, transport):
    return Client(connection.base_url, credential["api_key"], transport)


@hookimpl
def tieline_entities():
    page = by_cursor(get, "/notes", items="notes", cursor_field="next")
    return [Entity(name="notes", schema=Note(), page=page)]
