"""Who is signed in to the console, and who may: known by a hash, never by what they show."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from sqlalchemy import delete, insert, select

from tieline.store.api_tables import console_sessions
from tieline.store.database import Connection

__all__ = ["Kind", "add_session", "drop_session", "find_session"]

Kind = Literal["session", "link"]


def add_session(
    connection: Connection,
    *,
    digest: str,
    kind: Kind,
    token_id: str,
    now: datetime,
    expires_at: datetime,
) -> None:
    """Add a session, or a link that makes one; forget all that are over."""
    connection.execute(delete(console_sessions).where(console_sessions.c.expires_at <= now))
    connection.execute(
        insert(console_sessions).values(
            digest=digest, kind=kind, token_id=token_id, created_at=now, expires_at=expires_at
        )
    )


def find_session(connection: Connection, digest: str, *, kind: Kind, now: datetime) -> str | None:
    """Return the id of the token that a session or a link is of; None: there is none."""
    sessions = console_sessions.c
    statement = select(sessions.token_id).where(
        sessions.digest == digest, sessions.kind == kind, sessions.expires_at > now
    )
    found: str | None = connection.execute(statement).scalar()
    return found


def drop_session(connection: Connection, digest: str, *, kind: Kind) -> bool:
    """End one; False if somebody else did before: of two that end a link, one is told so."""
    statement = delete(console_sessions).where(
        console_sessions.c.digest == digest, console_sessions.c.kind == kind
    )
    return connection.execute(statement).rowcount == 1
