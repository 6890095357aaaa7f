"""Raise an alert once per crossing, and close it when that is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tieline.alerts.kinds import KINDS
from tieline.clock import Clock
from tieline.store import alerts as store
from tieline.store.database import Connection, Database
from tieline.telemetry import tellable

__all__ = ["Alerter", "close_alert", "raise_alert"]


def raise_alert(
    connection: Connection,
    kind: str,
    subject: str,
    message: str,
    *,
    now: datetime,
    connection_id: str | None = None,
    provider: str | None = None,
    hint: str = "",
    facts: Mapping[str, Any] | None = None,
) -> bool:
    """Raise an alert in the transaction that finds the trouble; told after its commit.

    Args:
        connection: Open transaction.
        kind: One of :data:`~tieline.alerts.kinds.KINDS`.
        subject: Which one of its kind; at most 255 characters.
        message: One sentence; secrets are taken out.
        now: Aware UTC.
        connection_id: The connection that it is about; None for none.
        provider: Its provider; the connection's if None.
        hint: What to do, as a command where there is one.
        facts: Numbers and ids for software, as JSON has them.

    Returns:
        False if it is open already, or the connection is gone: nobody is told again.
    """
    known = KINDS[kind]
    made = store.open_alert(
        connection,
        kind=kind,
        subject=subject,
        severity=known.severity,
        provider=provider,
        connection_id=connection_id,
        message=tellable(message),
        hint=tellable(hint),
        facts=facts or {},
        now=now,
        is_once=known.is_once,
    )
    return made is not None


def close_alert(connection: Connection, kind: str, subject: str, *, now: datetime) -> bool:
    """Close an alert in the transaction that mends the trouble; False if it is not open."""
    return store.close_alert(connection, kind=kind, subject=subject, now=now)


@dataclass(frozen=True, slots=True)
class Alerter:
    """Raises and closes alerts in transactions of their own.

    Attributes:
        database: Where alerts are.
        clock: For when.
    """

    database: Database
    clock: Clock

    def raise_alert(self, kind: str, subject: str, message: str, **given: Any) -> bool:
        """Raise an alert; see :func:`raise_alert` for what may be given.

        Raises:
            DependencyError: The database does not answer.
        """
        now = self.clock.now()
        return self.database.transact(
            lambda connection: raise_alert(connection, kind, subject, message, now=now, **given)
        )

    def close_alert(self, kind: str, subject: str) -> bool:
        """Close an alert; False if it is not open.

        Raises:
            DependencyError: The database does not answer.
        """
        now = self.clock.now()
        return self.database.transact(
            lambda connection: close_alert(connection, kind, subject, now=now)
        )
