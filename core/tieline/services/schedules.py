"""Set schedules, list them with what keeps them, pause, resume and remove them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import merge
from itertools import chain, islice
from operator import itemgetter

from tieline.auth import reauth_hint
from tieline.contract import TielineError
from tieline.engine.tick import timetable_of
from tieline.engine.timetable import (
    Every,
    Rule,
    Timetable,
    default_jitter_s,
    find_zone,
    read_duration_s,
    read_rule,
    require_jitter,
)
from tieline.errors import ChangedError, InvalidInputError, NotFoundError, RefusedError
from tieline.services.connections import get_connection
from tieline.services.installation import Installation
from tieline.store import log
from tieline.store import schedules as store
from tieline.store.connections import ConnectionRow
from tieline.store.database import Connection as Transaction
from tieline.store.ids import new_id
from tieline.store.schedules import ScheduleRow

__all__ = [
    "Schedule",
    "list_schedules",
    "next_ticks",
    "pause_schedule",
    "remove_schedule",
    "resume_schedule",
    "set_schedule",
]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LEAST_FULL_S = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """A schedule and whether it goes.

    Attributes:
        row: As it is stored.
        state: ``active``; ``paused`` by a person; ``parked`` until its reason
            is gone, and then it goes on by itself.
        reason: Why it is parked; empty otherwise.
        hint: What to do about that.
    """

    row: ScheduleRow
    state: str
    reason: str = ""
    hint: str = ""


def set_schedule(
    installation: Installation,
    connection: str,
    entity: str,
    rule: str,
    *,
    is_cron: bool = False,
    zone: str = "UTC",
    jitter_s: int | None = None,
    full_every: str | None = None,
    actor: str,
    unchanged_since: datetime | None = None,
) -> Schedule:
    """Say when an entity is synced; in place of what was said before.

    A new interval's first tick is now, but for its jitter; cron's at its next time.
    A schedule that is paused stays so.

    Args:
        installation: Where.
        connection: Name or id.
        entity: What is synced.
        rule: ``every 15m`` or ``15m``; with ``is_cron`` five fields of cron.
        is_cron: Whether the rule is cron's.
        zone: Time zone of a cron rule.
        jitter_s: The most seconds by which a run comes later; None for a tenth
            of the rule's gap, one minute at most.
        full_every: How old the last full run may be, such as ``7d``, before a
            tick asks for a full one; None if it does not matter.
        actor: Who does it, for the sync log.
        unchanged_since: When the schedule was changed last, by what the caller
            has seen; None: whatever it is by now.

    Raises:
        NotFoundError: No such connection or entity.
        ChangedError: Somebody changed it since.
        InvalidInputError: Rule, zone, jitter or full-every makes no sense; the
            message begins with which.
        PluginError: The provider's plugin is broken.
    """
    row = _connection(installation, connection)
    declared = installation.registry.get(row.provider).entity(_plausible(entity, "entity"))
    find_zone(zone)
    read = read_rule(f"cron {rule}" if is_cron else rule, zone)
    jitter = default_jitter_s(read) if jitter_s is None else jitter_s
    require_jitter(read, jitter)
    full_s = (
        None
        if full_every is None
        else read_duration_s(full_every.strip(), field="full-every", least_s=_LEAST_FULL_S)
    )

    def work(transaction: Transaction) -> None:
        now = installation.clock.now()
        if not store.lock_connection(transaction, row.id):
            raise NotFoundError(f"the connection {row.name!r} was removed meanwhile")
        known = store.find_schedule(transaction, row.id, declared.name)
        _require_unchanged(known, unchanged_since)
        schedule_id = known.id if known else new_id("sch")
        next_at = _first_tick(schedule_id, read, jitter, known, now)
        if known is None:
            store.add_schedule(
                transaction,
                schedule_id=schedule_id,
                connection_id=row.id,
                entity=declared.name,
                rule=read.text,
                zone=zone,
                jitter_s=jitter,
                full_every_s=full_s,
                next_at=next_at,
                now=now,
            )
        else:
            store.change_schedule(
                transaction,
                schedule_id,
                rule=read.text,
                zone=zone,
                jitter_s=jitter,
                full_every_s=full_s,
                next_at=next_at,
                now=now,
            )
        said = f"{read.text}, zone {zone}, jitter {jitter} s"
        _note(transaction, row.id, declared.name, now, actor, "set", said)

    installation.database.transact(work)
    return get_schedule(installation, connection, declared.name)


def list_schedules(installation: Installation, *, connection: str | None = None) -> list[Schedule]:
    """Return all schedules, or those of one connection."""
    row = _connection(installation, connection) if connection is not None else None
    with installation.database.read() as transaction:
        rows = store.list_schedules(transaction, connection_id=row.id if row else None)
    return [_with_state(installation, each) for each in rows]


def get_schedule(installation: Installation, connection: str, entity: str) -> Schedule:
    """Return the schedule of an entity.

    Raises:
        NotFoundError: No such connection, or the entity has no schedule.
    """
    row = _connection(installation, connection)
    with installation.database.read() as transaction:
        found = _find(transaction, row, entity)
    return _with_state(installation, found)


def pause_schedule(
    installation: Installation, connection: str, entity: str, *, actor: str
) -> Schedule:
    """Let a schedule rest until it is resumed.

    Raises:
        NotFoundError: No such connection, or the entity has no schedule.
        RefusedError: It is paused already.
    """

    def pause(transaction: Transaction, found: ScheduleRow, now: datetime) -> str:
        if not store.pause_schedule(transaction, found.id, now):
            raise RefusedError(f"{_called(found)} is paused already", code="schedule-paused")
        return "paused"

    _change(installation, connection, entity, actor, pause)
    return get_schedule(installation, connection, entity)


def resume_schedule(
    installation: Installation, connection: str, entity: str, *, actor: str
) -> Schedule:
    """Let a paused schedule go on with its next tick; those that went by are not made up for.

    Raises:
        NotFoundError: No such connection, or the entity has no schedule.
        RefusedError: It is not paused.
    """

    def resume(transaction: Transaction, found: ScheduleRow, now: datetime) -> str:
        next_at = timetable_of(found).next_after(now)
        if not store.resume_schedule(transaction, found.id, next_at=next_at, now=now):
            raise RefusedError(f"{_called(found)} is not paused", code="schedule-not-paused")
        return "resumed"

    _change(installation, connection, entity, actor, resume)
    return get_schedule(installation, connection, entity)


def remove_schedule(
    installation: Installation,
    connection: str,
    entity: str,
    *,
    actor: str,
    unchanged_since: datetime | None = None,
) -> None:
    """Remove a schedule; runs that it asked for go on.

    Args:
        installation: Where.
        connection: Name or id.
        entity: What is synced.
        actor: Who does it, for the sync log.
        unchanged_since: As for :func:`set_schedule`.

    Raises:
        NotFoundError: No such connection, or the entity has no schedule.
        ChangedError: Somebody changed it since.
    """

    def remove(transaction: Transaction, found: ScheduleRow, _now: datetime) -> str:
        _require_unchanged(found, unchanged_since)
        store.delete_schedule(transaction, found.id)
        return "removed"

    _change(installation, connection, entity, actor, remove)


def next_ticks(
    installation: Installation,
    *,
    connection: str | None = None,
    visible: Collection[str] | None = None,
    count: int = 10,
) -> list[tuple[datetime, Schedule]]:
    """Return the next ticks of all active schedules, soonest first.

    The first of a schedule is in the past if it is due and no scheduler took it.

    Args:
        installation: Where.
        connection: Name or id; None for all.
        visible: Ids of the connections that whoever asks may see; None: all.
        count: The most to return.

    Raises:
        NotFoundError: There is no such connection.
    """
    now = installation.clock.now()
    active = [
        each
        for each in list_schedules(installation, connection=connection)
        if each.state == "active" and (visible is None or each.row.connection_id in visible)
    ]
    planned = merge(*(_ticks(each, now, count) for each in active), key=itemgetter(0))
    return list(islice(planned, count))


def _ticks(schedule: Schedule, now: datetime, count: int) -> list[tuple[datetime, Schedule]]:
    row = schedule.row
    after = timetable_of(row).ticks_after(max(now, row.next_at))
    return [(at, schedule) for at in islice(chain([row.next_at], after), count)]


def _first_tick(
    schedule_id: str, rule: Rule, jitter_s: int, known: ScheduleRow | None, now: datetime
) -> datetime:
    """Plan a schedule that is set: a new interval begins now, and what was due stays so."""
    anchor = known.created_at if known else now
    timetable = Timetable(schedule_id=schedule_id, rule=rule, jitter_s=jitter_s, anchor=anchor)
    if known is None and isinstance(rule, Every):
        return timetable.next_after(now.replace(microsecond=0) - timedelta.resolution)
    if known is not None and known.next_at <= now:
        return known.next_at
    return timetable.next_after(now)


def _change(
    installation: Installation,
    connection: str,
    entity: str,
    actor: str,
    change: Callable[[Transaction, ScheduleRow, datetime], str],
) -> None:
    """Change the schedule of an entity, and note it in the sync log."""
    row = _connection(installation, connection)

    def work(transaction: Transaction) -> None:
        now = installation.clock.now()
        store.lock_connection(transaction, row.id)
        found = _find(transaction, row, entity)
        done = change(transaction, found, now)
        _note(transaction, row.id, found.entity, now, actor, done, found.rule)

    installation.database.transact(work)


def _note(
    transaction: Transaction,
    connection_id: str,
    entity: str,
    now: datetime,
    actor: str,
    done: str,
    detail: str,
) -> None:
    log.add_entry(
        transaction,
        at=now,
        actor=actor,
        event=f"schedule.{done}",
        connection_id=connection_id,
        entity=entity,
        detail=detail,
    )


def _require_unchanged(known: ScheduleRow | None, since: datetime | None) -> None:
    if since is not None and (known is None or known.updated_at != since):
        raise ChangedError(
            "the schedule is not as you saw it: somebody changed it meanwhile",
            hint="read it again, and decide anew",
        )


def _find(transaction: Transaction, row: ConnectionRow, entity: str) -> ScheduleRow:
    found = store.find_schedule(transaction, row.id, _plausible(entity, "entity"))
    if found is None:
        raise NotFoundError(
            f"{entity!r} of {row.name!r} has no schedule",
            hint=f"tieline schedules set {row.name} ENTITY 'every 15m'",
            code="schedule-unknown",
        )
    return found


def _with_state(installation: Installation, row: ScheduleRow) -> Schedule:
    if row.paused_at is not None:
        return Schedule(row=row, state="paused")
    if row.connection_state != "ok":
        return Schedule(
            row=row,
            state="parked",
            reason="the connection needs authorisation",
            hint=reauth_hint(row.connection_name),
        )
    if row.connection_paused_at is not None:
        return Schedule(
            row=row,
            state="parked",
            reason="the connection is paused",
            hint=f"tieline connections resume {row.connection_name}",
        )
    if row.dead_letter_id is not None:
        return Schedule(
            row=row,
            state="parked",
            reason=f"a run of it is dead: {row.dead_letter_id}",
            hint=f"tieline dead show {row.dead_letter_id}",
        )
    try:
        installation.registry.get(row.provider).entity(row.entity)
        timetable_of(row)
    except TielineError as error:
        return Schedule(row=row, state="parked", reason=error.message, hint=error.hint)
    return Schedule(row=row, state="active")


def _called(row: ScheduleRow) -> str:
    return f"the schedule of {row.connection_name} {row.entity}"


def _connection(installation: Installation, name: str) -> ConnectionRow:
    return get_connection(installation, _plausible(name, "connection"))


def _plausible(name: str, field: str) -> str:
    """Refuse what can be no name before it is looked for; PostgreSQL takes no NUL, for one."""
    if not _NAME.fullmatch(name):
        raise InvalidInputError(
            f"{field}: {name[:60]!r} can be no name: letters, digits and ._- only, 64 at most",
            code=f"{field}-invalid",
        )
    return name
