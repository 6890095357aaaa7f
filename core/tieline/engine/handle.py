"""Bring in what a batch of events tells.

It goes through the order of truth as list pages do, in one transaction with the
note that the events are done: killed anywhere, nothing is lost, and what is
handled again changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from tieline.contract import Entity, NeedsReauthError, ProviderUnavailableError, TielineError
from tieline.engine.ask import plan_run, ring_for
from tieline.engine.bring import bring_in
from tieline.engine.event_fate import fate_of
from tieline.engine.events import Bundle, sort_events
from tieline.engine.grave import bury_events
from tieline.engine.kit import Engine
from tieline.engine.reader import RecordReader
from tieline.errors import DependencyError
from tieline.failpoints import failpoint
from tieline.records import Draft, PageWriter, Plan, rank_of
from tieline.registry import Plugin
from tieline.store import drains, partitions, runs
from tieline.store import records as record_store
from tieline.store.connections import ConnectionRow
from tieline.store.database import Connection, Desk
from tieline.store.drains import PendingEvent
from tieline.telemetry import get_logger, span

__all__ = ["Handler", "Hold", "Moved"]

_log = get_logger(__name__)
_WHILE_A_RUN_GOES_ON = timedelta(seconds=15)

Objects = Mapping[str, Sequence[PendingEvent]]


class Hold(Protocol):
    """Makes sure, in a transaction, that the drain is still ours until it ends."""

    def __call__(self, connection: Connection, *, has_moved: bool = False) -> None:
        """Raise LeaseLost if it is not; ``has_moved``: events are off the list with it."""
        ...


class Moved(Protocol):
    """Notes that the work goes on."""

    def __call__(self, *, has_renewed: bool = False) -> None:
        """Note it; ``has_renewed``: the lease was renewed with it."""
        ...


@dataclass(kw_only=True, slots=True)
class Handler:
    """Handles batches of events under one claim.

    Attributes:
        engine: The parts.
        row: The connection.
        reader: Reads single records of it.
        hold: Called in every transaction that writes.
        check: Raises what ends the work, between two records.
        moved: Called when something got done.
    """

    engine: Engine
    row: ConnectionRow
    reader: RecordReader
    hold: Hold
    check: Callable[[], None]
    moved: Moved
    _writers: dict[str, PageWriter] = field(default_factory=dict)

    def handle(self, desk: Desk, events: Sequence[PendingEvent]) -> None:
        """Handle events, whatever becomes of them.

        Raises:
            NeedsReauthError: The credential is refused, and there is no new one;
                what needs it is left as it was.
            DependencyError: The database is away.
            LeaseLost: Somebody else has the connection's events.
        """
        try:
            plugin = self.engine.registry.get(self.row.provider)
        except TielineError as error:  # it is broken, or gone
            self.put_aside(desk, {event.id: [event] for event in events}, error)
            return
        found = sort_events(events, plugin)
        if found.ignored:
            desk.transact(partial(self._close, events=found.ignored, state="ignored"))
        for bundle in found.bundles.values():
            if bundle.unread:
                self._ask_run(desk, bundle)
            if bundle.objects:
                self._bring(desk, plugin, bundle, list(bundle.objects))

    def flush(self, connection: Connection, now: datetime) -> None:
        """Store what was counted on the way; a killed worker's share of it is lost."""
        for writer in self._writers.values():
            if writer.has_shapes:
                writer.flush_drift(connection, run_id=None, now=now)

    def _bring(self, desk: Desk, plugin: Plugin, bundle: Bundle, keys: Sequence[str]) -> None:
        """Bring in what events tell of some records; halve them to find one that spoils the rest.

        Raises:
            NeedsReauthError: The credential is refused, and there is no new one.
            DependencyError: The database is away.
        """
        try:
            with span("events.write", entity=bundle.entity.name, records=len(keys)):
                self._bring_at_once(desk, plugin, bundle, keys)
        except (NeedsReauthError, DependencyError):
            raise
        except Exception as error:  # noqa: BLE001 - every way out of an event has its state
            desk.transact(self.hold)  # whoever holds them now decides what becomes of them
            self._writers.pop(bundle.entity.name, None)
            if len(keys) > 1:
                middle = len(keys) // 2
                for half in (keys[:middle], keys[middle:]):
                    self._bring(desk, plugin, bundle, half)
                return
            if not isinstance(error, TielineError):
                _log.error("a bug of ours", exc_info=error)
            self.put_aside(desk, {key: bundle.objects[key] for key in keys}, error)

    def _bring_at_once(
        self, desk: Desk, plugin: Plugin, bundle: Bundle, keys: Sequence[str]
    ) -> None:
        writer = self._writer(desk, bundle.entity)
        draft = writer.draft_changes(bundle.changes(keys), source="webhook")
        failed: dict[str, Exception] = {}

        def write(plan: Plan, _calls: int) -> None:
            desk.transact(
                lambda connection: self._write(connection, writer, plan, bundle, keys, failed)
            )

        bring_in(
            writer,
            draft,
            now=lambda: rank_of(self.engine.clock.now() + self.reader.skew),
            settle=partial(self._settle, plugin, bundle, writer, draft, failed),
            write=write,
        )
        failpoint("inbox.drain.after_commit")
        self.moved(has_renewed=True)

    def _settle(
        self,
        plugin: Plugin,
        bundle: Bundle,
        writer: PageWriter,
        draft: Draft,
        failed: dict[str, Exception],
        keys: Sequence[str],
    ) -> int:
        """Read records again; one that cannot be read leaves the others their turn."""
        missing: dict[str, int] = {}
        for key in keys:
            self.check()
            try:
                record, rank = self.reader.read(plugin, bundle.entity, key)
            except (NeedsReauthError, DependencyError):
                raise
            except Exception as error:
                if key not in bundle.objects:  # the record's own key is another
                    raise
                failed[key] = error
                draft.forget(key)
            else:
                if record is None and bundle.entity.event_key:
                    missing[key] = rank
                else:
                    writer.settle(draft, key, record, rank=rank)
            self.moved()
        if missing:
            self._settle_missing(bundle.entity, writer, draft, failed, missing)
        return len(keys)

    def _settle_missing(
        self,
        entity: Entity,
        writer: PageWriter,
        draft: Draft,
        failed: dict[str, Exception],
        missing: Mapping[str, int],
    ) -> None:
        """Bury what was read by its own key; what an event named otherwise may be another record.

        ``missing`` has the rank of each read that found nothing.
        """
        of = (self.row.id, entity.name)
        with self.engine.database.read() as connection:
            own = {row[0] for row in record_store.read_known(connection, *of, list(missing))}
            # First this: what a run has read and not yet written would not be found.
            is_read = runs.is_any_running(connection, *of)
            names = [key for key in missing if key not in own]
            found = record_store.find_named(connection, *of, entity.event_key, names)
        for key, rank in missing.items():
            meant = [record_id for name, record_id in found if name == key]
            if key in own:
                writer.settle(draft, key, None, rank=rank)
            elif not meant and is_read:
                draft.forget(key)
                failed[key] = ProviderUnavailableError(
                    "nothing is there, and a run may be about to store what was", code="event-early"
                )
            else:
                draft.ask_instead(key, meant, rank=rank, source="webhook")

    def _write(
        self,
        connection: Connection,
        writer: PageWriter,
        plan: Plan,
        bundle: Bundle,
        keys: Sequence[str],
        failed: Mapping[str, Exception],
    ) -> None:
        """Write records and note what became of their events, in the caller's transaction."""
        now = self.engine.clock.now()
        # The entity's counter first, as all do who write records; the lease's row after it.
        writer.write(connection, plan, run_id=None, now=now)
        self.hold(connection, has_moved=True)
        bad = {each.record_id: each for each in plan.bad if each.record_id in bundle.objects}
        good = [key for key in keys if key not in failed and key not in bad]
        drains.close_events(connection, _seqs(bundle.objects, good), state="done", now=now)
        for key, record in bad.items():
            if key is not None and key not in failed:
                told = (record.reason_code, f"quarantined: {record.reason}")
                seqs = _seqs(bundle.objects, [key])
                drains.close_events(connection, seqs, state="done", now=now, error=told)
        for key, error in failed.items():
            if key in keys:
                self._decide(connection, bundle.objects[key], error)
        failpoint("inbox.drain.before_commit")

    def put_aside(self, desk: Desk, objects: Objects, error: Exception) -> None:
        """Let the events of some records wait, or give them up."""

        def work(connection: Connection) -> None:
            self.hold(connection, has_moved=True)
            for events in objects.values():
                self._decide(connection, events, error)

        desk.transact(work)

    def _decide(
        self, connection: Connection, events: Sequence[PendingEvent], error: Exception
    ) -> None:
        """Let the events of a record wait, or give them up."""
        now = self.engine.clock.now()
        fate = fate_of(
            error,
            attempts=events[0].attempts,
            most_attempts=self.engine.settings.run_attempts,
            now=now,
        )
        seqs = [event.seq for event in events]
        told = (fate.code, fate.message)
        if fate.due_at is None:
            bury_events(connection, self.row, events, fate, now=now)
        else:
            drains.put_off_events(connection, seqs, due_at=fate.due_at, error=told, counts=True)

    def _ask_run(self, desk: Desk, bundle: Bundle) -> None:
        """Have a run find what changed; one that is under way may be past it already."""

        def work(connection: Connection) -> str | None:
            now = self.engine.clock.now()
            run_id = plan_run(
                self.engine,
                connection,
                self.row,
                bundle.entity,
                mode="incremental",
                asked_by="webhook",
                now=now,
            )
            if run_id is not None:
                self._close(connection, events=bundle.unread, state="done")
                return run_id
            self.hold(connection)
            seqs = [event.seq for event in bundle.unread]
            until = now + _WHILE_A_RUN_GOES_ON
            drains.put_off_events(connection, seqs, due_at=until, counts=False)
            return None

        run_id = desk.transact(work)
        if run_id is not None:
            ring_for(self.engine, run_id)

    def _close(self, connection: Connection, *, events: Iterable[PendingEvent], state: str) -> None:
        self.hold(connection, has_moved=True)
        seqs = [event.seq for event in events]
        drains.close_events(connection, seqs, state=state, now=self.engine.clock.now())

    def _writer(self, desk: Desk, entity: Entity) -> PageWriter:
        if entity.name not in self._writers:
            with self.engine.database.read() as connection:
                at = partitions.last_list_read(connection, self.row.id, entity.name)
            self._writers[entity.name] = PageWriter(
                desk, self.row.id, entity, read_until=rank_of(at) if at else 0
            )
        return self._writers[entity.name]


def _seqs(objects: Objects, keys: Iterable[str]) -> list[int]:
    return [event.seq for key in keys for event in objects[key]]
