"""Sealed fields of credentials and secrets of endpoints, for sealing them under another key.

A field is changed only from the sealed text that was read: whoever replaced
the credential meanwhile keeps what he stored. Generations stay as they are,
since the credential does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, or_, select, tuple_, union_all, update

from tieline.store.database import Connection
from tieline.store.tables import connections, credentials, webhook_endpoints, webhook_secrets

__all__ = [
    "SealedField",
    "count_by_key",
    "count_not_under",
    "count_under",
    "read_field",
    "read_fields",
    "reseal",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class SealedField:
    """One field of a connection's credential, or one secret of an endpoint, as it is stored.

    Attributes:
        connection_id: The connection; of a secret its endpoint, ``whe_…``.
        connection_name: What people call the connection; the provider of an
            application's endpoint.
        field: Name of the field; of a secret its id, ``whs_…``.
        sealed: The sealed text.
        key_id: What it says to be sealed under.
    """

    connection_id: str
    connection_name: str
    field: str
    sealed: str
    key_id: str

    @property
    def place(self) -> tuple[str, str]:
        """What the fields are in order of."""
        return self.connection_id, self.field


_ALL = union_all(
    select(
        credentials.c.connection_id,
        connections.c.name.label("connection_name"),
        credentials.c.field,
        credentials.c.sealed,
        credentials.c.key_id,
    ).join(connections, connections.c.id == credentials.c.connection_id),
    select(
        webhook_secrets.c.endpoint_id,
        func.coalesce(connections.c.name, webhook_endpoints.c.provider),
        webhook_secrets.c.id,
        webhook_secrets.c.sealed,
        webhook_secrets.c.key_id,
    )
    .join(webhook_endpoints, webhook_endpoints.c.id == webhook_secrets.c.endpoint_id)
    .outerjoin(connections, connections.c.id == webhook_endpoints.c.connection_id)
    .where(webhook_secrets.c.sealed.is_not(None)),
).subquery("sealed_fields")
_FIELDS = select(_ALL)
_PLACE = (_ALL.c.connection_id, _ALL.c.field)


def _is_under(key_id: str) -> ColumnElement[bool]:
    """Trust neither the column nor the sealed text alone: a lost key is lost for good."""
    return or_(_ALL.c.key_id == key_id, _ALL.c.sealed.contains(key_id, autoescape=True))


def _is_not_under(key_id: str) -> ColumnElement[bool]:
    return or_(_ALL.c.key_id != key_id, ~_ALL.c.sealed.contains(key_id, autoescape=True))


def count_by_key(connection: Connection) -> dict[str, int]:
    """Count the fields that are sealed under each key id."""
    statement = select(_ALL.c.key_id, func.count()).group_by(_ALL.c.key_id)
    return {row[0]: row[1] for row in connection.execute(statement)}


def count_under(connection: Connection, key_id: str) -> int:
    """Count the fields that a key may still be needed for."""
    statement = select(func.count()).select_from(_ALL).where(_is_under(key_id))
    return connection.execute(statement).scalar_one()


def count_not_under(connection: Connection, key_id: str) -> int:
    """Count the fields that are to be sealed again to be under a key."""
    statement = select(func.count()).select_from(_ALL).where(_is_not_under(key_id))
    return connection.execute(statement).scalar_one()


def read_fields(
    connection: Connection,
    *,
    limit: int,
    after: tuple[str, str] | None = None,
    under: str | None = None,
    not_under: str | None = None,
) -> Sequence[SealedField]:
    """Read the next sealed fields in order of their place.

    Args:
        connection: Open transaction.
        limit: The most to read.
        after: Place of the last one that was read; None from the start.
        under: Only those of this key id; None: of any.
        not_under: Only those of other key ids than this; None: of any.
    """
    statement = _FIELDS.order_by(*_PLACE).limit(limit)
    if after is not None:
        statement = statement.where(tuple_(*_PLACE) > tuple_(*after))
    if under is not None:
        statement = statement.where(_is_under(under))
    if not_under is not None:
        statement = statement.where(_is_not_under(not_under))
    return [SealedField(**row) for row in connection.execute(statement).mappings()]


def read_field(connection: Connection, place: tuple[str, str]) -> SealedField | None:
    """Read one sealed field again; None if it is gone."""
    statement = _FIELDS.where(tuple_(*_PLACE) == tuple_(*place))
    row = connection.execute(statement).mappings().first()
    return None if row is None else SealedField(**row)


def reseal(connection: Connection, read: SealedField, *, sealed: str, key_id: str) -> bool:
    """Store a field sealed anew.

    Args:
        connection: Open transaction; it should change nothing else. Whoever
            replaces a whole credential locks several of these rows, and must
            not be made to give up what he cannot get twice.
        read: As it was read.
        sealed: The new sealed text of the same secret.
        key_id: What it is sealed under.

    Returns:
        False, changing nothing, if the field is another or gone by now.
    """
    if read.connection_id.startswith("whe_"):
        table, of_it = webhook_secrets, webhook_secrets.c.id == read.field
    else:
        table = credentials
        of_it = tuple_(table.c.connection_id, table.c.field) == tuple_(*read.place)
    result = connection.execute(
        update(table)
        .where(of_it, table.c.sealed.in_([read.sealed, sealed]))  # a commit may go unnoticed
        .values(sealed=sealed, key_id=key_id)
    )
    return result.rowcount == 1
