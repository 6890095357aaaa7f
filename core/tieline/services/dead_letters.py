"""Look at what was given up; try it again, or drop it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from tieline.alerts import close_alert
from tieline.engine import ring_drain
from tieline.engine.ask import direction_of, plan_run, ring_for
from tieline.errors import NotFoundError, RefusedError
from tieline.services.connections import get_connection
from tieline.services.installation import Installation
from tieline.store import dead_letters as store
from tieline.store import events, log, runs
from tieline.store.choosing import Mark
from tieline.store.database import Connection as Transaction
from tieline.store.dead_letters import DeadLetter
from tieline.store.events import EventsWanted
from tieline.store.rows import RunRow

__all__ = [
    "Retried",
    "count_dead_events",
    "drop_dead_letter",
    "get_dead_letter",
    "list_dead_letters",
    "retry_dead_letter",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Retried:
    """What became of a letter that was tried again.

    Attributes:
        letter: The letter, settled.
        run: The run, new or the one that was active already; None for a letter
            of events.
        is_new: Whether trying again made it.
        events: How many events are handled once more.
    """

    letter: DeadLetter
    run: RunRow | None = None
    is_new: bool = False
    events: int = 0


def list_dead_letters(
    installation: Installation,
    *,
    connection: str | None = None,
    visible: Collection[str] | None = None,
    with_settled: bool = False,
    before: Mark | None = None,
    limit: int = 50,
) -> list[DeadLetter]:
    """Return the newest letters first: those that wait, or all.

    Args:
        installation: Where.
        connection: Name or id; None for all.
        visible: Ids of the connections that whoever asks may see; None: all.
        with_settled: Those that are over too.
        before: Time and id of the last one of the page before.
        limit: The most to return.

    Raises:
        NotFoundError: There is no such connection.
    """
    row = get_connection(installation, connection) if connection is not None else None
    with installation.database.read() as transaction:
        return store.list_dead_letters(
            transaction,
            connection_id=row.id if row else None,
            connection_ids=visible,
            with_settled=with_settled,
            before=before,
            limit=limit,
        )


def get_dead_letter(installation: Installation, letter_id: str) -> DeadLetter:
    """Return a letter.

    Raises:
        NotFoundError: There is none of that id.
    """
    with installation.database.read() as transaction:
        return _find(transaction, letter_id)


def count_dead_events(installation: Installation, letter: DeadLetter) -> int:
    """Say how many events a letter stands for; 0 for that of a run."""
    if not letter.is_of_events:
        return 0
    with installation.database.read() as transaction:
        return events.count_events(transaction, _events_of(letter))


def retry_dead_letter(installation: Installation, letter_id: str, *, actor: str) -> Retried:
    """Ask for the same run once more, or have the events handled again, and settle the letter.

    The run is of the dead one's mode; what that one committed stays, and is
    not doubled. No more is what an event tells that is handled twice.

    Raises:
        NotFoundError: There is no such letter, or its entity is gone.
        RefusedError: It was settled before.
        PluginError: The provider's plugin is broken.
        DependencyError: Database or Redis does not answer; nothing was asked.
    """
    letter = get_dead_letter(installation, letter_id)
    _require_open(letter)
    if letter.is_of_events:
        return _retry_events(installation, letter, actor=actor)
    row = get_connection(installation, letter.connection_id)
    entity = installation.registry.get(row.provider).entity(letter.entity or "")
    _ = installation.redis

    def work(transaction: Transaction) -> Retried:
        now = installation.clock.now()
        _settle(transaction, letter, "retried", now, actor)
        dead = runs.get_run(transaction, letter.run_id) if letter.run_id else None
        is_window = dead is not None and dead.mode == "window"
        run_id = plan_run(
            installation.engine,
            transaction,
            row,
            entity,
            mode=dead.mode if dead else "incremental",
            asked_by=actor,
            allow_deletes=dead.allow_deletes if dead else False,
            window=(dead.window_start, dead.window_end) if dead and is_window else (None, None),
            now=now,
        )
        run = (
            runs.get_run(transaction, run_id)
            if run_id is not None
            else runs.active_run(
                transaction, row.id, entity.name, direction=direction_of(dead.mode if dead else "")
            )
        )
        if run is None:  # nothing is settled then
            raise RefusedError(
                f"a run of {entity.name} ended at this very moment",
                hint=f"tieline dead retry {letter_id}",
            )
        return Retried(letter=_find(transaction, letter_id), run=run, is_new=run_id is not None)

    retried = installation.database.transact(work)
    if retried.is_new and retried.run is not None:
        ring_for(installation.engine, retried.run.id)
    return retried


def _retry_events(installation: Installation, letter: DeadLetter, *, actor: str) -> Retried:
    def work(transaction: Transaction) -> Retried:
        now = installation.clock.now()
        _settle(transaction, letter, "retried", now, actor)
        close_alert(transaction, "events-dead", letter.id, now=now)
        count = events.revive_dead(transaction, _events_of(letter), now=now)
        return Retried(letter=_find(transaction, letter.id), events=count)

    retried = installation.database.transact(work)
    ring_drain(installation.engine, letter.connection_id)
    return retried


def _events_of(letter: DeadLetter) -> EventsWanted:
    return EventsWanted(
        connection_id=letter.connection_id,
        entity=letter.entity,
        states=["dead"],
        error_code=letter.reason_code,
        dead_kind=letter.dead_kind,
    )


def drop_dead_letter(installation: Installation, letter_id: str, *, actor: str) -> DeadLetter:
    """Settle a letter and do nothing more; the entity's schedule goes on.

    Its events, if it is of events, are ignored from now on.

    Raises:
        NotFoundError: There is none of that id.
        RefusedError: It was settled before.
    """

    def work(transaction: Transaction) -> DeadLetter:
        letter, now = _find(transaction, letter_id), installation.clock.now()
        _settle(transaction, letter, "dropped", now, actor)
        if letter.is_of_events:
            close_alert(transaction, "events-dead", letter.id, now=now)
            events.forget_dead(transaction, _events_of(letter), now=now)
        return _find(transaction, letter_id)

    return installation.database.transact(work)


def _find(transaction: Transaction, letter_id: str) -> DeadLetter:
    is_plausible = letter_id.isascii() and letter_id.isprintable() and len(letter_id) <= 32
    letter = store.get_dead_letter(transaction, letter_id) if is_plausible else None
    if letter is None:
        raise NotFoundError(
            f"there is no dead letter {letter_id[:60]!r}",
            hint="tieline dead list",
            code="dead-letter-unknown",
        )
    return letter


def _settle(
    transaction: Transaction, letter: DeadLetter, how: str, now: datetime, actor: str
) -> None:
    if not store.settle_dead_letter(transaction, letter.id, how=how, now=now):
        _require_open(_find(transaction, letter.id))
    log.add_entry(
        transaction,
        at=now,
        actor=actor,
        event=f"dead.{how}",
        connection_id=letter.connection_id,
        entity=letter.entity,
        run_id=letter.run_id,
        detail=letter.id,
    )


def _require_open(letter: DeadLetter) -> None:
    if letter.settled_at is not None:
        raise RefusedError(
            f"the dead letter {letter.id} was {letter.settled_how} before",
            hint="tieline dead list",
            code="dead-letter-settled",
        )
