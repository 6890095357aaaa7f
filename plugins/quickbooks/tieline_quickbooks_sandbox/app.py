"""The ASGI application: one request from its arrival to its last byte."""

from __future__ import annotations

import asyncio
from functools import cache, partial

from tieline_quickbooks_sandbox.answers import Answer, ApiError
from tieline_quickbooks_sandbox.api import Api
from tieline_quickbooks_sandbox.books import Books
from tieline_quickbooks_sandbox.clock import Clock
from tieline_quickbooks_sandbox.companies import Company, make_companies
from tieline_quickbooks_sandbox.consent import ANSWERS, Application, Consent
from tieline_quickbooks_sandbox.control import Control
from tieline_quickbooks_sandbox.delivery import Receive, Scope, Send, deliver, drop
from tieline_quickbooks_sandbox.faults import Faults, FiredFaults
from tieline_quickbooks_sandbox.grants import ROTATIONS, Grants, Rotation
from tieline_quickbooks_sandbox.journal import Journal
from tieline_quickbooks_sandbox.letters import Letters
from tieline_quickbooks_sandbox.limits import Limits, Rates
from tieline_quickbooks_sandbox.orders import Orders
from tieline_quickbooks_sandbox.reads import Reads
from tieline_quickbooks_sandbox.request import Request
from tieline_quickbooks_sandbox.tokens import OAuth
from tieline_quickbooks_sandbox.webhooks import Webhooks
from tieline_quickbooks_sandbox.writes import Writes

__all__ = ["Sandbox", "create_app"]

_REPLACING = ("drop", "status", "html200", "empty")


def create_app(
    *,
    accounts: int = 3,
    customers: int = 120,
    invoices: int = 150,
    seed: int = 1,
    latency_ms: float = 0.0,
    client_id: str = "ABtielinesandboxclientid0000000000000000000000001a",
    client_secret: str = "tielinesandboxclientsecret00000000000001",  # noqa: S107 - opens nothing
    redirect_uris: str = "",
    consent: str = "auto",
    rotation: str = "daily",
    grace_s: float = 60.0,
    per_second: int = 0,
    per_minute: int = 0,
    batches_per_minute: int = 0,
    at_once: int = 0,
    log_size: int = 100_000,
) -> Sandbox:
    """Make QuickBooks companies that live in this process.

    Serve it without the server's own ``Date`` header (uvicorn:
    ``date_header=False``), because answers carry the sandbox's time.

    Args:
        accounts: How many companies there are.
        customers: How many each company has from the start.
        invoices: The same of invoices.
        seed: Chooses their ids, and all tokens; same seed, same texts.
        latency_ms: Added to every answer, in milliseconds; concurrent requests overlap.
        client_id: The application's, as Intuit's keys page shows it.
        client_secret: The application's.
        redirect_uris: Where browsers may be sent, with commas between; empty: any https
            address, and http ones of this machine.
        consent: What the user says: ``auto`` approves at once, ``deny`` refuses at once,
            ``page`` shows a form with Allow and Deny.
        rotation: How refresh tokens change: ``daily``, ``strict`` or ``grace``.
        grace_s: Seconds for which ``grace`` takes an old refresh token.
        per_second: How many calls each company answers in a second; Intuit's are 10. 0: no limit.
        per_minute: The same in a minute; Intuit's are 500.
        batches_per_minute: How many of these may be batches; Intuit's are 40.
        at_once: The same at once; Intuit's are 10.
        log_size: How many requests the log keeps.

    Returns:
        An ASGI application. Applications share nothing.

    Raises:
        ValueError: An option makes no sense.
    """
    has_counts = accounts >= 1 and customers >= 0 and invoices >= 0
    if not has_counts or consent not in ANSWERS or rotation not in ROTATIONS:
        raise ValueError(
            f"at least one account, no counts below 0, consent one of {', '.join(ANSWERS)},"
            f" rotation one of {', '.join(ROTATIONS)}"
        )
    application = Application(
        client_id=client_id,
        client_secret=client_secret,
        redirect_uris=tuple(part.strip() for part in redirect_uris.split(",") if part.strip()),
    )
    return Sandbox(
        application=application,
        accounts=accounts,
        customers=customers,
        invoices=invoices,
        seed=seed,
        latency_s=latency_ms / 1000,
        consent=consent,
        rotation=Rotation(mode=rotation, grace_s=grace_s),
        rates=Rates(
            per_second=per_second,
            per_minute=per_minute,
            batches_per_minute=batches_per_minute,
            at_once=at_once,
        ),
        log_size=log_size,
    )


