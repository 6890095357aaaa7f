"""Give events up: a dead letter for each entity and reason, and an alert."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tieline.alerts import raise_alert
from tieline.engine.event_fate import Fate
from tieline.engine.kit import this_worker
from tieline.store import dead_letters, drains, log
from tieline.store.connections import ConnectionRow
from tieline.store.database import Connection
from tieline.store.drains import PendingEvent

__all__ = ["bury_events"]


def bury_events(
    connection: Connection,
    row: ConnectionRow,
    events: Sequence[PendingEvent],
    fate: Fate,
    *,
    now: datetime,
) -> None:
    """Give up the events of one record until a person has looked.

    All that died of one reason are one letter and one alert, however many
    they are: a right that is missing fails every event.

    Args:
        connection: Open transaction that holds the connection's drain.
        row: The connection.
        events: At least one, in the order of arrival.
        fate: What they died of.
        now: Aware UTC.
    """
    first = events[0]
    drains.close_events(
        connection,
        [event.seq for event in events],
        state="dead",
        now=now,
        error=(fate.code, fate.message),
        dead_kind=fate.dead_kind,
    )
    letter_id, is_new = dead_letters.note_dead_events(
        connection,
        connection_id=row.id,
        entity=first.entity,
        dead_kind=fate.dead_kind,
        reason_code=fate.code,
        reason=fate.message,
        facts={"event": first.id, "type": first.type, "record": first.record_key},
        now=now,
    )
    if not is_new:
        return
    log.add_entry(
        connection,
        at=now,
        actor=this_worker(),
        event="events.dead",
        connection_id=row.id,
        entity=first.entity,
        error_code=fate.code,
        detail=f"{letter_id}: {fate.message}",
    )
    raise_alert(
        connection,
        "events-dead",
        letter_id,
        f"{row.name}: events of {first.entity or 'no entity'} were given up: {fate.message}",
        now=now,
        connection_id=row.id,
        hint=f"tieline dead show {letter_id}",
        facts={"letter": letter_id, "entity": first.entity, "fault": fate.dead_kind},
    )
