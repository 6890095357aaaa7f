"""Endpoints: where providers deliver to, and the secrets that deliveries are checked with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Self

from sqlalchemy import delete, func, insert, select, update

from tieline.store.database import Connection
from tieline.store.ids import new_id
from tieline.store.tables import connections, webhook_endpoints, webhook_secrets

__all__ = [
    "EndpointRow",
    "SecretRow",
    "accounts_of",
    "add_endpoint",
    "add_secret",
    "change_endpoint",
    "drop_retired",
    "drop_secret",
    "find_endpoint",
    "list_endpoints",
    "lock_endpoint",
    "note_received",
    "read_secrets",
    "remove_endpoint",
    "retire_secrets",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class EndpointRow:
    """An endpoint.

    Attributes:
        connection_id: Whose deliveries come here; None: those of all accounts
            of the application, each of which names its account.
        address: As the provider was told it, without a secret at its end.
        state: ``active`` or ``disabled``.
        scheme_level: ``signature`` or ``path-secret``.
        generation: Counts the changes: what was checked with an earlier one
            is checked again.
        remote_id: The provider's id of it, if it was made there by API.
        expects_every_s: After so many seconds of silence people are told;
            None: never.
        last_received_at: About when a delivery was last accepted.
        connection_name: Empty for the application's.
        connection_state: Of the connection; empty for the application's.
        account_id: Whose account the connection is; None if it is not known.
    """

    id: str
    provider: str
    environment: str
    connection_id: str | None
    address: str
    state: str
    scheme_level: str
    generation: int
    remote_id: str | None
    expects_every_s: int | None
    last_received_at: datetime | None
    created_at: datetime
    updated_at: datetime
    connection_name: str = ""
    connection_state: str = ""
    account_id: str | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Read a row, with what was joined of its connection."""
        return cls(**{field.name: row[field.name] for field in fields(cls)})


