"""Idempotency keys of POST requests.

The first answer is kept for 24 hours once execution began, also a 500, and is
replayed. Not kept: failed validation, throttling and refused keys, as they
come before. Source: Stripe API reference, "Idempotent requests".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import blake2b

from tieline_stripe_sandbox.answers import Answer, ApiError, invalid_request
from tieline_stripe_sandbox.clock import Clock

__all__ = ["Idempotency", "Ticket"]

_KEPT_S = 24 * 3600
_LONGEST = 255


@dataclass(slots=True, kw_only=True)
class Ticket:
    """One use of a key: in flight as long as there is no answer."""

    key: str
    digest: bytes
    request_id: str
    created: float
    answer: Answer | None = None

    def replay(self) -> Answer | None:
        """Return the kept answer, marked as a repetition."""
        if self.answer is None:
            return None
        marks = (
            (b"idempotent-replayed", b"true"),
            (b"original-request", self.request_id.encode()),
        )
        return replace(self.answer, headers=(*self.answer.headers, *marks))


class Idempotency:
    """The keys of one account.

    Args:
        clock: The sandbox's time, by which keys are forgotten.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tickets: dict[str, Ticket] = {}

    def begin(self, key: str, *, path: str, body: bytes, request_id: str) -> Ticket:
        """Claim a key; a ticket with an answer means: replay it, do nothing.

        Raises:
            ApiError: 400 for a key that is too long or was used with other
                parameters, 409 while its first request is being executed.
        """
        if len(key) > _LONGEST:
            raise invalid_request(f"Idempotency key must be at most {_LONGEST} characters.")
        self._forget()
        digest = blake2b(path.encode() + b"?" + body).digest()
        known = self._tickets.get(key)
        if known is None:
            now = self._clock.now()
            known = Ticket(key=key, digest=digest, request_id=request_id, created=now)
            self._tickets[key] = known
            return known
        if known.digest != digest:
            raise _other_parameters(key)
        if known.answer is None:
            raise _in_flight()
        return known

    def release(self, ticket: Ticket) -> None:
        """Forget a key whose request was not executed."""
        if ticket.answer is None:
            self._tickets.pop(ticket.key, None)

    def _forget(self) -> None:
        """Drop what is too old; tickets are in the order of their age."""
        horizon = self._clock.now() - _KEPT_S
        while self._tickets:
            oldest = next(iter(self._tickets.values()))
            if oldest.created > horizon:
                break
            del self._tickets[oldest.key]


def _other_parameters(key: str) -> ApiError:
    return ApiError(
        400,
        "Keys for idempotent requests can only be used with the same parameters they were first "
        f"used with. Try using a key other than '{key}' if you meant to execute a different "
        "request.",
        kind="idempotency_error",
    )


def _in_flight() -> ApiError:
    return ApiError(
        409,
        "There is currently another in-progress request using this Idempotency-Key. Please try "
        "again later.",
        kind="idempotency_error",
        code="idempotency_key_in_use",
    )
