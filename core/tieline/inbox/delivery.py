"""What came in, what became of it, and the rows that it makes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from tieline.contract import Event
from tieline.store.deliveries import NewEvent
from tieline.store.endpoints import EndpointRow
from tieline.store.ids import new_id

__all__ = ["Arrival", "Delivery", "Outcome", "Refusal", "key_of_event", "rows_of"]

Outcome = Literal["stored", "stale", "down", "full"]
"""What became of a delivery that was verified.

``stored``: it is committed, or was before. ``stale``: its endpoint changed
meanwhile, so that it has to be verified again. ``down``: the database does not
take it. ``full``: too many wait.
"""

_LONGEST_KEY = 255
_LONGEST_ENTITY = 40
_ODD = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """A request as it came; nothing in it is to be trusted.

    Attributes:
        provider: From the path.
        endpoint_id: From the path.
        path_secret: From the path; None if it ends before.
        headers: By name in lower case, as latin-1 text.
        body: The raw body, within the limit.
    """

    provider: str
    endpoint_id: str
    path_secret: str | None
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """A delivery that is not taken; the sender is told the status alone.

    Attributes:
        status: 400 not readable, 401 not authentic, 404 no such endpoint for it.
        reason: Slug that is counted.
    """

    status: int
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """A delivery that was verified and read.

    Attributes:
        endpoint: With the generation that it was verified by.
        events: What it says; may be empty.
        body: As it came.
        headers: Those that the plugin wants to be kept.
        received_at: Aware UTC.
        verified_with: What the secret is called that let it in; None: nobody noted it.
        asked_in: The trace that it is taken in, as its ``traceparent``; empty: none.
    """

    endpoint: EndpointRow
    events: Sequence[Event]
    body: bytes
    headers: Mapping[str, str]
    received_at: datetime
    verified_with: str | None = None
    asked_in: str = ""

    @property
    def accounts(self) -> set[str]:
        """The accounts that its events name, of those that somebody can have."""
        return {account for event in self.events if (account := _account(event.account))}


def rows_of(
    delivery: Delivery, connections: Mapping[str | None, Sequence[str]]
) -> tuple[list[NewEvent], int]:
    """Make the rows of a delivery.

    Args:
        delivery: What came.
        connections: Account to its connections; None to the endpoint's own.

    Returns:
        The rows in order, and how many events are of an account that we do not have.
    """
    rows: list[NewEvent] = []
    strangers = 0
    delivery_id = new_id("del")
    for event in delivery.events:
        of = None if delivery.endpoint.connection_id else _account(event.account)
        owners = connections.get(of, ())
        strangers += not owners
        for number, connection_id in enumerate(owners):
            # One account connected twice has each event twice, under a key of its own.
            key = event.id if number == 0 else f"{event.id}@{connection_id}"
            rows.append(
                NewEvent(
                    id=new_id("evt"),
                    endpoint_id=delivery.endpoint.id,
                    event_key=key_of_event(key),
                    connection_id=connection_id,
                    type=_shown(event.type),
                    entity=_entity(event.entity),
                    record_key=_record_key(event.key),
                    occurred_at=_time(event.occurred_at),
                    received_at=delivery.received_at,
                    delivery_id=delivery_id,
                    body=None if rows else delivery.body,
                    headers=None if rows else _kept(delivery.headers),
                    record=_record(event),
                    verified_with=delivery.verified_with,
                )
            )
    return rows, strangers


def _kept(headers: Mapping[str, str]) -> str:
    if not headers:
        return "{}"
    return orjson.dumps({name: _ODD.sub("?", text) for name, text in headers.items()}).decode()


def _is_storable(text: str) -> bool:
    """Say whether both databases take a text: PostgreSQL takes no NUL, nobody half a character."""
    return _ODD.search(text) is None


def key_of_event(text: str) -> str:
    """Return the key that an event of a provider's id is kept under."""
    if len(text) <= _LONGEST_KEY and _is_storable(text):
        return text
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _shown(text: str) -> str:
    """Return a text for people; it is cut, and odd characters are replaced."""
    return _ODD.sub("?", str(text)[:_LONGEST_KEY])


def _record_key(key: Any) -> str | None:
    """Return a key as records have it; None for one that none can have."""
    if isinstance(key, str) and 0 < len(key) <= _LONGEST_KEY and _is_storable(key):
        return key
    return None


def _account(name: Any) -> str | None:
    """Return an account as connections have it; None for one that none can have."""
    return name if isinstance(name, str) and _is_storable(name) else None


def _entity(name: Any) -> str | None:
    if isinstance(name, str) and len(name) <= _LONGEST_ENTITY and _is_storable(name):
        return name
    return None


def _time(time: datetime | None) -> datetime | None:
    if not isinstance(time, datetime) or time.tzinfo is None:
        return None
    try:
        return time.astimezone(UTC)
    except (OverflowError, ValueError):  # beyond the years 1 and 9999, there or in UTC
        return None


def _record(event: Event) -> bytes | None:
    """Write a snapshot; None for one that JSON cannot say, which is read again then."""
    if event.record is None:
        return None
    try:
        return orjson.dumps(event.record)
    except (TypeError, RecursionError):
        return None