@dataclass(frozen=True, kw_only=True, slots=True)
class SecretRow:
    """One secret of an endpoint.

    Attributes:
        kind: ``signature``: sealed; ``path``: a hash is all that is kept.
        retires_at: Until when it is accepted; None: it is the present one.
    """

    id: str
    endpoint_id: str
    kind: str
    sealed: str | None
    key_id: str | None
    digest: str | None
    made_at: datetime
    retires_at: datetime | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Read a row of ``webhook_secrets``."""
        return cls(**{field.name: row[field.name] for field in fields(cls)})


_ENDPOINTS = select(
    webhook_endpoints,
    func.coalesce(connections.c.name, "").label("connection_name"),
    func.coalesce(connections.c.state, "").label("connection_state"),
    connections.c.account_id,
).outerjoin(connections, connections.c.id == webhook_endpoints.c.connection_id)


def add_endpoint(
    connection: Connection,
    *,
    endpoint_id: str,
    provider: str,
    environment: str,
    connection_id: str | None,
    address: str,
    scheme_level: str,
    expects_every_s: int | None,
    now: datetime,
) -> None:
    """Add an active endpoint."""
    connection.execute(
        insert(webhook_endpoints).values(
            id=endpoint_id,
            provider=provider,
            environment=environment,
            connection_id=connection_id,
            address=address,
            state="active",
            scheme_level=scheme_level,
            generation=1,
            expects_every_s=expects_every_s,
            created_at=now,
            updated_at=now,
        )
    )


def find_endpoint(connection: Connection, endpoint_id: str) -> EndpointRow | None:
    """Read an endpoint; None if there is none."""
    statement = _ENDPOINTS.where(webhook_endpoints.c.id == endpoint_id)
    row = connection.execute(statement).mappings().first()
    return None if row is None else EndpointRow.of(dict(row))


def list_endpoints(
    connection: Connection, *, connection_id: str | None = None, provider: str | None = None
) -> list[EndpointRow]:
    """Read endpoints, oldest first."""
    statement = _ENDPOINTS.order_by(webhook_endpoints.c.created_at, webhook_endpoints.c.id)
    if connection_id is not None:
        statement = statement.where(webhook_endpoints.c.connection_id == connection_id)
    if provider is not None:
        statement = statement.where(webhook_endpoints.c.provider == provider)
    return [EndpointRow.of(dict(row)) for row in connection.execute(statement).mappings()]


def lock_endpoint(connection: Connection, endpoint_id: str) -> int | None:
    """Keep an endpoint as it is until the transaction ends; None if there is none.

    Whoever commits deliveries holds it shared: a change waits for them, and
    they see it afterwards.
    """
    statement = select(webhook_endpoints.c.generation).where(webhook_endpoints.c.id == endpoint_id)
    found: int | None = connection.execute(statement.with_for_update()).scalar()
    return found


def change_endpoint(
    connection: Connection, endpoint_id: str, *, now: datetime, **values: Any
) -> bool:
    """Change an endpoint, which makes a new generation; False if there is none."""
    column = webhook_endpoints.c.generation
    result = connection.execute(
        update(webhook_endpoints)
        .where(webhook_endpoints.c.id == endpoint_id)
        .values(generation=column + 1, updated_at=now, **values)
    )
    return result.rowcount == 1


def remove_endpoint(connection: Connection, endpoint_id: str) -> bool:
    """Remove an endpoint with its secrets; its events stay. False if there is none."""
    statement = delete(webhook_endpoints).where(webhook_endpoints.c.id == endpoint_id)
    return connection.execute(statement).rowcount == 1


def note_received(connection: Connection, endpoint_ids: Sequence[str], now: datetime) -> None:
    """Note that deliveries came; it makes no new generation."""
    for endpoint_id in sorted(endpoint_ids):
        connection.execute(
            update(webhook_endpoints)
            .where(webhook_endpoints.c.id == endpoint_id)
            .values(last_received_at=now)
        )


def add_secret(
    connection: Connection,
    endpoint_id: str,
    *,
    kind: str,
    now: datetime,
    secret_id: str | None = None,
    sealed: str | None = None,
    key_id: str | None = None,
    digest: str | None = None,
    retires_at: datetime | None = None,
) -> None:
    """Add a secret to an endpoint, sealed for ``secret_id`` or as its hash."""
    connection.execute(
        insert(webhook_secrets).values(
            id=secret_id or new_id("whs"),
            endpoint_id=endpoint_id,
            kind=kind,
            sealed=sealed,
            key_id=key_id,
            digest=digest,
            made_at=now,
            retires_at=retires_at,
        )
    )


def drop_secret(connection: Connection, secret_id: str) -> bool:
    """Destroy one secret; False if there is none."""
    statement = delete(webhook_secrets).where(webhook_secrets.c.id == secret_id)
    return connection.execute(statement).rowcount == 1


def read_secrets(connection: Connection, endpoint_id: str) -> list[SecretRow]:
    """Read an endpoint's secrets, the newest first."""
    statement = (
        select(webhook_secrets)
        .where(webhook_secrets.c.endpoint_id == endpoint_id)
        .order_by(webhook_secrets.c.made_at.desc(), webhook_secrets.c.id)
    )
    return [SecretRow.of(dict(row)) for row in connection.execute(statement).mappings()]


def retire_secrets(
    connection: Connection, endpoint_id: str, *, kind: str, retires_at: datetime
) -> int:
    """Let the present secrets of a kind end at a time; those that end already keep their end."""
    result = connection.execute(
        update(webhook_secrets)
        .where(
            webhook_secrets.c.endpoint_id == endpoint_id,
            webhook_secrets.c.kind == kind,
            webhook_secrets.c.retires_at.is_(None),
        )
        .values(retires_at=retires_at)
    )
    return result.rowcount


def drop_retired(connection: Connection, endpoint_id: str) -> int:
    """Destroy every secret that is not a present one; return how many."""
    statement = delete(webhook_secrets).where(
        webhook_secrets.c.endpoint_id == endpoint_id, webhook_secrets.c.retires_at.is_not(None)
    )
    return connection.execute(statement).rowcount


def accounts_of(
    connection: Connection, *, provider: str, environment: str, accounts: Sequence[str]
) -> dict[str, list[str]]:
    """Find the connections of accounts, but for those that are disconnected.

    Returns:
        Account to the ids of its connections, the oldest first.
    """
    statement = (
        select(connections.c.account_id, connections.c.id)
        .where(
            connections.c.provider == provider,
            connections.c.environment == environment,
            connections.c.account_id.in_(accounts),
            connections.c.state != "disconnected",
        )
        .order_by(connections.c.created_at, connections.c.id)
    )
    found: dict[str, list[str]] = {}
    for account, connection_id in connection.execute(statement):
        found.setdefault(account, []).append(connection_id)
    return found
