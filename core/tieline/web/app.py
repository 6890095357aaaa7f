"""The ASGI application of ``tieline serve``, and of the listener of ``tieline connect``."""

from __future__ import annotations

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tieline.contract import TielineError
from tieline.services.installation import Installation
from tieline.services.oauth import Connected
from tieline.web.oauth import OAuthPages
from tieline.web.pages import HEADERS

__all__ = ["create_app"]


def create_app(
    installation: Installation,
    *,
    on_connected: Callable[[Connected], None] = lambda _: None,
    on_refused: Callable[[TielineError], None] = lambda _: None,
) -> Starlette:
    """Make the application.

    Args:
        installation: Where.
        on_connected: Called after each account that was connected.
        on_refused: Called after each sign-in that came back with a good state
            and failed all the same.
    """
    pages = OAuthPages(installation, on_connected, on_refused)
    return Starlette(
        routes=[
            Route("/healthz", _healthy, methods=["GET"]),
            Route("/oauth/start/{link}", pages.start, methods=["GET"]),
            Route("/oauth/callback/{provider}", pages.callback, methods=["GET"]),
        ],
        exception_handlers={HTTPException: _problem},
    )


def _healthy(_request: Request) -> Response:
    """Say that this process answers; whether it can work is another question."""
    return JSONResponse({"status": "ok"}, headers=HEADERS)


def _problem(_request: Request, error: Exception) -> Response:
    """Answer in the form of RFC 9457."""
    assert isinstance(error, HTTPException)
    body = {"type": "about:blank", "title": error.detail, "status": error.status_code}
    return JSONResponse(
        body,
        status_code=error.status_code,
        headers={**HEADERS, **(error.headers or {})},
        media_type="application/problem+json",
    )
