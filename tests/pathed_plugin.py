"""A plugin whose provider signs nothing: a secret in the address is all that it shows."""

from __future__ import annotations

from urllib.parse import parse_qsl

from tieline.contract import (
    CONTRACT_VERSION,
    Account,
    ApiKey,
    Event,
    InvalidRecordError,
    PathSecret,
    Provider,
    Webhooks,
    hookimpl,
)


def parse(body, headers):
    told = dict(parse_qsl(body.decode()))
    if "id" not in told:
        raise InvalidRecordError("no event", code="delivery-malformed")
    return [Event(id=told["id"], type=told["type"], key=told.get("data[email]"))]


@hookimpl
def tieline_provider() -> Provider:
    return Provider(
        name="pathed",
        title="Pathed",
        contract=CONTRACT_VERSION,
        environments={"live": "https://pathed.example.com"},
    )


@hookimpl
def tieline_auth() -> ApiKey:
    return ApiKey(identify=lambda client: Account(id="paths-1"))


@hookimpl
def tieline_client(connection, credential, transport):
    return transport


@hookimpl
def tieline_entities():
    return []


@hookimpl
def tieline_webhooks() -> Webhooks:
    return Webhooks(scheme=PathSecret(), parse=parse, fixtures="pathed_deliveries")
