"""Answers of the HTTP API that are given once more to a repeated request."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from tieline.store.api_tables import api_answers
from tieline.store.database import Connection

__all__ = ["AnswerRow", "claim_key", "drop_expired", "release_key", "settle_key"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerRow:
    """What became of the request that came first with a key.

    Attributes:
        state: ``open`` while it is under way, ``unknown`` if it broke off,
            ``done`` once it was answered.
    """

    request_hash: str
    state: Literal["open", "unknown", "done"]
    status: int | None
    answer: str | None
    is_sealed: bool
    created_at: datetime


def claim_key(
    connection: Connection,
    token_id: str,
    key: str,
    *,
    request_hash: str,
    now: datetime,
    expires_at: datetime,
) -> AnswerRow | None:
    """Take a key for a request; None if it was free, else what has it."""
    of = (api_answers.c.token_id == token_id, api_answers.c.key == key)
    connection.execute(delete(api_answers).where(*of, api_answers.c.expires_at <= now))
    make = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert
    taken = connection.execute(
        make(api_answers)
        .values(
            token_id=token_id,
            key=key,
            request_hash=request_hash,
            state="open",
            is_sealed=False,
            created_at=now,
            expires_at=expires_at,
        )
        .on_conflict_do_nothing(index_elements=["token_id", "key"])
        .returning(api_answers.c.key)
    ).scalar()
    if taken is not None:
        return None
    names = ("request_hash", "state", "status", "answer", "is_sealed", "created_at")
    statement = select(*(api_answers.c[name] for name in names)).where(*of)
    return AnswerRow(**connection.execute(statement).mappings().one())


def settle_key(
    connection: Connection,
    token_id: str,
    key: str,
    *,
    state: Literal["unknown", "done"],
    status: int | None = None,
    answer: str | None = None,
    is_sealed: bool = False,
) -> None:
    """Note what became of the request that took a key."""
    connection.execute(
        update(api_answers)
        .where(api_answers.c.token_id == token_id, api_answers.c.key == key)
        .values(state=state, status=status, answer=answer, is_sealed=is_sealed)
    )


def release_key(connection: Connection, token_id: str, key: str) -> None:
    """Let a key be used again: its request changed nothing."""
    connection.execute(
        delete(api_answers).where(api_answers.c.token_id == token_id, api_answers.c.key == key)
    )


def drop_expired(connection: Connection, now: datetime) -> int:
    """Forget answers whose time is over."""
    return connection.execute(delete(api_answers).where(api_answers.c.expires_at <= now)).rowcount
