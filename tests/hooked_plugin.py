"""A plugin whose provider signs as Standard Webhooks say, and can be told to fail."""

from __future__ import annotations

import json
from datetime import datetime

from tieline.contract import (
    CONTRACT_VERSION,
    STANDARD_WEBHOOKS,
    Account,
    ApiKey,
    Event,
    InvalidRecordError,
    Provider,
    Registration,
    RequestRejectedError,
    Secret,
    Webhooks,
    hookimpl,
)

REGISTERED: dict[str, str] = {}
"""Id of each endpoint at the provider to its address."""

GIVEN = "whsec_Z2l2ZW4tYnktdGhlLXByb3ZpZGVy"


def parse(body, headers):
    told = json.loads(body) if body[:1] == b"{" else None
    if told is None:
        raise InvalidRecordError("no event", code="delivery-malformed")
    if told["type"] == "bug":
        raise ZeroDivisionError(body)
    if told["type"] == "nonsense":
        return ["nonsense"]
    return [
        Event(
            id=told["id"],
            type=told["type"],
            entity=told.get("entity", "things"),
            key=told.get("key"),
            occurred_at=datetime.fromisoformat(told["happened"]) if "happened" in told else None,
            account=told.get("account"),
            record=told.get("record"),
        )
    ]


def register(client, url):
    if "refused" in url:
        raise RequestRejectedError("no such address, please")
    return make(url)


def make(url):
    REGISTERED[f"hook-{len(REGISTERED) + 1}"] = url
    return Registration(id=f"hook-{len(REGISTERED)}", secret=Secret(GIVEN))


def unregister(client, remote_id):
    del REGISTERED[remote_id]


@hookimpl
def tieline_provider() -> Provider:
    return Provider(
        name="hooked",
        title="Hooked",
        contract=CONTRACT_VERSION,
        environments={"live": "https://hooked.example.com"},
    )


@hookimpl
def tieline_auth() -> ApiKey:
    return ApiKey(identify=lambda client: Account(id="things-1"))


@hookimpl
def tieline_client(connection, credential, transport):
    return transport


@hookimpl
def tieline_entities():
    return []


@hookimpl
def tieline_webhooks() -> Webhooks:
    return Webhooks(
        scheme=STANDARD_WEBHOOKS,
        parse=parse,
        register=register,
        unregister=unregister,
        owners=("connection", "application"),
        keeps=("webhook-id",),
        fixtures="hooked_deliveries",
    )
