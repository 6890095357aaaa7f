"""How far each entity is synced: show it, set it back, undo that."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from tieline.contract import Entity
from tieline.engine.plan import is_out_of_reach
from tieline.errors import ChangedError, InvalidInputError, RefusedError
from tieline.services.connections import get_connection
from tieline.services.installation import Installation
from tieline.store import connections as store
from tieline.store import log, records, runs
from tieline.store.connections import ConnectionRow, EntityState
from tieline.store.database import Connection as Transaction
from tieline.store.rows import RunRow
from tieline.store.runs import RunsWanted

__all__ = ["Moved", "State", "list_states", "reset_state", "undo_reset"]

_RESET, _UNDONE = "state.reset", "state.undone"
_NOWHERE = "nothing"
_BETWEEN = " to "


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """How far one entity is.

    Attributes:
        entity: Which.
        synced_until: The provider's time up to which it is known; None: all of
            it is read next.
        reads_from: From when the next run reads the log of changes: some time
            before ``synced_until``. None: it reads everything.
        last_success_at: When a run of it last succeeded.
        position: Last position of its change feed; nothing here moves it.
        records: How many live ones are stored.
        active: The run that is under way, or waits for a person to connect the account.
        undoes: What :func:`undo_reset` would put ``synced_until`` back to; None: nothing.
    """

    entity: str
    synced_until: datetime | None
    reads_from: datetime | None
    last_success_at: datetime | None
    position: int
    records: int
    active: RunRow | None
    undoes: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Moved:
    """What became of a cursor.

    Attributes:
        connection: The connection's name.
        entity: Which.
        was: Up to when the entity was known before.
        to: Up to when it counts as known now.
    """

    connection: str
    entity: str
    was: datetime | None
    to: datetime | None


def list_states(installation: Installation, connection: str, entity: str = "") -> list[State]:
    """Say how far a connection's entities are: all that the provider has, or one.

    Raises:
        NotFoundError: No such connection or entity.
        PluginError: The provider's plugin is broken.
    """
    row = get_connection(installation, connection)
    plugin = installation.registry.get(row.provider)
    declared = [plugin.entity(entity)] if entity else list(plugin.entities.values())
    now = installation.clock.now()
    with installation.database.read() as transaction:
        known = {each.entity: each for each in store.read_entity_states(transaction, row.id)}
        return [_state(transaction, row, each, known.get(each.name), now) for each in declared]


def reset_state(
    installation: Installation,
    connection: str,
    entity: str,
    *,
    to: datetime | None = None,
    actor: str,
) -> Moved:
    """Set an entity's cursor back: the next run reads more than it would, and loses nothing.

    Records, change feed and consumers stay as they are. A cursor is never set
    forward: what lies between would be missed, and nobody would know.

    Args:
        installation: Where.
        connection: Name or id.
        entity: Which.
        to: The provider's time from which changes are read again, aware; None:
            everything is read.
        actor: Who does it, for the sync log.

    Raises:
        NotFoundError: No such connection or entity.
        InvalidInputError: That is not before where the cursor is.
        RefusedError: A run is active; or the entity has no cursor, for every run
            reads all of it, or none has succeeded.
        ChangedError: Somebody moved it in this moment.
    """
    row = get_connection(installation, connection)
    declared = installation.registry.get(row.provider).entity(entity)
    if declared.feed is None:
        raise RefusedError(
            f"the provider keeps no log of changes of {entity}: every run reads everything",
            hint=f"tieline sync run {row.name} {entity}",
            code="state-useless",
        )

    def work(transaction: Transaction) -> Moved:
        store.hold_cursor(transaction, row.id, entity, is_moved=True)
        was = _cursor(transaction, row, entity)
        if was is None:
            raise RefusedError(
                f"nothing of {entity} counts as known: the next run reads everything as it is",
                hint=f"tieline sync plan {row.name} {entity}",
                code="state-none",
            )
        if to is not None and to >= was:
            raise InvalidInputError(
                f"{entity} is known up to {was.isoformat()}, and a cursor is only set back",
                hint="--to an earlier time, or without it to read everything",
                code="state-forward",
            )
        return _move(installation, transaction, row, entity, was, to, event=_RESET, actor=actor)

    return installation.database.transact(work)


def undo_reset(installation: Installation, connection: str, entity: str, *, actor: str) -> Moved:
    """Put a cursor back to where it was before it was last set back.

    Only as long as nothing has moved it since: then all that it passes over
    was read once.

    Raises:
        NotFoundError: No such connection or entity.
        RefusedError: It was not set back, that was undone, or a run has moved it
            on since; or a run is active.
        ChangedError: Somebody moved it in this moment.
    """
    row = get_connection(installation, connection)
    installation.registry.get(row.provider).entity(entity)

    def work(transaction: Transaction) -> Moved:
        store.hold_cursor(transaction, row.id, entity, is_moved=True)
        now_at = _cursor(transaction, row, entity)
        before = _undoes(transaction, row, entity, now_at)
        if before is None:
            raise RefusedError(
                f"there is no reset of {entity} to undo: none was made, it was undone, or a run"
                " has moved the cursor on since",
                hint=f"tieline state show {row.name} {entity}",
                code="state-not-undone",
            )
        return _move(
            installation, transaction, row, entity, now_at, before, event=_UNDONE, actor=actor
        )

    return installation.database.transact(work)


def _state(
    transaction: Transaction,
    row: ConnectionRow,
    entity: Entity,
    known: EntityState | None,
    now: datetime,
) -> State:
    cursor = known.synced_until if known else None
    since = None
    if entity.feed is not None and cursor is not None:
        since = cursor - entity.feed.overlap
        since = None if is_out_of_reach(entity.feed, since, now) else since
    return State(
        entity=entity.name,
        synced_until=cursor,
        reads_from=since,
        last_success_at=known.last_success_at if known else None,
        position=known.position if known else 0,
        records=records.count_live(transaction, row.id, entity.name),
        active=_unfinished(transaction, row, entity.name),
        undoes=_undoes(transaction, row, entity.name, cursor),
    )


def _unfinished(transaction: Transaction, row: ConnectionRow, entity: str) -> RunRow | None:
    """Return the run that will yet move the cursor: one that is active, or parked."""
    inbound = RunsWanted(connection_ids=(row.id,), entities=(entity,), directions=("inbound",))
    newest = runs.list_runs(transaction, inbound, limit=1)
    parked = runs.list_runs(transaction, replace(inbound, states=("needs_reauth",)), limit=1)
    if parked and parked[0].created_at >= newest[0].created_at:
        return parked[0]  # the next consent has it go on, as nothing came after it
    return runs.active_run(transaction, row.id, entity)


def _cursor(transaction: Transaction, row: ConnectionRow, entity: str) -> datetime | None:
    state = store.read_entity_state(transaction, row.id, entity)
    return state.synced_until if state else None


def _undoes(
    transaction: Transaction, row: ConnectionRow, entity: str, cursor: datetime | None
) -> datetime | None:
    """Read from the log where the cursor was, if it still is where a reset put it."""
    found = [
        entry
        for event in (_RESET, _UNDONE)
        for entry in log.newest_entries(
            transaction, connection_ids=[row.id], entity=entity, event=event, limit=1
        )
    ]
    newest = max(found, key=lambda entry: int(entry["id"]), default=None)
    if newest is None or newest["event"] != _RESET:
        return None
    was, _, to = newest["detail"].partition(_BETWEEN)
    return _read(was) if _read(to) == cursor else None


def _move(
    installation: Installation,
    transaction: Transaction,
    row: ConnectionRow,
    entity: str,
    was: datetime | None,
    to: datetime | None,
    *,
    event: str,
    actor: str,
) -> Moved:
    if not store.move_cursor(transaction, row.id, entity, was=was, to=to):
        raise ChangedError(
            f"the cursor of {entity} was moved in this moment",
            hint=f"tieline state show {row.name} {entity}",
        )
    active = _unfinished(transaction, row, entity)
    if active is not None:
        raise RefusedError(
            f"the run {active.id} of {entity} is {active.state}, and would move the cursor on",
            hint=f"tieline sync cancel {active.id}",
            code="run-active",
        )
    log.add_entry(
        transaction,
        at=installation.clock.now(),
        actor=actor,
        event=event,
        connection_id=row.id,
        entity=entity,
        detail=f"{_write(was)}{_BETWEEN}{_write(to)}",
    )
    return Moved(connection=row.name, entity=entity, was=was, to=to)


def _write(time: datetime | None) -> str:
    return time.isoformat() if time else _NOWHERE


def _read(text: str) -> datetime | None:
    return None if text == _NOWHERE else datetime.fromisoformat(text)
