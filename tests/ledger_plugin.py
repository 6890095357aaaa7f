"""A plugin whose provider is in memory and keeps a log of changes, as Stripe does.

Its list runs newest first and can be bounded by ``created``; its log holds
snapshots with the time of the event in whole seconds. Both can be refused.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from marshmallow import fields

from tieline.contract import (
    CONTRACT_VERSION,
    Account,
    ApiKey,
    Change,
    Entity,
    Feed,
    FeedPage,
    Page,
    Provider,
    RecordSchema,
    RequestRejectedError,
    Whole,
    Windows,
    hookimpl,
)


@dataclass
class Ledger:
    """What the provider has, says and refuses."""

    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    page_size: int = 3
    rows: dict[str, dict] = field(default_factory=dict)
    log: list[Change] = field(default_factory=list)
    calls: list[tuple[str, object]] = field(default_factory=list)
    refuses: dict[str, Exception] = field(default_factory=dict)
    hears: bool = True
    before_page: Callable[[Ledger], None] = lambda ledger: None
    lock: threading.RLock = field(default_factory=threading.RLock)

    def now(self) -> datetime:
        return self.clock().replace(microsecond=0)

    def put(self, key: str, *, created: int | None = None, **extra) -> None:
        with self.lock:
            known = self.rows.get(key, {"id": key})
            stamp = known.get("created", created or int(self.now().timestamp()))
            self.rows[key] = {**known, "created": stamp, **extra}
            self._tell(Change(key=key, at=self.now(), record=dict(self.rows[key])))

    def remove(self, key: str) -> None:
        with self.lock:
            self.rows.pop(key)
            self._tell(Change(key=key, at=self.now(), is_deleted=True))

    def _tell(self, change: Change) -> None:
        if self.hears:
            self.log.append(change)

    def page(self, window, after: str | None) -> Page:
        self.before_page(self)
        with self.lock:
            bounds = (window.start, window.end)
            self.calls.append(("list", bounds))
            if any(bounds) and "window" in self.refuses:
                raise self.refuses["window"]
            if "list" in self.refuses:
                raise self.refuses["list"]
            rows = sorted(
                (row for row in self.rows.values() if _within(row, window)),
                key=lambda row: (row["created"], row["id"]),
                reverse=True,
            )
            if after is not None:
                stamp, _, key = after.partition("/")
                place = (int(stamp), key)
                rows = [row for row in rows if (row["created"], row["id"]) < place]
            found = rows[: self.page_size]
            last = f"{found[-1]['created']}/{found[-1]['id']}" if len(rows) > len(found) else None
            return Page(records=[dict(row) for row in found], next=last, as_of=self.now())

    def changes(self, window, cursor: str | None) -> FeedPage:
        with self.lock:
            self.calls.append(("feed", window.start))
            if "feed" in self.refuses:
                raise self.refuses["feed"]
            found = [change for change in reversed(self.log) if change.at >= window.start]
            start = int(cursor or 0)
            end = start + self.page_size
            following = str(end) if end < len(found) else None
            return FeedPage(changes=found[start:end], next=following, as_of=self.now())

    def get(self, key: str) -> dict | None:
        with self.lock:
            self.calls.append(("get", key))
            if (fault := self.refuses.get(f"get {key}", self.refuses.get("get"))) is not None:
                raise fault
            return dict(self.rows[key]) if key in self.rows else None

    def count(self, kind: str) -> int:
        return sum(1 for call in self.calls if call[0] == kind)


def _within(row: dict, window) -> bool:
    time = datetime.fromtimestamp(row["created"], UTC)
    return not ((window.start and time < window.start) or (window.end and time >= window.end))


def refused() -> RequestRejectedError:
    return RequestRejectedError("Received unknown parameter")


LEDGERS: dict[str, Ledger] = {}
_numbers = itertools.count(1)


def new_ledger(**options) -> tuple[str, Ledger]:
    """Make a ledger and the base address under which a connection finds it."""
    url = f"http://ledger{next(_numbers)}.example.com"
    LEDGERS[url] = Ledger(**options)
    return url, LEDGERS[url]


class Row(RecordSchema):
    id = fields.String(required=True)
    name = fields.String(allow_none=True)
    created = Whole(allow_none=True)


EVENTS = {
    "row.created": "upsert",
    "row.updated": "upsert",
    "row.deleted": "delete",
    "row.touched": "re-read",
}


def read_page(client: Ledger, params, cursor):
    return client.page(params.window, cursor)


def read_changes(client: Ledger, params, cursor):
    return client.changes(params.window, cursor)


@hookimpl
def tieline_provider():
    return Provider(
        name="ledger",
        title="Ledger",
        contract=CONTRACT_VERSION,
        environments={"live": "https://ledger.example.com"},
    )


@hookimpl
def tieline_auth():
    return ApiKey(identify=lambda client: Account(name="Ledger"))


@hookimpl
def tieline_client(connection):
    return LEDGERS[connection.base_url]


@hookimpl
def tieline_entities():
    feed = Feed(page=read_changes, retention=timedelta(days=30), overlap=timedelta(minutes=10))
    windows = Windows(
        field="created", order="newest first", earliest=datetime(2020, 1, 1, tzinfo=UTC)
    )
    return [
        Entity(
            name="rows",
            schema=Row(),
            page=read_page,
            get=lambda client, key: client.get(key),
            feed=feed,
            windows=windows,
            events=EVENTS,
            scope="Rows: Read",
        ),
        Entity(name="listed", schema=Row(), page=read_page, events=EVENTS),
    ]
