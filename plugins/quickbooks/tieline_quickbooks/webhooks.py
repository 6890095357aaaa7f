"""QuickBooks' deliveries: CloudEvents, and the older form that some applications still get.

An application has one address and one verifier token per environment, set by
hand. One body may hold events of several companies, and says of records no
more than their ids. The signature holds no time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from tieline.contract import (
    Event,
    EventAction,
    Hmac,
    InvalidRecordError,
    ProviderUnavailableError,
    Webhooks,
    parse_json,
)

__all__ = ["EVENTS", "WEBHOOKS"]


def _types(kind: str, operations: str) -> dict[str, EventAction]:
    return {f"{kind}.{each}": "re-read" for each in operations.split()}


EVENTS: Mapping[str, Mapping[str, EventAction]] = {
    # One that was merged away is gone, a "deleted" one may only be inactive: reading it tells.
    "customers": _types("customer", "create update merge delete"),
    "invoices": _types("invoice", "create update void emailed") | {"invoice.delete": "delete"},
}
"""Entity to the types of its events, as both forms are written here, and what each means."""

_ENTITIES = {"customer": "customers", "invoice": "invoices"}
_TYPE = re.compile(r"qbo\.([a-z]+)\.([a-z]+)\.v[0-9]+")
_OPERATIONS = {
    "created": "create",
    "updated": "update",
    "deleted": "delete",
    "merged": "merge",
    "voided": "void",
}


def parse(body: bytes, _headers: Mapping[str, str]) -> list[Event]:
    """Read one verified delivery of either form; a list without events is fine."""
    try:
        told = parse_json(body)
    except ProviderUnavailableError as error:
        raise InvalidRecordError(error.message, code="delivery-malformed") from None
    if isinstance(told, list):
        return [event for each in told if isinstance(each, dict) for event in _cloud(each)]
    if isinstance(told, dict) and isinstance(told.get("eventNotifications"), list):
        return [event for each in told["eventNotifications"] for event in _older(_object(each))]
    raise InvalidRecordError("the delivery is of neither form", code="delivery-malformed")


def _cloud(told: Mapping[str, Any]) -> Iterator[Event]:
    """Read an event of the new form; those of other products are about nothing of ours."""
    kind = _text(told.get("type"))
    found = _TYPE.fullmatch(kind)
    name, operation = found.groups() if found else (kind, "")
    yield from _events(
        f"{_text(told.get('source'))}:{_text(told.get('id'))}",
        realm=_text(told.get("intuitaccountid")),
        name=name,
        operation=_OPERATIONS.get(operation, operation),
        key=_text(told.get("intuitentityid")),
        # "deletedid" in the pages, "deletedId" in deliveries that were seen.
        gone=next(
            (_text(v) for k, v in _object(told.get("data")).items() if k.lower() == "deletedid"), ""
        ),
        time=told.get("time"),
    )


def _older(told: Mapping[str, Any]) -> Iterator[Event]:
    realm = _text(told.get("realmId"))
    for each in map(_object, _object(told.get("dataChangeEvent")).get("entities") or ()):
        name, key = _text(each.get("name")), _text(each.get("id"))
        operation, time = _text(each.get("operation")), each.get("lastUpdated")
        yield from _events(
            f"{realm}:{name}:{key}:{operation}:{time}",
            realm=realm,
            name=name.lower(),
            operation=operation.lower(),
            key=key,
            gone=_text(each.get("deletedId")),
            time=time,
        )


def _events(
    event_id: str, *, realm: str, name: str, operation: str, key: str, gone: str, time: object
) -> Iterator[Event]:
    """Make the event, and after a merge one for the record that is gone."""
    for each, mark in ((key, ""), (gone, ":gone")):
        if each or not mark:
            yield Event(
                id=f"{event_id}{mark}",
                type=f"{name}.{operation}" if operation else name,
                entity=_ENTITIES.get(name),
                key=each or None,
                occurred_at=_time(time),
                account=realm or None,
            )


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _time(value: object) -> datetime | None:
    """Read a time; the zone may lack its colon, and the second may have nine digits."""
    try:
        return datetime.fromisoformat(value).astimezone(UTC) if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None


WEBHOOKS = Webhooks(
    scheme=Hmac(header="intuit-signature", encoding="base64"),
    parse=parse,
    types=tuple(sorted(each for types in EVENTS.values() for each in types)),
    owners=("application",),
    keeps=("intuit-t-id", "intuit-created-time", "intuit-notification-schema-version"),
    instructions="In the Developer portal open the application, Webhooks, of this environment:"
    " enter this address and choose the entities. Then give Tieline the verifier token that is"
    " shown there.",
)
