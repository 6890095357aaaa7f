"""How everything is, on one screen: asks database and Redis, and imports no plugin."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tieline.errors import DependencyError
from tieline.services.installation import Installation
from tieline.store import alerts, connections, pauses, runs, schedules, trouble
from tieline.store.connections import ConnectionRow
from tieline.store.parking import PAUSED
from tieline.store.rows import RunRow
from tieline.store.runs import RunsWanted
from tieline.store.schedules import NextTick
from tieline.store.tables import ACTIVE_STATES

if TYPE_CHECKING:  # they take Redis along, which is asked after the database
    from tieline.queue import WorkerSign
    from tieline.throttle import BreakerState

__all__ = ["Line", "Overview", "look_over"]

_MOST_RUNS = 200
_MOST_ALERTS = 100
_WORST = ("running", "retrying", "waiting", "queued")


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """How one connection is.

    Attributes:
        row: The connection.
        state: ``ok``, ``paused``, ``needs_reauth``, ``disconnected``, ``running``,
            ``queued``, ``waiting`` or ``retrying``.
        runs: Those that are not over.
        last_success_at: When a run of it last succeeded.
        next_at: When it will be synced next by a schedule, or go on; None: nobody knows.
        trouble: What is wrong, as people read it; empty if nothing is.
        hint: What to do about it.
        waiting: What waits for a person: ``quarantined``, ``dead_letters``,
            ``operations``.
        events: Webhook events that are to be handled.
    """

    row: ConnectionRow
    state: str
    runs: Sequence[RunRow]
    last_success_at: datetime | None
    next_at: datetime | None
    trouble: str
    hint: str
    waiting: Mapping[str, int]
    events: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Overview:
    """How everything is.

    Attributes:
        at: When this was looked at.
        lines: Each connection, by name.
        stuck: Claims that ended and were taken over by nobody.
        alerts: How many are open.
        redis_trouble: Why Redis could not be asked; empty: it was.
        workers: Those that are alive; None: nobody knows.
        schedulers: Those that are alive; None: nobody knows.
        jobs: Wake-ups that no worker took yet; None: nobody knows.
        paused: Names of the queues that workers take nothing from.
    """

    at: datetime
    lines: Sequence[Line]
    stuck: int
    alerts: int
    redis_trouble: str
    workers: Sequence[WorkerSign] | None
    schedulers: Sequence[WorkerSign] | None
    jobs: int | None
    paused: Sequence[str]

    def total(self, what: str) -> int:
        """Count what waits for a person, over all connections."""
        return sum(line.waiting.get(what, 0) for line in self.lines)


def look_over(installation: Installation, *, visible: Collection[str] | None = None) -> Overview:
    """Look at everything once; Redis may be away.

    Args:
        installation: Where.
        visible: Ids of the connections that whoever asks may see; None: all.
            Of what is nobody's alone they are told that workers live, and no more.

    Raises:
        SettingsError: There is no installation, or its schema is another.
        DependencyError: The database does not answer.
    """
    now = installation.clock.now()
    with installation.database.read() as transaction:
        rows = _seen(connections.list_connections(transaction), visible)
        wanted = RunsWanted(states=ACTIVE_STATES, visible=visible)
        active = runs.list_runs(transaction, wanted, limit=_MOST_RUNS)
        successes = trouble.last_successes(transaction)
        ticks = schedules.next_ticks(transaction)
        counted = trouble.count_by_connection(transaction)
        names = {row.name for row in rows}
        lost = trouble.stuck_leases(transaction, now)
        stuck = sum(each.connection_name in names for each in lost)
        paused = list(pauses.paused_queues(transaction))
        opened = len(alerts.list_alerts(transaction, connection_ids=visible, limit=_MOST_ALERTS))
    said = ""
    workers = schedulers = jobs = None
    breakers: Mapping[str, Sequence[BreakerState]] = {}
    try:
        workers, schedulers = installation.presence.alive(), installation.schedulers.alive()
        jobs = installation.doorbell.count_waiting()
        breakers = _breakers(installation, rows)
    except DependencyError as error:
        said = error.message
    lines = [
        _line(
            row,
            [run for run in active if run.connection_id == row.id],
            breakers.get(row.id, ()),
            last=successes.get(row.id),
            ticks=[tick for tick in ticks if tick.connection_id == row.id],
            counted={name: of.get(row.id, 0) for name, of in counted.items()},
        )
        for row in rows
    ]
    found = Overview(
        at=now,
        lines=lines,
        stuck=stuck,
        alerts=opened,
        redis_trouble=said,
        workers=workers,
        schedulers=schedulers,
        jobs=jobs,
        paused=paused,
    )
    return found if visible is None else _narrowed(found)


def _seen(rows: Sequence[ConnectionRow], visible: Collection[str] | None) -> list[ConnectionRow]:
    return [row for row in rows if visible is None or row.id in visible]


def _narrowed(found: Overview) -> Overview:
    """Leave out what tells of connections that somebody may not see."""
    workers = found.workers and [replace(sign, busy_with="") for sign in found.workers]
    return replace(found, workers=workers, jobs=None, paused=())


def _breakers(
    installation: Installation, rows: Sequence[ConnectionRow]
) -> Mapping[str, Sequence[BreakerState]]:
    from tieline.throttle import Ledger  # noqa: PLC0415 - not where there is nothing to ask

    return Ledger(installation.redis).breakers(row.id for row in rows) if rows else {}


def _line(
    row: ConnectionRow,
    active: Sequence[RunRow],
    breakers: Sequence[BreakerState],
    *,
    last: datetime | None,
    ticks: Sequence[NextTick],
    counted: Mapping[str, int],
) -> Line:
    to_come = [tick.at for tick in ticks if _is_zone(tick.zone)]
    state, said, hint, next_at = _state(row, active, breakers, min(to_come, default=None))
    if not said and (unknown := [tick.zone for tick in ticks if not _is_zone(tick.zone)]):
        said = f"a schedule waits: {unknown[0]!r} is no time zone on this machine"
        hint = f"tieline schedules list --connection {row.name}"
    waiting = {name: counted[name] for name in ("quarantined", "dead_letters", "operations")}
    if not said and (people := [_words(name, n) for name, n in waiting.items() if n]):
        said, hint = ", ".join(people), _WAITING[next(n for n in waiting if waiting[n])][2]
    return Line(
        row=row,
        state=state,
        runs=active,
        last_success_at=last,
        next_at=next_at,
        trouble=said,
        hint=hint,
        waiting=waiting,
        events=counted["events"],
    )


_WAITING = {
    "quarantined": ("record in quarantine", "records in quarantine", "tieline records quarantine"),
    "dead_letters": ("dead letter", "dead letters", "tieline dead list"),
    "operations": ("change waits", "changes wait", "tieline outbox list"),
}


def _words(name: str, count: int) -> str:
    one, many, _ = _WAITING[name]
    return f"{count} {one if count == 1 else many}"


def _state(
    row: ConnectionRow,
    active: Sequence[RunRow],
    breakers: Sequence[BreakerState],
    tick: datetime | None,
) -> tuple[str, str, str, datetime | None]:
    """Return state, trouble, hint, and when it goes on."""
    if row.state == "needs_reauth":
        words = row.trouble or "the credential is refused"
        return row.state, words, f"tieline connections reauth {row.name}", None
    if row.state != "ok":
        return row.state, "", "", None
    if row.paused_at is not None:
        return "paused", "", f"tieline connections resume {row.name}", None
    if opened := [each for each in breakers if each.state != "closed"]:
        words = f"breaker {opened[0].state} at {opened[0].host}"
        state = _worst(active)
        return state, words, f"tieline limits reset-breaker {row.name}", opened[0].until
    state = _worst(active)
    of_state = [run for run in active if run.state == state]
    if state in {"waiting", "retrying"}:
        first = min(of_state, key=lambda run: run.due_at)
        due = None if first.error_code == PAUSED else first.due_at
        return state, first.error_message or "", first.error_hint or "", due
    return state, "", "", None if state == "running" else tick


@cache
def _is_zone(name: str) -> bool:
    """Say whether a time zone is known here, without the engine, which takes long to import."""
    try:
        return name == "UTC" or bool(ZoneInfo(name).key)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # unknown, a path, a folder of zones
        return False


def _worst(active: Sequence[RunRow]) -> str:
    states = {run.state for run in active}
    return next((state for state in _WORST if state in states), "ok")
