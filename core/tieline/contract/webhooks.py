"""How a provider's deliveries are told from forged ones, as data.

The core verifies; a plugin only says what is signed, how, and where the
signature stands. No plugin compares a signature itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from tieline.contract.values import Record

__all__ = ["Event", "Hmac", "PathSecret", "Scheme", "Webhooks"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Hmac:
    """A keyed hash over the body, carried in a header.

    Attributes:
        header: Name of the header that holds the signature.
        signed: What is hashed, in order: ``"body"``, ``"timestamp"``,
            ``"url"`` (the address the provider was told), ``"id"``, or any
            other text for itself, such as ``"."``.
        algorithm: The hash.
        encoding: How the signature is written.
        signature: Name of the signature's part in a header made of
            ``name=value`` parts, which may come several times; empty: the
            whole header is the signature.
        timestamp: Name of the time's part, or of a header of its own if
            ``signature`` is empty; empty: none. Seconds since 1970.
        id: Header with the delivery's id, where it is signed; empty: none.
        secret_prefix: Text before a base64 key, as in Standard Webhooks
            (``"whsec_"``); None: the secret's text itself is the key.
        tolerance: How far the time may be off, both ways.
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

    def __post_init__(self) -> None:
        if self.algorithm not in {"sha256", "sha1", "sha512"}:
            raise ValueError(f"Hmac.algorithm {self.algorithm!r} is not known")
        if "body" not in self.signed:
            raise ValueError("Hmac.signed: the body must be signed")
        if "timestamp" in self.signed and not self.timestamp:
            raise ValueError("Hmac.signed names the timestamp, but Hmac.timestamp is empty")


@dataclass(frozen=True, kw_only=True, slots=True)
class PathSecret:
    """The provider signs nothing: a secret in the address is all there is.

    Attributes:
        also: A signature that newer endpoints carry; checked where there is one.
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
class Webhooks:
    """What a provider sends by itself.

    Attributes:
        scheme: How a delivery proves where it comes from.
        parse: ``(body, headers) -> events`` of one verified delivery, in
            order. Raises :class:`~tieline.contract.InvalidRecordError` for a
            body that is none of the provider's.
        challenge: ``(method, query, body) -> answer`` to a provider that
            probes the address first; None where it does not.
        register: ``(client, url) -> secret`` where the provider lets endpoints
            be made by API; None: people do it by hand.
        types: The event types to ask for, as the provider names them.
        instructions: What to do by hand at the provider; empty if nothing.
    """

    scheme: Scheme
    parse: Callable[[bytes, Mapping[str, str]], Sequence[Event]]
    challenge: Callable[[str, Mapping[str, str], bytes], bytes | None] | None = None
    register: Callable[[Any, str], Any] | None = None
    types: Sequence[str] = field(default_factory=tuple)
    instructions: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.scheme, (Hmac, PathSecret)):
            raise TypeError("Webhooks.scheme must be Hmac or PathSecret")
        if not callable(self.parse):
            raise TypeError("Webhooks.parse must be a function")
