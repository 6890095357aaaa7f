"""The OAuth endpoints: authorize, token, metadata.

Source: Mailchimp, "Access Data on Behalf of Other Users with OAuth 2": no
scopes, no PKCE, client credentials in the body, ``state`` passed through,
``expires_in`` 0. A dead token gets 200 from the metadata endpoint, with an
error object (singer-io/tap-mailchimp, client). A redirect to this machine
must name 127.0.0.1; localhost is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from hmac import compare_digest
from urllib.parse import urlencode, urlsplit

from tieline_mailchimp_sandbox.answers import Answer, OAuthError, html, json_answer, redirect
from tieline_mailchimp_sandbox.consent import consent_page
from tieline_mailchimp_sandbox.grants import Grants
from tieline_mailchimp_sandbox.request import Params, Request
from tieline_mailchimp_sandbox.world import World

__all__ = ["CONSENTS", "OAuth"]

CONSENTS = ("auto", "deny", "page")
"""What happens at the authorize address: agreed at once, denied at once, asked."""

_LOOPBACK = {"127.0.0.1", "::1"}


class OAuth:
    """One registered application, and who consents to it.

    Args:
        world: The accounts.
        grants: Where consents are noted.
        client_id: The application's id.
        client_secret: Its secret.
        redirect_uris: Those it registered; none: https ones and this machine's.
        consent: One of :data:`CONSENTS`.
    """

    def __init__(
        self,
        *,
        world: World,
        grants: Grants,
        client_id: str,
        client_secret: str,
        redirect_uris: list[str],
        consent: str,
    ) -> None:
        self._world = world
        self._grants = grants
        self._client_id = client_id
        self._client_secret = client_secret
        self._redirect_uris = redirect_uris
        self._consent = ""
        self._login = world.accounts[0]
        self.set_consent(consent)
        self.routes: dict[tuple[str, str], Callable[[Request], Answer]] = {
            ("GET", "/oauth2/authorize"): self._authorize,
            ("POST", "/oauth2/authorize"): self._decide,
            ("POST", "/oauth2/token"): self._token,
            ("GET", "/oauth2/metadata"): self._metadata,
        }

    def set_consent(self, consent: object) -> None:
        """Choose what happens at the authorize address from now on."""
        if consent not in CONSENTS:
            raise ValueError(f"consent is one of {', '.join(CONSENTS)}, not {consent!r}")
        self._consent = str(consent)

    def log_in(self, index: object) -> None:
        """Choose which account consents from now on."""
        self._login = self._world.at(index)

    def _authorize(self, request: Request) -> Answer:
        asked = request.params()
        self._check(asked)
        if self._consent == "page":
            return html(consent_page(self._login, asked))
        return self._answer(asked, is_allowed=self._consent == "auto")

    def _decide(self, request: Request) -> Answer:
        asked = request.form()
        self._check(asked)
        return self._answer(asked, is_allowed=asked.get("decision") == "allow")

    def _check(self, asked: Params) -> None:
        """Refuse, without a redirect, what must not be redirected."""
        if asked.get("client_id") != self._client_id:
            raise OAuthError("invalid_client", "The client_id is unknown.")
        if not asked.get("redirect_uri"):
            raise OAuthError("invalid_request", "The redirect_uri is missing.")
        if not self._is_registered(asked["redirect_uri"]):
            raise OAuthError("redirect_uri_mismatch", "The redirect_uri is not registered.")

    def _is_registered(self, uri: str) -> bool:
        if self._redirect_uris:
            return uri in self._redirect_uris
        try:
            parts = urlsplit(uri)
            is_near = parts.scheme == "http" and parts.hostname in _LOOPBACK
            is_far = parts.scheme == "https" and bool(parts.hostname)
        except ValueError:
            return False
        is_clean = uri.isascii() and uri.isprintable() and not set(uri) & set(" #")
        return (is_near or is_far) and is_clean

    def _answer(self, asked: Params, *, is_allowed: bool) -> Answer:
        uri = asked["redirect_uri"]
        if asked.get("response_type") != "code":
            said = {"error": "unsupported_response_type"}
        elif is_allowed:
            said = {"code": self._grants.consent(self._login, uri).code}
        else:
            said = {"error": "access_denied"}
        if "state" in asked:
            said["state"] = asked["state"]
        return redirect(f"{uri}{'&' if '?' in uri else '?'}{urlencode(said)}")

    def _token(self, request: Request) -> Answer:
        self._grants.count_token_call()
        given = request.form()
        if not given.get("grant_type"):
            raise OAuthError("invalid_request", "The grant_type is missing.")
        if given["grant_type"] != "authorization_code":
            raise OAuthError("unsupported_grant_type", "Only authorization_code is supported.")
        secret = given.get("client_secret", "").encode()
        is_secret = compare_digest(secret, self._client_secret.encode())
        if given.get("client_id") != self._client_id or not is_secret:
            raise OAuthError("invalid_client", "The client credentials are invalid.")
        if not given.get("code"):
            raise OAuthError("invalid_request", "The code is missing.")
        grant = self._grants.exchange(given["code"], given.get("redirect_uri", ""))
        return json_answer(grant.token_answer(), headers=((b"cache-control", b"no-store"),))

    def _metadata(self, request: Request) -> Answer:
        account = self._grants.account_of(request.token("oauth", "bearer"))
        if account is None:
            raise OAuthError("invalid_token", "The token is invalid or revoked", status=200)
        login = {
            "email": account.email,
            "avatar": None,
            "login_id": account.login_id,
            "login_name": account.email,
            "login_email": account.email,
        }
        return json_answer(
            {
                "dc": account.data_center,
                "role": "owner",
                "accountname": account.name,
                "user_id": account.user_id,
                "login": login,
                "login_url": request.origin,
                "api_endpoint": request.origin,
            }
        )
