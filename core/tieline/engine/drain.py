"""Handle the events of a connection, many at a time, in order per record.

One drain at a time has a connection, by a lease with a fence.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from tieline.auth import note_refused, reauth_hint
from tieline.contract import NeedsReauthError
from tieline.engine.handle import Handler
from tieline.engine.keeper import LeaseKeeper
from tieline.engine.kit import Engine, this_worker
from tieline.engine.reader import RecordReader
from tieline.errors import DependencyError, LeaseLost, StopRequested, WorkerLostError
from tieline.store import connections as connection_store
from tieline.store import drains
from tieline.store.connections import ConnectionRow
from tieline.store.database import Connection, Desk
from tieline.store.drains import Claimed, PendingEvent
from tieline.telemetry import bind, get_logger, span

__all__ = ["drain_events", "ring_drain"]

_log = get_logger(__name__)
_AT_ONCE = 500
_LONGEST_BATCH_S = 900.0
_LONGEST_TURN_S = 60.0
_FEW_RESCUES = 2
_MOST_RESCUES = 5


def drain_events(
    engine: Engine, connection_id: str, stop: threading.Event, *, asked_in: str = ""
) -> None:
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
        asked_in: The trace of whoever rang, as its ``traceparent``; empty: none.

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
            with span("events", parent=asked_in, connection=row.id, provider=row.provider):
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
    _handler: Handler = field(init=False)

    def __post_init__(self) -> None:
        self._keeper = LeaseKeeper(
            self._renew,
            every_s=self.engine.settings.lease_s / 3,
            most_s=_LONGEST_BATCH_S,
            give_up=self.engine.give_up,
        )
        self._reader = RecordReader(self.engine, self.row, self.stop)
        self._handler = Handler(
            engine=self.engine,
            row=self.row,
            reader=self._reader,
            hold=self._hold,
            check=self._leave_if_asked,
            moved=self._keeper.moved,
        )

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
            self._handler.put_aside(desk, {event.id: [event] for event in events}, lost)
            return
        self._handler.handle(desk, events)
        self._keeper.moved()

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
            self._handler.flush(connection, now)
            drains.release(connection, self.row.id, fence=self.held.fence)
