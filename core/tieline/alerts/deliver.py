"""Tell what is due: each alert to every sink, at least once, however often a process dies."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import timedelta

from tieline.alerts.sinks import Sink
from tieline.clock import Clock
from tieline.contract import Alert, TielineError
from tieline.failpoints import failpoint
from tieline.store import alerts as store
from tieline.store.alerts import AlertRow
from tieline.store.database import Database
from tieline.telemetry import get_logger, tellable

__all__ = ["MOST_ATTEMPTS", "Messenger"]

_log = get_logger(__name__)

MOST_ATTEMPTS = 14
"""How often a sink is tried, over more than four hours, before it is given up."""

_LEASE = timedelta(seconds=60)
_FIRST_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 3600.0
_HISTORY = timedelta(days=90)
_MOST_AT_ONCE = 100


class Messenger:
    """Takes alerts that are due, and tells them. Any number of processes may.

    Args:
        database: Where alerts are.
        clock: For when to try again.
        sinks: Where to tell them, in this order.
    """

    def __init__(self, database: Database, clock: Clock, sinks: Sequence[Sink]) -> None:
        self._database = database
        self._clock = clock
        self._sinks = sinks

    def is_any_due(self) -> bool:
        """Say whether there is anything to tell.

        Raises:
            DependencyError: The database does not answer.
        """
        with self._database.read() as connection:
            return store.is_any_due(connection, self._clock.now())

    def deliver_due(self, stop: threading.Event | None = None) -> int:
        """Tell what is due; return how many alerts were taken up.

        An alert is taken for a minute. Who dies in that time told some sinks
        or none; after it the alert is due again.

        Args:
            stop: Set when this process has to leave; no further alert is taken.

        Raises:
            DependencyError: The database does not answer.
        """
        taken = 0
        while taken < _MOST_AT_ONCE and not (stop and stop.is_set()) and self.is_any_due():
            row = self._database.transact(
                lambda connection: store.claim_due(connection, self._clock.now(), lease=_LEASE)
            )
            if row is None:
                break
            taken += 1
            failpoint("alert.deliver.before")
            self._tell(row)
        return taken

    def tidy(self) -> None:
        """Close what is over, and forget what was over three months ago.

        Raises:
            DependencyError: The database does not answer.
        """
        now = self._clock.now()
        with self._database.write() as connection:
            closed = store.close_over(connection, now)
            store.drop_closed(connection, now - _HISTORY)
        if closed:
            _log.info("alerts are over", alerts=closed)

    def _tell(self, row: AlertRow) -> None:
        alert, told = _alert(row), list(row.told)
        troubles: list[str] = []
        pause_s = min(_FIRST_PAUSE_S * 2 ** (row.attempts - 1), _LONGEST_PAUSE_S)
        for sink in self._sinks:
            if sink.name in told:
                continue
            try:
                sink.tell(alert)
                told.append(sink.name)
            except Exception as error:  # noqa: BLE001 - a fault of one sink is none of the others'
                words = error.message if isinstance(error, TielineError) else type(error).__name__
                troubles.append(f"{sink.name}: {tellable(words)}")
                asked = getattr(error, "retry_after", None) or 0.0
                pause_s = min(max(pause_s, asked), _LONGEST_PAUSE_S)
        failpoint("alert.deliver.after")
        is_last = row.attempts >= MOST_ATTEMPTS
        again_at = self._clock.now() + timedelta(seconds=pause_s)
        with self._database.write() as connection:
            store.note_told(
                connection,
                row,
                told=told,
                again_at=again_at if troubles and not is_last else None,
                trouble="; ".join(troubles) or None,
                now=self._clock.now(),
            )
        if troubles:
            _log.warning("an alert was not told", alert=row.id, reason=troubles, is_last=is_last)


def _alert(row: AlertRow) -> Alert:
    return Alert(
        id=row.id,
        kind=row.kind,
        severity="error" if row.severity == "error" else "warning",
        subject=row.subject,
        message=row.message,
        since=row.since,
        hint=row.hint,
        provider=row.provider or "",
        connection=row.connection_name or "",
        connection_id=row.connection_id or "",
        facts=row.facts,
    )
