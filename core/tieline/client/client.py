"""The calls, by name. Each returns what the API's document says, as plain values."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, cast
from urllib.parse import quote

import httpx

from tieline.client.errors import NotFoundError
from tieline.client.types import (
    Alert,
    Change,
    Changes,
    Connection,
    Consumer,
    DeadLetter,
    LogEntry,
    MadeToken,
    Operation,
    Record,
    Run,
    Schedule,
    Token,
    WebhookEvent,
)
from tieline.client.wire import Wire

__all__ = ["Client"]

_PAGE = 200
Mode = Literal["incremental", "full", "window", "verify", "repair"]


class Client:
    """Calls ``tieline serve``; a context that gives its sockets back.

    Lists are iterators that read page by page. A call that is safe to repeat
    is repeated while the server is away or busy: reads, and everything that
    carries an Idempotency-Key, as each POST here does.

    Args:
        url: Where it is, without ``/v1``: ``https://tieline.example.com``.
        token: ``tln_…``, as ``tieline tokens create`` prints it.
        timeout_s: Seconds that one try may take.
        tries: How often a call is tried in all.
        transport: In place of the network, for tests.
        sleep: Waits; injectable for tests.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout_s: float = 40.0,
        tries: int = 4,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._sleep = sleep
        self._wire = Wire(
            url, token, timeout_s=timeout_s, tries=tries, transport=transport, sleep=sleep
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the sockets back."""
        self._wire.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> Any:
        """Make any call of the API's document.

        Args:
            method: Of HTTP.
            path: Below ``/v1``, its parts percent-encoded.
            query: Parameters; those that are None are left out.
            body: Sent as JSON.
            key: The Idempotency-Key of a POST; a new one if None. Give one of
                your own to repeat a call after your own process died.

        Raises:
            ApiError: Of the class that says what to do.
        """
        return self._wire.ask(method, path, query=query, body=body, key=key)[0]

    def pages(self, path: str, *, query: Mapping[str, Any] | None = None) -> Iterator[Any]:
        """Go through a list, page by page."""
        asked: dict[str, Any] = {"limit": _PAGE, **(query or {})}
        while True:
            page = self.request("GET", path, query=asked)
            yield from page["data"]
            if page["next"] is None:
                return
            asked["cursor"] = page["next"]

    # --- connections -------------------------------------------------------------------------

    def providers(self) -> list[dict[str, Any]]:
        """Return the installed providers, the broken ones with their cause."""
        return list(self.request("GET", "/providers")["data"])

    def connections(self) -> Iterator[Connection]:
        """Go through the connections by name."""
        return self.pages("/connections")

    def connection(self, name: str) -> Connection:
        """Return one connection, by name or id."""
        return cast("Connection", self.request("GET", _path("connections", name)))

    def connect_api_key(self, provider: str, name: str, api_key: str, **more: Any) -> Connection:
        """Connect an account by its key; ``more``: ``environment``, ``base_url``, ``settings``."""
        body = {"provider": provider, "name": name, "api_key": api_key, **more}
        return cast("Connection", self.request("POST", "/connections", body=body))

    def test(self, name: str) -> dict[str, Any]:
        """Ask the provider whose account a connection is."""
        return dict(self.request("POST", _path("connections", name, "test")))

    def pause(self, name: str) -> Connection:
        """Let a connection rest."""
        return cast("Connection", self.request("POST", _path("connections", name, "pause")))

    def resume(self, name: str) -> Connection:
        """Let a paused connection go on."""
        return cast("Connection", self.request("POST", _path("connections", name, "resume")))

    def remove(self, name: str, *, keep_records: bool = False, force: bool = False) -> Any:
        """Disconnect an account, and remove its records unless they are to be kept."""
        query = {"keep_records": keep_records, "force": force}
        return self.request("DELETE", _path("connections", name), query=query)

    # --- runs and schedules ------------------------------------------------------------------

    def start_run(
        self,
        connection: str,
        entity: str,
        *,
        mode: Mode = "incremental",
        since: str | None = None,
        until: str | None = None,
        allow_deletes: bool = False,
        key: str | None = None,
    ) -> Run:
        """Ask for a run, or return the one that is active already."""
        body = {"entity": entity, "mode": mode, "allow_deletes": allow_deletes}
        body |= {k: v for k, v in (("since", since), ("until", until)) if v is not None}
        path = _path("connections", connection, "runs")
        return cast("Run", self.request("POST", path, body=body, key=key)["run"])

    def run(self, run_id: str) -> Run:
        """Return one run."""
        return cast("Run", self.request("GET", _path("runs", run_id)))

    def runs(self, *, connection: str | None = None, states: Sequence[str] = ()) -> Iterator[Run]:
        """Go through the runs, newest first."""
        return self.pages("/runs", query={"connection": connection, "state": list(states)})

    def cancel_run(self, run_id: str) -> Run:
        """Stop a run at its next page."""
        return cast("Run", self.request("POST", _path("runs", run_id, "cancel")))

    def wait_for_run(self, run_id: str, *, timeout_s: float = 600.0, every_s: float = 1.0) -> Run:
        """Wait until a run is over.

        Raises:
            TimeoutError: It is not, after so long; it goes on.
        """
        until = time.monotonic() + timeout_s
        while (run := self.run(run_id))["finished_at"] is None:
            if time.monotonic() >= until:
                raise TimeoutError(f"{run_id} is {run['state']} after {timeout_s:g} s")
            self._sleep(every_s)
        return run

    def schedules(self, *, connection: str | None = None) -> Iterator[Schedule]:
        """Go through the schedules."""
        return self.pages("/schedules", query={"connection": connection})

    def schedule(self, connection: str, entity: str) -> tuple[Schedule, str]:
        """Return a schedule, and the tag by which :meth:`set_schedule` knows it again."""
        path = _path("connections", connection, "schedules", entity)
        found, tag = self._wire.ask("GET", path)
        return cast("Schedule", found), tag or ""

    def set_schedule(
        self, connection: str, entity: str, rule: str, *, tag: str | None = None, **more: Any
    ) -> Schedule:
        """Say when an entity is synced.

        Args:
            connection: Name or id.
            entity: What is synced.
            rule: ``every 15m``; with ``is_cron=True`` five fields of cron.
            tag: Of the schedule as it was read; None: whatever it is by now.
            **more: ``is_cron``, ``zone``, ``jitter_s``, ``full_every``.

        Raises:
            ChangedError: Somebody changed it since.
        """
        path = _path("connections", connection, "schedules", entity)
        made, _ = self._wire.ask("PUT", path, body={"rule": rule, **more}, if_match=tag)
        return cast("Schedule", made)

    def remove_schedule(self, connection: str, entity: str) -> None:
        """Remove a schedule."""
        self.request("DELETE", _path("connections", connection, "schedules", entity))

    # --- records -----------------------------------------------------------------------------

    def records(self, connection: str, entity: str, *, live: bool = False) -> Iterator[Record]:
        """Go through the records in the order of their last change."""
        path = _path("connections", connection, "entities", entity, "records")
        return self.pages(path, query={"live": live})

    def record(self, connection: str, entity: str, record_id: str) -> Record | None:
        """Return one record, a tombstone too; None if there is none."""
        path = _path("connections", connection, "entities", entity, "records", record_id)
        try:
            return cast("Record", self.request("GET", path))
        except NotFoundError as error:
            if error.code == "record-unknown":
                return None
            raise

    def changes(
        self, connection: str, entity: str, *, after: int = 0, limit: int = 1000
    ) -> Changes:
        """Read changes after a position that you keep: 0, then ``next`` of the answer before."""
        path = _path("connections", connection, "entities", entity, "changes")
        return cast("Changes", self.request("GET", path, query={"after": after, "limit": limit}))

    def consume(
        self, connection: str, entity: str, consumer: str, *, limit: int = 1000
    ) -> Iterator[list[Record]]:
        """Go through what a consumer has not dealt with, part by part, to the end of the feed.

        Its position is kept by the server, and moves on when you ask for the
        next part: each change comes at least once.

        Raises:
            ConflictError: Somebody else moved the consumer.
        """
        path = _path("connections", connection, "entities", entity, "consumers", consumer)
        try:
            self.request("GET", path)
        except NotFoundError as error:
            if error.code != "consumer-unknown":
                raise
            self.request("PUT", path, body={"position": 0})
        while True:
            found = self.request("GET", f"{path}/changes", query={"limit": limit})
            if found["next"] == found["after"]:
                return
            yield found["data"]
            done = {"after": found["after"], "next": found["next"]}
            self.request("POST", f"{path}/acknowledge", body=done)

    def consumers(self, connection: str, entity: str) -> list[Consumer]:
        """Return the consumers of a feed by name."""
        path = _path("connections", connection, "entities", entity, "consumers")
        return list(self.request("GET", path)["data"])

    # --- writing -----------------------------------------------------------------------------

    def change(
        self,
        connection: str,
        entity: str,
        changes: Sequence[Change],
        *,
        policy: str = "hold",
        key: str | None = None,
    ) -> list[Operation]:
        """Change records at the provider, all or none; a worker sends them."""
        body = {"entity": entity, "changes": list(changes), "policy": policy}
        path = _path("connections", connection, "outbox")
        return list(self.request("POST", path, body=body, key=key)["operations"])

    def operation(self, operation_id: str) -> Operation:
        """Return one operation of the outbox."""
        return cast("Operation", self.request("GET", _path("outbox", operation_id)))

    def outbox(
        self, *, connection: str | None = None, states: Sequence[str] = ()
    ) -> Iterator[Operation]:
        """Go through the operations that are not finished, or those of some states."""
        return self.pages("/outbox", query={"connection": connection, "state": list(states)})

    # --- looking after it --------------------------------------------------------------------

    def limits(self, connection: str | None = None) -> list[dict[str, Any]]:
        """Return how the accounts stand with their providers' limits."""
        return list(self.request("GET", "/limits", query={"connection": connection})["data"])

    def set_limits(self, connection: str, limits: str, *, lasting: str) -> Any:
        """Let other limits hold for an account, for a time such as ``2h``."""
        body = {"limits": limits, "lasting": lasting}
        return self.request("PUT", _path("connections", connection, "limits"), body=body)["data"]

    def dead_letters(self, *, connection: str | None = None) -> Iterator[DeadLetter]:
        """Go through what was given up, and waits for a person."""
        return self.pages("/dead-letters", query={"connection": connection})

    def retry_dead_letter(self, letter_id: str) -> dict[str, Any]:
        """Try again what was given up."""
        return dict(self.request("POST", _path("dead-letters", letter_id, "retry")))

    def events(
        self, *, connection: str | None = None, states: Sequence[str] = ()
    ) -> Iterator[WebhookEvent]:
        """Go through the webhook events, newest first."""
        return self.pages("/webhook-events", query={"connection": connection, "state": states})

    def replay_events(self, **which: Any) -> int:
        """Have events handled once more: by ``ids``, ``connection``, ``types`` and so on."""
        return int(self.request("POST", "/webhook-events/replay", body=which)["count"])

    def alerts(self, *, connection: str | None = None) -> Iterator[Alert]:
        """Go through what somebody should look at."""
        return self.pages("/alerts", query={"connection": connection})

    def audit_log(self, **which: Any) -> Iterator[LogEntry]:
        """Go through who did what: by ``connection``, ``actor``, ``event`` and so on."""
        return self.pages("/audit-log", query=which)

    def tokens(self) -> Iterator[Token]:
        """Go through the tokens of the API."""
        return self.pages("/tokens")

    def create_token(
        self,
        name: str,
        scope: Literal["read", "operate", "admin"],
        *,
        connections: Sequence[str] | None = None,
        expires_in: str | None = None,
    ) -> MadeToken:
        """Make a token; it is told now and never again. Without connections it sees all."""
        body: dict[str, Any] = {"name": name, "scope": scope}
        if connections is not None:
            body["connections"] = list(connections)
        if expires_in is not None:
            body["expires_in"] = expires_in
        return cast("MadeToken", self.request("POST", "/tokens", body=body))

    def revoke_token(self, name: str) -> Token:
        """End a token."""
        return cast("Token", self.request("DELETE", _path("tokens", name)))


def _path(*parts: str) -> str:
    return "".join(f"/{quote(part, safe='')}" for part in parts)
