"""HubSpot for Tieline: contacts and companies of its CRM.

Facts are from HubSpot's own pages, as of 2026, in words of our own; below
https://developers.hubspot.com:

- ``/docs/api-reference/2026-03/crm/search-the-crm``, and there "Contacts" and "Companies"
- ``/docs/api-reference/latest/error-handling``
- ``/docs/api-reference/legacy/authentication/oauth-tokens/v1/migration-guide``: the new addresses
- ``/changelog/new-oauth-v3-api-endpoints-and-standardized-error-responses``
- ``/docs/apps/developer-platform/build-apps/authentication/request-validation``
- ``/docs/api/webhooks``
- ``/docs/developer-tooling/platform/usage-guidelines``
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from tieline.contract import (
    CONTRACT_VERSION,
    Account,
    ConflictError,
    Connection,
    Credential,
    Entity,
    Event,
    Feed,
    Hmac,
    InvalidRecordError,
    NeedsReauthError,
    OAuth2,
    Observation,
    Operation,
    Outcome,
    PermissionDeniedError,
    Provider,
    ProviderError,
    ProviderUnavailableError,
    Rate,
    RateLimitedError,
    RateLimitPolicy,
    Record,
    RecordNotFoundError,
    RecordSchema,
    Reply,
    RequestRejectedError,
    Revocation,
    Transport,
    Webhooks,
    Window,
    Write,
    by_cursor,
    by_time_of_change,
    delivery_of,
    hookimpl,
    list_of,
    object_of,
    parse_json,
    retry_after,
    search_after_key,
    text_of,
    time_of,
    utc,
)
from tieline_hubspot.canonical import company_contact, contact
from tieline_hubspot.schema import COMPANY, CONTACT, CONTACT_TO_WRITE, properties_of

__all__: list[str] = []

VERSION = "2026-03"
CRM = f"/crm/objects/{VERSION}"
LIST_SIZE, SEARCH_SIZE = 100, 200  # the most that each of them gives

# Page "Error handling": 423 is a lock under heavy load, 477 an account that moves to another
# data centre; both pass.
PASSING = {423, 477}
REFUSALS: Mapping[int, type[ProviderError]] = {
    401: NeedsReauthError,
    403: PermissionDeniedError,
    404: RecordNotFoundError,
    409: ConflictError,
}


def refusal(reply: Reply) -> ProviderError:
    """Say what an answer means for us; of its body only the category is repeated."""
    found = re.search(rb'"category": ?"([A-Z_]{1,40})"', reply.content)
    said = f"HubSpot answered {reply.status}" + (f" ({found[1].decode()})" if found else "")
    if reply.status == 429:
        return RateLimitedError(said, retry_after=retry_after(reply.headers))
    if reply.status >= 500 or reply.status in PASSING:
        return ProviderUnavailableError(said, retry_after=retry_after(reply.headers))
    return REFUSALS.get(reply.status, RequestRejectedError)(said)


class Client:
    """HubSpot's API on our transport."""

    def __init__(
        self, connection: Connection, credential: Credential, transport: Transport
    ) -> None:
        self._base_url, self._transport = connection.base_url, transport
        self._credential = credential

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Reply:
        """Send one request; the credential is read anew for each."""
        token = self._credential["access_token"].reveal()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        content = None if body is None else json.dumps(body).encode()
        url = f"{self._base_url}{path}"
        reply = self._transport.send(method, url, headers=headers, content=content)
        if reply.status >= 300:
            raise refusal(reply)
        return reply


def read(client: Client, path: str, query: Mapping[str, Any]) -> Reply:
    """Send one read."""
    return client.send("GET", f"{path}?{urlencode(query)}" if query else path)


def search(client: Client, path: str, query: Mapping[str, Any]) -> Reply:
    """Send one search."""
    return client.send("POST", path, query)


def identify(client: Client) -> Account:
    """Ask whose account this is; HubSpot tells no name, but what its own pages call it by."""
    found = parse_json(read(client, f"/account-info/{VERSION}/details", {}).content)
    portal = str(found["portalId"])
    return Account(id=portal, name=f"HubSpot account {portal}")


# --- objects of the CRM: all of them, those that changed, and one ------------------------------

NEXT = "paging.next.after"


