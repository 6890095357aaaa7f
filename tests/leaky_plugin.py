"""A plugin that fails wherever it is told to, with secrets at hand and in its words.

``LEAKY_ORDERS`` names a file; the place whose name is in it fails, and notes that in
a second file. ``LEAKY_HELD`` is a secret that Tieline never hears of: no more than a
local variable holds it.
"""

import base64
import os
from pathlib import Path
from urllib.parse import quote

from marshmallow import fields

from tieline.contract import (
    CONTRACT_VERSION,
    Account,
    ApiKey,
    Entity,
    Page,
    Provider,
    ProviderUnavailableError,
    RateLimitPolicy,
    RecordSchema,
    hookimpl,
    parse_json,
)

# By who calls them: everybody, ``tieline connect``, a worker.
AT_LOAD = ("tieline_provider", "tieline_auth", "tieline_entities", "tieline_webhooks")
AT_CONNECT = ("refuse", "environment", "base_url", "identify")
AT_WORK = ("tieline_rate_limits", "tieline_client", "page", "tieline_classify", "answer")
AT_ALERT = "tieline_alert"
NEVER = ("tieline_observe",)  # what it raises fails nothing, and only its kind is logged


def obey(place: str, words: str = "") -> None:
    """Fail, in words, if this is the place to."""
    held = os.environ["LEAKY_HELD"]
    orders = Path(os.environ["LEAKY_ORDERS"])
    if not held or orders.read_text() != place:
        return
    with orders.with_suffix(".obeyed").open("a") as file:
        file.write(f"{place}\n")
    raise RuntimeError(f"told to fail at {place}: {words}")


def in_every_form(key: str) -> str:
    basic = base64.b64encode(f"box:{key}".encode()).decode()
    plain = base64.b64encode(key.encode()).decode()
    return f"{key} {key!r} {key.encode()!r} {quote(key)} {basic} {plain} {key.encode().hex()}"


class Note(RecordSchema):
    id = fields.String(required=True)
    text = fields.String(allow_none=True)


class Client:
    def __init__(self, base_url, key, transport):
        self.base_url, self.key, self.transport = base_url, key, transport

    def notes(self):
        key = self.key.reveal()
        obey("page", in_every_form(key))
        order = Path(os.environ["LEAKY_ORDERS"]).read_text()
        if order == "tieline_classify":  # it is asked what this means, and fails in turn
            raise ValueError(in_every_form(key))
        basic = base64.b64encode(f"box:{key}".encode()).decode()
        headers = {"Authorization": f"Basic {basic}", "X-Api-Key": key}
        url = f"{self.base_url}/{order or 'notes'}?api_key={quote(key, safe='')}"
        reply = self.transport.send("GET", url, headers=headers)
        if reply.status != 200:
            said = f"{reply.content.decode()} {dict(reply.headers)}"
            raise ProviderUnavailableError(f"answered {reply.status} to {url}: {said}", hint=said)
        return parse_json(reply.content)["notes"]


def identify(client):
    obey("identify", in_every_form(client.key.reveal()))
    return Account(name="Leaky Box")


def page(client, params, cursor):
    return Page(records=client.notes(), next=None)


@hookimpl
def tieline_provider():
    obey("tieline_provider")
    environments = {"live": "https://leaky.example.com"}
    return Provider(
        name="leaky", title="Leaky", contract=CONTRACT_VERSION, environments=environments
    )


@hookimpl
def tieline_auth():
    obey("tieline_auth")
    return ApiKey(
        identify=identify,
        refuse=lambda key: obey("refuse", in_every_form(key)),
        environment=lambda key: obey("environment", in_every_form(key)),
        base_url=lambda key: obey("base_url", in_every_form(key)),
    )


@hookimpl
def tieline_client(connection, credential, transport):
    obey("tieline_client", in_every_form(credential["api_key"].reveal()))
    return Client(connection.base_url, credential["api_key"], transport)


@hookimpl
def tieline_entities():
    obey("tieline_entities")
    return [Entity(name=name, schema=Note(), page=page) for name in ("notes", *AT_WORK)]


@hookimpl
def tieline_webhooks():
    obey("tieline_webhooks")


@hookimpl
def tieline_rate_limits(connection):
    obey("tieline_rate_limits")
    return RateLimitPolicy()


@hookimpl
def tieline_alert(alert):
    obey("tieline_alert", f"{os.environ['LEAKY_HELD']} {alert}")


@hookimpl
def tieline_observe(reply):
    obey("tieline_observe")


@hookimpl
def tieline_classify(error):
    obey("tieline_classify", repr(error))
