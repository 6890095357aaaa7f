"""Who works, what is stuck, and what waits for a person."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta

from tieline import __version__
from tieline.engine.tick import timetable_of
from tieline.errors import InvalidInputError
from tieline.services.doctor.finding import Finding, listed
from tieline.services.installation import Installation
from tieline.store import connections as connection_store
from tieline.store import pauses, schedules, trouble
from tieline.store.schedules import ScheduleRow

__all__ = ["look_at_alerts", "look_at_scheduler", "look_at_work"]

_OVERDUE = timedelta(minutes=5)


def look_at_work(installation: Installation) -> Iterator[Finding]:
    """Look who works, what nobody does, and what was given up."""
    yield from _workers(installation)
    yield from _pauses(installation)
    now = installation.clock.now()
    # A sweep finds them within seconds: what is older nobody sweeps for.
    patience = timedelta(seconds=installation.settings.lease_s + 60)
    with installation.database.read() as transaction:
        stuck = trouble.stuck_leases(transaction, now - patience)
        counted = trouble.count_by_connection(transaction)
        names = {row.id: row.name for row in connection_store.list_connections(transaction)}
    if stuck:
        said = [f"{each.connection_name} {each.entity or 'events'} ({each.id})" for each in stuck]
        yield Finding(
            subject="workers",
            level="fail",
            message=f"claimed by workers that gave no sign of life since"
            f" {stuck[0].since:%H:%M} UTC, and taken over by nobody: {listed(said)}",
            fix="tieline worker (it takes them over from their checkpoints)",
            code="lease-stuck",
        )
    for kind, code, message, fix in _WAITING:
        if of := counted[kind]:
            whose = listed(sorted(names.get(each, each) for each in of))
            yield Finding(
                subject="trouble",
                level="warn",
                message=f"{sum(of.values())} {message} ({whose})",
                fix=fix,
                code=code,
            )


_WAITING = (
    ("dead_letters", "dead-letters", "dead letters wait for a person", "tieline dead list"),
    (
        "quarantined",
        "quarantined",
        "records could not be used and are in quarantine",
        "tieline records quarantine list CONNECTION",
    ),
    (
        "operations",
        "operations-wait",
        "changes were refused or are held, and wait for a person",
        "tieline outbox list",
    ),
)


def _workers(installation: Installation) -> Iterator[Finding]:
    if _is_unmade(installation):
        return
    alive = installation.presence.alive()
    if not alive:
        yield Finding(
            subject="workers",
            level="warn",
            message="no worker is alive: runs wait",
            fix="tieline worker (or: tieline up)",
            code="no-worker",
        )
        return
    others = sorted({each.version for each in alive} - {__version__})
    if others:
        yield Finding(
            subject="workers",
            level="warn",
            message=f"workers of another version are alive: {listed(others)}; this is"
            f" {__version__}",
            fix="start them anew from what is installed now",
            code="worker-version",
        )
    waiting = installation.doorbell.count_waiting()
    yield Finding.ok("workers", f"{len(alive)} alive, {waiting} jobs waiting")


def _pauses(installation: Installation) -> Iterator[Finding]:
    with installation.database.read() as transaction:
        paused = pauses.paused_queues(transaction)
    for each in paused.values():
        yield Finding(
            subject="workers",
            level="warn",
            message=f"the queue {each.queue} is paused since {each.paused_at:%Y-%m-%d %H:%M} UTC by"
            f" {each.paused_by}: workers take nothing from it",
            fix=f"tieline queue resume {each.queue}",
            code="queue-paused",
        )


def look_at_scheduler(installation: Installation) -> Iterator[Finding]:
    """Look whether somebody takes the ticks."""
    if _is_unmade(installation):
        return
    now = installation.clock.now()
    with installation.database.read() as transaction:
        is_needed = schedules.next_due_at(transaction) is not None
        every = schedules.list_schedules(transaction)
        overdue = trouble.overdue_schedules(transaction, now - _OVERDUE)
    alive = installation.schedulers.alive()
    if is_needed and not alive:
        yield Finding(
            subject="scheduler",
            level="warn",
            message="no scheduler is alive: nothing is synced by schedule, no token is kept alive",
            fix="tieline scheduler (or: tieline up)",
            code="no-scheduler",
        )
    elif alive:
        yield Finding.ok("scheduler", f"{len(alive)} alive")
    if overdue and alive:
        said = [f"{name} {entity}" for name, entity, _ in overdue]
        yield Finding(
            subject="scheduler",
            level="fail",
            message=f"ticks are due since {overdue[0][2]:%Y-%m-%d %H:%M} UTC and not taken:"
            f" {listed(said)}",
            fix="see the scheduler's log; start it anew: tieline scheduler",
            code="schedule-overdue",
        )
    yield from _meaningless(every)


def _meaningless(every: Iterable[ScheduleRow]) -> Iterator[Finding]:
    """Find schedules that are passed over; `tieline schedules` shows them as parked."""
    for row in every:
        try:
            timetable_of(row)
        except InvalidInputError as error:
            where = f"{row.connection_name} {row.entity}"
            yield Finding(
                subject="scheduler",
                level="fail",
                message=f"{where} is not synced by schedule: {error.message}",
                fix=f"tieline schedules set {where} RULE, with a zone that is known here",
                code="schedule-meaningless",
            )


def look_at_alerts(installation: Installation) -> Iterator[Finding]:
    """Look for alerts that reached nobody."""
    with installation.database.read() as transaction:
        untold = trouble.undelivered_alerts(transaction)
    if untold:
        yield Finding(
            subject="alerts",
            level="warn",
            message=f"{len(untold)} alerts could not be told: {untold[0][1]}",
            fix="see whether TIELINE_ALERT_WEBHOOK_URL answers; tieline alerts",
            code="alert-untold",
        )


def _is_unmade(installation: Installation) -> bool:
    return installation.settings.is_embedded_redis and not installation.settings.home.is_dir()