class Sandbox:
    """An ASGI application; made by :func:`create_app`."""

    def __init__(
        self,
        *,
        application: Application,
        accounts: int,
        customers: int,
        invoices: int,
        seed: int,
        latency_s: float,
        consent: str,
        rotation: Rotation,
        rates: Rates,
        log_size: int,
    ) -> None:
        self._clock = Clock()
        self._request_ids = Letters("request", seed)
        self._latency_s = latency_s
        self._faults = Faults()
        self._journal = Journal(log_size)
        companies = make_companies(accounts, seed)
        grants = Grants(self._clock, Letters("token", seed), rotation)
        self._webhooks = Webhooks(self._clock, seed, grants.is_connected)

        @cache
        def books(company: Company) -> Books:
            own, tell = f"{seed}:{company.index}", partial(self._tell, company)
            return Books(self._clock, seed=own, customers=customers, invoices=invoices, tell=tell)

        self._reads = reads = Reads(self._clock, books)
        writes = Writes(self._clock, books)
        limits = Limits(rates, self._clock)
        asking = Consent(application, companies, grants, consent)
        self._api = Api(
            clock=self._clock,
            seed=seed,
            companies=companies,
            grants=grants,
            consent=asking,
            oauth=OAuth(application, grants),
            reads=reads,
            writes=writes,
            limits=limits,
        )
        self._control = Control(
            clock=self._clock,
            companies=companies,
            grants=grants,
            consent=asking,
            faults=self._faults,
            journal=self._journal,
            orders=Orders(companies, books, reads, writes),
            limits=limits,
            webhooks=self._webhooks,
            facts={
                "seed": seed,
                "client_id": application.client_id,
                "client_secret": application.client_secret,
            },
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request, or the server's start and stop."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    def _tell(self, company: Company, kind: str, operation: str, of: str, gone: str) -> None:
        """Tell of a change; whether Intuit calls an inactive customer deleted is not said."""
        if operation == "Deactivate":
            operation = "Delete" if self._reads.inactive_as == "deleted" else "Update"
        self._webhooks.tell(company.id, kind, operation, of, gone)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Take part in the server's start and stop."""
        while True:
            message = await receive()
            is_over = message["type"] == "lifespan.shutdown"
            if is_over:
                await self._webhooks.stop()
            await send({"type": f"{message['type']}.complete"})
            if is_over:
                return

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        accepted_ms = self._journal.clock_ms()
        path, query = scope["path"], scope["query_string"]
        body = await _read(receive)
        if path == "/_sandbox" or path.startswith("/_sandbox/"):
            answer = self._control.answer(scope["method"], path, query, body)
            await deliver(answer, (), {}, send)
            return
        request = Request(
            id=self._request_ids.request_id(self._clock.now()),
            method=scope["method"],
            path=path,
            query=query,
            headers=dict(scope["headers"]),
            body=body,
        )
        if not await self._exchange(request, accepted_ms, send):
            await drop(receive, send)

    async def _exchange(self, request: Request, accepted_ms: float, send: Send) -> bool:
        """Answer a request; False: its connection is to be closed instead."""
        fired = self._faults.fire(request)
        # A caller who has read the answer must find that its call is over.
        with self._api.under_way(request):
            answer = await self._answer(request, fired)
            self._journal.add(
                accepted_ms=accepted_ms,
                method=request.method,
                path=request.path,
                query=request.query,
                status=0 if answer is None else answer.status,
                intuit_tid=request.id,
            )
            if answer is None:
                return False
            carried = ((b"date", self._clock.http_date()), (b"intuit_tid", request.id.encode()))
            await deliver(answer, carried, fired, send)
        return True

    async def _answer(self, request: Request, fired: FiredFaults) -> Answer | None:
        """Return what goes out; None: the connection is closed instead."""
        replacing = next((fired[kind] for kind in _REPLACING if kind in fired), None)
        seconds = self._latency_s + (fired["delay"].seconds if "delay" in fired else 0)
        if seconds:
            await asyncio.sleep(seconds)
        told = replacing.instead(self._clock) if replacing else None
        if "mutate" in fired:
            self._control.mutate(fired["mutate"].body)
        if replacing is None or replacing.executed:
            true = self._true_answer(request)
            told = told or true
        return None if "drop" in fired else told

    def _true_answer(self, request: Request) -> Answer:
        try:
            return self._api.execute(request)
        except ApiError as refusal:
            return refusal.answer


async def _read(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)
