"""Which endpoints are served, which hear nothing, and whose events they would bring."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, func, or_, select, update

from tieline.store.connections import ConnectionRow
from tieline.store.database import Connection
from tieline.store.tables import connections, webhook_endpoints

__all__ = [
    "Watched",
    "connections_behind",
    "lock_watched",
    "note_caught_up",
    "note_served",
    "unserved_since",
    "watched_endpoints",
]

_ENDPOINTS = webhook_endpoints.c
_IS_ACTIVE = _ENDPOINTS.state == "active"


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """An endpoint that is expected to hear something now and then.

    Attributes:
        provider: Whose deliveries it takes.
        environment: Of the provider.
        connection_id: Whose; None: those of all accounts of the application.
        expects_every: The longest silence that means nothing; None: any does.
        heard_at: When a delivery last came; before the first, when it was made.
        caught_up_at: When runs were last asked for in the place of deliveries.
        served_at: When a server was last there for it; None: never.
    """

    id: str
    provider: str
    environment: str
    connection_id: str | None
    expects_every: timedelta | None
    heard_at: datetime
    caught_up_at: datetime | None
    served_at: datetime | None

    def is_silent(self, now: datetime) -> bool:
        """Say whether nothing came for longer than is usual."""
        return self.expects_every is not None and now - self.heard_at > self.expects_every

    def is_behind(self, now: datetime) -> bool:
        """Say whether it is silent, and nobody looked for another such while."""
        if self.expects_every is None or not self.is_silent(now):
            return False
        caught_up_at = self.caught_up_at
        return caught_up_at is None or now - max(caught_up_at, self.heard_at) > self.expects_every


def watched_endpoints(connection: Connection) -> list[Watched]:
    """Read the active endpoints of which it is known how long they may be silent."""
    return _read(connection, _ENDPOINTS.expects_every_s.is_not(None))


def unserved_since(connection: Connection, before: datetime) -> list[Watched]:
    """Read the active endpoints that were served once, and by nobody since a time."""
    return _read(connection, _ENDPOINTS.served_at < before)


def lock_watched(connection: Connection, endpoint_id: str) -> Watched | None:
    """Read an active endpoint and hold its row; None if there is none."""
    connection.execute(select(_ENDPOINTS.id).where(_ENDPOINTS.id == endpoint_id).with_for_update())
    found = _read(connection, _ENDPOINTS.id == endpoint_id)
    return found[0] if found else None


def note_served(connection: Connection, now: datetime) -> None:
    """Note that a server is there for every active endpoint."""
    connection.execute(
        update(webhook_endpoints)
        .where(_IS_ACTIVE, or_(_ENDPOINTS.served_at.is_(None), _ENDPOINTS.served_at < now))
        .values(served_at=now)
    )


def note_caught_up(connection: Connection, endpoint_id: str, now: datetime) -> None:
    """Note that runs were asked for in the place of what an endpoint did not hear."""
    connection.execute(
        update(webhook_endpoints)
        .where(_ENDPOINTS.id == endpoint_id)
        .values(caught_up_at=now, served_at=now)
    )


def connections_behind(connection: Connection, endpoint: Watched) -> list[ConnectionRow]:
    """Read the connections whose deliveries come to an endpoint, and that can be read."""
    is_of_it: ColumnElement[bool] = connections.c.id == endpoint.connection_id
    if endpoint.connection_id is None:
        is_of_it = and_(
            connections.c.provider == endpoint.provider,
            connections.c.environment == endpoint.environment,
        )
    statement = (
        select(connections)
        .where(is_of_it, connections.c.state == "ok", connections.c.paused_at.is_(None))
        .order_by(connections.c.id)
    )
    return [ConnectionRow.of(dict(row)) for row in connection.execute(statement).mappings()]


def _read(connection: Connection, condition: ColumnElement[bool]) -> list[Watched]:
    heard_at = func.coalesce(
        _ENDPOINTS.last_received_at, _ENDPOINTS.created_at, type_=_ENDPOINTS.created_at.type
    )
    statement = (
        select(
            _ENDPOINTS.id,
            _ENDPOINTS.provider,
            _ENDPOINTS.environment,
            _ENDPOINTS.connection_id,
            _ENDPOINTS.expects_every_s,
            heard_at.label("heard_at"),
            _ENDPOINTS.caught_up_at,
            _ENDPOINTS.served_at,
        )
        .where(_IS_ACTIVE, condition)
        .order_by(_ENDPOINTS.id)
    )
    found = []
    for row in connection.execute(statement).mappings():
        values = dict(row)
        seconds = values.pop("expects_every_s")
        values["expects_every"] = None if seconds is None else timedelta(seconds=seconds)
        found.append(Watched(**values))
    return found
