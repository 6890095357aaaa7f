"""Look at the events that providers delivered, and have them handled once more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from tieline.engine import ring_drain
from tieline.errors import InvalidInputError, NotFoundError
from tieline.inbox import fingerprint_of
from tieline.services.connections import get_connection
from tieline.services.installation import Installation
from tieline.store import events as store
from tieline.store import log
from tieline.store.database import Connection as Transaction
from tieline.store.events import EventRow, EventsWanted

__all__ = [
    "OLD",
    "Backlog",
    "EventsWanted",
    "Shown",
    "count_backlog",
    "get_event",
    "list_events",
    "replay_events",
]

OLD = "old"
"""As :attr:`EventsWanted.verified_with`: by any secret that is no present one."""

_AT_ONCE = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """One event with the delivery that brought it.

    Attributes:
        row: The event.
        body: The delivery as it came; None once it is gone.
        headers: Those that were kept.
        is_own: The endpoint is the connection's own; one delivery to an
            application's may tell of several accounts.
    """

    row: EventRow
    body: bytes | None
    headers: Mapping[str, str]
    is_own: bool

    @property
    def text(self) -> str | None:
        """The body as text; bytes that are none are written as escapes."""
        return None if self.body is None else self.body.decode(errors="backslashreplace")


@dataclass(frozen=True, kw_only=True, slots=True)
class Backlog:
    """What is not handled.

    Attributes:
        pending: Events that wait.
        dead: Events that were given up.
        oldest_s: Seconds since the oldest pending one came; 0 if none is.
    """

    pending: int
    dead: int
    oldest_s: float


def count_backlog(installation: Installation) -> Backlog:
    """Count the events that are not handled, of all connections."""
    with installation.database.read() as transaction:
        pending = store.count_events(transaction, EventsWanted(states=["pending"]))
        dead = store.count_events(transaction, EventsWanted(states=["dead"]))
        oldest_at = store.oldest_pending_at(transaction)
    age = installation.clock.now() - oldest_at if oldest_at else timedelta(0)
    return Backlog(pending=pending, dead=dead, oldest_s=max(0.0, age.total_seconds()))


def list_events(
    installation: Installation,
    wanted: EventsWanted,
    *,
    connection: str | None = None,
    limit: int = 50,
) -> list[EventRow]:
    """Return the newest events first.

    Args:
        installation: Where.
        wanted: Which.
        connection: Name or id, in the place of the one in ``wanted``.
        limit: The most to return.

    Raises:
        NotFoundError: There is no such connection.
    """
    asked = _of(installation, wanted, connection)
    with installation.database.read() as transaction:
        return store.list_events(transaction, asked, limit=limit)


def get_event(installation: Installation, event_id: str) -> Shown:
    """Return an event and its delivery.

    Raises:
        NotFoundError: There is none of that id.
    """
    with installation.database.read() as transaction:
        found = store.find_event(transaction, event_id) if _is_plausible(event_id) else None
    if found is None:
        raise _unknown(event_id)
    row, body, headers, is_own = found
    return Shown(row=row, body=body, headers=headers, is_own=is_own)


def replay_events(
    installation: Installation,
    wanted: EventsWanted,
    *,
    connection: str | None = None,
    visible: Collection[str] | None = None,
    actor: str,
) -> int:
    """Have events handled once more; what they tell is judged as any copy is.

    So a replay puts nothing older over what is there, however often it is
    done. Events that are pending are left as they are.

    Args:
        installation: Where.
        wanted: Which; something has to be said.
        connection: Name or id, in the place of the one in ``wanted``.
        visible: Ids of the connections that whoever asks may see; None: all.
        actor: Who asks, for the sync log.

    Returns:
        How many are handled once more.

    Raises:
        NotFoundError: There is no such connection, or no such event.
        InvalidInputError: Nothing was said, which would be all there is.
    """
    asked = _of(installation, wanted, connection)
    if asked == EventsWanted():
        raise InvalidInputError(
            "say which events are meant",
            hint="name their ids, or --connection, --endpoint, --type, --state, --since, --until or"
            " --verified-with",
            code="events-choice",
        )
    asked = replace(asked, connection_ids=visible)
    _require_all(installation, asked)
    count, after, is_last = 0, 0, False
    while not is_last:
        replayed, after, is_last = _replay_part(installation, asked, after, actor)
        count += replayed
    return count


def _replay_part(
    installation: Installation, wanted: EventsWanted, after: int, actor: str
) -> tuple[int, int, bool]:
    """Replay some events after a place; say how many, up to where, and whether that is all."""
    rung: Counter[str] = Counter()

    def work(transaction: Transaction) -> tuple[int, int, bool]:
        now = installation.clock.now()
        rows = store.choose_events(transaction, wanted, after=after, limit=_AT_ONCE)
        rung.clear()
        rung.update(connection_id for _, connection_id in rows)
        seqs = [seq for seq, _ in rows]
        count = store.replay_events(transaction, seqs, now=now) if seqs else 0
        for connection_id, number in sorted(rung.items()):
            log.add_entry(
                transaction,
                at=now,
                actor=actor,
                event="events.replayed",
                connection_id=connection_id,
                detail=f"{number} events are handled once more",
            )
        return count, max(seqs, default=after), len(seqs) < _AT_ONCE

    done = installation.database.transact(work)
    for connection_id in sorted(rung):
        ring_drain(installation.engine, connection_id)
    return done


def _require_all(installation: Installation, wanted: EventsWanted) -> None:
    if not wanted.ids:
        return
    if odd := [each for each in wanted.ids if not _is_plausible(each)]:
        raise _unknown(odd[0])
    ids = EventsWanted(ids=wanted.ids, connection_ids=wanted.connection_ids)
    with installation.database.read() as transaction:
        found = {row.id for row in store.list_events(transaction, ids, limit=len(wanted.ids))}
    if lost := sorted(set(wanted.ids) - found):
        raise _unknown(lost[0])


def _is_plausible(event_id: str) -> bool:
    return event_id.isascii() and event_id.isprintable() and len(event_id) <= 32


def _of(installation: Installation, wanted: EventsWanted, connection: str | None) -> EventsWanted:
    given = (wanted.entity, wanted.endpoint_id, wanted.verified_with, *wanted.types)
    texts = filter(None, given)
    if not all(text.isprintable() for text in texts):
        raise InvalidInputError("a name holds what no name holds", code="events-choice")
    if wanted.verified_with == OLD:
        wanted = replace(wanted, verified_with=None, not_verified_with=_of_settings(installation))
    if connection is None:
        return wanted
    return replace(wanted, connection_id=get_connection(installation, connection).id)


def _of_settings(installation: Installation) -> frozenset[str]:
    """Name the secrets that the environment has for applications' endpoints."""
    applications = installation.settings.applications.values()
    return frozenset(fingerprint_of(each) for app in applications for each in app.webhook_secrets)


def _unknown(event_id: str) -> NotFoundError:
    return NotFoundError(
        f"there is no event {event_id[:60]!r}",
        hint="tieline webhooks events list",
        code="event-unknown",
    )
