"""Confirm what a verification found, before it is told: the provider did not stand still.

A list takes time to read. What changed on either side meanwhile is no gap: what
we wrote since is newer than the finding, and what the provider's log of changes
names comes with the next sync. What is left is read once more by its key, where
the entity can do that, for a list may also have left a record out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from tieline.auth import OpenConnection
from tieline.contract import (
    CursorExpiredError,
    Entity,
    InvalidRecordError,
    PageParams,
    Record,
    RequestRejectedError,
    Window,
)
from tieline.engine.blame import blamed
from tieline.engine.fetch import retrying
from tieline.engine.held import Cancelled
from tieline.engine.kit import Engine
from tieline.errors import StopRequested
from tieline.records import canonical, is_same_content
from tieline.store import findings, partitions, quarantined, runs, sightings
from tieline.store import records as record_store
from tieline.store.database import Connection
from tieline.store.findings import Finding
from tieline.store.rows import RunRow
from tieline.telemetry import get_logger

__all__ = ["MOST_ASKED", "Confirmation"]

MOST_ASKED = 500
"""How many findings are read again by key; more are told as they were found."""
_MOST_LOG_PAGES = 1000

_log = get_logger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Confirmation:
    """The last look at one verification's findings.

    Attributes:
        engine: The parts.
        opened: The connection's client.
        run: The run, of mode ``verify``.
        entity: What it read.
        stop: Set when this process has to leave.
    """

    engine: Engine
    opened: OpenConnection
    run: RunRow
    entity: Entity
    stop: threading.Event

    def settle(self) -> None:
        """Keep the findings that hold, once all parts of the run were read.

        Harmless if somebody else does the same: the outcome is written whole,
        and only while the run goes on.

        Raises:
            StopRequested: ``stop`` was set; another worker begins anew.
            Cancelled: The run is to stop.
            ProviderError: What a request raised, once its own tries were used up.
        """
        if (named := self._named()) is None:
            return
        found = self._most_doubtful_first(named)
        changed = self._changed_there() if found else set()
        kept = [each for each in found if each.record_id not in changed]
        if self.entity.get is not None:
            asked = [self._again(each) for each in kept[:MOST_ASKED]]
            kept = [*(each for each in asked if each is not None), *kept[MOST_ASKED:]]

        def keep(connection: Connection) -> None:
            if runs.lock_running(connection, self.run.id):
                outdated = [each.record_id for each in set(named) - set(kept)]
                findings.drop(connection, self.run.id, outdated)
                findings.add(connection, self.run.id, kept, now=self.engine.clock.now())
                findings.drop_written_since(connection, self.run)

        self.engine.database.transact(keep)

    def _named(self) -> list[Finding] | None:
        """Return what the pages showed; None if some of them are unread."""
        with self.engine.database.read() as connection:
            if not partitions.all_done(connection, self.run.id):
                return None
            return findings.all_found(connection, self.run.id)

    def _most_doubtful_first(self, named: Sequence[Finding]) -> list[Finding]:
        """Add what no page held, and put first what a list may have left out by mistake."""
        keys = {each.record_id for each in named}
        with self.engine.database.read() as connection:
            unseen = [key for key in self._unseen(connection) if key not in keys]
        surplus = [Finding(key, "surplus", None) for key in unseen]
        order = ("surplus", "stale", "missing")
        return sorted([*surplus, *named], key=lambda each: order.index(each.kind))

    def _unseen(self, connection: Connection) -> list[str]:
        if self.entity.deletes in {"flag", "none"}:
            return []
        if quarantined.nameless_in(connection, self.run.id):
            return []  # one of the missing may be the record that could not be read
        of = (self.run.connection_id, self.run.entity)
        live = record_store.count_live(connection, *of)
        return sightings.unseen_keys(connection, *of, run_id=self.run.id, limit=live)

    def _changed_there(self) -> set[str]:
        """Return the keys that the provider's log of changes names since the run began."""
        feed = self.entity.feed
        with self.engine.database.read() as connection:
            began = partitions.earliest_as_of(connection, self.run.id)
        if feed is None or began is None:
            return set()
        since = began.astimezone(UTC).replace(microsecond=0)  # logs tell times in whole seconds
        params = PageParams(window=Window(start=since, end=None))
        try:
            return self._read_log(partial(feed.page, self.opened.client, params), since)
        except (RequestRejectedError, CursorExpiredError) as error:
            _log.warning("the log of changes cannot be read: findings are told unfiltered",
                         reason=error.message)  # fmt: skip
            return set()

    def _read_log(self, step: Callable[[str | None], object], since: datetime) -> set[str]:
        changed: set[str] = set()
        cursor: str | None = None
        for _ in range(_MOST_LOG_PAGES):
            page = self._ask(partial(step, cursor))
            changes = getattr(page, "changes", ())
            changed |= {change.key for change in changes if change.at >= since}
            following = getattr(page, "next", None)
            if following is None or following == cursor:
                break
            cursor = following
        return changed

    def _again(self, finding: Finding) -> Finding | None:
        """Read one record again on both sides; None if they agree, or the record is gone there."""
        theirs = self._ask(partial(self._get, finding.record_id))
        with self.engine.database.read() as connection:
            ours = record_store.read_record(
                connection, self.run.connection_id, self.run.entity, finding.record_id
            )
        is_live = ours is not None and ours.deleted_at is None
        volatile = tuple(self.entity.volatile)
        if theirs is None:
            return finding if finding.kind == "surplus" and is_live else None
        try:
            text, digest, is_escaped = canonical(theirs, volatile)
        except InvalidRecordError:
            return None if finding.kind == "surplus" else finding
        if ours is None or not is_live:
            return Finding(finding.record_id, "missing", digest)
        escaped = (ours.is_escaped, is_escaped)
        if is_same_content(ours.payload, text, escaped=escaped, volatile=volatile):
            return None
        return Finding(finding.record_id, "stale", digest)

    def _get(self, key: str) -> Record | None:
        assert self.entity.get is not None  # settle() has looked
        return self.entity.get(self.opened.client, key)

    def _ask(self, step: Callable[[], T]) -> T:
        def ask() -> T:
            with blamed(self.opened.plugin, self.entity):
                return step()

        if self.stop.is_set():
            raise StopRequested
        with self.engine.database.read() as connection:
            now = runs.get_run(connection, self.run.id)
        if now is not None and now.cancel_requested_at is not None:
            raise Cancelled
        return retrying(ask, self.engine.clock, self.stop, self.opened.transport.may_retry)
