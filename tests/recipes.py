"""The code of the pages for plugins' authors, as it stands there; ``test_recipes.py`` runs it."""

from __future__ import annotations

import hashlib
import json
import syslog
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from marshmallow import fields

from tieline.contract import (
    CONTRACT_VERSION,
    Account,
    Alert,
    ApiKey,
    Connection,
    Credential,
    CursorExpiredError,
    Entity,
    Event,
    Hmac,
    InvalidRecordError,
    NeedsReauthError,
    Page,
    PageParams,
    PathSecret,
    Provider,
    ProviderUnavailableError,
    RecordNotFoundError,
    RecordSchema,
    Reply,
    RetryLaterError,
    Secret,
    Transport,
    Webhooks,
    Whole,
    as_of,
    by_cursor,
    by_page_number,
    delivery_of,
    hookimpl,
    object_of,
    page_of,
    parse_json,
    text_of,
    time_of,
)

KINDS = {401: NeedsReauthError, 404: RecordNotFoundError}


class Client:
    """Acme's API on our transport."""

    def __init__(self, connection: Connection, key: Secret, transport: Transport) -> None:
        self.connection, self.key, self.transport = connection, key, transport

    def send(self, method: str, path: str, body: object = None) -> Reply:
        content = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.key.reveal()}"}
        reply = self.transport.send(
            method, self.connection.address(path), headers=headers, content=content
        )
        if reply.status >= 300:
            kind = KINDS.get(reply.status, ProviderUnavailableError)
            raise kind(f"Acme answered {reply.status}")
        return reply


def get(client: Client, path: str, query: Mapping[str, Any]) -> Reply:
    """Send one read."""
    return client.send("GET", f"{path}?{urlencode(query, doseq=True)}" if query else path)


# --- odd paging: GraphQL ----------------------------------------------------------------------

ORDERS_QUERY = """
query ($cursor: String) {
  orders(first: 100, after: $cursor, sortKey: ID) {
    nodes { id total_cents }
    pageInfo { endCursor hasNextPage }
  }
}
"""


def ask_graphql(client: Client, path: str, variables: Mapping[str, Any]) -> Reply:
    """Send one query; what went wrong comes with status 200."""
    reply = client.send("POST", path, {"query": ORDERS_QUERY, "variables": variables})
    errors = object_of(parse_json(reply.content)).get("errors")
    if errors:
        raise ProviderUnavailableError("Acme answered with errors in place of data")
    return reply


read_orders = by_cursor(
    ask_graphql,
    "/graphql",
    items="data.orders.nodes",
    cursor_field="data.orders.pageInfo.endCursor",
    more="data.orders.pageInfo.hasNextPage",
)


class Order(RecordSchema):
    """An order; its total is in cents."""

    id = fields.String(required=True)
    total_cents = Whole()


# --- no update times --------------------------------------------------------------------------


class Contact(RecordSchema):
    """A contact; Acme does not say when it was changed."""

    id = fields.String(required=True)
    name = fields.String(allow_none=True)


CONTACTS = Entity(
    name="contacts",
    schema=Contact(),
    page=by_page_number(get, "/contacts", items="contacts", query={"sort": "id"}),
    volatile=["score", "stats.opens"],
    deletes="sweep",
)


# --- export jobs ------------------------------------------------------------------------------

LINES = 2


def read_export(client: Client, params: PageParams, cursor: str | None) -> Page:
    """Have an export made, wait for it, read it: one request each time.

    The cursor is ``[job, line]``, so that whoever goes on asks for no second export.
    """
    if cursor is None:
        job = parse_json(client.send("POST", "/exports", {"kind": "readings"}).content)["id"]
        return Page(records=[], next=json.dumps([job, None]))
    job, line = json.loads(cursor)
    try:
        if line is None:
            made = parse_json(get(client, f"/exports/{job}", {}).content)
            if made["state"] == "failed":
                raise CursorExpiredError("Acme gave the export up")
            if made["state"] != "done":
                raise RetryLaterError("the export is not ready", retry_after=20)
            return Page(records=[], next=json.dumps([job, 0]))
        reply = get(client, f"/exports/{job}/lines", {"from": line, "limit": LINES})
    except RecordNotFoundError:
        raise CursorExpiredError("the export is gone; another one is needed") from None
    body, records = page_of(reply, "lines")
    following = json.dumps([job, line + len(records)]) if body["more"] else None
    return Page(records=records, next=following, as_of=as_of(reply))


