"""Begin a sign-in from a link, and take what comes back from the consent page.

The browser that begins gets a cookie; an answer without that cookie is
refused, so nobody can finish in somebody else's browser what they began in
their own. What exactly was wrong is logged, and not told.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from tieline.auth import redirect_uri_of
from tieline.auth.states import STATE_S, Intent, new_secret
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

__all__ = ["OAuthPages", "OnEnd"]

OnEnd = Callable[[Intent, Connected | Exception], None]

_log = get_logger(__name__)
_SECRET = re.compile(r"[A-Za-z0-9_-]{20,200}")

# The first class that fits decides: status, and whether people are told why.
_ANSWERS: tuple[tuple[type[TielineError], int, bool], ...] = (
    (NotFoundError, 404, False),
    (InvalidInputError, 400, True),
    (RefusedError, 403, True),
    (RetryLaterError, 503, True),
    (DependencyError, 503, False),
    (VaultError, 503, False),
    (ProviderError, 502, True),
    (SettingsError, 500, False),
    (TielineError, 500, False),
)
_UNTOLD = {
    404: "There is nothing here.",
    503: "This server cannot do it now. Try again in a few minutes.",
    500: "This server is not set up for it; its log says why.",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cookie:
    """What binds a sign-in to one browser."""

    name: str
    is_secure: bool

    def read(self, request: Request) -> str:
        """Return the browser's secret; empty if it has none."""
        found = request.cookies.get(self.name, "")
        return found if _SECRET.fullmatch(found) else ""

    def give(self, answer: Response, secret: str) -> None:
        answer.set_cookie(
            self.name,
            secret,
            max_age=STATE_S,
            path="/",
            secure=self.is_secure,
            httponly=True,
            samesite="lax",  # the provider sends the browser back from another site
        )


class OAuthPages:
    """The addresses that a browser is sent to.

    Args:
        installation: Where.
        on_end: Called after each sign-in, well or not, unless its state was
            none of ours: anybody may come with such a one.
    """

    def __init__(self, installation: Installation, on_end: OnEnd) -> None:
        self._installation = installation
        self._on_end = on_end

    def start(self, request: Request) -> Response:
        """Send a browser to the consent page, bound to it by a cookie."""
        try:
            intent, link = service.open_link(self._installation, request.path_params["link"])
            cookie = self._cookie_of(intent.provider)
            secret = cookie.read(request) or new_secret()
            address = service.begin(
                self._installation,
                intent,
                bound_to=secret,
                link=link,
                next_url=request.query_params.get("next", ""),
            )
        except TielineError as error:
            return _refused(error)
        answer = RedirectResponse(address, status_code=303, headers=HEADERS)
        cookie.give(answer, secret)
        return answer

    def callback_of(self, provider: str) -> Callable[[Request], Response]:
        """Return who answers at a provider's callback; empty: the path names the provider."""

        def callback(request: Request) -> Response:
            return self._callback(request, provider or request.path_params["provider"])

        return callback

    def _callback(self, request: Request, provider: str) -> Response:
        """Take a code, exchange it, and say how it went."""
        pairs = request.query_params.multi_items()
        given = dict(pairs)
        try:
            if len(given) != len(pairs):
                raise InvalidInputError("a parameter came twice", code="oauth-parameters")
            cookie = self._cookie_of(provider)
            pending = service.take(
                self._installation, provider, given, bound_to=cookie.read(request)
            )
        except TielineError as error:
            return _refused(error)
        try:
            connected = service.finish(self._installation, pending, given)
        except TielineError as error:
            self._on_end(pending.intent, error)
            return _refused(error)
        except Exception as error:
            self._on_end(pending.intent, error)
            raise
        self._on_end(pending.intent, connected)
        if connected.next_url:
            return RedirectResponse(connected.next_url, status_code=303, headers=HEADERS)
        row = connected.row
        account = row.account_name or row.account_id or "the account"
        return page(
            200,
            "Connected",
            f"{account} is connected as {row.name}. You can close this page.",
        )

    def _cookie_of(self, provider: str) -> _Cookie:
        """Return the cookie that a provider sends the browser back with.

        Its prefix makes browsers refuse it from any other host or over http.
        """
        is_secure = redirect_uri_of(self._installation.settings, provider).startswith("https://")
        name = "__Host-tieline-oauth" if is_secure else "tieline-oauth"
        return _Cookie(name=name, is_secure=is_secure)


def _refused(error: TielineError) -> Response:
    status, is_told = next(
        (status, is_told) for kind, status, is_told in _ANSWERS if isinstance(error, kind)
    )
    _log.warning("a sign-in was refused", code=error.slug, reason=tellable(error.message))
    if not is_told:  # what is wrong with the installation is for its operator
        return page(status, "Not connected", _UNTOLD[status])
    # What an operator could do about a provider's words is none of a visitor's business.
    hint = "" if isinstance(error, ProviderError) and status == 502 else tellable(error.hint)
    return page(status, "Not connected", tellable(error.message), hint)
