"""Tokens of the HTTP API: known by a hash, never by themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Literal, Self

from sqlalchemy import insert, or_, select, update

from tieline.store.api_tables import api_tokens
from tieline.store.database import Connection

__all__ = [
    "Scope",
    "TokenRow",
    "add_token",
    "find_by_digest",
    "find_token",
    "list_tokens",
    "note_used",
    "revoke_token",
]

Scope = Literal["read", "operate", "admin"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenRow:
    """One token, without what it is.

    Attributes:
        connection_ids: The connections that it may see; None: all.
    """

    id: str
    name: str
    scope: Scope
    connection_ids: Sequence[str] | None
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Read a row of ``api_tokens``."""
        return cls(**{field.name: row[field.name] for field in fields(cls)})

    def is_good(self, now: datetime) -> bool:
        """Say whether it may still be used."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


_COLUMNS = [api_tokens.c[field.name] for field in fields(TokenRow)]


def add_token(
    connection: Connection,
    *,
    token_id: str,
    name: str,
    digest: str,
    scope: Scope,
    connection_ids: Sequence[str] | None,
    created_by: str,
    expires_at: datetime | None,
    now: datetime,
) -> None:
    """Add a token; the caller found none of that name."""
    connection.execute(
        insert(api_tokens).values(
            id=token_id,
            name=name,
            digest=digest,
            scope=scope,
            connection_ids=connection_ids,
            created_by=created_by[:80],
            created_at=now,
            expires_at=expires_at,
        )
    )


def find_token(connection: Connection, name_or_id: str) -> TokenRow | None:
    """Read a token by its name or its id."""
    statement = select(*_COLUMNS).where(
        or_(api_tokens.c.id == name_or_id, api_tokens.c.name == name_or_id)
    )
    row = connection.execute(statement).mappings().first()
    return TokenRow.of(dict(row)) if row else None


def find_by_digest(connection: Connection, digest: str) -> TokenRow | None:
    """Read the token of a hash."""
    statement = select(*_COLUMNS).where(api_tokens.c.digest == digest)
    row = connection.execute(statement).mappings().first()
    return TokenRow.of(dict(row)) if row else None


def list_tokens(connection: Connection) -> list[TokenRow]:
    """Read all tokens by name, those that are over too."""
    statement = select(*_COLUMNS).order_by(api_tokens.c.name)
    return [TokenRow.of(dict(row)) for row in connection.execute(statement).mappings()]


def revoke_token(connection: Connection, token_id: str, now: datetime) -> bool:
    """End a token; False if it was ended before."""
    statement = (
        update(api_tokens)
        .where(api_tokens.c.id == token_id, api_tokens.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    return connection.execute(statement).rowcount == 1


def note_used(connection: Connection, token_id: str, *, now: datetime, every: timedelta) -> None:
    """Note that a token was used, unless that was noted a moment ago."""
    last = api_tokens.c.last_used_at
    connection.execute(
        update(api_tokens)
        .where(api_tokens.c.id == token_id, or_(last.is_(None), last < now - every))
        .values(last_used_at=now)
    )
