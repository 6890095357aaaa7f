"""QuickBooks' deliveries: CloudEvents, and the older form that some applications still get.

An application has one address and one verifier token per environment, set by
hand. One body may hold events of several companies, and says of records no
more than their ids. The signature holds no time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from tieline.contract import (
    Event,
    EventAction,
    Hmac,
    InvalidRecordError,
    ProviderUnavailableError,
    Webhooks,
    parse_json,
    utc,
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
_VERBS = {f"{verb}d": verb for verb in ("create", "update", "delete", "merge")} | {"voided": "void"}


def parse(body: bytes, _headers: Mapping[str, str]) -> list[Event]:
    """Read one verified delivery of either form; a list without events is fine."""
    try:
        told = parse_json(body)
    except ProviderUnavailableError as error:
        raise InvalidRecordError(error.message, code="delivery-malformed") from None
    if isinstance(told, dict) and isinstance(told.get("eventNotifications"), list):
        told = [event for each in told["eventNotifications"] for event in _older(_object(each))]
    if not isinstance(told, list):
        raise InvalidRecordError("the delivery is of neither form", code="delivery-malformed")
    return [event for each in told if isinstance(each, dict) for event in _events(each)]


def _older(told: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Write the events of one company, in the older form, as the new form has them."""
    realm = told.get("realmId")
    for each in map(_object, _object(told.get("dataChangeEvent")).get("entities") or ()):
        name, key, verb = (_text(each.get(part)) for part in ("name", "id", "operation"))
        yield {
            "source": realm,
            "id": f"{name}:{key}:{verb}:{each.get('lastUpdated')}",
            "type": f"qbo.{name}.{verb}.v1".lower(),
            "time": each.get("lastUpdated"),
            "intuitaccountid": realm,
            "intuitentityid": key,
            "data": {"deletedId": each.get("deletedId")},
        }


def _events(told: Mapping[str, Any]) -> Iterator[Event]:
    """Make the event, and after a merge one for the record that is gone.

    Those of other products than QuickBooks are about nothing of ours.
    """
    kind = _text(told.get("type"))
    found = _TYPE.fullmatch(kind)
    name, verb = found.groups() if found else ("", "")
    # "deletedid" in the pages, "deletedId" in deliveries that were seen.
    data = {name.lower(): each for name, each in _object(told.get("data")).items()}
    event = Event(
        id=f"{_text(told.get('source'))}:{_text(told.get('id'))}",
        type=f"{name}.{_VERBS.get(verb, verb)}" if found else kind,
        entity=_ENTITIES.get(name),
        key=_text(told.get("intuitentityid")) or None,
        occurred_at=_time(told.get("time")),
        account=_text(told.get("intuitaccountid")) or None,
    )
    yield event
    if gone := _text(data.get("deletedid")):
        # The older form has no ids: two merges of one moment differ by what is gone alone.
        yield replace(event, id=f"{event.id}:{gone}", key=gone)


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _time(value: object) -> datetime | None:
    """Read a time; the zone may lack its colon, and the second may have nine digits."""
    try:
        return utc(value if isinstance(value, str) else None)
    except ValueError:
        return None


WEBHOOKS = Webhooks(
    scheme=Hmac(header="intuit-signature", encoding="base64"),
    parse=parse,
    types=tuple(sorted(each for types in EVENTS.values() for each in types)),
    owners=("application",),
    keeps=("intuit-t-id", "intuit-created-time", "intuit-notification-schema-version"),
    instructions="In the Developer portal (developer.intuit.com) open the application, then"
    " Webhooks of this environment, which has one address: enter this one, choose Customer and"
    " Invoice with all operations, and save. Then give Tieline the verifier token shown there.",
    fixtures="tieline_quickbooks.deliveries",
)
