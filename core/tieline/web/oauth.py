"""Begin a sign-in from a link, and take what comes back from the consent page.

The browser that begins gets a cookie; an answer without that cookie is
refused, so nobody can finish in somebody else's browser what they began in
their own. What exactly was wrong is logged, and not told.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from tieline.auth.states import STATE_S, new_secret
from tieline.contract import ProviderError, RetryLaterError, SettingsError, TielineError
from tieline.errors import (
    DependencyError,
    InvalidInputError,
    NotFoundError,
    RefusedError,
    VaultError,
)
from tieline.services import oauth as service
from tieline.services.installation import Installation
from tieline.services.oauth import Connected
from tieline.telemetry import get_logger, tellable
from tieline.web.pages import HEADERS, page

__all__ = ["OAuthPages"]

_log = get_logger(__name__)
_STRANGERS = frozenset({"oauth-state", "oauth-parameters", "provider-unknown", "auth-kind"})
_SECRET = re.compile(r"[A-Za-z0-9_-]{20,200}")

# The first class that fits decides.
_STATUSES: tuple[tuple[type[TielineError], int], ...] = (
    (NotFoundError, 404),
    (InvalidInputError, 400),
    (RefusedError, 403),
    (RetryLaterError, 503),
    (DependencyError, 503),
    (VaultError, 503),
    (ProviderError, 502),
    (SettingsError, 500),
    (TielineError, 500),
)


class OAuthPages:
    """The two addresses that a browser is sent to.

    Args:
        installation: Where.
        on_connected: Called after each account that was connected.
        on_refused: Called after each sign-in that failed, unless its state was
            none of ours: anybody may come with such a one.
    """

    def __init__(
        self,
        installation: Installation,
        on_connected: Callable[[Connected], None],
        on_refused: Callable[[TielineError], None],
    ) -> None:
        self._installation = installation
        self._on_connected = on_connected
        self._on_refused = on_refused
        self._is_secure = installation.settings.public_url.startswith("https://")
        # The prefix makes browsers refuse the cookie from any other host or over http.
        self._cookie = "__Host-tieline-oauth" if self._is_secure else "tieline-oauth"

    def start(self, request: Request) -> Response:
        """Send a browser to the consent page, bound to it by a cookie."""
        known = request.cookies.get(self._cookie, "")
        secret = known if _SECRET.fullmatch(known) else new_secret()
        try:
            address = service.begin_from_link(
                self._installation,
                request.path_params["link"],
                bound_to=secret,
                next_url=request.query_params.get("next", ""),
            )
        except TielineError as error:
            return _refused(error)
        answer = RedirectResponse(address, status_code=303, headers=HEADERS)
        answer.set_cookie(
            self._cookie,
            secret,
            max_age=STATE_S,
            path="/",
            secure=self._is_secure,
            httponly=True,
            samesite="lax",  # the provider sends the browser back from another site
        )
        return answer

    def callback(self, request: Request) -> Response:
        """Take a code, exchange it, and say how it went."""
        pairs = request.query_params.multi_items()
        given = dict(pairs)
        cookie = request.cookies.get(self._cookie, "")
        try:
            if len(given) != len(pairs):
                raise InvalidInputError("a parameter came twice", code="oauth-parameters")
            connected = service.complete(
                self._installation,
                request.path_params["provider"],
                given,
                bound_to=cookie if _SECRET.fullmatch(cookie) else "",
            )
        except TielineError as error:
            if error.slug not in _STRANGERS:
                self._on_refused(error)
            return _refused(error)
        self._on_connected(connected)
        if connected.next_url:
            return RedirectResponse(connected.next_url, status_code=303, headers=HEADERS)
        row = connected.row
        account = row.account_name or row.account_id or "the account"
        return page(
            200,
            "Connected",
            f"{account} is connected as {row.name}. You can close this page.",
        )


def _refused(error: TielineError) -> Response:
    status = next(status for kind, status in _STATUSES if isinstance(error, kind))
    _log.warning("a sign-in was refused", code=error.slug, reason=tellable(error.message))
    if status == 500:  # what is wrong with the installation is for its operator
        return page(500, "Not connected", "This server is not set up for it; its log says why.")
    return page(status, "Not connected", tellable(error.message), tellable(error.hint))
