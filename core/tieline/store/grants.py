"""Grants: what OAuth 2 gave a connection, and who may renew it now.

One row a connection. Its generation is the credential's: whoever has new
tokens to store changes the row from the generation that was read, so of two
that come at once one finds nothing to change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Self

from sqlalchemy import and_, case, delete, exists, insert, or_, select, update

from tieline.store.connections import ConnectionRow
from tieline.store.database import Connection
from tieline.store.tables import connections, grants

__all__ = [
    "GrantRow",
    "advance_grant",
    "claim_grant",
    "drop_grant",
    "is_asking",
    "list_grants",
    "note_warned",
    "put_grant",
    "read_grant",
    "release_grant",
]


_CLOCKS_DIFFER = timedelta(minutes=5)


@dataclass(frozen=True, kw_only=True, slots=True)
class GrantRow:
    """How a connection's tokens are.

    Attributes:
        generation: Counts the credentials of the connection.
        scopes: The rights that were given; None if the provider does not say.
        access_expires_at: When the access token ends; None: never.
        refresh_expires_at: When the refresh token ends unused; None: never.
        refreshed_at: When these tokens came.
        previous_until: How long the refresh token before may still be tried;
            None: there is none.
        lease_owner: Who is asking for new tokens.
        lease_until: Until when nobody else asks.
        retry_at: Nobody asks before; None: anybody may.
        failures: Attempts without an answer in a row.
        warned_days: Of which stretch before the end people were told.
    """

    connection_id: str
    generation: int
    scopes: Sequence[str] | None
    access_expires_at: datetime | None
    refresh_expires_at: datetime | None
    refreshed_at: datetime
    previous_until: datetime | None
    lease_owner: str | None
    lease_until: datetime | None
    retry_at: datetime | None
    failures: int
    warned_days: int | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Read a row of ``grants``."""
        return cls(**{field.name: row[field.name] for field in fields(cls)})


def read_grant(connection: Connection, connection_id: str) -> GrantRow | None:
    """Read a connection's grant; None where it was not connected by OAuth 2."""
    statement = select(grants).where(grants.c.connection_id == connection_id)
    row = connection.execute(statement).mappings().first()
    return None if row is None else GrantRow.of(dict(row))


def put_grant(
    connection: Connection,
    connection_id: str,
    *,
    generation: int,
    scopes: Sequence[str] | None,
    access_expires_at: datetime | None,
    refresh_expires_at: datetime | None,
    now: datetime,
) -> None:
    """Store a grant that a person just gave, in place of any before."""
    drop_grant(connection, connection_id)
    connection.execute(
        insert(grants).values(
            connection_id=connection_id,
            generation=generation,
            scopes=None if scopes is None else list(scopes),
            access_expires_at=access_expires_at,
            refresh_expires_at=refresh_expires_at,
            refreshed_at=now,
            failures=0,
        )
    )


def drop_grant(connection: Connection, connection_id: str) -> None:
    """Forget a grant."""
    connection.execute(delete(grants).where(grants.c.connection_id == connection_id))


def claim_grant(
    connection: Connection,
    connection_id: str,
    *,
    generation: int,
    owner: str,
    now: datetime,
    lease: timedelta,
) -> bool:
    """Take the right to ask for new tokens; False if somebody has it, or they came.

    A lease that ends much later than one taken now would was taken by a clock
    that was set back since; it counts as over.
    """
    until = grants.c.lease_until
    result = connection.execute(
        update(grants)
        .where(
            grants.c.connection_id == connection_id,
            grants.c.generation == generation,
            or_(until.is_(None), until < now, until > now + lease + _CLOCKS_DIFFER),
            or_(
                grants.c.retry_at.is_(None),
                grants.c.retry_at <= now,
                grants.c.retry_at > now + timedelta(hours=1),
            ),
        )
        .values(lease_owner=owner, lease_until=now + lease)
    )
    return result.rowcount == 1


def release_grant(
    connection: Connection,
    connection_id: str,
    *,
    owner: str,
    retry_at: datetime | None = None,
    failures: int = 0,
) -> bool:
    """Give the right back without new tokens; False if it is somebody else's by now."""
    result = connection.execute(
        update(grants)
        .where(grants.c.connection_id == connection_id, grants.c.lease_owner == owner)
        .values(lease_owner=None, lease_until=None, retry_at=retry_at, failures=failures)
    )
    return result.rowcount == 1


def advance_grant(
    connection: Connection,
    connection_id: str,
    *,
    generation: int,
    scopes: Sequence[str] | None,
    access_expires_at: datetime | None,
    refresh_expires_at: datetime | None,
    previous_until: datetime | None,
    now: datetime,
) -> bool:
    """Move on to new tokens; False, changing nothing, if the generation is another by now.

    Who holds the lease does not matter: of two answers the first is stored,
    and the provider knows no other. People who were warned of an end are
    warned again only if it has moved.
    """
    before, same_day = grants.c.refresh_expires_at, timedelta(days=1)
    is_same_end = (
        before.is_(None)
        if refresh_expires_at is None
        else and_(before > refresh_expires_at - same_day, before < refresh_expires_at + same_day)
    )
    result = connection.execute(
        update(grants)
        .where(grants.c.connection_id == connection_id, grants.c.generation == generation)
        .values(
            generation=generation + 1,
            access_expires_at=access_expires_at,
            refresh_expires_at=refresh_expires_at,
            refreshed_at=now,
            previous_until=previous_until,
            lease_owner=None,
            lease_until=None,
            retry_at=None,
            failures=0,
            warned_days=case((is_same_end, grants.c.warned_days), else_=None),
            **({} if scopes is None else {"scopes": list(scopes)}),
        )
    )
    return result.rowcount == 1


def is_asking(connection: Connection, process: str, now: datetime) -> bool:
    """Say whether a process is asking for new tokens, for whatever connection.

    Args:
        connection: Open transaction.
        process: What its owners' names begin with, before a colon.
        now: Aware UTC.
    """
    owner = grants.c.lease_owner.startswith(f"{process}:", autoescape=True)
    statement = select(exists().where(owner, grants.c.lease_until >= now))
    return bool(connection.execute(statement).scalar())


def list_grants(
    connection: Connection, *, after: str, limit: int
) -> list[tuple[ConnectionRow, GrantRow]]:
    """Read the grants of connections that are well, by id.

    Args:
        connection: Open transaction.
        after: Id of the last connection that was read; empty for the first.
        limit: The most to return.
    """
    statement = (
        select(connections, *(column.label(f"grant_{column.name}") for column in grants.c))
        .join(grants, connections.c.id == grants.c.connection_id)
        .where(connections.c.state == "ok", connections.c.id > after)
        .order_by(connections.c.id)
        .limit(limit)
    )
    return [
        (
            ConnectionRow.of(dict(row)),
            GrantRow.of({name.removeprefix("grant_"): value for name, value in row.items()}),
        )
        for row in connection.execute(statement).mappings()
    ]


def note_warned(connection: Connection, connection_id: str, *, generation: int, days: int) -> bool:
    """Note that people were told; False if somebody else told them, or it is out of date.

    Where the grant is refused by now, they were told of that.
    """
    is_well = exists().where(
        connections.c.id == grants.c.connection_id, connections.c.state == "ok"
    )
    result = connection.execute(
        update(grants)
        .where(
            grants.c.connection_id == connection_id,
            is_well,
            grants.c.generation == generation,
            or_(grants.c.warned_days.is_(None), grants.c.warned_days > days),
        )
        .values(warned_days=days)
    )
    return result.rowcount == 1
