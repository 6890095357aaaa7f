"""Connect's OAuth endpoints: authorize, token, deauthorize.

There is no PKCE, the exchange of a code does not repeat the redirect address,
and the platform names itself by its secret key.
Source: Stripe documentation, "Connect OAuth reference". The texts are Stripe's
as far as they are known, from it and from the tests of Stripe's libraries.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from tieline_stripe_sandbox.account import Accounts
from tieline_stripe_sandbox.answers import Answer, ApiError, OAuthError
from tieline_stripe_sandbox.consent import consent_page, redirect
from tieline_stripe_sandbox.grants import SCOPES, Grants, Token
from tieline_stripe_sandbox.keys import mask, read_key
from tieline_stripe_sandbox.params import Params, parse
from tieline_stripe_sandbox.request import Request

__all__ = ["CONSENTS", "Application", "OAuth", "token_answer"]

CONSENTS = ("auto", "deny", "page")
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

_Handler = Callable[[Request, str], Answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """The platform, as it is registered.

    Attributes:
        client_id: Its id, ``ca_…``.
        secret_key: The key by which it names itself.
        redirect_uris: Where browsers may be sent back to, the first one by
            default; none: any https address, and http on this machine.
    """

    client_id: str
    secret_key: str
    redirect_uris: tuple[str, ...] = ()
    name: str = "Tieline"

    def text(self) -> bytes:
        """Write it as events name it."""
        return orjson.dumps({"id": self.client_id, "object": "application", "name": self.name})

    def takes(self, address: str) -> bool:
        """Whether a browser may be sent back there."""
        if self.redirect_uris:
            return address in self.redirect_uris
        try:
            parts = urlsplit(address)
        except ValueError:
            return False
        is_clean = address.isascii() and address.isprintable() and " " not in address
        is_near = parts.scheme == "http" and parts.hostname in _LOOPBACK
        return is_clean and bool(parts.hostname) and (parts.scheme == "https" or is_near)


class OAuth:
    """The three endpoints of one platform.

    Args:
        application: The platform.
        grants: Who let it in.
        accounts: Who can.
        consent: How owners decide: at once with yes (``auto``) or no
            (``deny``), or on a page (``page``).

    Attributes:
        login_as: Index of the account whose owner is in front of the browser.
    """

    def __init__(
        self, *, application: Application, grants: Grants, accounts: Accounts, consent: str
    ) -> None:
        self.application = application
        self.grants = grants
        self.accounts = accounts
        self.decide(consent)
        self.login_as = 0

    def decide(self, consent: str) -> None:
        """Choose how owners decide from now on; ValueError when there is no such way."""
        if consent not in CONSENTS:
            raise ValueError(f"consent is one of {', '.join(CONSENTS)}, not {consent!r}")
        self.consent = consent

    def handler(self, endpoint: str, request: Request) -> _Handler | None:
        """Return who answers a request that just came in; None: it is not for this.

        Raises:
            ApiError: 400 for a body that is no form.
        """
        if endpoint == "POST /oauth/token":
            return self._token_handler(request)
        handlers: dict[str, _Handler] = {
            "GET /oauth/authorize": self._authorize,
            "POST /oauth/authorize": self._authorize,
            "POST /oauth/deauthorize": self._deauthorize,
        }
        return handlers.get(endpoint)

    def _authorize(self, request: Request, _name: str) -> Answer:
        """Ask the owner, or send the browser back with a code or a refusal."""
        asked = parse(request.query)
        address = self._redirect_uri(asked)
        state = {"state": text} if (text := _text(asked, "state")) else {}
        try:
            scope = _asked_scope(asked)
            is_allowed = self._is_allowed(request)
        except OAuthError as refusal:
            return redirect(address, refusal.flat | state)
        account = self.accounts.at(self.login_as)
        if not is_allowed:
            name = self.accounts.names[account]
            return consent_page(application=self.application.name, account=name, scope=scope)
        code = self.grants.new_code(account, scope)
        return redirect(address, {"scope": scope} | state | {"code": code})

    def _is_allowed(self, request: Request) -> bool:
        """Whether the owner said yes; False: the page has to ask.

        Raises:
            OAuthError: The owner said no.
        """
        choice = self.consent
        if request.method == "POST":
            choice = "auto" if request.params().get("choice") == "allow" else "deny"
        if choice == "deny":
            raise OAuthError("access_denied", "The user denied your request")
        return choice == "auto"

    def _redirect_uri(self, asked: Params) -> str:
        """Find where to send the browser; before that is known, errors stay on Stripe's page."""
        if _text(asked, "client_id") != self.application.client_id:
            raise ApiError(400, "No application matches the supplied client identifier")
        registered = self.application.redirect_uris
        address = _text(asked, "redirect_uri") or (registered[0] if registered else "")
        if not self.application.takes(address):
            raise ApiError(
                400,
                f"Invalid redirect URI: '{address}'. Ensure this uri exactly matches one of the "
                "uris specified in your application settings",
            )
        return address

    def _token_handler(self, request: Request) -> _Handler:
        params = request.params()
        arrived = ExitStack()
        names = _text(params, "code"), _text(params, "refresh_token")
        arrived.enter_context(self.grants.calling(*names))

        def answer(request: Request, _name: str) -> Answer:
            with arrived:
                self.grants.count_call()
                return Answer(body=orjson.dumps(token_answer(self._exchange(request, params))))

        return answer

    def _exchange(self, request: Request, params: Params) -> Token:
        kind = _text(params, "grant_type")
        self._authenticate(request, params, kind)
        if not kind:
            raise OAuthError("invalid_request", "No grant type specified")
        if kind == "authorization_code":
            return self.grants.redeem(_needed(params, "code", "No authorization code provided"))
        if kind == "refresh_token":
            given = _needed(params, "refresh_token", "No refresh token provided")
            return self.grants.refresh(given, _text(params, "scope"))
        raise OAuthError("unsupported_grant_type", f"Unsupported grant type: {kind}")

    def _deauthorize(self, request: Request, _name: str) -> Answer:
        params = request.params()
        self._authenticate(request, params, "")
        client_id = _needed(params, "client_id", "No client_id provided")
        account = _needed(params, "stripe_user_id", "No stripe_user_id provided")
        if client_id != self.application.client_id:
            raise _no_client(f"No such application: '{client_id}'")
        if self.grants.scope_of(account) is None:
            raise _no_client(
                f"This application is not connected to stripe account {account}, or that account "
                "does not exist."
            )
        self.grants.revoke(account)
        return Answer(body=orjson.dumps({"stripe_user_id": account}))

    def _authenticate(self, request: Request, params: Params, grant_type: str) -> None:
        """Take the secret key as Bearer, as the user of Basic or as ``client_secret``."""
        key = read_key(request.headers) or _text(params, "client_secret")
        if key == self.application.secret_key:
            return
        if grant_type and key.startswith(("sk_live_", "rk_live_")):
            what = "refresh token" if grant_type == "refresh_token" else "authorization code"
            raise OAuthError(
                "invalid_grant",
                f"Passed in livemode API key but {what} only supports returning test keys",
            )
        raise _no_client(f"No such API key: {mask(key)}" if key else "No API key provided")


def _asked_scope(asked: Params) -> str:
    kind = _text(asked, "response_type")
    if not kind:
        raise OAuthError("invalid_request", "Missing response_type parameter")
    if kind != "code":
        raise OAuthError("unsupported_response_type", f"Unsupported response type: {kind}")
    scope = _text(asked, "scope") or SCOPES[0]
    if scope not in SCOPES:
        raise OAuthError("invalid_scope", f"Invalid scope: {scope}")
    return scope


def token_answer(token: Token) -> dict[str, Any]:
    """Return what the token endpoint tells of a token."""
    grant = token.grant
    return {
        "access_token": token.text,
        "livemode": False,
        "refresh_token": grant.refresh_token,
        "token_type": "bearer",
        "stripe_publishable_key": grant.publishable_key,
        "stripe_user_id": grant.account,
        "scope": token.scope,
    }


def _text(params: Params, name: str) -> str:
    value = params.get(name, "")
    return value if isinstance(value, str) else ""


def _needed(params: Params, name: str, otherwise: str) -> str:
    if not (text := _text(params, name)):
        raise OAuthError("invalid_request", otherwise)
    return text


def _no_client(description: str) -> OAuthError:
    return OAuthError("invalid_client", description, status=401)
