"""Work on one partition: fetch, compare, settle, commit, page by page."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from tieline.contract import (
    CursorExpiredError,
    FeedPage,
    Page,
    PageParams,
    ProviderError,
    RequestRejectedError,
    RetryLaterError,
    Window,
)
from tieline.engine.blame import blamed
from tieline.engine.bring import bring_in
from tieline.engine.fetch import FetchedPage, Fetcher, Timed, retrying
from tieline.engine.held import Cancelled, CannotRead, HeldWork
from tieline.engine.keeper import Either
from tieline.engine.pace import Reading
from tieline.engine.plan import is_out_of_reach
from tieline.errors import DeclarationError, LeaseLost, RefusedError, StopRequested
from tieline.failpoints import failpoint
from tieline.records import Draft, PageWriter, Plan, rank_of
from tieline.store import findings, partitions, sightings
from tieline.store.database import Connection, Desk
from tieline.store.partitions import Advance, Moved
from tieline.store.rows import Counts
from tieline.telemetry import span

__all__ = ["PartitionWork", "checked_page"]

_MAX_RESTARTS = 5
_MAX_CURSOR = 4096
_MOST_AT_ONCE = 2_000
_LOOK_S = 0.5
_LEAVE_S = 5.0
_ALWAYS_ALLOWED = 20


@dataclass(kw_only=True, slots=True)
class PartitionWork(HeldWork):
    """A claimed partition that is read.

    Attributes:
        ahead: Pages to fetch while one is written.
        on_page: Called after each commit with the seconds since the one before,
            and how many of them went by waiting for the provider.
        skew: The provider's clock less ours, as the last answer told.
        reading: How far the window was read.
    """

    ahead: int
    on_page: Callable[[float, float], None] = lambda _seconds, _waited: None
    skew: timedelta = timedelta(0)
    reading: Reading = field(init=False)

    def __post_init__(self) -> None:
        HeldWork.__post_init__(self)  # a dataclass with slots is a class anew: no super()
        self.reading = Reading(self.entity.windows, self.partition)

    def _work(self, desk: Desk) -> None:
        while not self._read_window(desk):
            self._restart()

    @property
    def _is_feed(self) -> bool:
        return self.partition.source == "feed"

    def _read_window(self, desk: Desk) -> bool:
        """Read on from the checkpoint; False if the cursor there has expired."""
        writer = self._writer(desk)
        fetcher = Fetcher(
            self._step(),
            cursor=self.partition.checkpoint,
            ahead=self.ahead,
            clock=self.engine.clock,
            wake=Either(self.stop, self._keeper.ended),
            transport=self.opened.transport,
        )
        with fetcher:
            try:
                self._read_pages(fetcher, writer, desk)
            except CursorExpiredError:
                if self.partition.restarts >= _MAX_RESTARTS:
                    raise
                return False
            except RequestRejectedError as error:
                raise self._other_way(error) from error
            except RetryLaterError:
                self._check_lease()
                if self.stop.is_set():  # the wait was cut short
                    raise StopRequested from None
                raise
            finally:
                self._flush(writer)
        return True

    def _read_pages(self, fetcher: Fetcher, writer: PageWriter, desk: Desk) -> None:
        leave_by: float | None = None
        before = time.monotonic()
        for fetched in fetcher.pages(patience_s=_LOOK_S):
            if fetched is None:
                self._check_lease()
            else:
                with span("page.write", partition=self.partition.number, page=self.partition.pages):
                    self._commit(writer, fetched, desk)
                after = time.monotonic()
                self.on_page(after - before, fetched.waited_s)
                before = after
            if self.partition.state == "done":
                return
            if self.stop.is_set():  # what is fetched already is still committed
                now = self.engine.clock.monotonic()
                if leave_by is None:
                    fetcher.leave()
                    leave_by = now + _LEAVE_S
                elif now >= leave_by:
                    raise StopRequested
        if self.stop.is_set():
            raise StopRequested

    def _require_reach(self) -> None:
        """Refuse a log of changes that has moved on while the run waited: it tells less, silently.

        Raises:
            CannotRead: What happened at the window's start may be gone from it.
        """
        feed, since = self.entity.feed, self.partition.window_start
        if not self._is_feed or feed is None or since is None:
            return
        if is_out_of_reach(feed, since, self.engine.clock.now()):
            raise CannotRead(ProviderError("the run waited for longer than it reaches"), "feed")

    def _other_way(self, error: RequestRejectedError) -> BaseException:
        """Tell a way of reading that the provider does not know from a plain refusal."""
        if self.partition.pages:
            return error
        if self._is_feed:
            return CannotRead(error, "feed")
        is_part = (self.partition.window_start, self.partition.window_end) != (
            self.run.window_start,
            self.run.window_end,
        )
        return CannotRead(error, "window") if is_part else error

    def _writer(self, desk: Desk) -> PageWriter:
        read_until = 0
        if self._is_feed:
            with self.engine.database.read() as connection:
                at = partitions.last_list_read(connection, self.run.connection_id, self.run.entity)
            read_until = rank_of(at) if at else 0
        return PageWriter(
            desk,
            self.run.connection_id,
            self.entity,
            read_until=read_until,
            is_proving=self.run.mode in {"verify", "repair"},
        )

    def _step(self) -> Callable[[str | None], Page | FeedPage]:
        params = PageParams(
            window=Window(start=self.partition.window_start, end=self.partition.window_end)
        )
        kind: type[Page | FeedPage] = Page
        step: Callable[..., Page | FeedPage] = self.entity.page
        if self._is_feed and self.entity.feed is not None:
            kind, step = FeedPage, self.entity.feed.page

        def read(cursor: str | None) -> Page | FeedPage:
            with blamed(self.opened.plugin, self.entity):
                page = step(self.opened.client, params, cursor)
            checked: Page | FeedPage = checked_page(
                page, kind, self.opened.plugin.found.distribution, self.entity.name
            )
            return checked

        return read

    def _commit(self, writer: PageWriter, fetched: FetchedPage, desk: Desk) -> None:
        """Store a page in one transaction; a huge one in several, the last of which moves on."""
        page = fetched.page
        as_of = (page.as_of or fetched.read_at).astimezone(UTC)
        self.skew = timedelta(0) if page.as_of is None else as_of - fetched.sent_at
        if isinstance(page, FeedPage):
            self._require_reach()
        *first, last = _parts(page)
        for part in first:
            self._commit_part(writer, part, desk, as_of, requests=0, is_last=False)
        if self.partition.state != "done":
            requests = fetched.requests
            self._commit_part(writer, last, desk, as_of, requests=requests, is_last=True)

    def _commit_part(
        self,
        writer: PageWriter,
        page: Page | FeedPage,
        desk: Desk,
        as_of: datetime,
        *,
        requests: int,
        is_last: bool,
    ) -> None:
        if isinstance(page, Page):
            self.reading.meet(page.records)
        following = page.next if is_last else self.partition.checkpoint
        is_end = is_last and following is None

        def write(plan: Plan, calls: int) -> None:
            self._write(desk, writer, plan, following, as_of, requests + calls, is_end=is_end)

        while self.partition.state != "done":
            if isinstance(page, FeedPage):
                draft = writer.draft_changes(page.changes)
            else:
                own = self.reading.within(page.records, self.partition.split_at)
                draft = writer.draft_page(replace(page, records=own), rank=rank_of(as_of))
            try:
                bring_in(
                    writer,
                    draft,
                    now=lambda: rank_of(self.engine.clock.now() + self.skew),
                    settle=partial(self._settle, writer, draft),
                    write=write,
                )
            except _Cut as cut:
                self.partition = replace(self.partition, split_at=cut.at)
            else:
                return

    def _settle(self, writer: PageWriter, draft: Draft, keys: Sequence[str]) -> int:
        """Read again what nobody can judge; return how many calls that took."""
        get = Timed(self._get, self.engine.clock, self.opened.transport)
        for key in keys:
            record = retrying(
                partial(get, key),
                self.engine.clock,
                self.stop,
                self.opened.transport.may_retry,
            )
            writer.settle(draft, key, record, rank=rank_of(get.sent_at + self.skew))
            self._check_lease()
            self._keeper.moved()
        return len(keys)

    def _get(self, key: str) -> Any:
        if self.entity.get is None:
            raise DeclarationError(
                f"{self.opened.plugin.found.distribution}: {self.entity.name} has changes"
                " without a record, and no get to read it"
            )
        with blamed(self.opened.plugin, self.entity):
            return self.entity.get(self.opened.client, key)

    def _write(
        self,
        desk: Desk,
        writer: PageWriter,
        plan: Plan,
        checkpoint: str | None,
        as_of: datetime,
        requests: int,
        *,
        is_end: bool,
    ) -> None:
        step = Advance(
            partition_id=self.partition.id,
            fence=self.partition.fence,
            page=self.partition.pages,
            checkpoint=checkpoint,
            counts=Counts(),
            now=self.engine.clock.now(),
            lease_until=self.engine.lease_until(),
            is_done=is_end or self.reading.has_passed(self.partition.split_at),
            as_of=as_of,
            reached_at=self.reading.reached_at,
            page_span_s=self.reading.page_span_s,
            is_ordered=self.reading.is_ordered,
        )

        def work(connection: Connection) -> tuple[Moved, Counts]:
            counts = self._store(connection, writer, plan, step.now)
            moved = partitions.advance(
                connection, replace(step, counts=counts + Counts(requests=requests))
            )
            if moved is None:
                self._check_committed_before(connection, step)
                raise LeaseLost  # not reached
            cut = moved.split_at
            if cut != self.partition.split_at and self.reading.has_passed(cut):
                raise _Cut(cut)
            failpoint("sync.page.before_commit")
            return moved, counts

        try:
            moved, counts = desk.transact(work)
        except _CommittedBefore:
            moved, counts = Moved(is_cancelled=False, split_at=self.partition.split_at), plan.counts
        failpoint("sync.page.after_commit")
        self._note(step, moved, counts)

    def _note(self, step: Advance, moved: Moved, counts: Counts) -> None:
        """Take over what the commit told."""
        self._keeper.moved(has_renewed=True)
        self.partition = replace(
            self.partition,
            pages=step.page + 1,
            checkpoint=step.checkpoint,
            split_at=moved.split_at,
            counts=self.partition.counts + counts,
            state="done" if step.is_done else "running",
        )
        if step.is_done:
            return
        if moved.is_cancelled:
            raise Cancelled
        self._stop_at_too_many_bad()

    def _store(
        self, connection: Connection, writer: PageWriter, plan: Plan, now: datetime
    ) -> Counts:
        if self.run.mode in {"verify", "repair"}:
            is_repaired = self.run.mode == "repair"
            found = _findings(plan)
            findings.add(connection, self.run.id, found, now=now, is_repaired=is_repaired)
        if self.run.mode == "verify":
            writer.quarantine_alone(connection, plan, run_id=self.run.id, now=now)
            self._note_sightings(connection, plan.keys)
            seen, bad = plan.counts.seen, plan.counts.quarantined
            return Counts(seen=seen, unchanged=seen - bad, quarantined=bad)
        written = writer.write(connection, plan, run_id=self.run.id, now=now)
        self._note_sightings(connection, written.met)
        return written.counts

    def _stop_at_too_many_bad(self) -> None:
        counts, share = self.partition.counts, self.engine.settings.max_quarantine_share
        if counts.quarantined > max(_ALWAYS_ALLOWED, share * counts.seen):
            raise RefusedError(
                f"{counts.quarantined} of {counts.seen} records could not be used; the run stopped",
                hint=f"look at them: tieline records quarantine list {self.run.connection_name};"
                " then sync again",
                code="quarantine-share",
            )

    def _note_sightings(self, connection: Connection, met: Sequence[str]) -> None:
        """Note what was met and not written, for the sweep at the end."""
        if met and self.run.mode in {"full", "verify", "repair"}:
            sightings.add_sighting(
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
            moved = partitions.advance(connection, step)
        if moved is None:
            raise LeaseLost
        self.reading = Reading(self.entity.windows, self.partition)
        self.partition = replace(
            self.partition,
            checkpoint=None,
            restarts=self.partition.restarts + 1,
            split_at=moved.split_at,
        )


class _Cut(BaseException):
    """The window was cut within this page: the rest of it is another hand's."""

    def __init__(self, at: datetime | None) -> None:
        super().__init__()
        self.at = at


