"""The ASGI application: one request from its arrival to its last byte."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import uuid
from collections.abc import Callable
from contextlib import ExitStack

from tieline_mailchimp_sandbox.answers import Answer, Refusal, html
from tieline_mailchimp_sandbox.api import PREFIX as API
from tieline_mailchimp_sandbox.api import Api
from tieline_mailchimp_sandbox.audiences import Audiences
from tieline_mailchimp_sandbox.bulk import Bulk
from tieline_mailchimp_sandbox.clock import Clock
from tieline_mailchimp_sandbox.control import PREFIX as CONTROL
from tieline_mailchimp_sandbox.control import Control
from tieline_mailchimp_sandbox.delivery import Receive, Scope, Send, deliver, drop, read_body
from tieline_mailchimp_sandbox.faults import REPLACING, Faults, FiredFaults
from tieline_mailchimp_sandbox.grants import Grants
from tieline_mailchimp_sandbox.journal import Journal
from tieline_mailchimp_sandbox.listing import Listing
from tieline_mailchimp_sandbox.mutation import Mutation, mutate
from tieline_mailchimp_sandbox.oauth import OAuth
from tieline_mailchimp_sandbox.post import Post
from tieline_mailchimp_sandbox.request import Request
from tieline_mailchimp_sandbox.webhooks import Webhooks
from tieline_mailchimp_sandbox.world import World, digest

__all__ = ["Sandbox", "create_app"]


def create_app(
    *,
    accounts: int = 3,
    seed: int = 1,
    latency_ms: float = 0.0,
    client_id: str = "628228172893",
    client_secret: str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a697887",  # noqa: S107 - opens nothing
    redirect_uris: str = "",
    consent: str = "auto",
    api_key: str = "0123456789abcdef0123456789abcdef-us6",
    audiences: int = 3,
    contacts: int = 120,
    lists_archived: bool = False,
    contact_ids: bool = True,
    lag_s: float = 0.0,
    short_rows: bool = False,
    unsigned_webhooks: bool = False,
) -> Sandbox:
    """Make a Mailchimp that lives in this process.

    Serve it without the server's own ``Date`` header (uvicorn:
    ``date_header=False``), because answers carry the sandbox's time.

    Args:
        accounts: How many accounts exist; names of the second and third are awkward.
        seed: Chooses ids, keys, codes and tokens; same seed, same bytes.
        latency_ms: Added to every answer, in milliseconds; concurrent requests overlap.
        client_id: Id of the one registered application.
        client_secret: Its secret.
        redirect_uris: Its redirect addresses, separated by commas; empty: any https
            address, and http at 127.0.0.1.
        consent: What the authorize address does: "auto" agrees at once, "deny" denies at
            once, "page" shows a form.
        api_key: Key of the first account; its end names the data centre of all. Keys
            of the others are told by ``GET /_sandbox/``.
        audiences: How many lists each account has.
        contacts: How many contacts each account has, over all of its lists.
        lists_archived: Whether archived contacts are listed unless asked for.
        contact_ids: Whether contacts have a ``contact_id``; those of old did not.
        lag_s: How many seconds a change takes to show in lists.
        short_rows: Whether the rows that many members in one call are answered with lack
            what the official swagger does not have in them, such as ``contact_id``.
        unsigned_webhooks: Whether webhooks are as those of old, which do not sign.

    Returns:
        An ASGI application. Applications share nothing.
    """
    clock = Clock()
    post = Post(clock)

    def lists_of(account: int) -> Audiences:
        return Audiences(
            seed=seed,
            account=account,
            audiences=audiences,
            contacts=contacts,
            now=clock.now,
            lag_s=lag_s,
            tell=post.tell,
        )

    world = World(accounts=accounts, seed=seed, api_key=api_key, audiences=lists_of)
    listing = Listing(lists_archived=lists_archived, contact_ids=contact_ids)
    grants = Grants(seed, clock.now)
    oauth = OAuth(
        world=world,
        grants=grants,
        client_id=client_id,
        client_secret=client_secret,
        redirect_uris=[uri.strip() for uri in redirect_uris.split(",") if uri.strip()],
        consent=consent,
    )
    return Sandbox(
        world=world,
        grants=grants,
        oauth=oauth,
        listing=listing,
        bulk=Bulk(listing, short_rows=short_rows),
        webhooks=Webhooks(_new_ids(seed), signs=not unsigned_webhooks),
        post=post,
        clock=clock,
        seed=seed,
        latency_s=latency_ms / 1000,
        application={"client_id": client_id, "client_secret": client_secret},
    )


class Sandbox:
    """An ASGI application; made by :func:`create_app`."""

    def __init__(
        self,
        *,
        world: World,
        grants: Grants,
        oauth: OAuth,
        listing: Listing,
        bulk: Bulk,
        webhooks: Webhooks,
        post: Post,
        clock: Clock,
        seed: int,
        latency_s: float,
        application: dict[str, str],
    ) -> None:
        self._grants = grants
        self._oauth = oauth
        self._api = Api(world, grants, listing, bulk, webhooks)
        self._world = world
        self._post = post
        self._clock = clock
        self._seed = seed
        self._latency_s = latency_s
        self._faults = Faults()
        self._journal = Journal()
        self._requests = 0
        self._control = Control(
            world=world,
            grants=grants,
            oauth=oauth,
            listing=listing,
            clock=clock,
            faults=self._faults,
            journal=self._journal,
            post=post,
            facts={"seed": seed, "data_center": world.data_center} | application,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request, or the server's start and stop."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        accepted_ms = self._journal.clock_ms()
        method, path, query = scope["method"], scope["path"], scope["query_string"]
        body = await read_body(receive)
        if path == CONTROL or path.startswith(f"{CONTROL}/"):
            await deliver(self._control.answer(method, path, query, body), (), send)
            return
        request = self._request(scope, body)
        fired = self._faults.fire(method, path, query.decode("latin-1"))
        if "mutate" in fired:
            mutate(self._world, Mutation.read(fired["mutate"].mutation))
        with ExitStack() as in_flight:
            answer = await self._answer(request, fired, in_flight)
            self._journal.add(
                accepted_ms=accepted_ms,
                method=method,
                path=path,
                query=query,
                status=answer.status if answer else 0,
                request_id=request.id,
            )
            if answer is None:
                await drop(receive, send)
                return
            carried = ((b"date", self._clock.http_date()), (b"x-request-id", request.id.encode()))
            await deliver(answer, carried, send, fired.get("slow"))

    def _request(self, scope: Scope, body: bytes) -> Request:
        self._requests += 1
        headers = dict(scope["headers"])
        name = bytes.fromhex(digest(self._seed, "request", self._requests)[:32])
        host = headers.get(b"host", b"127.0.0.1").decode("latin-1")
        return Request(
            id=str(uuid.UUID(bytes=name, version=4)),
            origin=f"{scope.get('scheme', 'http')}://{host}",
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"],
            headers=headers,
            body=body,
        )

    async def _answer(
        self, request: Request, fired: FiredFaults, in_flight: ExitStack
    ) -> Answer | None:
        """Return what goes out; None: the connection is closed instead."""
        replacing = next((fired[kind] for kind in REPLACING if kind in fired), None)
        try:
            if replacing and not replacing.executed:
                await self._wait(fired)
                true = Answer()
            else:
                true = await self._true_answer(request, fired, in_flight)
        except Refusal as refusal:
            true = refusal.answer(request.id)
        if "drop" in fired:
            return None
        return replacing.instead(request.id) if replacing else true

    async def _true_answer(
        self, request: Request, fired: FiredFaults, in_flight: ExitStack
    ) -> Answer:
        if request.path == API or request.path.startswith(f"{API}/"):
            account = self._api.caller(request)
            in_flight.enter_context(account.meter.flight())
            await self._wait(fired)
            with self._post.acting("api"):
                answer = self._api.execute(request, account)
            return await answer if inspect.isawaitable(answer) else answer
        if request.path == "/oauth2/token":
            in_flight.enter_context(self._grants.token_call(request.form().get("code", "")))
        await self._wait(fired)
        endpoint = self._oauth.routes.get((request.method, request.path))
        if endpoint is None:
            return html("<!DOCTYPE html><title>404</title><h1>Page not found</h1>", status=404)
        return endpoint(request)

    async def _wait(self, fired: FiredFaults) -> None:
        seconds = self._latency_s + (fired["delay"].seconds if "delay" in fired else 0)
        if seconds:
            await asyncio.sleep(seconds)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Take part in the server's start and stop, after which nothing is sent any more."""
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        await self._post.close()
        await send({"type": "lifespan.shutdown.complete"})


def _new_ids(seed: int) -> Callable[[str], str]:
    """Make texts of 64 hex digits: the same seed makes the same ones."""
    numbers = itertools.count(1)
    return lambda kind: digest(seed, kind, next(numbers))
