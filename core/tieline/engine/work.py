"""Work on one partition: fetch, prepare, commit, page by page."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Any

from tieline.auth import OpenConnection
from tieline.contract import CursorExpiredError, Entity, Page, PageParams, ProviderError, Window
from tieline.engine.blame import blamed
from tieline.engine.fetch import FetchedPage, Fetcher
from tieline.engine.kit import Engine
from tieline.errors import DeclarationError, LeaseLost, StopRequested
from tieline.failpoints import failpoint
from tieline.records import PageWriter
from tieline.store import partitions
from tieline.store import records as record_store
from tieline.store.database import Connection
from tieline.store.partitions import Advance
from tieline.store.rows import Counts, PartitionRow, RunRow

__all__ = ["Cancelled", "PartitionWork"]

_MAX_RESTARTS = 5
_MAX_CURSOR = 4096
_LOOK_S = 0.5


class Cancelled(BaseException):
    """Somebody asked the run to stop."""


@dataclass(kw_only=True, slots=True)
class PartitionWork:
    """One claimed partition and the hands that work on it.

    Attributes:
        engine: The parts.
        opened: The connection's client.
        run: The run.
        entity: What is read.
        partition: As it was claimed.
        stop: Set when this process has to leave.
        renewed_at: When the lease was last known to be renewed, monotonic.
    """

    engine: Engine
    opened: OpenConnection
    run: RunRow
    entity: Entity
    partition: PartitionRow
    stop: threading.Event
    renewed_at: float = 0.0

    def finish(self) -> None:
        """Read the partition to its end.

        Raises:
            StopRequested: ``stop`` was set; the lease is given back.
            Cancelled: The run is to stop; the lease is given back.
            LeaseLost: Somebody else holds the partition; nothing was changed.
            ProviderError: Of the class that says what happens next; the lease
                is given back.
        """
        try:
            while not self._read_window():
                self._restart()
        except LeaseLost:
            raise
        except (StopRequested, Cancelled, Exception):
            self._release()
            raise

    def _read_window(self) -> bool:
        """Read on from the checkpoint; False if the cursor there has expired."""
        writer = PageWriter(self.engine.database, self.run.connection_id, self.entity)
        fetcher = Fetcher(
            self._step(),
            cursor=self.partition.checkpoint,
            ahead=self.engine.settings.read_ahead,
            clock=self.engine.clock,
            count_calls=lambda: self.opened.transport.calls,
        )
        with fetcher:
            try:
                for fetched in fetcher.pages(patience_s=_LOOK_S):
                    if fetched is None:
                        self._renew_in_time()
                    else:
                        self._commit(writer, fetched)
                    if self.stop.is_set() and self.partition.state != "done":
                        raise StopRequested
            except CursorExpiredError:
                if self.partition.restarts >= _MAX_RESTARTS:
                    raise
                return False
        return True

    def _step(self) -> Callable[[str | None], Page]:
        params = PageParams(
            window=Window(start=self.partition.window_start, end=self.partition.window_end)
        )

        def read(cursor: str | None) -> Page:
            with blamed(self.opened.plugin, self.entity):
                page = self.entity.page(self.opened.client, params, cursor)
            return _checked(page, self.opened.plugin.found.distribution, self.entity.name)

        return read

    def _commit(self, writer: PageWriter, fetched: FetchedPage) -> None:
        prepared = writer.prepare(fetched.page, read_at=fetched.read_at)
        step = Advance(
            partition_id=self.partition.id,
            fence=self.partition.fence,
            page=self.partition.pages,
            checkpoint=fetched.page.next,
            counts=Counts(),
            now=self.engine.clock.now(),
            lease_until=self.engine.lease_until(),
            is_done=fetched.page.next is None,
            as_of=(fetched.page.as_of or fetched.read_at).astimezone(UTC),
        )

        def work(connection: Connection) -> bool:
            written = writer.write(connection, prepared, run_id=self.run.id, now=step.now)
            self._note_sightings(connection, written.met)
            whole = replace(step, counts=written.counts + Counts(requests=fetched.requests))
            has_moved, is_cancelled = partitions.advance(connection, whole)
            if not has_moved:
                self._check_committed_before(connection, step)
            failpoint("sync.page.before_commit")
            return is_cancelled

        try:
            is_cancelled = self.engine.database.transact(work)
        except _CommittedBefore:
            is_cancelled = False
        failpoint("sync.page.after_commit")
        self.renewed_at = self.engine.clock.monotonic()
        self.partition = replace(
            self.partition,
            pages=step.page + 1,
            checkpoint=step.checkpoint,
            state="done" if step.is_done else "running",
        )
        if is_cancelled and not step.is_done:
            raise Cancelled

    def _note_sightings(self, connection: Connection, met: Sequence[str]) -> None:
        """Note what was met and not written, for the sweep at the end of a full run."""
        if met and self.run.mode == "full" and self.entity.deletes == "sweep":
            record_store.add_sighting(
                connection,
                run_id=self.run.id,
                partition_id=self.partition.id,
                page=self.partition.pages,
                keys=met,
            )

    def _check_committed_before(self, connection: Connection, step: Advance) -> None:
        """Tell a lost lease from a commit whose answer was lost."""
        now = partitions.read_partition(connection, step.partition_id)
        if now and now.fence == step.fence and now.pages == step.page + 1:
            raise _CommittedBefore
        raise LeaseLost

    def _restart(self) -> None:
        """Go back to the window's start; everything read again changes nothing."""
        step = Advance(
            partition_id=self.partition.id,
            fence=self.partition.fence,
            page=self.partition.pages,
            checkpoint=None,
            counts=Counts(requests=1),
            now=self.engine.clock.now(),
            lease_until=self.engine.lease_until(),
            is_restart=True,
        )
        with self.engine.database.write() as connection:
            has_moved, _ = partitions.advance(connection, step)
        if not has_moved:
            raise LeaseLost
        self.partition = replace(
            self.partition, checkpoint=None, restarts=self.partition.restarts + 1
        )

    def _renew_in_time(self) -> None:
        """Renew the lease once a third of it has gone by."""
        now = self.engine.clock.monotonic()
        if now - self.renewed_at >= self.engine.settings.lease_s / 3:
            self.renewed_at = now
            self._renew()

    def _renew(self) -> None:
        with self.engine.database.write() as connection:
            is_ours, is_cancelled = partitions.renew(
                connection,
                self.partition.id,
                fence=self.partition.fence,
                lease_until=self.engine.lease_until(),
            )
        if not is_ours:
            raise LeaseLost
        if is_cancelled:
            raise Cancelled

    def _release(self) -> None:
        if self.partition.state != "done":
            with self.engine.database.write() as connection:
                partitions.release(connection, self.partition.id, fence=self.partition.fence)


class _CommittedBefore(BaseException):
    """The page stands already: the answer to its commit was lost."""


def _checked(page: Any, distribution: str, entity: str) -> Page:
    if not isinstance(page, Page) or not isinstance(page.records, list):
        raise DeclarationError(
            f"{distribution}: the page step of {entity} returned {type(page).__name__}, not Page"
        )
    if page.next is not None and len(page.next) > _MAX_CURSOR:
        raise ProviderError(f"a cursor has more than {_MAX_CURSOR} characters", code="cursor-loop")
    return page
