"""Work through the outbox of one entity: claim, send, store what became of each."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from tieline.contract import ProviderUnavailableError, RetryLaterError
from tieline.engine.endings import StoredBefore, counts_of, draft_of, store_end
from tieline.engine.held import Cancelled, HeldWork
from tieline.engine.keeper import Either
from tieline.engine.kit import this_worker
from tieline.engine.send import Ended, Sender, settled_from
from tieline.engine.steps import FailedError, Steps
from tieline.errors import LeaseLost, Overtaken, StopRequested
from tieline.failpoints import failpoint
from tieline.records import Draft, PageWriter, Plan, rank_of
from tieline.store import operations, partitions
from tieline.store.database import Connection, Desk
from tieline.store.operations import OperationRow
from tieline.store.partitions import Advance, Moved
from tieline.telemetry import span

__all__ = ["PushWork", "new_key"]

_MOST_OVERTAKEN = 10
_FRESH_SHARE = 0.5


def new_key() -> str:
    """Make an idempotency key: 36 characters."""
    return str(uuid.uuid4())


@dataclass(kw_only=True, slots=True)
class PushWork(HeldWork):
    """A claimed partition of an outbound run: whoever holds it alone sends."""

    _steps: Steps = field(init=False)

    def __post_init__(self) -> None:
        HeldWork.__post_init__(self)  # a dataclass with slots is a class anew: no super()
        self._steps = Steps(
            engine=self.engine,
            opened=self.opened,
            entity=self.entity,
            stop=Either(self.stop, self._keeper.ended),
            check=self._check,
        )

    def _work(self, desk: Desk) -> None:
        """Send until nothing is left that may be sent."""
        sender = Sender(steps=self._steps, rekey=self._rekey)
        writer = PageWriter(desk, self.run.connection_id, self.entity)
        desk.transact(self._take_over)
        try:
            while True:
                self._check()
                if self.stop.is_set():
                    raise StopRequested
                if claimed := desk.transact(self._claim):
                    failpoint("push.claim.after_commit")
                    self._send(desk, sender, writer, claimed)
                elif self._is_complete(desk):
                    return
        finally:
            self._flush(writer)

    def _send(
        self, desk: Desk, sender: Sender, writer: PageWriter, claimed: Sequence[OperationRow]
    ) -> None:
        """Send what was claimed; give back what was not come to.

        What a signal cuts short while it is being sent stays claimed: nobody
        knows what became of it, and whoever comes next finds out.
        """
        left = {row.id: row for row in claimed}
        for ended in sender.send(claimed):
            halt = self._stored(desk, writer, ended)
            for each in ended:
                del left[each.row.id]
            if halt is not None:
                self._give_back(desk, list(left.values()))
                raise halt

    def _stored(
        self, desk: Desk, writer: PageWriter, ended: Sequence[Ended]
    ) -> BaseException | None:
        """Store what became of some; return what keeps the others from being sent now."""
        try:
            with span("operations.write", operations=len(ended)):
                self._store(desk, writer, ended)
        except (Cancelled, LeaseLost) as signal:
            return signal
        error = next((each.error for each in ended if each.error is not None), None)
        is_cut_short = error is None or isinstance(error, RetryLaterError)
        return StopRequested() if is_cut_short and self.stop.is_set() else error

    # --- claims -----------------------------------------------------------------------------------

    def _take_over(self, connection: Connection) -> None:
        """What somebody else had claimed may have been sent: its sender is dead, or shut out."""
        if not partitions.is_held(connection, self.partition.id, fence=self.partition.fence):
            raise LeaseLost
        now, write = self.engine.clock.now(), self.entity.write
        if write is not None:
            due_at: dict[str, datetime] = {
                kind: settled_from(write, kind, None, now) for kind in write.kinds
            }
            of = (self.run.connection_id, self.entity.name)
            operations.take_over(connection, *of, now=now, due_at=due_at)

    def _claim(self, connection: Connection) -> list[OperationRow]:
        if not partitions.is_held(connection, self.partition.id, fence=self.partition.fence):
            raise LeaseLost
        write = self.entity.write
        return operations.claim_operations(
            connection,
            self.run.connection_id,
            self.entity.name,
            run_id=self.run.id,
            owner=this_worker(),
            now=self.engine.clock.now(),
            lease_until=self.engine.lease_until(),
            limit=write.batch_size if write else 1,
        )

    def _give_back(self, desk: Desk, rows: Sequence[OperationRow]) -> None:
        """Leave claimed operations that were not sent as they were found."""

        def work(connection: Connection) -> None:
            for row in rows:
                operations.give_back(connection, row, now=self.engine.clock.now())

        desk.transact(work)

    def _is_complete(self, desk: Desk) -> bool:
        """End the partition if nothing can be sent any more.

        Raises:
            RetryLaterError: Something can be, but not yet.
        """

        def work(connection: Connection) -> datetime | None:
            due_at = operations.next_due_at(connection, self.run.connection_id, self.entity.name)
            is_over = due_at is None and partitions.complete(
                connection, self.partition.id, fence=self.partition.fence
            )
            if due_at is None and not is_over:
                raise LeaseLost
            return due_at

        due_at = desk.transact(work)
        if due_at is None:
            self.partition = replace(self.partition, state="done")
            return True
        wait = (due_at - self.engine.clock.now()).total_seconds()
        if wait > 0:
            raise RetryLaterError(
                "what is left to send has to wait", retry_after=wait, code="operations-wait"
            )
        return False

    def _rekey(self, row: OperationRow) -> OperationRow:
        """Give an operation a new key before it is sent as another request."""
        key, now = new_key(), self.engine.clock.now()
        with self.engine.database.write() as connection:
            if not operations.rekey(connection, row, key, now=now):
                raise LeaseLost
        return replace(row, idempotency_key=key, sent_at=None)

    # --- what became of them ----------------------------------------------------------------------

    def _store(self, desk: Desk, writer: PageWriter, ended: Sequence[Ended]) -> None:
        """Store answers, the records that they hold, and counters, in one transaction.

        That the run was paused or ended meanwhile changes nothing of what was
        done: only who has claimed an operation since may say otherwise.

        Raises:
            LeaseLost: Nothing more may be sent.
            Cancelled: The run is to stop.
        """
        draft = draft_of(writer, self.entity, ended)
        for _ in range(_MOST_OVERTAKEN):
            plan = writer.compare(draft, now=rank_of(self.engine.clock.now()))
            if plan.asks:
                self._settle(writer, draft, plan.asks)
                continue
            try:
                return self._note(self._commit(desk, writer, plan, ended))
            except Overtaken:
                pass  # somebody else wrote one of the records meanwhile
        raise ProviderUnavailableError(
            "the same records kept being changed by somebody else", code="overtaken"
        )

    def _commit(
        self, desk: Desk, writer: PageWriter, plan: Plan, ended: Sequence[Ended]
    ) -> Moved | None:
        now = self.engine.clock.now()
        step = Advance(
            partition_id=self.partition.id,
            fence=self.partition.fence,
            page=self.partition.pages,
            checkpoint=None,
            counts=counts_of(ended),
            now=now,
            lease_until=self.engine.lease_until(),
        )

        def work(connection: Connection) -> Moved | None:
            moved = partitions.advance(connection, step)
            for each in ended:
                store_end(connection, self.run, self.entity, each, now)
            writer.write(connection, plan, run_id=self.run.id, now=now)
            failpoint("push.end.before_commit")
            return moved

        try:
            moved = desk.transact(work)
        except StoredBefore:
            moved = Moved(is_cancelled=False, split_at=None)
        failpoint("push.end.after_commit")
        return moved

    def _settle(self, writer: PageWriter, draft: Draft, keys: Sequence[str]) -> None:
        """Read again what somebody else brought in meanwhile."""
        for key in keys:
            try:
                seen = self._steps.look_at(key)
            except FailedError:
                # The operation's end must not be lost over a read: the next sync brings the record.
                draft.copies.pop(key, None)
                draft.doubtful.discard(key)
                continue
            writer.settle(draft, key, seen.outcome.record, rank=rank_of(seen.at))

    def _note(self, moved: Moved | None) -> None:
        if moved is None:
            raise LeaseLost  # what was done is stored; the rest is somebody else's, or waits
        self._keeper.moved(has_renewed=True)
        self.partition = replace(self.partition, pages=self.partition.pages + 1)
        if moved.is_cancelled:
            raise Cancelled

    # --- the lease --------------------------------------------------------------------------------

    def _check(self) -> None:
        """Raise if this process may send nothing any more.

        A process that slept, whole, finds its lease old, and asks before it
        sends: what it had claimed may have been found undone and sent by others.
        """
        self._check_lease()
        if self._keeper.age_s > self.engine.settings.lease_s * _FRESH_SHARE:
            self._renew()
            self._keeper.moved(has_renewed=True)

    def _renewed(self, connection: Connection, until: datetime) -> None:
        operations.renew_claims(connection, self.run.id, owner=this_worker(), lease_until=until)
