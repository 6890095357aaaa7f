"""Who may come in by which address: hosts, cookies, forms, and what every answer tells a browser.

A browser is a deputy that others may confuse. What stands in the way:

- The name that it called us by has to be ours, so that nobody's name which they
  let lead to this machine (DNS rebinding) is answered at all.
- The cookie is for this host alone, for no script and for no request that
  another site began.
- A form is taken from our own pages alone, which the browser says, and with the
  session's own token in it, which no other page can know.
"""

from __future__ import annotations

import hmac
import re
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from tieline.contract import Secret
from tieline.services import sessions
from tieline.web.api.problems import Problem
from tieline.web.pages import HEADERS

__all__ = ["PAGE_HEADERS", "Door"]

_LOOPBACK = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::[0-9]{1,5})?")
PAGE_HEADERS = {
    **HEADERS,
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none';"
    " base-uri 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # With no-referrer, browsers name no origin when they send one of our own forms.
    "Referrer-Policy": "same-origin",
}
"""Of every page: nothing but our own files, in nobody's frame, kept by nobody."""


class Door:
    """Looks at what browsers bring.

    Args:
        public_url: Where people reach this server; empty: on this machine alone.
    """

    def __init__(self, public_url: str) -> None:
        public = urlsplit(public_url)
        self._public = public.netloc.lower() if public.scheme == "https" else ""

    @property
    def _is_secure(self) -> bool:
        """Whether cookies are for https; on this machine alone there is no network to hear them."""
        return bool(self._public)

    def require_host(self, request: Request) -> None:
        """Refuse whoever calls us by a name that is none of ours.

        Raises:
            Problem: They do.
        """
        host = request.headers.get("host", "").lower()
        if (host and host == self._public) or _LOOPBACK.fullmatch(host):
            return
        raise Problem(
            421,
            "console-host",
            f"the console is not at {host[:80]!r}",
            hint="it is at TIELINE_PUBLIC_URL, which has to be https, or at 127.0.0.1",
        )

    def require_own_form(self, request: Request) -> None:
        """Refuse a form that another site's page sent.

        Raises:
            Problem: It is so, as far as the browser says; one that says nothing has no cookie
                of ours to misuse, or is none.
        """
        began = request.headers.get("sec-fetch-site", "same-origin")
        origin = request.headers.get("origin")
        own = {self._public, request.headers.get("host", "").lower()} - {""}
        is_own = origin is None or urlsplit(origin).netloc.lower() in own
        if began not in {"same-origin", "none"} or not is_own:
            raise _not_ours()

    def require_form_token(self, shown: str, given: str) -> None:
        """Refuse a form that does not carry its session's token.

        Raises:
            Problem: It does not.
        """
        if not hmac.compare_digest(sessions.form_token(shown).encode(), given.encode()):
            raise _not_ours()

    def read(self, request: Request) -> str:
        """Return what the browser keeps of its session; empty: nothing."""
        return request.cookies.get(self._name(request), "")

    def give(self, request: Request, answer: Response, secret: Secret) -> None:
        """Have the browser keep a session, new with each sign-in, until it is over."""
        answer.set_cookie(
            self._name(request),
            secret.reveal(),
            max_age=int(sessions.SESSION_LASTS.total_seconds()),
            path="/",
            secure=self._is_secure,
            httponly=True,
            samesite="strict",
        )

    def take_back(self, request: Request, answer: Response) -> None:
        """Have the browser forget its session."""
        answer.delete_cookie(
            self._name(request), path="/", secure=self._is_secure, httponly=True, samesite="strict"
        )

    def _name(self, request: Request) -> str:
        """Name the cookie: browsers tell hosts apart, but not the ports of one."""
        if self._is_secure:
            return "__Host-tieline-console"
        port = request.headers.get("host", "").rpartition(":")[2]
        return f"tieline-console-{port if port.isdecimal() else 80}"


def _not_ours() -> Problem:
    return Problem(
        403,
        "console-form",
        "this form did not come from a page of this session",
        hint="open the console anew, and try again",
    )
