"""An installation beside a sandbox: the real engine, over real HTTP, on a clock that is held."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from tieline.auth import OpenConnection, auth_of, connection_of
from tieline.checks.kinds import WrongError
from tieline.clock import Clock, ManualClock, SystemClock
from tieline.contract import Entity, OAuth2
from tieline.engine import ask_run, help_run
from tieline.records import restore
from tieline.registry import Plugin, Registry
from tieline.services.installation import Installation
from tieline.services.sandbox import serving
from tieline.services.sandbox_guide import (
    Control,
    EntityGuide,
    Guide,
    SandboxError,
    connect_sandbox,
)
from tieline.settings import load_settings
from tieline.store import quarantined, records, runs, schema
from tieline.store.connections import ConnectionRow
from tieline.store.database import Database
from tieline.store.records import StoredRecord
from tieline.store.rows import RunRow

__all__ = ["Counter", "EndlessError", "Grounds", "MovedClock", "Site", "Stand", "open_site"]

_NO_REDIS = "redis://127.0.0.1:1"  # nothing listens: bells are not rung here
_MOST_TURNS = 20
_MOST_CALLS = 2_000  # of one sandbox; whoever reads its few pages needs a twentieth of that


class EndlessError(WrongError):
    """An entity is read without end.

    Args:
        entity: Its name.
    """

    def __init__(self, entity: str) -> None:
        super().__init__(
            f"reading {entity} took {_MOST_CALLS:,} requests, and went on: its pages never end",
            do="look at what the pages ask for: where the parameter that goes on has another name,"
            " the first page comes for ever; end where the answer says so",
        )
        self.entity = entity


class MovedClock(SystemClock):
    """The machine's clock, that can be moved on: waits take as long as they do."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def now(self) -> datetime:
        """Return the wall time, and what it was moved by."""
        return super().now() + timedelta(seconds=self._ahead)

    def monotonic(self) -> float:
        """Return the machine's monotonic seconds, and what it was moved by."""
        return super().monotonic() + self._ahead

    def move(self, seconds: float) -> None:
        """Move on by so many seconds."""
        self._ahead += seconds


@dataclass
class Counter:
    """What a stand saw of the calls to the provider.

    Attributes:
        now: How many are under way.
        most: How many there were at once.
        at: When each came, in monotonic seconds.
    """

    now: int = 0
    most: int = 0
    at: list[float] = field(default_factory=list)


class Stand:
    """An ASGI application that holds one sandbox after the other, and looks at what passes.

    Attributes:
        app: The sandbox that answers now.
        before: Called with the number of each call to the provider, from 1, before it
            is answered; None: nobody.
        rewrite: What becomes of the body of each answer of the provider; None: nothing.
        counter: Of the calls to the provider.
    """

    def __init__(self) -> None:
        self.clear(None)

    def clear(self, app: Any) -> None:
        """Put another sandbox here; nothing of the one before is left."""
        self.app = app
        self.before: Callable[[int], None] | None = None
        self.rewrite: Callable[[bytes], bytes] | None = None
        self.counter = Counter()

    @property
    def is_flooded(self) -> bool:
        """Whether it was called more often than anybody in good order would."""
        return len(self.counter.at) >= _MOST_CALLS

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"].startswith("/_sandbox"):
            await self.app(scope, receive, send)
            return
        counter = self.counter
        if self.is_flooded:
            await _refuse(send)
            return
        counter.at.append(time.monotonic())
        counter.now += 1
        counter.most = max(counter.most, counter.now)
        try:
            if self.before is not None:
                self.before(len(counter.at))
            if self.rewrite is None:
                await self.app(scope, receive, send)
            else:
                await self._rewritten(scope, receive, send, self.rewrite)
        finally:
            counter.now -= 1

    async def _rewritten(
        self, scope: Any, receive: Any, send: Any, rewrite: Callable[[bytes], bytes]
    ) -> None:
        parts: list[bytes] = []
        started: list[Any] = []

        async def keep(message: Any) -> None:
            if message["type"] == "http.response.start":
                started.append(message)
                return
            parts.append(message.get("body", b""))
            if not message.get("more_body"):
                body = rewrite(b"".join(parts))
                start = started[0]
                others = [pair for pair in start["headers"] if pair[0] != b"content-length"]
                length = (b"content-length", str(len(body)).encode())
                await send(start | {"headers": [*others, length]})
                await send({"type": "http.response.body", "body": body})

        await self.app(scope, receive, keep)


