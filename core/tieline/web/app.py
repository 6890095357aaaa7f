"""The ASGI application of ``tieline serve``, and of the listener of ``tieline connect``."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from tieline.auth.application import callback_path, callback_paths
from tieline.services.installation import Installation
from tieline.services.readiness import look
from tieline.web.api import OPERATIONS, PREFIX, Api, document_routes
from tieline.web.api.problems import Problem, respond
from tieline.web.metrics import Metrics
from tieline.web.oauth import OAuthPages, OnEnd
from tieline.web.pages import HEADERS
from tieline.web.webhooks import Watch, WebhookPages

if TYPE_CHECKING:
    from tieline.web.console import Console

__all__ = ["SERVICE", "create_app"]

SERVICE = "tieline"
"""What ``/healthz`` names this server."""


def create_app(
    installation: Installation,
    *,
    on_end: OnEnd = lambda _intent, _outcome: None,
    has_webhooks: bool = True,
    watch: Watch | None = None,
    has_api: bool = True,
    has_console: bool = False,
) -> ASGIApp:
    """Make the application.

    Args:
        installation: Where.
        on_end: Called with what was intended and what became of it, after each
            sign-in that came back with a good state.
        has_webhooks: Whether providers may deliver here.
        watch: Looks on at deliveries.
        has_api: Whether software may call the HTTP API here.
        has_console: Whether people may sign in to the console here.

    Raises:
        SettingsError: The redirect address of a provider's application cannot
            be answered at.
    """
    pages = OAuthPages(installation, on_end)
    paths = {callback_path("{provider}"): ""} | dict(callback_paths(installation.settings))
    webhooks = WebhookPages(installation, watch) if has_webhooks else None
    app = Starlette(
        routes=[
            *(webhooks.routes() if webhooks else ()),
            Route("/healthz", _healthy, methods=["GET"]),
            Route("/readyz", _ready_of(installation), methods=["GET"]),
            Route("/metrics", Metrics(installation).answer, methods=["GET"]),
            _only_get("/oauth/start/{link}", pages.start),
            *(_only_get(path, pages.callback_of(name)) for path, name in paths.items()),
            *(Api(installation, OPERATIONS).routes() if has_api else ()),
            *(document_routes(PREFIX, OPERATIONS) if has_api else ()),
            *(_console_of(installation).routes() if has_console else ()),
        ],
        exception_handlers={HTTPException: _problem, Exception: _broken},
    )
    app.router.redirect_slashes = False  # a redirect would carry the code along
    return webhooks.before(app) if webhooks else app


def _console_of(installation: Installation) -> Console:
    # Templates take a twentieth of a second to import, and most servers show none.
    from tieline.web.console import Console  # noqa: PLC0415

    return Console(installation)


def _only_get(path: str, endpoint: Callable[[Request], Response]) -> Route:
    """Make a route that HEAD does not take: a look must not use a state up."""
    route = Route(path, endpoint, methods=["GET"])
    assert route.methods is not None
    route.methods.discard("HEAD")
    return route


def _healthy(_request: Request) -> Response:
    """Say that this process answers; whether it can work is another question."""
    return JSONResponse({"status": "ok", "service": SERVICE}, headers=HEADERS)


def _ready_of(installation: Installation) -> Callable[[Request], Response]:
    def ready(_request: Request) -> Response:
        """Say whether this process can work; what is wrong is told by its code alone."""
        parts = look(installation)
        is_ready = all(part.is_ready for part in parts)
        body = {
            "status": "ready" if is_ready else "not ready",
            "parts": {part.name: part.code or "ok" for part in parts},
        }
        extra = {} if is_ready else {"Retry-After": "5"}
        status = 200 if is_ready else 503
        return JSONResponse(body, status_code=status, headers={**HEADERS, **extra})

    return ready


def _problem(request: Request, error: Exception) -> Response:
    """Answer in the form of RFC 9457."""
    assert isinstance(error, HTTPException)
    if request.url.path.startswith(f"{PREFIX}/"):
        phrase = HTTPStatus(error.status_code).phrase
        code = phrase.lower().replace(" ", "-")
        return respond(Problem(error.status_code, code, phrase, headers=error.headers))
    body = {"type": "about:blank", "title": error.detail, "status": error.status_code}
    return JSONResponse(
        body,
        status_code=error.status_code,
        headers={**HEADERS, **(error.headers or {})},
        media_type="application/problem+json",
    )


def _broken(request: Request, _error: Exception) -> Response:
    """Answer after a fault of ours; the server logs it."""
    return _problem(request, HTTPException(500))