class _CommittedBefore(BaseException):
    """The page stands already: the answer to its commit was lost."""


def _parts(page: Page | FeedPage) -> list[Page] | list[FeedPage]:
    """Cut a huge page, so that no more than a part of it is drafted at a time."""
    if isinstance(page, FeedPage):
        starts = range(0, max(1, len(page.changes)), _MOST_AT_ONCE)
        return [replace(page, changes=page.changes[at : at + _MOST_AT_ONCE]) for at in starts]
    starts = range(0, max(1, len(page.records)), _MOST_AT_ONCE)
    deleted: list[tuple[str, ...]] = [page.deleted, *[()] * (len(starts) - 1)]
    return [
        replace(page, records=page.records[at : at + _MOST_AT_ONCE], deleted=gone)
        for at, gone in zip(starts, deleted, strict=True)
    ]


def _findings(plan: Plan) -> list[findings.Finding]:
    found = []
    for row in plan.new:
        if row.revision == 1 or row.record_id in plan.revived:
            kind = "missing"
        else:
            kind = "surplus" if row.is_deleted else "stale"
        if not (row.is_deleted and kind == "missing"):
            theirs = None if row.is_deleted else row.content_hash
            found.append(findings.Finding(row.record_id, kind, theirs))
    return found


def checked_page(page: Any, kind: type[Page | FeedPage], distribution: str, entity: str) -> Any:
    """Return what a page step returned, if it is a page.

    Raises:
        DeclarationError: It is something else.
        ProviderError: Its cursor is too long to be kept.
    """
    items = getattr(page, "changes" if kind is FeedPage else "records", None)
    if not isinstance(page, kind) or not isinstance(items, list):
        raise DeclarationError(
            f"{distribution}: the page step of {entity} returned {type(page).__name__},"
            f" not {kind.__name__}"
        )
    if page.next is not None and len(page.next) > _MAX_CURSOR:
        raise ProviderError(f"a cursor has more than {_MAX_CURSOR} characters", code="cursor-loop")
    return page
