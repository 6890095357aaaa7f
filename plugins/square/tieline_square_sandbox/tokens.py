"""``/oauth2/token``, ``/oauth2/token/status`` and ``/oauth2/revoke``.

Source: Square API reference, "OAuth API" (ObtainToken, RevokeToken,
RetrieveTokenStatus). Square publishes no table of these endpoints' errors.
Known from answers that people have shown: an unknown application or a wrong
secret is ``service.not_authorized`` in the older shape; a code that is used,
too old or another's is ``UNAUTHORIZED``; a missing parameter is named by
``MISSING_REQUIRED_PARAMETER``. A refresh token is treated like a code.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import sha256
from hmac import compare_digest
from typing import Any

from tieline_square_sandbox.answers import (
    Answer,
    bad_request,
    json_answer,
    missing_parameter,
    not_authorized,
    not_found,
    unauthorized,
)
from tieline_square_sandbox.application import Application
from tieline_square_sandbox.bearer import bearer
from tieline_square_sandbox.clock import iso
from tieline_square_sandbox.grants import AccessToken, Code, Grants
from tieline_square_sandbox.request import Request

__all__ = ["TokenEndpoints"]

_Body = dict[str, Any]


class TokenEndpoints:
    """Where tokens are made, looked at and taken back.

    Args:
        application: The only one that is known.
        grants: What was granted.
    """

    def __init__(self, application: Application, grants: Grants) -> None:
        self._application = application
        self._grants = grants

    def obtain(self, request: Request) -> Answer:
        """Exchange a code or a refresh token."""
        body = request.json()
        grant_type = _needed(body, "grant_type")
        secret = self._known_secret(body)
        if _flag(body, "use_jwt"):
            raise bad_request("The sandbox makes no JWTs.", field="use_jwt")
        if grant_type == "authorization_code":
            token = self._exchange(body, secret)
        elif grant_type == "refresh_token":
            token = self._refresh(body, secret)
        else:
            raise bad_request("Unsupported grant_type.", "INVALID_VALUE", "grant_type")
        return json_answer(200, self._grants.answer(token))

    def status(self, request: Request) -> Answer:
        """Tell what a token may do; one that is dead is just unknown here."""
        token = bearer(request, self._grants)
        if token.is_revoked or self._grants.is_expired(token):
            raise unauthorized("This request could not be authorized.")
        told: _Body = {"scopes": list(token.scopes), "merchant_id": token.account}
        told["client_id"] = self._application.client_id
        if token.expires is not None:
            told["expires_at"] = iso(token.expires)
        return json_answer(200, told)

    def revoke(self, request: Request) -> Answer:
        """Take access away from the application, as it asks itself."""
        scheme, _, secret = request.header("authorization").partition(" ")
        if scheme.lower() != "client" or not self._application.has_secret(secret.strip()):
            raise not_authorized()
        body = request.json()
        if _needed(body, "client_id") != self._application.client_id:
            raise not_authorized()
        merchant, text = _text(body, "merchant_id"), _text(body, "access_token")
        if merchant and text:
            raise bad_request(
                "Only one of access_token and merchant_id may be given.", "CONFLICTING_PARAMETERS"
            )
        if text:
            self._revoke_token(text, is_alone=_flag(body, "revoke_only_access_token"))
        elif not self._grants.revoke(merchant or _needed(body, "access_token"), by="APPLICATION"):
            raise not_found("No authorization was found for this merchant.")
        return json_answer(200, {"success": True})

    def _revoke_token(self, text: str, *, is_alone: bool) -> None:
        token = self._grants.access(text)
        if token is None or token.grant is None:
            raise not_found("The access token was not found.")
        if is_alone:
            token.is_revoked = True
        else:  # all of that seller's, whichever was named
            self._grants.revoke(token.account, by="APPLICATION")

    def _known_secret(self, body: _Body) -> bool:
        """Check who asks; True if it named its secret."""
        client_id, secret = _needed(body, "client_id"), _text(body, "client_secret")
        if client_id != self._application.client_id:
            raise not_authorized()
        if secret and not self._application.has_secret(secret):
            raise not_authorized()
        return bool(secret)

    def _exchange(self, body: _Body, has_secret: bool) -> AccessToken:
        text, verifier = _needed(body, "code"), _text(body, "code_verifier")
        if not has_secret and not verifier:
            raise missing_parameter("client_secret")
        code = self._grants.code(text)
        if code is None or (code.redirect_uri or "") != _text(body, "redirect_uri"):
            raise self._no_code()
        self._check_proof(code, verifier, has_secret=has_secret)
        return self._grants.redeem(text, is_short_lived=_flag(body, "short_lived"))

    def _check_proof(self, code: Code, verifier: str, *, has_secret: bool) -> None:
        if code.challenge is None:
            if not has_secret:
                raise missing_parameter("client_secret")
            if verifier:  # somebody took the challenge out of the authorize address
                raise self._no_code()
        elif not verifier:
            raise missing_parameter("code_verifier")
        elif not compare_digest(_challenge(verifier), code.challenge):
            raise self._no_code()

    def _refresh(self, body: _Body, has_secret: bool) -> AccessToken:
        text = _needed(body, "refresh_token")
        scopes = body.get("scopes")
        if scopes is not None and not isinstance(scopes, list):
            raise bad_request("Expected an array.", "EXPECTED_ARRAY", "scopes")
        grant = self._grants.of_refresh_token(text)
        if grant is None:
            raise self._no_refresh_token()
        if not grant.is_pkce and not has_secret:
            raise missing_parameter("client_secret")
        token = self._grants.renew(
            grant, text, scopes=scopes, is_short_lived=_flag(body, "short_lived")
        )
        if token is None:
            raise self._no_refresh_token()
        return token

    def _no_code(self) -> Exception:
        return unauthorized(f"Authorization code not found for app {self._application.client_id}")

    def _no_refresh_token(self) -> Exception:
        return unauthorized(f"Refresh token not found for app {self._application.client_id}")


def _challenge(verifier: str) -> str:
    """Compute S256 (RFC 7636, 4.2)."""
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("=")


def _text(body: _Body, name: str) -> str:
    """Read an optional text; empty and null are the same as absent."""
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise bad_request("Expected a string value.", "EXPECTED_STRING", name)
    return value or ""


def _needed(body: _Body, name: str) -> str:
    if text := _text(body, name):
        return text
    raise missing_parameter(name)


def _flag(body: _Body, name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise bad_request("Expected a boolean value.", "EXPECTED_BOOLEAN", name)
    return bool(value)
