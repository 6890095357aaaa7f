"""One request to the API, read once."""

from __future__ import annotations

from dataclasses import dataclass

from tieline_stripe_sandbox.answers import invalid_request
from tieline_stripe_sandbox.params import Params, parse

__all__ = ["Cause", "Request"]

_FORM = b"application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """The request that made a change; both are None for changes by the sandbox itself."""

    request_id: str | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as it came in; header names are in lower case."""

    id: str
    method: str
    path: str
    query: bytes
    headers: dict[bytes, bytes]
    body: bytes

    def params(self) -> Params:
        """Read the parameters: of the body for POST, else of the query.

        Raises:
            ApiError: 400, also for a body that is no form.
        """
        if self.method != "POST":
            return parse(self.query)
        if self.body and not self.headers.get(b"content-type", _FORM).startswith(_FORM):
            raise invalid_request(
                "Invalid request (check that your POST content type is "
                "application/x-www-form-urlencoded). If you have any questions, we can help at "
                "https://support.stripe.com/."
            )
        return parse(self.body)

    def idempotency_key(self) -> str | None:
        """Return the key; it has no effect on GET and DELETE."""
        key = self.headers.get(b"idempotency-key")
        return key.decode("latin-1") if key and self.method == "POST" else None

    def cause(self) -> Cause:
        """Return what events name as their cause."""
        return Cause(request_id=self.id, idempotency_key=self.idempotency_key())
