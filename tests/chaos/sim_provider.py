"""A provider in memory with a list, a log of changes and every bad habit, and its plugin.

Its list runs newest first and goes on after a key, as Stripe's does. Ids are
never used again. All chance comes from the world's one source of it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random

from marshmallow import fields

from tieline.clock import Clock
from tieline.contract import (
    CONTRACT_VERSION,
    Account,
    ApiKey,
    Change,
    CursorExpiredError,
    Entity,
    Feed,
    FeedPage,
    Page,
    Provider,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    RecordSchema,
    RequestRejectedError,
    Whole,
    Windows,
    hookimpl,
)

START = datetime(2026, 11, 1, tzinfo=UTC)
EARLIEST = START - timedelta(hours=2)
RETENTION = timedelta(days=30)
OVERLAP = timedelta(minutes=10)
PAGE = 3


@dataclass(frozen=True)
class Happened:
    """An entry of the log: what happened, and when it can be seen there."""

    id: str
    at: datetime
    shown_at: datetime
    key: str
    record: dict | None


@dataclass
class SimProvider:
    """The provider of one seed.

    Attributes:
        rng: Decides everything.
        clock: The world's; the provider's own is ``ahead`` of it.
        ahead: How far.
        most: How many objects there may be.
        fault_share: How many calls of a hundred go wrong.
        pause: Hands control to the world: once before an answer is made, once
            before it arrives.
        is_versioned: Records have versions.
        tells_time: Pages say from when they are.
    """

    rng: Random
    clock: Clock
    ahead: timedelta = timedelta(0)
    most: int = 14
    fault_share: int = 0
    pause: object = lambda: None
    is_versioned: bool = False
    tells_time: bool = True
    objects: dict[str, dict] = field(default_factory=dict)
    log: list[Happened] = field(default_factory=list)
    calls: int = 0
    ids: itertools.count = field(default_factory=lambda: itertools.count(1))
    versions: int = 0
    is_quiet: bool = False

    def now(self) -> datetime:
        return self.clock.now() + self.ahead

    # --- what people do there ---------------------------------------------------------------

    def fill(self, count: int) -> None:
        """Make objects of before."""
        for _ in range(count):
            seconds = self.rng.randrange(int((START - EARLIEST).total_seconds()))
            self._make(EARLIEST + timedelta(seconds=seconds))

    def mutate(self) -> None:
        """Create, change or delete something."""
        chance = self.rng.random()
        keys = sorted(self.objects)
        if not keys or (chance < 0.35 and len(keys) < self.most):
            self._note(self._make(self.now()))
        elif chance < 0.6:
            key = self.rng.choice(keys)
            self.objects.pop(key)
            self._note(key)
        else:
            key = self.rng.choice(keys)
            self.objects[key] = self._stamped(self.objects[key] | {"name": self._name()})
            self._note(key)

    def _make(self, created: datetime) -> str:
        key = f"o{next(self.ids):03d}"
        record = {"id": key, "name": self._name(), "created": int(created.timestamp())}
        self.objects[key] = self._stamped(record)
        return key

    def _stamped(self, record: dict) -> dict:
        if self.is_versioned:
            self.versions += self.rng.randrange(1, 3)
            record = record | {"version": self.versions}
        return record

    def _name(self) -> str:
        return self.rng.choice("abc")

    def _note(self, key: str) -> None:
        late = timedelta(seconds=self.rng.choice((0, 0, 0, 30, 400)))
        at = self.now()
        self.log.append(
            Happened(
                id=f"e{len(self.log):04d}",
                at=at.replace(microsecond=0),
                shown_at=at + late,
                key=key,
                record=self.objects.get(key),
            )
        )

    # --- what its API answers -----------------------------------------------------------------

    def list_page(self, params, cursor: str | None) -> Page:
        self._call(cursor)
        window = params.window
        found = sorted(
            (one for one in self.objects.values() if _is_in(window, one["created"])),
            key=lambda one: (one["created"], one["id"]),
            reverse=True,
        )
        as_of = self._told()
        if cursor is not None:
            last = self.objects.get(cursor)
            if last is None:
                raise CursorExpiredError("no such object")
            place = (last["created"], last["id"])
            found = [one for one in found if (one["created"], one["id"]) < place]
        page = [dict(one) for one in found[:PAGE]]
        following = page[-1]["id"] if len(found) > PAGE else None
        self._answer()
        return Page(records=page, next=following, as_of=as_of)

    def log_page(self, params, cursor: str | None) -> FeedPage:
        self._call(cursor)
        now, start = self.now(), params.window.start
        shown = [
            one
            for one in reversed(self.log)
            if one.shown_at <= now
            and one.at >= now - RETENTION
            and (start is None or one.at >= start.replace(microsecond=0))
        ]
        as_of = self._told()
        if cursor is not None:
            known = {one.id for one in self.log if one.at >= now - RETENTION}
            if cursor not in known:
                raise CursorExpiredError("no such event")
            shown = [one for one in shown if one.id < cursor]
        page = shown[:PAGE]
        following = page[-1].id if len(shown) > PAGE else None
        self._answer()
        return FeedPage(changes=[self._change(one) for one in page], next=following, as_of=as_of)

    def _change(self, one: Happened) -> Change:
        if one.record is None:
            return Change(key=one.key, at=one.at, is_deleted=True)
        number = int(one.id[1:])
        has_record = self.is_versioned or number % 4
        return Change(key=one.key, at=one.at, record=dict(one.record) if has_record else None)

    def get(self, key: str) -> dict | None:
        self._call(None)
        found = self.objects.get(key)
        self._answer()
        return dict(found) if found else None

    def _told(self) -> datetime | None:
        """Tell the time as a Date less the call's duration does: up to two seconds early."""
        if not self.tells_time:
            return None
        early = timedelta(seconds=self.rng.randrange(2))
        return (self.now() - early).replace(microsecond=0)

    def _call(self, cursor: str | None) -> None:
        self.calls += 1
        self.pause()
        if self.rng.random() * 100 < self.fault_share:
            raise self._fault(cursor)

    def _fault(self, cursor: str | None) -> ProviderError:
        kind = self.rng.randrange(6)
        if kind < 3:
            return RateLimitedError("429", retry_after=(2, 120, None)[kind])
        if kind == 3 and cursor:
            return CursorExpiredError("expired")
        return ProviderUnavailableError("timeout", retry_after=10 if kind == 4 else None)

    def _answer(self) -> None:
        if self.rng.random() < 0.15 and not self.is_quiet:
            self.mutate()
        self.pause()


