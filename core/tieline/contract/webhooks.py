"""How a provider's deliveries are told from forged ones, as data.

The core verifies; a plugin only says what is signed, how, and where the
signature stands. No plugin compares a signature itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from tieline.contract.values import Record, Secret

__all__ = [
    "STANDARD_WEBHOOKS",
    "EndpointOwner",
    "Event",
    "Hmac",
    "PathSecret",
    "Registration",
    "Scheme",
    "Webhooks",
]

EndpointOwner = Literal["connection", "application"]
"""Whose an endpoint is: one account's, or that of the application, with events of all accounts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hmac:
    """A keyed hash over the body, carried in a header.

    Attributes:
        header: Name of the header that holds the signature.
        signed: What is hashed, in order: ``"body"``, ``"timestamp"``,
            ``"url"`` (the address the provider was told), ``"id"``, or any
            other text for itself, such as ``"."``.
        algorithm: The hash.
        encoding: How the signature is written. It is compared as text: the
            same bytes written in another way are not accepted.
        signature: Name of the signature's part in a header made of
            ``name=value`` parts, which may come several times; empty: the
            whole header is the signature.
        timestamp: Name of the time's part, or of a header of its own if
            ``signature`` is empty; empty: none. Of several the first counts.
        id: Header with the delivery's id, where it is signed; empty: none.
        secret_prefix: Text before a base64 key, as in Standard Webhooks
            (``"whsec_"``); None: the secret's text itself is the key.
        tolerance: How far the time may be off, both ways.
        separator: What stands between the parts of the header.
        assign: What stands between a part's name and its value.
        is_spaced: Whether spaces around a part mean nothing.
        timestamp_header: Header with the time, where the parts of ``header``
            do not hold it; empty: they do, or there is none.
        timestamp_unit: What the time counts since 1970.
    """

    header: str
    signed: Sequence[str] = ("body",)
    algorithm: Literal["sha256", "sha1", "sha512"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    signature: str = ""
    timestamp: str = ""
    id: str = ""
    secret_prefix: str | None = None
    tolerance: timedelta = timedelta(minutes=5)
    separator: str = ","
    assign: str = "="
    is_spaced: bool = False
    timestamp_header: str = ""
    timestamp_unit: Literal["seconds", "milliseconds"] = "seconds"

    def __post_init__(self) -> None:
        if self.algorithm not in {"sha256", "sha1", "sha512"}:
            raise ValueError(f"Hmac.algorithm {self.algorithm!r} is not known")
        if self.encoding not in {"hex", "base64"}:
            raise ValueError(f"Hmac.encoding {self.encoding!r} is not known")
        if self.timestamp_unit not in {"seconds", "milliseconds"}:
            raise ValueError(f"Hmac.timestamp_unit {self.timestamp_unit!r} is not known")
        if "body" not in self.signed:
            raise ValueError("Hmac.signed: the body must be signed")
        if "timestamp" in self.signed and not (self.timestamp or self.timestamp_header):
            raise ValueError("Hmac.signed names the timestamp, but Hmac.timestamp is empty")
        if "id" in self.signed and not self.id:
            raise ValueError("Hmac.signed names the id, but Hmac.id is empty")
        if not self.header or not self.separator or not self.assign:
            raise ValueError("Hmac.header, separator and assign must not be empty")
        if self.tolerance < timedelta(0):
            raise ValueError("Hmac.tolerance must not be less than nothing")


STANDARD_WEBHOOKS = Hmac(
    header="webhook-signature",
    signed=("id", ".", "timestamp", ".", "body"),
    encoding="base64",
    signature="v1",
    separator=" ",
    assign=",",
    id="webhook-id",
    timestamp_header="webhook-timestamp",
    secret_prefix="whsec_",  # noqa: S106 - what stands before one
)
"""The scheme of the Standard Webhooks specification, version 1, symmetric."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PathSecret:
    """A secret in the address is what every delivery shows.

    The core makes it, 256 bits, and keeps its hash alone.

    Attributes:
        also: A signature that newer endpoints carry. An endpoint that was
            given a signing secret takes no delivery without it; one that was
            not goes by the address alone, and is shown as weaker.
    """

    also: Hmac | None = None


Scheme = Hmac | PathSecret


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """What one delivery says once.

    Attributes:
        id: The provider's id of the event, the same for a repeated delivery.
        type: As the provider names it.
        entity: Name of the entity it is about; None: about none of ours.
        key: Key of the record it is about; None if it has none.
        occurred_at: When it happened, in the provider's clock, aware UTC.
        account: Whose event it is; None where the endpoint tells.
        record: The whole record if the event carries it in the version that
            the plugin pins; None means: read it again.
    """

    id: str
    type: str
    entity: str | None = None
    key: str | None = None
    occurred_at: datetime | None = None
    account: str | None = None
    record: Record | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Registration:
    """An endpoint that was made at the provider by its API.

    Attributes:
        id: The provider's id of it, which ``unregister`` is handed.
        secret: What the provider signs with; None if it does not sign.
        secrets: The same, where it was made in several places and each signs
            with its own.
    """

    id: str
    secret: Secret | None = None
    secrets: Sequence[Secret] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Webhooks:
    """What a provider sends by itself.

    Attributes:
        scheme: How a delivery proves where it comes from.
        parse: ``(body, headers) -> events`` of one verified delivery, in
            order; header names are in lower case. Raises
            :class:`~tieline.contract.InvalidRecordError` for a body that is
            none of the provider's.
        challenge: ``(method, query, body) -> answer`` to a provider that
            probes the address first; None where it does not. It must do
            nothing else: strangers may call it. It is asked for every GET and
            HEAD, and for a POST without a body; its own None means 405.
        register: ``(client, url) -> Registration`` where the provider lets
            endpoints be made by API; None: people do it by hand.
        types: The event types to ask for, as the provider names them.
        instructions: What to do by hand at the provider; empty if nothing.
        unregister: ``(client, id) -> None`` takes back what ``register``
            made; gone already is fine. None where it has no counterpart.
        registers: Whose endpoints ``register`` can make; people make the others.
        owners: Whose endpoints there can be, the usual one first.
        keeps: Headers that are kept with a delivery because they help to find
            out what happened; never one that holds a secret or a signature.
        fixtures: Folder of the package with bodies to try things out with, as
            a dotted name, such as ``"tieline_acme.deliveries"``; empty: none.
            A file is named after the event's type: ``order.created.json``, or
            ``….form`` for one that is sent as a form; ``order.created+big.json``
            is a further one of the same type. Ids and times in it are markers:
            ``{{id}}``, ``{{now}}`` (``2026-11-01T00:00:00Z``), ``{{now:epoch}}``
            (seconds since 1970; a text that is nothing else becomes a
            number), ``{{now:epoch_ms}}`` (milliseconds), ``{{now:%Y-%m-%d}}`` (as
            strftime writes it, in UTC). Two deliveries of it must be two events.
    """

    scheme: Scheme
    parse: Callable[[bytes, Mapping[str, str]], Sequence[Event]]
    challenge: Callable[[str, Mapping[str, str], bytes], bytes | None] | None = None
    register: Callable[[Any, str], Registration] | None = None
    types: Sequence[str] = field(default_factory=tuple)
    instructions: str = ""
    unregister: Callable[[Any, str], None] | None = None
    owners: Sequence[EndpointOwner] = ("connection",)
    keeps: Sequence[str] = ()
    fixtures: str = ""
    registers: Sequence[EndpointOwner] = ("connection", "application")

    def __post_init__(self) -> None:
        if not isinstance(self.scheme, (Hmac, PathSecret)):
            raise TypeError("Webhooks.scheme must be Hmac or PathSecret")
        if not callable(self.parse):
            raise TypeError("Webhooks.parse must be a function")
        for name in ("challenge", "register", "unregister"):
            if (value := getattr(self, name)) is not None and not callable(value):
                raise TypeError(f"Webhooks.{name} must be a function")
        for name in ("owners", "registers"):
            if not (given := getattr(self, name)) or set(given) - set(get_args(EndpointOwner)):
                raise ValueError(f"Webhooks.{name}: some of {get_args(EndpointOwner)}")
        signed = self.scheme if isinstance(self.scheme, Hmac) else self.scheme.also
        kept = {name.lower() for name in self.keeps}
        if self.fixtures and not all(part.isidentifier() for part in self.fixtures.split(".")):
            raise ValueError("Webhooks.fixtures must be a dotted name, such as acme.deliveries")
        if kept & {"authorization", "cookie", signed.header.lower() if signed else ""}:
            raise ValueError("Webhooks.keeps must not name a header that holds a secret")
