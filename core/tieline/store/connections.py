"""Connections, their sealed credentials, and how far each entity is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Self

from sqlalchemy import Integer, cast, delete, exists, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from tieline.store.database import Connection
from tieline.store.tables import (
    connections,
    credentials,
    entity_states,
    records,
    webhook_secrets,
)

__all__ = [
    "ConnectionRow",
    "EntityState",
    "accept_credential",
    "add_connection",
    "change_credential",
    "connection_names",
    "delete_connection",
    "drop_credential",
    "find_connection",
    "has_credentials",
    "hold_connection",
    "hold_cursor",
    "list_connections",
    "lock_settings",
    "mark_disconnected",
    "move_cursor",
    "note_success",
    "read_entity_state",
    "read_entity_states",
    "read_sealed",
    "refuse_credential",
    "replace_credential",
    "set_paused",
    "set_settings",
    "update_connection",
]

_CURSORS = 7416841  # advisory locks; schema.py, move.py and views.py have the ones before


@dataclass(frozen=True, kw_only=True, slots=True)
class ConnectionRow:
    """A connection, without its credential.

    Attributes:
        state: ``ok``, ``needs_reauth`` or ``disconnected``.
        trouble: The provider's words where it needs a person; None if all is well.
        trouble_at: Since when.
        paused_at: Since when it rests because somebody said so; None: it does not.
    """

    id: str
    name: str
    provider: str
    environment: str
    base_url: str
    auth_kind: str
    account_id: str | None
    account_name: str
    settings: Mapping[str, Any]
    state: str
    created_at: datetime
    updated_at: datetime
    trouble: str | None = None
    trouble_at: datetime | None = None
    paused_at: datetime | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Read a row of ``connections``."""
        return cls(**{field.name: row[field.name] for field in fields(cls)})


@dataclass(frozen=True, kw_only=True, slots=True)
class EntityState:
    """How far one entity of one connection is.

    Attributes:
        position: Last position of its change feed.
        synced_until: The provider's time up to which it is known; None before
            the first run that succeeded.
        last_success_at: When a run of it last succeeded.
    """

    connection_id: str
    entity: str
    position: int
    synced_until: datetime | None
    last_success_at: datetime | None


def add_connection(connection: Connection, row: ConnectionRow) -> bool:
    """Add a connection; False if the name is taken."""
    insert_into = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert
    values = {field.name: getattr(row, field.name) for field in fields(row)}
    statement = insert_into(connections).values(values)
    statement = statement.on_conflict_do_nothing(index_elements=["name"])
    return connection.execute(statement.returning(connections.c.id)).scalar() is not None


def update_connection(connection: Connection, row: ConnectionRow) -> None:
    """Store what connecting anew found out; it is out of trouble then."""
    account = ("account_id", "account_name")
    trouble = ("state", "trouble", "trouble_at", "updated_at")
    names = ("environment", "base_url", "auth_kind", *account, *trouble)
    connection.execute(
        update(connections)
        .where(connections.c.id == row.id)
        .values({name: getattr(row, name) for name in names})
    )


def replace_credential(
    connection: Connection,
    connection_id: str,
    sealed: Mapping[str, str],
    *,
    key_id: str,
    now: datetime,
) -> int:
    """Store a credential's sealed fields in place of what there was; return its generation."""
    of_it = credentials.c.connection_id == connection_id
    latest = connection.execute(select(func.max(credentials.c.generation)).where(of_it)).scalar()
    connection.execute(delete(credentials).where(of_it))
    rows = [
        {
            "connection_id": connection_id,
            "field": field,
            "sealed": text,
            "key_id": key_id,
            "generation": (latest or 0) + 1,
            "updated_at": now,
        }
        for field, text in sealed.items()
    ]
    connection.execute(insert(credentials), rows)
    return (latest or 0) + 1


def change_credential(
    connection: Connection,
    connection_id: str,
    sealed: Mapping[str, str],
    *,
    key_id: str,
    generation: int,
    now: datetime,
) -> None:
    """Store some fields of a credential anew; all of it is of the new generation then."""
    insert_into = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert
    of_it = credentials.c.connection_id == connection_id
    connection.execute(update(credentials).where(of_it).values(generation=generation))
    for field, text in sorted(sealed.items()):
        values = {"sealed": text, "key_id": key_id, "generation": generation, "updated_at": now}
        statement = insert_into(credentials).values(
            connection_id=connection_id, field=field, **values
        )
        connection.execute(
            statement.on_conflict_do_update(index_elements=["connection_id", "field"], set_=values)
        )