def objects(name: str, schema: RecordSchema, *, changed: str, **more: Any) -> Entity:
    """Declare the objects of one kind.

    Args:
        name: As in HubSpot's paths.
        schema: Whose properties are asked for: unasked, HubSpot gives three or four.
        changed: The property with the time of the last change.
        **more: What is particular to the kind.

    Source:
        "Search the CRM": operators, page sizes, times as milliseconds. A cursor of a
        search ends at 10,000 results, and counts; ids stay.
    """
    path, properties = f"{CRM}/{name}", properties_of(schema)

    def asked(window: Window, last: str | None) -> Mapping[str, Any]:
        limits = (
            {"propertyName": changed, "operator": "GTE", "value": _milliseconds(window.start)},
            {"propertyName": changed, "operator": "LT", "value": _milliseconds(window.end)},
            {"propertyName": "hs_object_id", "operator": "GT", "value": last},
        )
        filters = [limit for limit in limits if limit["value"]]
        return {
            "filterGroups": [{"filters": filters}] if filters else [],
            "sorts": [{"propertyName": "hs_object_id", "direction": "ASCENDING"}],
            "properties": properties.split(","),
            "limit": SEARCH_SIZE,
        }

    def get(client: Client, key: str) -> Record | None:
        found = look_up(client, path, key, {"properties": properties})
        # Of one that was merged into another, the other is answered.
        return found if found and found["id"] == key else None

    query = {"limit": LIST_SIZE, "properties": properties}
    page = by_cursor(
        read, path, items="results", cursor_field=NEXT, cursor_query="after", query=query
    )
    changes = search_after_key(search, f"{path}/search", asked=asked, items="results", further=NEXT)
    return Entity(
        name=name,
        schema=schema,
        page=page,
        get=get,
        feed=Feed(page=by_time_of_change(changes, "updatedAt"), retention=None),
        version=lambda record: int(_milliseconds(updated_at(record))),
        deletes="sweep",  # archived ones, which nobody asks for, are those that somebody deleted
        scope=f"crm.objects.{name}.read",
        **more,
    )


def look_up(client: Client, path: str, key: str, query: Mapping[str, str]) -> Record | None:
    """Read one by its id, or by another property that is unique; None for a 404."""
    try:
        reply = read(client, f"{path}/{quote(key, safe='')}", query)
    except RecordNotFoundError:
        return None
    found: Record = parse_json(reply.content)
    return found


def _milliseconds(at: datetime | None) -> str:
    return str(round(at.timestamp() * 1000)) if at else ""


def updated_at(record: Record) -> datetime:
    """Read when an object last changed."""
    at = time_of(record["updatedAt"])
    if at is None:
        raise InvalidRecordError("the record does not say when it changed")
    return at


# --- how a contact is written --------------------------------------------------------------------


def _sent(operation: Operation) -> dict[str, Any]:
    """Return the properties as HubSpot takes them: an empty text clears one."""
    asked = operation.payload["properties"]
    return {"properties": {name: "" if value is None else value for name, value in asked.items()}}


def create_contact(client: Client, operation: Operation) -> Outcome:
    """Make a contact. HubSpot knows no idempotency key, and 409 for an address that is taken."""
    reply = client.send("POST", f"{CRM}/contacts", _sent(operation))
    return Outcome(key=parse_json(reply.content)["id"])  # the answer lacks what was not sent


def find_contact(client: Client, operation: Operation) -> Outcome | None:
    """Look for what a create made, by its address.

    A contact that has the address and is another one was there before: our create is
    refused then, and a person decides.
    """
    asked = operation.payload["properties"]
    query = {"properties": properties_of(CONTACT), "idProperty": "email"}
    found = look_up(client, f"{CRM}/contacts", asked["email"], query)
    if found is None:
        return None
    there = found["properties"] | {"email": text_of(found["properties"].get("email")).lower()}
    wanted = asked | {"email": asked["email"].lower()}
    is_ours = all((there.get(name) or "") == (value or "") for name, value in wanted.items())
    return Outcome(record=found) if is_ours else None


def update_contact(client: Client, operation: Operation) -> Outcome:
    """Change the named properties. HubSpot compares no version; the core reads before."""
    client.send("PATCH", f"{CRM}/contacts/{quote(operation.key, safe='')}", _sent(operation))
    return Outcome()


def delete_contact(client: Client, operation: Operation) -> Outcome:
    """Archive a contact; a person can restore it for 90 days."""
    client.send("DELETE", f"{CRM}/contacts/{quote(operation.key, safe='')}")
    return Outcome(is_gone=True)


# --- what a delivery says ------------------------------------------------------------------------

# Legacy subscriptions name the object, those of the new platform its type.
SUBJECTS = {"contact": "contacts", "0-1": "contacts", "company": "companies", "0-2": "companies"}
VERBS = {
    "creation": "re-read",
    "propertyChange": "re-read",
    "merge": "re-read",
    "restore": "re-read",
    "deletion": "delete",
    "privacyDeletion": "delete",
}


def parse(body: bytes, _headers: Mapping[str, str]) -> list[Event]:
    """Read a delivery: up to a hundred events, each of one account and one subscription.

    Source:
        "Webhooks API": payloads, retries.
    """
    said = delivery_of(body)
    if not isinstance(said, list) or not said:
        raise InvalidRecordError("the body is no list of events")
    return [event for told in said for event in _events_of(object_of(told))]


def events_of(subject: str) -> dict[str, Any]:
    """Say what each event about an object means, by its legacy name and by its new one."""
    return {f"{name}.{verb}": does for name in (subject, "object") for verb, does in VERBS.items()}


