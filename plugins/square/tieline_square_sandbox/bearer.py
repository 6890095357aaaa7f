"""Who asks: access tokens, and what they may do.

Codes: Square API reference, "Handling errors" (ACCESS_TOKEN_EXPIRED,
ACCESS_TOKEN_REVOKED, UNAUTHORIZED, INSUFFICIENT_SCOPES).
"""

from __future__ import annotations

from tieline_square_sandbox.answers import unauthorized
from tieline_square_sandbox.grants import AccessToken, Grants
from tieline_square_sandbox.request import Request

__all__ = ["admit", "bearer"]

_MALFORMED = (
    "The `Authorization` http header of your request was malformed. The header value is expected "
    'to be of the format "Bearer TOKEN" (without quotation marks).'
)


def bearer(request: Request, grants: Grants) -> AccessToken:
    """Find the token of a request, dead or alive.

    Raises:
        RefusedError: 401: there is none, or it was never given.
    """
    scheme, _, text = request.header("authorization").partition(" ")
    if scheme.lower() != "bearer" or not text.strip():
        raise unauthorized(_MALFORMED)
    token = grants.access(text.strip())
    if token is None:
        raise unauthorized("This request could not be authorized.")
    return token


def admit(request: Request, grants: Grants, scope: str) -> AccessToken:
    """Let a request to the API in.

    Args:
        request: Any request.
        grants: The tokens.
        scope: The right that the endpoint needs.

    Raises:
        RefusedError: 401 for the token, 403 for the right.
    """
    token = bearer(request, grants)
    if token.is_revoked:
        raise unauthorized("The access token has been revoked.", "ACCESS_TOKEN_REVOKED")
    if grants.is_expired(token):
        raise unauthorized("The access token has expired.", "ACCESS_TOKEN_EXPIRED")
    if scope not in token.scopes:
        detail = (
            "The merchant has not given your application sufficient permissions to do that. The "
            f"merchant must authorize your application for the following scopes: [{scope}]"
        )
        raise unauthorized(detail, "INSUFFICIENT_SCOPES", 403)
    return token