def drop_credential(connection: Connection, connection_id: str) -> None:
    """Destroy a credential."""
    connection.execute(delete(credentials).where(credentials.c.connection_id == connection_id))


def read_sealed(connection: Connection, connection_id: str) -> tuple[dict[str, str], int | None]:
    """Read a credential's fields, sealed, and its generation; None if there is none."""
    rows = connection.execute(
        select(credentials.c.field, credentials.c.sealed, credentials.c.generation).where(
            credentials.c.connection_id == connection_id
        )
    ).all()
    generation = max((row.generation for row in rows), default=None)
    return {row.field: row.sealed for row in rows}, generation


def find_connection(connection: Connection, name_or_id: str) -> ConnectionRow | None:
    """Read a connection by its name or its id."""
    statement = select(connections).where(
        or_(connections.c.id == name_or_id, connections.c.name == name_or_id)
    )
    row = connection.execute(statement).mappings().first()
    return None if row is None else ConnectionRow.of(dict(row))


def list_connections(connection: Connection) -> list[ConnectionRow]:
    """Read all connections by name."""
    statement = select(connections).order_by(connections.c.name)
    return [ConnectionRow.of(dict(row)) for row in connection.execute(statement).mappings()]


def connection_names(connection: Connection) -> Sequence[str]:
    """Read the names of all connections."""
    return connection.execute(select(connections.c.name)).scalars().all()


def has_credentials(connection: Connection) -> bool:
    """Say whether anything was sealed in this database."""
    of_endpoints = exists().where(webhook_secrets.c.sealed.is_not(None))
    is_any = or_(exists().select_from(credentials), of_endpoints)
    return bool(connection.execute(select(is_any)).scalar())


def refuse_credential(
    connection: Connection,
    connection_id: str,
    *,
    generation: int | None,
    words: str,
    now: datetime,
) -> bool:
    """Mark a connection whose credential the provider refuses, once.

    Args:
        connection: Open transaction.
        connection_id: The connection.
        generation: Which credential was refused; None: whichever there is.
        words: The provider's.
        now: Aware UTC.

    Returns:
        False, changing nothing, if the credential is another one by now, or
        the connection is marked already.
    """
    statement = (
        update(connections)
        .where(connections.c.id == connection_id, connections.c.state == "ok")
        .values(state="needs_reauth", trouble=words, trouble_at=now, updated_at=now)
    )
    if generation is not None:
        statement = statement.where(
            exists().where(
                credentials.c.connection_id == connection_id,
                credentials.c.generation == generation,
            )
        )
    return connection.execute(statement).rowcount == 1


def accept_credential(connection: Connection, connection_id: str, *, now: datetime) -> bool:
    """Take back that a credential was refused; False if it was not."""
    result = connection.execute(
        update(connections)
        .where(connections.c.id == connection_id, connections.c.state != "ok")
        .values(state="ok", trouble=None, trouble_at=None, updated_at=now)
    )
    return result.rowcount == 1


def set_paused(connection: Connection, connection_id: str, at: datetime | None) -> bool:
    """Let a connection rest since a time, or with None go on; False if it does already."""
    column = connections.c.paused_at
    changes = column.is_not(None) if at is None else column.is_(None)
    statement = update(connections).where(connections.c.id == connection_id, changes)
    return connection.execute(statement.values(paused_at=at)).rowcount == 1


def lock_settings(connection: Connection, connection_id: str) -> dict[str, Any]:
    """Read what a connection sets; nobody else changes it before this transaction ends."""
    statement = select(connections.c.settings).where(connections.c.id == connection_id)
    return dict(connection.execute(statement.with_for_update()).scalar() or {})


def set_settings(
    connection: Connection, connection_id: str, settings: Mapping[str, Any], *, now: datetime
) -> None:
    """Store all that a connection sets."""
    connection.execute(
        update(connections)
        .where(connections.c.id == connection_id)
        .values(settings=dict(settings), updated_at=now)
    )


