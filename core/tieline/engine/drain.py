"""Handle the events of a connection, many at a time, in order per record.

One drain at a time has a connection, by a lease with a fence. What events tell
goes through the order of truth as list pages do, in one transaction with the
note that they are done: killed anywhere, nothing is lost, and what is handled
again changes nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from tieline.auth import note_refused, reauth_hint
from tieline.contract import Entity, NeedsReauthError, TielineError
from tieline.engine.ask import plan_run, ring_for
from tieline.engine.bring import bring_in
from tieline.engine.events import Bundle, sort_events
from tieline.engine.fate import fate_of
from tieline.engine.grave import bury_events
from tieline.engine.keeper import LeaseKeeper
from tieline.engine.kit import Engine, this_worker
from tieline.engine.reader import RecordReader
from tieline.errors import DependencyError, LeaseLost, StopRequested, WorkerLostError
from tieline.failpoints import failpoint
from tieline.records import Draft, PageWriter, Plan, rank_of
from tieline.registry import Plugin
from tieline.store import connections as connection_store
from tieline.store import drains, partitions
from tieline.store.connections import ConnectionRow
from tieline.store.database import Connection, Desk
from tieline.store.drains import Claimed, PendingEvent
from tieline.telemetry import bind, get_logger

__all__ = ["drain_events", "ring_drain"]

_log = get_logger(__name__)
_AT_ONCE = 500
_LONGEST_BATCH_S = 900.0
_LONGEST_TURN_S = 60.0
_FEW_RESCUES = 2
_MOST_RESCUES = 5
_WHILE_A_RUN_GOES_ON = timedelta(seconds=15)

Objects = Mapping[str, Sequence[PendingEvent]]


def drain_events(engine: Engine, connection_id: str, stop: threading.Event) -> None:
    """Handle a connection's events until none is due, ``stop`` is set, or a minute is over.

    Where events come as fast as they can be read this would never end, and
    runs have to have their turn: after a minute a sweep rings for the rest.

    Harmless for a connection that is unknown, rests, waits for a person, has
    nothing due, or whose events somebody else is handling.

    Args:
        engine: The parts.
        connection_id: The connection.
        stop: Set when this process has to leave: what is not committed is left
            to somebody else, for whom the bell is rung.

    Raises:
        DependencyError: The database is away; the lease lapses by itself.
    """
    # Whoever comes while a drain is under way leaves again, and relies on its last look,
    # which therefore comes after the lease was given back.
    until = engine.clock.monotonic() + _LONGEST_TURN_S
    while engine.clock.monotonic() < until:
        if (claimed := _claim(engine, connection_id)) is None:
            return
        row, held = claimed
        bind(connection=row.name, provider=row.provider)
        try:
            Drain(engine=engine, row=row, held=held, stop=stop, until=until).work()
        except LeaseLost:
            _log.warning("lease lost: another worker drains the connection")
            return
        except StopRequested:
            ring_drain(engine, connection_id)
            return


def ring_drain(engine: Engine, connection_id: str) -> bool:
    """Ring for a connection's events; False if nobody can hear it now: a sweep rings again."""
    try:
        engine.ring_drain(connection_id)
    except DependencyError as error:
        _log.warning("ring failed", connection=connection_id, reason=error.message)
        return False
    return True


def _claim(engine: Engine, connection_id: str) -> tuple[ConnectionRow, Claimed] | None:
    # Look before taking: on SQLite a claim holds up every writer.
    with engine.database.read() as connection:
        if not drains.is_any_due(connection, connection_id, engine.clock.now()):
            return None

    def claim(connection: Connection) -> tuple[ConnectionRow, Claimed] | None:
        row = connection_store.find_connection(connection, connection_id)
        if row is None:
            return None
        held = drains.claim(
            connection,
            connection_id,
            holder=this_worker(),
            now=engine.clock.now(),
            lease_until=engine.lease_until(),
        )
        return None if held is None else (row, held)

    return engine.database.transact(claim)


