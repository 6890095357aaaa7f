"""The OAuth service: tokens, revocation, discovery."""

from __future__ import annotations

import hmac

from tieline_quickbooks_sandbox.answers import Answer, json_answer, oauth_error
from tieline_quickbooks_sandbox.consent import CONSENT_PATH, Application
from tieline_quickbooks_sandbox.grants import Grants, RefusedError
from tieline_quickbooks_sandbox.request import Request

__all__ = ["REVOKE_PATH", "TOKEN_PATH", "OAuth"]

TOKEN_PATH = "/oauth2/v1/tokens/bearer"  # noqa: S105 - an address
REVOKE_PATH = "/v2/oauth2/tokens/revoke"
_OPT_IN = b"x-include-refresh-token-hard-expires-in"


class OAuth:
    """Answers applications.

    Args:
        application: The one that is known.
        grants: Where the tokens are.
    """

    def __init__(self, application: Application, grants: Grants) -> None:
        self._application = application
        self._grants = grants

    def tokens(self, request: Request) -> Answer:
        """Exchange a code or a refresh token.

        Raises:
            ApiError: As RFC 6749 has it: 401 ``invalid_client``, else 400.
        """
        self._grants.token_calls += 1
        self._authenticate(request)
        form = request.form()
        kind = form.get("grant_type", "")
        try:
            if kind == "authorization_code":
                code, address = _required(form, "code"), _required(form, "redirect_uri")
                grant = self._grants.exchange(code, address)
            elif kind == "refresh_token":
                grant = self._grants.refresh(_required(form, "refresh_token"))
            else:
                raise oauth_error(400, "unsupported_grant_type" if kind else "invalid_request")
        except RefusedError:
            told = "" if kind == "authorization_code" else "Incorrect or invalid refresh token"
            raise oauth_error(400, "invalid_grant", told) from None
        opted_in = request.headers.get(_OPT_IN, b"").lower() == b"true"
        return json_answer(
            self._grants.answer(grant, with_hard_end=opted_in),
            headers=((b"cache-control", b"no-store"), (b"pragma", b"no-cache")),
        )

    def revoke(self, request: Request) -> Answer:
        """End a grant. One that has ended already gets 400 without a word."""
        self._authenticate(request)
        try:
            self._grants.revoke(request.form_or_json().get("token", ""))
        except RefusedError:
            return Answer(status=400)
        return Answer(status=200)

    def discovery(self, request: Request) -> Answer:
        """Name the addresses of this service, as they can be reached from here."""
        here = f"http://{request.headers.get(b'host', b'localhost').decode('latin-1')}"
        return json_answer(
            {
                "issuer": "https://oauth.platform.intuit.com/op/v1",
                "authorization_endpoint": f"{here}{CONSENT_PATH}",
                "token_endpoint": f"{here}{TOKEN_PATH}",
                "userinfo_endpoint": f"{here}/v1/openid_connect/userinfo",
                "revocation_endpoint": f"{here}{REVOKE_PATH}",
                "jwks_uri": f"{here}/op/v1/jwks",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            }
        )

    def _authenticate(self, request: Request) -> None:
        given = request.basic()
        known = (self._application.client_id, self._application.client_secret)
        is_known = given is not None and all(
            hmac.compare_digest(one.encode(), other.encode())
            for one, other in zip(given, known, strict=True)
        )
        if not is_known:
            raise oauth_error(401, "invalid_client")


def _required(form: dict[str, str], name: str) -> str:
    if not form.get(name):
        raise oauth_error(400, "invalid_request")
    return form[name]