def _is_in(window, created: int) -> bool:
    start = window.start is None or created >= window.start.timestamp()
    return start and (window.end is None or created < window.end.timestamp())


# --- the plugin ------------------------------------------------------------------------------

PRESENT: dict[str, SimProvider] = {}
ADDRESS = "http://sim.example.com"


class Thing(RecordSchema):
    id = fields.String(required=True)
    name = fields.String()
    created = Whole()
    version = Whole()


def read_list(client, params, cursor):
    return client.list_page(params, cursor)


def read_whole_list(client, params, cursor):
    if params.window.start or params.window.end:
        raise RequestRejectedError("no windows here")
    return client.list_page(params, cursor)


def read_log(client, params, cursor):
    return client.log_page(params, cursor)


def read_one(client, key):
    return client.get(key)


@hookimpl
def tieline_provider():
    return Provider(
        name="sim", title="Sim", contract=CONTRACT_VERSION, environments={"live": ADDRESS}
    )


@hookimpl
def tieline_auth():
    return ApiKey(identify=lambda client: Account(name="Sim"))


@hookimpl
def tieline_client(connection):
    return PRESENT[connection.base_url]


@hookimpl
def tieline_entities():
    windows = Windows(field="created", order="newest first", earliest=EARLIEST)
    feed = Feed(page=read_log, retention=RETENTION - timedelta(days=1), overlap=OVERLAP)
    common = {"schema": Thing(), "feed": feed, "get": read_one}
    return [
        Entity(name="things", page=read_list, windows=windows, **common),
        Entity(name="versioned", page=read_whole_list, version=lambda r: r["version"], **common),
        Entity(name="listed", schema=Thing(), page=read_list, windows=windows),
    ]