class Reading(RecordSchema):
    """A reading of a meter."""

    id = fields.String(required=True)
    value = Whole()


# --- thin webhooks ----------------------------------------------------------------------------


def parse(body: bytes, _headers: Mapping[str, str]) -> list[Event]:
    """Read a delivery that names a record, and holds nothing of it."""
    told = object_of(delivery_of(body))
    key = text_of(object_of(told.get("contact")).get("id"))
    if not key:
        raise InvalidRecordError("the body is none of Acme's", code="delivery-malformed")
    return [
        Event(
            # Acme numbers no events; a repeated delivery has the same bytes.
            id=text_of(told.get("id")) or hashlib.sha256(body).hexdigest(),
            type=text_of(told.get("type")),
            entity="contacts",
            key=key,
            occurred_at=time_of(told.get("at")),
        )
    ]


# --- header signatures ------------------------------------------------------------------------

# The whole header is the signature: sha256 over the body, in base64. Shopify, Xero.
PLAIN = Hmac(header="X-Acme-Hmac-Sha256", encoding="base64")

# ``sha256=…`` before it. GitHub.
NAMED = Hmac(header="X-Hub-Signature-256", signature="sha256")

# Time and signatures in one header: ``t=…,v1=…,v1=…``. Stripe.
TIMED = Hmac(
    header="Acme-Signature", signed=("timestamp", ".", "body"), signature="v1", timestamp="t"
)

# The time in a header of its own, and a text before it. Slack.
APART = Hmac(
    header="X-Acme-Signature",
    signed=("v0:", "timestamp", ":", "body"),
    signature="v0",
    timestamp_header="X-Acme-Request-Timestamp",
)

# The address is signed too, so it must be the one that the provider was told. Square.
ADDRESSED = Hmac(header="X-Acme-Signature", signed=("url", "body"), encoding="base64")

# Nothing is signed: a secret at the end of the address is all there is. Mailchimp, of old.
IN_THE_ADDRESS = PathSecret()

# --- per-tenant hosts -------------------------------------------------------------------------


def base_url_of_key(key: str) -> str | None:
    """Read the account's host from its key, ``…-eu7``; None if this is no key of Acme's."""
    region = key.rpartition("-")[2]
    return f"https://{region}.api.acme.example" if region.isalnum() else None


def identify(client: Client) -> Account:
    """Say whose account it is, and where its API is."""
    found = parse_json(get(client, "/account", {}).content)
    # Where a sandbox or a proxy stands in for Acme, all of its addresses are there.
    base_url = client.connection.address(found["api_endpoint"])
    return Account(id=found["id"], name=found["name"], base_url=base_url)


# --- the hooks --------------------------------------------------------------------------------


@hookimpl
def tieline_provider() -> Provider:
    """Name Acme; each account has a host of its own."""
    return Provider(
        name="acme",
        title="Acme",
        contract=CONTRACT_VERSION,
        environments={"live": "https://api.acme.example"},
        hosts=["https://*.api.acme.example"],
    )


@hookimpl
def tieline_auth() -> ApiKey:
    """Take a key, which tells where its account is."""
    return ApiKey(identify=identify, base_url=base_url_of_key)


@hookimpl
def tieline_client(connection: Connection, credential: Credential, transport: Transport) -> Client:
    """Put Acme's API on our transport."""
    return Client(connection, credential["api_key"], transport)


@hookimpl
def tieline_entities() -> list[Entity]:
    """List what can be kept in step."""
    return [
        Entity(name="orders", schema=Order(), page=read_orders),
        CONTACTS,
        Entity(name="readings", schema=Reading(), page=read_export),
    ]


@hookimpl
def tieline_webhooks() -> Webhooks:
    """Declare how deliveries are signed."""
    return Webhooks(scheme=TIMED, parse=parse, instructions="Acme → Webhooks")


@hookimpl
def tieline_alert(alert: Alert) -> None:
    """Put each alert into the machine's own log, where its monitoring looks."""
    level = syslog.LOG_ERR if alert.severity == "error" else syslog.LOG_WARNING
    syslog.syslog(level, f"tieline {alert.kind} {alert.id}: {alert.message} {alert.hint}")
