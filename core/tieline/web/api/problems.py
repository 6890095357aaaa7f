"""Refusals: RFC 9457 problem details, with the codes that the CLI has too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from starlette.responses import Response

from tieline.contract import NeedsReauthError, ProviderError, RetryLaterError, TielineError
from tieline.errors import (
    AccessError,
    ChangedError,
    DependencyError,
    InvalidInputError,
    KeyUnavailableError,
    NotFoundError,
    PluginError,
    RefusedError,
    SettingsError,
    VaultError,
)
from tieline.telemetry import redact, tellable
from tieline.web.pages import HEADERS

__all__ = ["STATUSES", "Problem", "problem_of", "respond"]

# The first class that fits decides.
STATUSES: tuple[tuple[type[TielineError], int], ...] = (
    (NotFoundError, 404),
    (InvalidInputError, 422),
    (AccessError, 401),
    (NeedsReauthError, 409),
    (RetryLaterError, 503),
    (ProviderError, 424),
    (ChangedError, 412),
    (RefusedError, 409),
    (KeyUnavailableError, 503),
    (DependencyError, 503),
    (SettingsError, 409),
    (PluginError, 409),
    (VaultError, 500),
    (TielineError, 500),
)
# Settings without which nothing works here: not the caller's to mend, and soon mended.
_NOT_READY = {"schema-behind", "schema-newer", "not-initialised"}
_RETRY_AFTER_S = 5


class Problem(Exception):  # noqa: N818 - it is an answer
    """An answer that says no.

    Args:
        status: HTTP status.
        code: Stable slug that programs may compare.
        detail: One sentence: what was wrong and where; no secret.
        hint: What to do about it.
        errors: Each bad field: ``pointer``, ``parameter`` or ``header``, and ``detail``.
        headers: Further headers.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        hint: str = "",
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.hint = hint
        self.errors = errors
        self.headers = dict(headers or {})

    def as_body(self) -> dict[str, Any]:
        """Return what is answered."""
        said: dict[str, Any] = {
            "type": f"urn:tieline:error:{self.code}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "hint": self.hint,
        }
        if self.errors:
            said["errors"] = list(self.errors)
        return said


def problem_of(error: TielineError) -> Problem:
    """Turn what a service raised into an answer."""
    status = next(status for kind, status in STATUSES if isinstance(error, kind))
    if error.slug in _NOT_READY:
        status = 503
    headers = {}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        wait = error.retry_after if isinstance(error, RetryLaterError) else None
        headers["Retry-After"] = str(max(1, round(_RETRY_AFTER_S if wait is None else wait)))
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="tieline", error="invalid_token"'
    return Problem(
        status,
        error.slug,
        " ".join(redact(tellable(error.message)).split()),
        hint=" ".join(redact(tellable(error.hint)).split()),
        errors=_errors_of(error),
        headers=headers,
    )


# What a command calls otherwise than the API does.
_NAMES = {
    "for": "lasting",
    "full-every": "full_every",
    "expires": "expires_in",
    "expects-every": "expects_every",
}


def _errors_of(error: TielineError) -> list[dict[str, str]]:
    """Point to the fields of the body that a service found wrong."""
    if not isinstance(error, InvalidInputError):
        return []
    return [
        {
            "pointer": where if where.startswith("/") else f"/{_NAMES.get(where, where)}",
            "detail": redact(tellable(words)),
        }
        for where, words in error.fields
        if where
    ]


def respond(problem: Problem) -> Response:
    """Answer with a problem."""
    return Response(
        orjson.dumps(problem.as_body()),
        status_code=problem.status,
        headers={**HEADERS, **problem.headers},
        media_type="application/problem+json",
    )
