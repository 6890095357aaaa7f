"""An installation beside a sandbox: the real engine, over real HTTP, on a clock that is held."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tieline.auth import OpenConnection, auth_of, connection_of
from tieline.checks.guide import Control, EntityGuide, Guide
from tieline.checks.kinds import WrongError
from tieline.clock import ManualClock
from tieline.contract import ApiKey, Entity, OAuth2, Secret
from tieline.engine import ask_run, help_run
from tieline.registry import Plugin, Registry
from tieline.services.connect import connect_api_key, connect_basic
from tieline.services.installation import Installation
from tieline.services.oauth import connect_granted, intend
from tieline.settings import load_settings
from tieline.store import quarantined, records, runs, schema
from tieline.store.connections import ConnectionRow
from tieline.store.rows import RunRow

__all__ = ["Counter", "Site", "Stand", "make_template", "open_site"]

_NO_REDIS = "redis://127.0.0.1:1"  # nothing listens: bells are not rung here
_MOST_TURNS = 40


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

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"].startswith("/_sandbox"):
            await self.app(scope, receive, send)
            return
        counter = self.counter
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


@dataclass
class Site:
    """One connection to one sandbox.

    Attributes:
        plugin: The plugin.
        guide: The sandbox's.
        stand: What the sandbox stands on.
        control: Of the sandbox.
        made: The installation.
        clock: The installation's; the sandbox's is moved with it.
        row: The connection.
    """

    plugin: Plugin
    guide: Guide
    url: str
    stand: Stand
    control: Control
    made: Installation
    clock: ManualClock
    row: ConnectionRow = field(init=False)

    # --- connecting -------------------------------------------------------------------------------

    def connect(self) -> ConnectionRow:
        """Connect the sandbox's account once more, under another name.

        Raises:
            ProviderError: As the plugin says it.
            WrongError: The guide names no way that the plugin has.
        """
        name = f"check-{time.monotonic_ns()}"
        given = self.guide.auth
        kind = given.get("kind", "")
        ways = {auth.kind: auth for auth in self.plugin.auth}
        if kind not in ways:
            raise WrongError(f"the guide connects by {kind!r}; the plugin takes {', '.join(ways)}")
        if kind == "oauth2":
            return self._connect_granted(name)
        fields: Mapping[str, str] = given.get("fields", {})
        common = {"name": name, "base_url": self.url, "actor": "check"}
        try:
            if kind == "basic":
                return connect_basic(
                    self.made,
                    self.plugin.name,
                    username=fields["username"],
                    password=Secret(fields["password"]),
                    **common,
                )
            way = ways[kind]
            assert isinstance(way, ApiKey)
            key = Secret(fields[way.field])
        except KeyError as error:
            raise WrongError(f"the guide's auth.fields lack {error}") from None
        return connect_api_key(self.made, self.plugin.name, key=key, **common)

    def _connect_granted(self, name: str) -> ConnectionRow:
        intent = intend(self.made, self.plugin.name, name=name, base_url=self.url, actor="check")
        answer = self.control.post("oauth", {"grant": {"account": 0}})
        declared = auth_of(self.plugin, "oauth2")
        assert isinstance(declared, OAuth2)
        owners = self.control.get("")["accounts"] if declared.keep_redirect else []
        owner = str(owners[0]["id"]) if owners else ""
        return connect_granted(
            self.made, intent, answer, dict.fromkeys(declared.keep_redirect, owner)
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
        asked = ask_run(
            self.made.engine, self.row, entity, mode=mode, asked_by="check", **options
        )
        return asked.run.id

    def help(self, run_id: str) -> RunRow:
        """Give a run one hand; what it puts off is waited for."""
        for _ in range(_MOST_TURNS):
            help_run(self.made.engine, run_id, threading.Event())
            run = self.run(run_id)
            if run.is_over or run.due_at <= self.clock.now():
                break
            self.clock.move((run.due_at - self.clock.now()).total_seconds() + 1)
        return self.run(run_id)

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
        with self.made.database.read() as transaction:
            rows = records.read_records(transaction, self.row.id, entity.name, limit=1_000_000)
        return {row.record_id: json.loads(row.payload) for row in rows}

    def quarantined(self, entity: Entity) -> list[Any]:
        """Return what could not be used, of one entity."""
        with self.made.database.read() as transaction:
            found = quarantined.list_quarantined(transaction, self.row.id)
        return [each for each in found if each.entity == entity.name]

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


def make_template(folder: Path) -> None:
    """Make an installation's folder that sites are copied from: a database and a key."""
    made = Installation(_settings(folder, {}))
    try:
        made.make_key()
        database = made.settings.home / "tieline.db"
        database.touch()
        schema.upgrade(made.raw_database)
    finally:
        made.close()


@contextmanager
def open_site(
    plugin: Plugin,
    registry: Registry,
    guide: Guide,
    stand: Stand,
    *,
    url: str,
    template: Path,
    folder: Path,
    database_url: str = "",
    redis_url: str = "",
    clock: Any = None,
) -> Iterator[Site]:
    """Open a new installation beside the sandbox that stands there, and connect its account.

    Args:
        plugin: The plugin.
        registry: What has it alone.
        guide: The sandbox's.
        stand: Holds the sandbox.
        url: Where the stand is served.
        template: As :func:`make_template` made it.
        folder: An empty one, for this site.
        database_url: In place of a fresh SQLite file.
        redis_url: For the throttle; empty: there is none.
        clock: In place of one that is held.

    Raises:
        WrongError: The account cannot be connected.
    """
    shutil.copytree(template, folder, dirs_exist_ok=True)
    given = {"TIELINE_DATABASE_URL": database_url} if database_url else {}
    given["TIELINE_REDIS_URL"] = redis_url or _NO_REDIS
    for name in ("client_id", "client_secret"):
        if text := guide.auth.get(name):
            given[f"TIELINE_{plugin.name.upper()}_{name.upper()}"] = str(text)
    control = Control(url)
    now = float(int(control.get("clock")["now"])) + 60
    control.post("clock", {"now": now, "frozen": True})
    held = ManualClock(datetime.fromtimestamp(now, UTC))
    settings = _settings(folder, given)
    made = Installation(settings, clock=clock or held, registry=registry)
    try:
        if database_url:
            schema.upgrade(made.raw_database)
        if not redis_url:
            _without_redis(made, registry, held)
        site = Site(plugin, guide, url, stand, control, made, held)
        site.row = site.connect()
        yield site
    finally:
        with suppress(WrongError):
            control.fail()
        control.close()
        made.close()


def _without_redis(made: Installation, registry: Registry, clock: ManualClock) -> None:
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