@dataclass(kw_only=True, slots=True)
class Drain:
    """One claim on a connection's events.

    Attributes:
        engine: The parts.
        row: The connection.
        held: Nothing is committed once its fence is out of date.
        stop: Set when this process has to leave.
        until: No batch is begun from then on, in monotonic seconds.
    """

    engine: Engine
    row: ConnectionRow
    held: Claimed
    stop: threading.Event
    until: float
    _keeper: LeaseKeeper = field(init=False)
    _reader: RecordReader = field(init=False)
    _writers: dict[str, PageWriter] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._keeper = LeaseKeeper(
            self._renew, every_s=self.engine.settings.lease_s / 3, most_s=_LONGEST_BATCH_S
        )
        self._reader = RecordReader(self.engine, self.row, self.stop)

    def work(self) -> None:
        """Handle what is due.

        Raises:
            StopRequested: ``stop`` was set; the lease is given back.
            LeaseLost: Somebody else has the connection's events.
            DependencyError: The database is away.
        """
        try:
            with self._keeper, self.engine.database.desk() as desk:
                while self.engine.clock.monotonic() < self.until:
                    if not (events := self._next(desk)):
                        break
                    self._leave_if_asked()
                    self._handle(desk, events)
                    if self.held.rescues > _MOST_RESCUES:
                        break  # the one that killed is out of the way
        except NeedsReauthError as error:
            self._need_reauth(error)
        finally:
            self._reader.close()
            self._give_back()

    @property
    def _at_once(self) -> int:
        """How many events are taken at once: one, to find the one that kills, after some deaths."""
        return _AT_ONCE if self.held.rescues < _FEW_RESCUES else 1

    def _next(self, desk: Desk) -> list[PendingEvent]:
        """Read the events to handle; one whose record has an earlier one waiting waits too."""
        found, behind = self._look(desk)
        while behind and len(behind) == len(found):
            found, behind = self._look(desk)
        return [event for event in found if event.waits_until is None]

    def _look(self, desk: Desk) -> tuple[list[PendingEvent], list[PendingEvent]]:
        now = self.engine.clock.now()

        def read(connection: Connection) -> list[PendingEvent]:
            return drains.pending_events(connection, self.row.id, now, limit=self._at_once)

        found = desk.transact(read, is_read=True)
        behind = [event for event in found if event.waits_until is not None]
        if behind:
            desk.transact(partial(self._line_up, behind=behind))
        return found, behind

    def _line_up(self, connection: Connection, behind: Sequence[PendingEvent]) -> None:
        self._hold(connection)
        for until in {event.waits_until for event in behind}:
            if until is not None:
                seqs = [event.seq for event in behind if event.waits_until == until]
                drains.put_off_events(connection, seqs, due_at=until, counts=False)

    def _handle(self, desk: Desk, events: Sequence[PendingEvent]) -> None:
        if self.held.rescues > _MOST_RESCUES:
            lost = WorkerLostError(
                f"{self.held.rescues} workers in a row died on it",
                hint="look at the workers' logs (memory?)",
            )
            self._put_aside(desk, {event.id: [event] for event in events}, lost)
            return
        try:
            plugin = self.engine.registry.get(self.row.provider)
        except TielineError as error:  # it is broken, or gone
            self._put_aside(desk, {event.id: [event] for event in events}, error)
            return
        found = sort_events(events, plugin)
        if found.ignored:
            desk.transact(partial(self._close, events=found.ignored, state="ignored"))
        for bundle in found.bundles.values():
            if bundle.unread:
                self._ask_run(desk, bundle)
            if bundle.objects:
                self._bring(desk, plugin, bundle, list(bundle.objects))
        self._keeper.moved()

    def _bring(self, desk: Desk, plugin: Plugin, bundle: Bundle, keys: Sequence[str]) -> None:
        """Bring in what events tell of some records; halve them to find one that spoils the rest.

        Raises:
            NeedsReauthError: The credential is refused, and there is no new one.
            DependencyError: The database is away.
        """
        try:
            self._bring_at_once(desk, plugin, bundle, keys)
        except (NeedsReauthError, DependencyError):
            raise
        except Exception as error:  # noqa: BLE001 - every way out of an event has its state
            desk.transact(self._hold)  # whoever holds them now decides what becomes of them
            self._writers.pop(bundle.entity.name, None)
            if len(keys) > 1:
                middle = len(keys) // 2
                for half in (keys[:middle], keys[middle:]):
                    self._bring(desk, plugin, bundle, half)
                return
            if not isinstance(error, TielineError):
                _log.error("a bug of ours", exc_info=error)
            self._put_aside(desk, {key: bundle.objects[key] for key in keys}, error)

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
            now=lambda: rank_of(self.engine.clock.now() + self._reader.skew),
            settle=partial(self._settle, plugin, bundle, writer, draft, failed),
            write=write,
        )
        failpoint("inbox.drain.after_commit")
        self._keeper.moved(has_renewed=True)

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
        for key in keys:
            self._leave_if_asked()
            try:
                record, rank = self._reader.read(plugin, bundle.entity, key)
            except (NeedsReauthError, DependencyError):
                raise
            except Exception as error:
                if key not in bundle.objects:  # the record's own key is another
                    raise
                failed[key] = error
                draft.forget(key)
            else:
                writer.settle(draft, key, record, rank=rank)
            self._keeper.moved()
        return len(keys)

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
        self._hold(connection, has_moved=True)
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

    def _put_aside(self, desk: Desk, objects: Objects, error: Exception) -> None:
        def work(connection: Connection) -> None:
            self._hold(connection, has_moved=True)
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
            self._hold(connection)
            seqs = [event.seq for event in bundle.unread]
            until = now + _WHILE_A_RUN_GOES_ON
            drains.put_off_events(connection, seqs, due_at=until, counts=False)
            return None

        run_id = desk.transact(work)
        if run_id is not None:
            ring_for(self.engine, run_id)

    def _close(self, connection: Connection, *, events: Iterable[PendingEvent], state: str) -> None:
        self._hold(connection, has_moved=True)
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

    def _hold(self, connection: Connection, *, has_moved: bool = False) -> None:
        is_ours = drains.hold(
            connection,
            self.row.id,
            fence=self.held.fence,
            lease_until=self.engine.lease_until(),
            has_moved=has_moved,
        )
        if not is_ours:
            raise LeaseLost

    def _renew(self) -> None:
        with self.engine.database.write() as connection:
            self._hold(connection)

    def _leave_if_asked(self) -> None:
        if self._keeper.reason is not None:
            raise self._keeper.reason
        if self.stop.is_set():
            raise StopRequested

    def _need_reauth(self, error: NeedsReauthError) -> None:
        """Mark the connection, unless it has a new credential; its events wait until it has."""
        error.hint = error.hint or reauth_hint(self.row.name)
        with self.engine.database.write() as connection:
            note_refused(
                connection,
                self.row.id,
                generation=self._reader.generation,
                error=error,
                actor=this_worker(),
                now=self.engine.clock.now(),
            )

    def _give_back(self) -> None:
        now = self.engine.clock.now()
        with self.engine.database.write() as connection:
            for writer in self._writers.values():
                if writer.has_shapes:
                    writer.flush_drift(connection, run_id=None, now=now)
            drains.release(connection, self.row.id, fence=self.held.fence)


def _seqs(objects: Objects, keys: Iterable[str]) -> list[int]:
    return [event.seq for key in keys for event in objects[key]]
