"""``/webhooks/…``: where providers deliver. An answer of 2xx means: committed.

Of refusals nothing but the status differs, and of one status nothing at all.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from http import HTTPStatus

import anyio.to_thread
import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tieline.errors import DependencyError, VaultError
from tieline.inbox import Arrival, Delivery, Inbox, Outcome, Taken, Told
from tieline.services.installation import Installation
from tieline.telemetry import get_logger, span, traceparent
from tieline.web.bodies import Body, BodyRefused, Room
from tieline.web.pages import HEADERS

__all__ = ["Seen", "Watch", "WebhookPages"]

_log = get_logger(__name__)
_PREFIX = "/webhooks/"
_PATH = re.compile(
    rf"{_PREFIX}(?P<provider>[^/]+)/(?P<endpoint>[^/]+)(?:/(?P<path_secret>[^/]+))?", re.DOTALL
)
_METHODS = ["GET", "HEAD", "POST"]
_LEAST_OF_APPLICATIONS = 2_097_152
_RETRY_AFTER_S = "5"
# What the inbox answers then; what is stale it tries again.
_STATUSES: Mapping[Outcome, int] = {"stored": 200, "down": 503, "full": 503}


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """A delivery as somebody who looks on sees it.

    Attributes:
        provider: From the path; of one that was refused it is a stranger's word.
        taken: What became of it.
        headers: As they came, by name in lower case; not to be trusted either.
        seconds: How long it took to be received and taken.
    """

    provider: str
    taken: Taken
    headers: Mapping[str, str]
    seconds: float


Watch = Callable[[Seen], None]
"""Looks on; it must neither wait nor raise."""


class WebhookPages:
    """Answers providers.

    Args:
        installation: Where.
        watch: Called with each delivery just before its answer leaves; None: nobody looks.
    """

    def __init__(self, installation: Installation, watch: Watch | None = None) -> None:
        self._watch = watch
        self._inbox: Inbox = installation.inbox
        listed = installation.registry.list()  # imported now, not when a stranger names one
        self._declared = {each.found.name: each.plugin.webhooks for each in listed if each.plugin}
        self._most = installation.settings.webhook_body_bytes
        self._room = Room()
        self._told: tuple[asyncio.AbstractEventLoop, Told] | None = None

    def routes(self) -> list[Route]:
        """Return the paths that are answered at."""
        return [
            Route(f"{_PREFIX}{{provider}}/{{endpoint}}{end}", self.answer, methods=_METHODS)
            for end in ("", "/{path_secret}")
        ]

    def before(self, app: ASGIApp) -> ASGIApp:
        """Answer what :meth:`routes` would, before an application's layers, and leave it the rest.

        The layers and the search for a route take as long as a delivery itself.
        """

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and scope["method"] in _METHODS:
                found = _PATH.fullmatch(scope["path"])
                if found is not None:
                    scope["path_params"] = found.groupdict()
                    request = Request(scope, receive, send)
                    response = await self._answer_or_apologise(request)
                    await response(scope, receive, send)
                    return
            await app(scope, receive, send)

        return answer

    async def _answer_or_apologise(self, request: Request) -> Response:
        try:
            return await self.answer(request)
        except Exception:  # noqa: BLE001 - the server must go on
            _log.exception("a bug of ours")
            return _answer(500)

    async def answer(self, request: Request) -> Response:
        """Take one delivery in, or answer a probe."""
        if request.method != "POST":
            return self._probed(request, b"")
        began, given, headers = time.perf_counter(), request.path_params, _headers(request)
        if headers.get("content-encoding", "identity").lower() != "identity":
            return self._refused(request, began, 415, "encoded")
        body = Body(request, self._limit_of(given["provider"]), self._room)
        try:
            arrival = Arrival(
                provider=given["provider"],
                endpoint_id=given["endpoint"],
                path_secret=given.get("path_secret"),
                headers=headers,
                body=await body.read(),
            )
            if not arrival.body:
                probed = self._probed(request, b"")
                if probed.status_code == HTTPStatus.OK:
                    return probed
            taken = await self._taken(arrival)
            if self._watch is not None:
                self._tell(request, began, taken, headers)
            return _answer(taken.status)
        except BodyRefused as refused:
            return self._refused(request, began, refused.status, refused.reason)
        except ClientDisconnect:
            return _answer(400)  # nobody reads it
        finally:
            body.release()

    def _limit_of(self, provider: str) -> int:
        """Return the most bytes; by the provider alone, so that it tells nothing of endpoints."""
        webhooks = self._declared.get(provider)
        if webhooks is not None and "application" in webhooks.owners:
            return max(self._most, _LEAST_OF_APPLICATIONS)
        return self._most

    def _probed(self, request: Request, body: bytes) -> Response:
        """Answer whoever asks whether there is somebody; it changes nothing."""
        webhooks = self._declared.get(request.path_params["provider"])
        if webhooks is None:
            return _answer(404)
        answer = None
        if webhooks.challenge is not None:
            with suppress(Exception):  # a plugin's fault must not tell a stranger anything
                answer = webhooks.challenge(request.method, dict(request.query_params), body)
        if answer is None:
            return _answer(405)
        return Response(answer, headers=HEADERS, media_type="text/plain")

    def _refused(self, request: Request, began: float, status: int, reason: str) -> Response:
        self._inbox.after.refused(None, reason)
        self._tell(request, began, Taken(status=status, reason=reason), {})
        return _answer(status)

    def _tell(
        self, request: Request, began: float, taken: Taken, headers: Mapping[str, str]
    ) -> None:
        if self._watch is not None:
            seconds = time.perf_counter() - began
            provider = request.path_params["provider"]
            self._watch(Seen(provider=provider, taken=taken, headers=headers, seconds=seconds))

    async def _taken(self, arrival: Arrival) -> Taken:
        """Drive the taking without blocking others."""
        inbox = self._inbox
        taking = inbox.take(arrival)
        try:
            step = next(taking)
            while True:
                if isinstance(step, Delivery):
                    step = taking.send(await self._committed(step))
                    continue
                since = step.since
                try:
                    endpoint = await anyio.to_thread.run_sync(
                        lambda since=since: inbox.endpoints.read(  # type: ignore[misc]
                            arrival.provider, arrival.endpoint_id, since=since
                        )
                    )
                except (DependencyError, VaultError) as error:
                    step = taking.throw(error)
                else:
                    step = taking.send(endpoint)
        except StopIteration as end:
            taken: Taken = end.value
            return taken

    async def _committed(self, delivery: Delivery) -> Outcome:
        """Have a delivery committed; in a trace of its own, as no stranger may begin one."""
        endpoint = delivery.endpoint
        with span(
            "delivery",
            kind="server",
            endpoint=endpoint.id,
            provider=endpoint.provider,
            events=len(delivery.events),
        ) as seen:
            if asked_in := traceparent():
                delivery = replace(delivery, asked_in=asked_in)
            outcome = await self._outcome_of(delivery)
            seen.note(outcome=outcome, status=_STATUSES.get(outcome))
            return outcome

    async def _outcome_of(self, delivery: Delivery) -> Outcome:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome] = loop.create_future()
        if not self._inbox.committer.put(delivery, future, self._teller(loop)):
            return "full"
        return await future

    def _teller(self, loop: asyncio.AbstractEventLoop) -> Told:
        """Return the one function by which a loop is told: once a commit, not once a delivery."""
        if self._told is None or self._told[0] is not loop:

            def tell(pairs: Sequence[tuple[asyncio.Future[Outcome], Outcome]]) -> None:
                loop.call_soon_threadsafe(_settle, pairs)

            self._told = loop, tell
        return self._told[1]


def _settle(pairs: Sequence[tuple[asyncio.Future[Outcome], Outcome]]) -> None:
    for future, outcome in pairs:
        if not future.done():
            future.set_result(outcome)


def _headers(request: Request) -> dict[str, str]:
    """Return the headers, all values of one that comes several times: none hides another."""
    found: dict[str, str] = {}
    for name, value in request.scope["headers"]:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


@cache
def _answer(status: int) -> Response:
    """Return the one answer of a status; it is the same object each time."""
    if status == HTTPStatus.OK:
        return Response(status_code=200)  # empty: there is nothing that headers could guard
    extra = {"Connection": "close"} if status in {408, 413} else {}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        extra["Retry-After"] = _RETRY_AFTER_S
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        extra["Allow"] = "POST"
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    return Response(
        orjson.dumps(body),
        status_code=status,
        headers={**HEADERS, **extra},
        media_type="application/problem+json",
    )