def mark_disconnected(connection: Connection, connection_id: str, now: datetime) -> None:
    """Note that a connection has no credential any more, and that this is meant."""
    connection.execute(
        update(connections)
        .where(connections.c.id == connection_id)
        .values(state="disconnected", trouble=None, trouble_at=None, updated_at=now)
    )


def hold_connection(connection: Connection, connection_id: str) -> bool:
    """Keep a connection from being removed until this transaction ends; False if it is gone."""
    this = select(connections.c.id).where(connections.c.id == connection_id)
    return connection.execute(this.with_for_update(read=True, key_share=True)).first() is not None


def delete_connection(connection: Connection, connection_id: str) -> None:
    """Remove a connection with all that hangs on it; the sync log stays."""
    # As whoever writes a page does: the entity's counter first, then what hangs on the connection.
    counters = select(entity_states.c.feed_id).where(entity_states.c.connection_id == connection_id)
    connection.execute(counters.order_by(entity_states.c.feed_id).with_for_update()).all()
    # From here on nobody makes a counter, so the records of all of them go.
    this = connections.c.id == connection_id
    connection.execute(select(connections.c.id).where(this).with_for_update()).all()
    connection.execute(delete(records).where(records.c.feed_id.in_(counters)))
    connection.execute(delete(connections).where(this))


def note_success(
    connection: Connection,
    connection_id: str,
    entity: str,
    *,
    now: datetime,
    synced_until: datetime | None,
    full_run_id: str | None,
) -> None:
    """Note that an entity is in step up to ``synced_until``."""
    upsert_into = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert
    values: dict[str, Any] = {"last_success_at": now, "synced_until": synced_until}
    if full_run_id:
        values["last_full_run_id"] = full_run_id
    statement = upsert_into(entity_states).values(
        connection_id=connection_id, entity=entity, position=0, **values
    )
    connection.execute(
        statement.on_conflict_do_update(index_elements=["connection_id", "entity"], set_=values)
    )


def hold_cursor(connection: Connection, connection_id: str, entity: str, *, is_moved: bool) -> None:
    """Hold an entity's cursor until this transaction ends; no row of it is held before.

    Whoever plans a run from it leaves it where it is, and any number may; who
    moves it by hand does so alone. It is no lock of a row: the transaction that
    ends a run holds the run's row and then wants the cursor's, and who plans one
    may wait for that very run to end.

    Args:
        connection: Of SQLite it is enough that it writes: it does so alone.
        connection_id: Of which connection.
        entity: Of which entity.
        is_moved: Whether it is moved, and not planned from.
    """
    if connection.dialect.name != "postgresql":
        return
    lock = func.pg_advisory_xact_lock if is_moved else func.pg_advisory_xact_lock_shared
    number = func.hashtext(f"{connection_id} {entity}")
    connection.execute(select(lock(cast(_CURSORS, Integer), number)))


def move_cursor(
    connection: Connection,
    connection_id: str,
    entity: str,
    *,
    was: datetime | None,
    to: datetime | None,
) -> bool:
    """Put the time up to which an entity is known elsewhere; False if it is not what it was."""
    cursor = entity_states.c.synced_until
    moved = connection.execute(
        update(entity_states)
        .where(
            entity_states.c.connection_id == connection_id,
            entity_states.c.entity == entity,
            cursor.is_(None) if was is None else cursor == was,
        )
        .values(synced_until=to)
    )
    return bool(moved.rowcount)


def read_entity_state(
    connection: Connection, connection_id: str, entity: str
) -> EntityState | None:
    """Read how far one entity is; None if nothing was ever synced."""
    found = read_entity_states(connection, connection_id)
    return next((state for state in found if state.entity == entity), None)


def read_entity_states(connection: Connection, connection_id: str) -> list[EntityState]:
    """Read how far each entity of a connection is."""
    names = [field.name for field in fields(EntityState)]
    statement = (
        select(*(entity_states.c[name] for name in names))
        .where(entity_states.c.connection_id == connection_id)
        .order_by(entity_states.c.entity)
    )
    return [EntityState(**row) for row in connection.execute(statement).mappings()]
