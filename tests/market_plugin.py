"""The plugin of ``market.py``: a key or OAuth 2, ten lists, and three that it writes."""

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from urllib.parse import quote, urlencode

from marshmallow import Schema, fields

from tieline.contract import (
    CONTRACT_VERSION,
    Account,
    ApiKey,
    Change,
    ConflictError,
    Entity,
    Feed,
    FeedPage,
    InvalidRecordError,
    NeedsReauthError,
    OAuth2,
    Outcome,
    Page,
    PermissionDeniedError,
    Provider,
    ProviderUnavailableError,
    RateLimitedError,
    RecordNotFoundError,
    RecordSchema,
    Revocation,
    Write,
    hookimpl,
    parse_json,
)

ENTITIES = [f"e{number}" for number in range(10)]


class Thing(RecordSchema):
    id = fields.String(required=True)
    name = fields.String(allow_none=True)


class Good(RecordSchema):
    id = fields.String(required=True)
    name = fields.String(required=True)
    email = fields.String(allow_none=True)


class GoodToWrite(Schema):
    name = fields.String(required=True)
    email = fields.Email(allow_none=True)
    address = fields.Dict()


REFUSALS = {
    400: InvalidRecordError,
    401: NeedsReauthError,
    403: PermissionDeniedError,
    404: RecordNotFoundError,
    409: ConflictError,
    429: RateLimitedError,
}


def raised(status, body):
    words = body.get("error", f"the market answered {status}")
    return REFUSALS.get(status, ProviderUnavailableError)(words)


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

    def send(self, method, path, body=None):
        reply = self.transport.send(
            method,
            f"{self.connection.base_url}{path}",
            headers={"Authorization": f"Bearer {self.credential['api_key'].reveal()}"},
            content=None if body is None else json.dumps(body).encode(),
        )
        if reply.status >= 300:
            raise raised(reply.status, parse_json(reply.content))
        return parse_json(reply.content) if reply.status != 204 else None


def identify(client):
    said = client.get("/me")
    return Account(id=said["id"], name=said["name"], scopes=("things:read",))


def read(entity, client, params, cursor):
    said = client.get(f"/things/{entity}?after={quote(cursor or '')}")
    return Page(records=said["things"], next=said["next"])


def read_goods(name, client, params, cursor):
    said = client.get(f"/goods/{name}?after={quote(cursor or '')}")
    return Page(records=said["things"], next=said["next"])


def read_changes(name, client, params, cursor):
    since = params.window.start.timestamp()
    said = client.get(f"/goods/{name}/changes?since={since}")
    changes = [
        Change(key=key, at=datetime.fromtimestamp(at, UTC), record=record, is_deleted=not record)
        for key, at, record in said["changes"]
    ]
    return FeedPage(changes=changes, next=None)


def get_good(name, client, key):
    try:
        return client.send("GET", f"/goods/{name}/{quote(key)}")
    except RecordNotFoundError:
        return None


def find_good(name, client, operation):
    found = client.send("GET", f"/goods/{name}?ref={operation.id}")["things"]
    return Outcome(record=found[0]) if found else None


def write_good(name, client, operation):
    method = {"create": "POST", "update": "PATCH", "delete": "DELETE"}[operation.kind]
    given = {"requestid": operation.idempotency_key, "version": operation.token or ""}
    path = f"/goods/{name}"
    if operation.kind == "create":
        given["ref"] = operation.id
    else:
        path += f"/{quote(operation.key)}"
    said = client.send(method, f"{path}?{urlencode(given)}", dict(operation.payload))
    return Outcome(is_gone=True) if operation.kind == "delete" else Outcome(record=said)


def write_goods(name, client, operations):
    given = [
        {
            "kind": operation.kind,
            "key": operation.key,
            "payload": dict(operation.payload),
            "ref": operation.id,
            "version": operation.token or "",
        }
        for operation in operations
    ]
    said = client.send("POST", f"/goods/{name}/batch", {"operations": given})["results"]
    return [
        Outcome(is_undone=True)
        if each["status"] == 421
        else Outcome(error=raised(each["status"], each["body"]))
        if each["status"] >= 300
        else Outcome(is_gone=True)
        if each["status"] == 204
        else Outcome(record=each["body"])
        for each in said
    ]


def goods(name, **how):
    step = partial(write_good, name)
    return Entity(
        name=name,
        schema=Good(),
        page=partial(read_goods, name),
        get=partial(get_good, name),
        feed=Feed(page=partial(read_changes, name), retention=timedelta(days=30)),
        deletes="feed",
        write=Write(
            schema=GoodToWrite(),
            create=step,
            update=step,
            delete=step,
            visible_after=timedelta(0),
            changed_at=lambda record: datetime.fromtimestamp(record["changed"], UTC),
            scope="goods:write",
            **how,
        ),
    )


def version_of(record):
    return str(record["version"])


GOODS = [
    goods("keyed", idempotency=timedelta(days=1), token=version_of),
    goods("plain", find=partial(find_good, "plain")),
    goods(
        "bulk",
        find=partial(find_good, "bulk"),
        idempotency=timedelta(days=1),
        token=version_of,
        batch=partial(write_goods, "bulk"),
        batch_size=5,
    ),
]


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
    things = [
        Entity(
            name=name,
            schema=Thing(),
            page=partial(read, name),
            get=partial(get, name),
            events={"thing.changed": "re-read"},
        )
        for name in ENTITIES
    ]
    return [*things, *GOODS]
