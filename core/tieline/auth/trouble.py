"""Mark a connection that needs a person, once, and tell of it, once."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from tieline.alerts import close_alert, raise_alert
from tieline.contract import NeedsReauthError
from tieline.store import connections as store
from tieline.store import log, parking
from tieline.store.database import Connection
from tieline.telemetry import tellable

__all__ = ["Refusal", "note_recovered", "note_refused", "reauth_hint"]

Refusal = Literal["marked", "known", "replaced"]
"""What became of a refusal: it was news, it was known, or it was about a credential of before.

Known is a refusal too where the account was disconnected, or removed, meanwhile.
"""


def reauth_hint(name: str) -> str:
    """Say how a person connects again."""
    return f"tieline connections reauth {name}"


def note_refused(
    connection: Connection,
    connection_id: str,
    *,
    generation: int | None,
    error: NeedsReauthError,
    actor: str,
    now: datetime,
) -> Refusal:
    """Mark a connection whose credential its provider refuses.

    Its schedules rest from now on. Whoever finds it marked already has
    nothing to tell, so a hundred runs that meet the same refusal make one
    alert.

    Args:
        connection: Open transaction.
        connection_id: The connection.
        generation: Which credential was refused; None: whichever there is.
        error: The provider's words.
        actor: Who met the refusal, for the sync log.
        now: Aware UTC.
    """
    words = tellable(error.message)
    if store.refuse_credential(
        connection, connection_id, generation=generation, words=words, now=now
    ):
        log.add_entry(
            connection,
            at=now,
            actor=actor,
            event="connection.needs_reauth",
            connection_id=connection_id,
            error_code=error.slug,
            detail=words,
        )
        row = store.find_connection(connection, connection_id)
        assert row is not None  # this transaction has just changed it
        raise_alert(
            connection,
            "needs-reauth",
            row.id,
            f"{row.name} needs a person: {words}",
            now=now,
            connection_id=row.id,
            hint=reauth_hint(row.name),
        )
        return "marked"
    row = store.find_connection(connection, connection_id)
    return "replaced" if row is not None and row.state == "ok" else "known"


def note_recovered(
    connection: Connection, connection_id: str, *, actor: str, now: datetime
) -> list[str]:
    """Take a connection out of its trouble; its parked runs go on from their checkpoints.

    Returns:
        Ids of the runs that go on, to be rung for after the commit; a worker's
        sweep finds them too.
    """
    if not store.accept_credential(connection, connection_id, now=now):
        return []
    close_alert(connection, "needs-reauth", connection_id, now=now)
    run_ids = parking.unpark(connection, connection_id, now)
    log.add_entry(
        connection,
        at=now,
        actor=actor,
        event="connection.recovered",
        connection_id=connection_id,
        detail=f"{len(run_ids)} runs go on" if run_ids else "",
    )
    return run_ids