def _events_of(told: Mapping[str, Any]) -> Iterator[Event]:
    kind = text_of(told.get("subscriptionType"))
    portal, number, at = (told.get(name) for name in ("portalId", "eventId", "occurredAt"))
    if not kind or not portal or not number or type(at) is not int:
        raise InvalidRecordError("an event lacks its type, account, id or time")
    subject, _, _ = kind.partition(".")
    entity = SUBJECTS.get(text_of(told.get("objectTypeId")) if subject == "object" else subject)
    # A merge names both sides, and what came of them: it may be a new object.
    names = ("objectId", "primaryObjectId", "newObjectId")
    ids = [told.get(name) for name in names] + list(list_of(told.get("mergedObjectIds")))
    for key in dict.fromkeys(str(each) for each in ids if each):
        yield Event(
            # Of an eventId alone HubSpot says that it may not be unique. A retry has all of these.
            id=f"{portal}-{told.get('subscriptionId')}-{number}-{at}-{key}",
            type=kind,
            entity=entity,
            key=key,
            occurred_at=utc(at / 1000),
            account=str(portal),
        )


# --- the hooks -----------------------------------------------------------------------------------


@hookimpl
def tieline_provider() -> Provider:
    """Name HubSpot."""
    return Provider(
        name="hubspot",
        title="HubSpot",
        contract=CONTRACT_VERSION,
        environments={"live": "https://api.hubapi.com"},
        api_version=VERSION,
        docs="https://developers.hubspot.com/docs",
    )


@hookimpl
def tieline_auth() -> OAuth2:
    """Ask for consent; access tokens live for 30 minutes, a refresh token until it is revoked.

    Source:
        "OAuth tokens", and the changelog on RFC 6749's errors.
    """
    return OAuth2(
        identify=identify,
        authorize_url="https://app.hubspot.com/oauth/authorize",
        token_url=f"/oauth/{VERSION}/token",
        client_auth="body",
        scopes=(
            "oauth",
            "crm.objects.contacts.read",
            "crm.objects.contacts.write",
            "crm.objects.companies.read",
        ),
        revocation=Revocation(
            url=f"/oauth/{VERSION}/token/revoke",
            fields={"token": "refresh_token"},
            client_auth="body",
        ),
        where="https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/overview",
    )


@hookimpl
def tieline_client(connection: Connection, credential: Credential, transport: Transport) -> Client:
    """Put HubSpot's API on our transport."""
    return Client(connection, credential, transport)


@hookimpl
def tieline_entities() -> list[Entity]:
    """List what can be kept in step."""
    return [
        objects(
            "contacts",
            CONTACT,
            changed="lastmodifieddate",
            events=events_of("contact"),
            canonical=contact,
            write=Write(
                schema=CONTACT_TO_WRITE,
                create=create_contact,
                update=update_contact,
                delete=delete_contact,
                find=find_contact,
                changed_at=updated_at,
                scope="crm.objects.contacts.write",
            ),
        ),
        objects(
            "companies",
            COMPANY,
            changed="hs_lastmodifieddate",
            events=events_of("company"),
            canonical=company_contact,
        ),
    ]


@hookimpl
def tieline_webhooks() -> Webhooks:
    """Declare how deliveries are signed: method, address, body and milliseconds.

    Source:
        "Validating requests", version 3.
    """
    return Webhooks(
        scheme=Hmac(
            header="X-HubSpot-Signature-v3",
            signed=("POST", "url", "body", "timestamp"),
            encoding="base64",
            timestamp_header="X-HubSpot-Request-Timestamp",
            timestamp_unit="milliseconds",
        ),
        parse=parse,
        owners=("application",),
        types=(
            *(f"contact.{verb}" for verb in VERBS),
            *(f"company.{verb}" for verb in VERBS if verb != "privacyDeletion"),
        ),
        instructions="The application's page at HubSpot, Webhooks: paste the address, and subscribe"
        " to these types, propertyChange once for each property that matters."
        " The secret is the application's client secret.",
        fixtures="tieline_hubspot.deliveries",
    )


@hookimpl
def tieline_rate_limits() -> RateLimitPolicy:
    """HubSpot allows an application 110 requests in ten seconds per account.

    Of an account's searches it allows five a second, whoever makes them.

    Source:
        "API usage guidelines and limits"; "Search the CRM", limitations.
    """
    searches = tuple(f"{CRM}/{name}/search" for name in ("contacts", "companies"))
    rates = [Rate(limit="100/10 second"), Rate(limit="4/second", match=searches)]
    return RateLimitPolicy(rates=rates, concurrency=8)


@hookimpl
def tieline_observe(reply: Reply) -> Observation | None:
    """Read what is left of the ten seconds; searches do not tell."""
    left = reply.headers.get("x-hubspot-ratelimit-remaining", "")
    of_ms = reply.headers.get("x-hubspot-ratelimit-interval-milliseconds", "")
    if not left.isdecimal() or not of_ms.isdecimal():
        return None
    return Observation(remaining=int(left), reset_after_s=int(of_ms) / 1000)