async def _refuse(send: Any) -> None:
    """Answer 400, which nobody tries again."""
    await send({"type": "http.response.start", "status": 400, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


@dataclass
class Site:
    """One connection to one sandbox.

    Attributes:
        plugin: The plugin.
        guide: The sandbox's.
        stand: What the sandbox stands on.
        control: Of the sandbox.
        made: The installation.
        row: The connection.
    """

    plugin: Plugin
    guide: Guide
    url: str
    stand: Stand
    control: Control
    made: Installation
    row: ConnectionRow = field(init=False)

    @property
    def clock(self) -> ManualClock | MovedClock:
        """The installation's clock; the sandbox's is moved with it."""
        assert isinstance(self.made.clock, (ManualClock, MovedClock))
        return self.made.clock

    # --- connecting -------------------------------------------------------------------------------

    def connect(self) -> ConnectionRow:
        """Connect the sandbox's account once more, under another name.

        Raises:
            ProviderError: As the plugin says it.
            SandboxError: The guide names no way that the plugin has.
        """
        return connect_sandbox(
            self.made,
            self.plugin,
            self.url,
            name=f"check-{time.monotonic_ns()}",
            actor="check",
        )

    def again(self) -> Site:
        """Return a site with a connection of its own, on the same installation and sandbox."""
        other = replace(self)
        other.row = self.connect()
        return other

    @contextmanager
    def opened(self) -> Iterator[OpenConnection]:
        """Open the connection, as a worker does."""
        opened = self.made.engine.opener.open(self.row.id)
        try:
            yield opened
        finally:
            opened.transport.close()

    @property
    def secrets(self) -> list[str]:
        """Return what must be nowhere: the credential's fields, without names of people."""
        fields = self.made.engine.opener.refresher.hold(self.row.id).fields
        application = [str(self.guide.auth.get("client_secret", ""))]
        shown = {"username"}
        auth = auth_of(self.plugin, self.row.auth_kind)
        if isinstance(auth, OAuth2):
            shown |= set(auth.kept)
        return [*(text for name, text in fields.items() if name not in shown),
                *filter(None, application)]  # fmt: skip

    @property
    def connection(self) -> Any:
        """The connection, as plugins are handed it."""
        return connection_of(self.row, self.plugin)

    # --- time and syncing -------------------------------------------------------------------------

    def move(self, seconds: float = 60) -> None:
        """Let time go by, here and there."""
        self.clock.move(seconds)
        self.control.post("clock", {"advance_s": seconds})

    def ask(self, entity: Entity, mode: str = "full", **options: Any) -> str:
        """Ask for a run."""
        asked = ask_run(self.made.engine, self.row, entity, mode=mode, asked_by="check", **options)
        return asked.run.id

    def help(self, run_id: str) -> RunRow:
        """Give a run one hand; what it puts off is waited for."""
        for _ in range(_MOST_TURNS):
            help_run(self.made.engine, run_id, threading.Event())
            run = self.run(run_id)
            if run.is_over:
                break
            # Put off, or a part of it is held by somebody who died.
            left = (run.due_at - self.clock.now()).total_seconds()
            self.clock.move(max(left, self.made.settings.lease_s) + 1)
        run = self.run(run_id)
        if self.stand.is_flooded:
            raise EndlessError(run.entity)
        return run

    def sync(self, entity: Entity, mode: str = "full", **options: Any) -> RunRow:
        """Run to the end."""
        return self.help(self.ask(entity, mode, **options))

    def run(self, run_id: str) -> RunRow:
        """Return a run as it is."""
        with self.made.database.read() as transaction:
            found = runs.get_run(transaction, run_id)
        assert found is not None
        return found

    def stored(self, entity: Entity) -> dict[str, Mapping[str, Any]]:
        """Return the live records, by key."""
        return {
            row.record_id: json.loads(restore(row.payload, is_escaped=row.is_escaped))
            for row in self.rows(entity)
        }

    def rows(self, entity: Entity) -> list[StoredRecord]:
        """Return the live records as they are stored."""
        with self.made.database.read() as transaction:
            return records.read_records(
                transaction, self.row.id, entity.name, limit=1_000_000, with_deleted=False
            )

    def quarantined(self, entity: Entity) -> list[dict[str, Any]]:
        """Return what could not be used, of one entity."""
        with self.made.database.read() as transaction:
            return quarantined.list_quarantined(
                transaction, self.row.id, entity.name, limit=1_000_000
            )

    # --- the other side ---------------------------------------------------------------------------

    def about(self, entity: Entity) -> EntityGuide:
        """Return what the guide says of an entity."""
        return self.guide.entities[entity.name]

    def truth(self, entity: Entity) -> dict[str, Mapping[str, Any]]:
        """Return what the sandbox has, by key."""
        return self.control.truth(self.about(entity))

    def order(self, entity: Entity, verb: str, count: int) -> bool:
        """Have some records created, updated or deleted; False if the guide has no such order."""
        given = getattr(self.about(entity), verb)
        if given:
            self.control.order(given, count)
        return bool(given)


class Grounds:
    """What the checks of any number of plugins may share: a folder, a database, a server.

    Use it as a context. Everything in it is removed at the end.
    """

    def __init__(self) -> None:
        self.stand = Stand()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.home = Path(self._stack.enter_context(TemporaryDirectory(prefix="tieline-check-")))
        try:
            self.url = self._stack.enter_context(serving(self.stand))
            made = Installation(_settings(self.home, {}))
            made.make_key()
            (self.home / "tieline.db").touch()
            self.database: Database = made.raw_database
            self._stack.callback(self.database.close)
            schema.upgrade(self.database)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def install(
        self,
        registry: Registry,
        guide: Guide,
        name: str,
        *,
        database_url: str = "",
        redis_url: str = "",
        clock: Clock | None = None,
    ) -> Installation:
        """Make an installation that has one plugin alone.

        Args:
            registry: What has it.
            guide: Of its sandbox.
            name: The provider's name.
            database_url: In place of the database that all share.
            redis_url: For the throttle; empty: there is none.
            clock: Now and sleep; None: one that is held.
        """
        given = {"TIELINE_DATABASE_URL": database_url} if database_url else {}
        given["TIELINE_REDIS_URL"] = redis_url or _NO_REDIS
        for field_name in ("client_id", "client_secret"):
            if text := guide.auth.get(field_name):
                given[f"TIELINE_{name.upper()}_{field_name.upper()}"] = str(text)
        clock = clock or ManualClock(datetime.now(UTC).replace(microsecond=0))
        made = Installation(_settings(self.home, given), clock=clock, registry=registry)
        if database_url:
            schema.upgrade(made.raw_database)
        else:
            made.__dict__["raw_database"] = self.database
        if not redis_url:
            _without_redis(made, registry, clock)
        return made


@contextmanager
def open_site(plugin: Plugin, guide: Guide, grounds: Grounds, made: Installation) -> Iterator[Site]:
    """Connect the account of the sandbox that stands there, its clock at the installation's.

    Raises:
        TielineError: The account cannot be connected.
        SandboxError: The sandbox does not answer as it should.
    """
    control = Control(grounds.url)
    try:
        if isinstance(made.clock, (ManualClock, MovedClock)):
            theirs = float(int(control.get("clock")["now"]))
            ahead = theirs + 60 - made.clock.now().timestamp()
            made.clock.move(max(60.0, ahead))
            is_held = isinstance(made.clock, ManualClock)
            control.post("clock", {"now": made.clock.now().timestamp(), "frozen": is_held})
        site = Site(plugin, guide, grounds.url, grounds.stand, control, made)
        site.row = site.connect()
        yield site
    finally:
        with suppress(SandboxError):
            control.fail()
        control.close()


def _without_redis(made: Installation, registry: Registry, clock: Clock) -> None:
    from tieline.auth import Opener  # noqa: PLC0415 - as the installation does it
    from tieline.engine import Engine  # noqa: PLC0415

    made.__dict__["engine"] = Engine(
        database=made.database,
        registry=registry,
        opener=Opener(made.database, registry, made.vault, made.settings, clock=clock),
        clock=clock,
        settings=made.settings,
        ring=lambda _run_id, _number: None,
    )


def _settings(home: Path, given: Mapping[str, str]) -> Any:
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return load_settings({"TIELINE_HOME": str(home), **given}, home)
