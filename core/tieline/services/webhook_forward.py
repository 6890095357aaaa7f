"""Hand deliveries on to an address in development, signed anew."""

from __future__ import annotations

import queue
import secrets as random
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tieline.clock import Clock
from tieline.contract import STANDARD_WEBHOOKS, Hmac, ProviderError, Secret
from tieline.inbox import Delivery, sign
from tieline.services.addresses import safe_address
from tieline.services.development import in_form_of
from tieline.transport import HttpTransport, Limits

__all__ = ["Forwarded", "Forwarder", "Parcel"]

_DEADLINE_S = 10.0
_ANSWER_BYTES = 1_000_000
_MOST_WAITING = 1000
_LEAVE_S = 2.0
_ID_BYTES = 12
# What concerns one hop, or shows who somebody is, is not handed on (RFC 9110, 7.6.1).
_OF_ONE_HOP = frozenset(
    {
        "accept-encoding",
        "authorization",
        "connection",
        "content-length",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Parcel:
    """A delivery that was taken and is to be handed on.

    Attributes:
        delivery: What was taken.
        headers: As they came, by name in lower case.
        scheme: How its provider signs; None: it does not.
    """

    delivery: Delivery
    headers: Mapping[str, str]
    scheme: Hmac | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Forwarded:
    """What became of a parcel.

    Attributes:
        parcel: What was handed on.
        status: Of the answer; None: there was none.
        seconds: How long it took.
        words: Why there was no answer; empty if there was one.
    """

    parcel: Parcel
    status: int | None
    seconds: float
    words: str = ""


class Forwarder:
    """Hands deliveries on one after the other, as a context; nobody waits for it.

    Each is tried once, within ten seconds. It is signed in its provider's
    scheme, or by Standard Webhooks where the provider signs nothing. At most a
    thousand wait; what would be one more, or still waits at the end, is told
    as not handed on.

    Args:
        to: Where to.
        secret: What they are signed with.
        clock: For the time of signing.
        tell: Called with what became of each, in a thread of its own.

    Raises:
        InvalidInputError: The address makes no sense, or would show the data to the network.
    """

    def __init__(
        self, to: str, secret: Secret, clock: Clock, tell: Callable[[Forwarded], None]
    ) -> None:
        safe_address(
            to,
            purpose="deliveries could be handed on to",
            hint="https://…, or http on this machine: http://localhost:8000/hooks",
        )
        self._to = to
        self._secret = secret
        self._clock = clock
        self._tell = tell
        self._waiting: queue.Queue[Parcel | None] = queue.Queue(_MOST_WAITING)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="forwarder", daemon=True)
        self._transport = HttpTransport(
            connection_id="webhooks-listen",
            origins=[to],
            limits=Limits(deadline_s=_DEADLINE_S, body_bytes=_ANSWER_BYTES, connections=1),
            allows_private=True,
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over.set()
        with suppress(queue.Full):  # then it has something to wake up for
            self._waiting.put_nowait(None)
        self._thread.join(_LEAVE_S)
        self._transport.close()
        with suppress(queue.Empty):
            while True:
                if (parcel := self._waiting.get_nowait()) is not None:
                    self._tell(_left(parcel, "not handed on: it ended"))

    def put(self, parcel: Parcel) -> None:
        """Hand a delivery on soon."""
        try:
            self._waiting.put_nowait(parcel)
        except queue.Full:
            self._tell(_left(parcel, f"not handed on: {_MOST_WAITING} wait already"))

    def _run(self) -> None:
        while not self._is_over.is_set() and (parcel := self._waiting.get()) is not None:
            self._tell(self._handed_on(parcel))

    def _handed_on(self, parcel: Parcel) -> Forwarded:
        began = self._clock.monotonic()
        headers = signed_anew(parcel, self._secret, self._to, int(self._clock.now().timestamp()))
        status, words = None, ""
        try:
            body = parcel.delivery.body
            status = self._transport.send("POST", self._to, headers=headers, content=body).status
        except ProviderError as error:
            words = error.message
        seconds = self._clock.monotonic() - began
        return Forwarded(parcel=parcel, status=status, seconds=seconds, words=words)


def _left(parcel: Parcel, words: str) -> Forwarded:
    return Forwarded(parcel=parcel, status=None, seconds=0, words=words)


def signed_anew(parcel: Parcel, secret: Secret, to: str, at: int) -> dict[str, str]:
    """Return the headers of a delivery, with a signature of ours in the place of its own."""
    scheme = parcel.scheme or STANDARD_WEBHOOKS
    own = {scheme.header, scheme.id, scheme.timestamp_header}
    own |= set() if scheme.signature else {scheme.timestamp}
    dropped = _OF_ONE_HOP | {name.lower() for name in own}
    kept = {
        name: text
        for name, text in parcel.headers.items()
        if name not in dropped and not name.startswith("x-forwarded-")
    }
    delivery_id = parcel.headers.get(scheme.id.lower(), "") if scheme.id else ""
    return kept | sign(
        scheme,
        in_form_of(scheme, secret),
        body=parcel.delivery.body,
        address=to,
        at=at,
        delivery_id=delivery_id or _id_of(parcel),
    )


def _id_of(parcel: Parcel) -> str:
    """Return what stands for a delivery: the same for one that is repeated, where that is known."""
    ids = [event.id for event in parcel.delivery.events if event.id.isascii()]
    return ids[0] if ids and ids[0].isprintable() else random.token_hex(_ID_BYTES)
