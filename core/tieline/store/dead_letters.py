"""Dead letters: what was given up, and waits for a person."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Self

from sqlalchemy import Select, insert, select, update

from tieline.store.choosing import Mark, among, older
from tieline.store.database import Connection
from tieline.store.ids import new_id
from tieline.store.tables import connections, dead_letters, runs

__all__ = [
    "DeadLetter",
    "add_dead_letter",
    "get_dead_letter",
    "list_dead_letters",
    "note_dead_events",
    "settle_dead_letter",
]

_EVENTS = "events-"


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetter:
    """One thing that was given up.

    Attributes:
        kind: ``run``: a run that killed worker after worker. ``events-theirs``,
            ``events-ours``: events that could not be handled, by whose fault.
        facts: What helps to find out why; its keys depend on the kind.
        settled_at: When somebody decided about it; None while it waits.
        settled_how: ``retried`` or ``dropped``.
    """

    id: str
    kind: str
    connection_id: str
    entity: str | None
    run_id: str | None
    reason_code: str
    reason: str
    facts: Mapping[str, Any]
    created_at: datetime
    settled_at: datetime | None
    settled_how: str | None
    connection_name: str = ""
    provider: str = ""

    @property
    def is_of_events(self) -> bool:
        """Whether it stands for events, all that died of its reason."""
        return self.kind.startswith(_EVENTS)

    @property
    def dead_kind(self) -> str:
        """By whose fault its events died: ``theirs`` or ``ours``."""
        return self.kind.removeprefix(_EVENTS)

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Read a row of ``dead_letters``, with its connection's name where it was joined."""
        return cls(**{field.name: row[field.name] for field in fields(cls) if field.name in row})


def add_dead_letter(
    connection: Connection,
    *,
    kind: str,
    connection_id: str,
    entity: str | None,
    run_id: str | None,
    reason_code: str,
    reason: str,
    facts: Mapping[str, Any],
    now: datetime,
) -> str:
    """Give something up until a person has looked at it.

    Returns:
        Its id. A run has one letter however many workers give it up: the
        later ones change nothing.
    """
    if kind == "run" and run_id is not None:
        # Whoever holds the run's row is the only one to look.
        connection.execute(select(runs.c.id).where(runs.c.id == run_id).with_for_update())
        present = connection.execute(
            select(dead_letters.c.id).where(
                dead_letters.c.kind == kind, dead_letters.c.run_id == run_id
            )
        ).scalar()
        if present is not None:
            return str(present)
    letter_id = new_id("dead")
    connection.execute(
        insert(dead_letters).values(
            id=letter_id,
            kind=kind,
            connection_id=connection_id,
            entity=entity,
            run_id=run_id,
            reason_code=reason_code,
            reason=reason,
            facts=dict(facts),
            created_at=now,
        )
    )
    return letter_id


def note_dead_events(
    connection: Connection,
    *,
    connection_id: str,
    entity: str | None,
    dead_kind: str,
    reason_code: str,
    reason: str,
    facts: Mapping[str, Any],
    now: datetime,
) -> tuple[str, bool]:
    """Give events of an entity up; those that die of one reason share a letter.

    Args:
        connection: Open transaction that holds the connection's drain.
        connection_id: The connection.
        entity: What the events are about; None: nothing of ours.
        dead_kind: ``theirs`` or ``ours``.
        reason_code: What they died of.
        reason: In words.
        facts: About the first of them.
        now: Aware UTC.

    Returns:
        The letter's id, and whether it is new.
    """
    kind = _EVENTS + dead_kind
    present = connection.execute(
        select(dead_letters.c.id).where(
            dead_letters.c.kind == kind,
            dead_letters.c.connection_id == connection_id,
            dead_letters.c.entity.is_not_distinct_from(entity),
            dead_letters.c.reason_code == reason_code,
            dead_letters.c.settled_at.is_(None),
        )
    ).scalar()
    if present is not None:
        return str(present), False
    letter_id = add_dead_letter(
        connection,
        kind=kind,
        connection_id=connection_id,
        entity=entity,
        run_id=None,
        reason_code=reason_code,
        reason=reason,
        facts=facts,
        now=now,
    )
    return letter_id, True


def get_dead_letter(connection: Connection, letter_id: str) -> DeadLetter | None:
    """Read one letter."""
    row = connection.execute(_select().where(dead_letters.c.id == letter_id)).mappings().first()
    return None if row is None else DeadLetter.of(dict(row))


def list_dead_letters(
    connection: Connection,
    *,
    connection_id: str | None = None,
    connection_ids: Collection[str] | None = None,
    with_settled: bool = False,
    before: Mark | None = None,
    limit: int = 50,
) -> list[DeadLetter]:
    """Read the newest letters first; only those that wait, unless all are asked for."""
    statement = (
        _select()
        .where(*among(dead_letters.c.connection_id, connection_ids))
        .where(*older(dead_letters.c.created_at, dead_letters.c.id, before))
        .order_by(dead_letters.c.created_at.desc(), dead_letters.c.id)
    )
    if connection_id:
        statement = statement.where(dead_letters.c.connection_id == connection_id)
    if not with_settled:
        statement = statement.where(dead_letters.c.settled_at.is_(None))
    rows = connection.execute(statement.limit(limit)).mappings()
    return [DeadLetter.of(dict(row)) for row in rows]


def settle_dead_letter(connection: Connection, letter_id: str, *, how: str, now: datetime) -> bool:
    """Note what became of a letter; False if somebody settled it before, or there is none.

    Args:
        connection: Open transaction.
        letter_id: The letter.
        how: ``retried`` or ``dropped``.
        now: Aware UTC.
    """
    result = connection.execute(
        update(dead_letters)
        .where(dead_letters.c.id == letter_id, dead_letters.c.settled_at.is_(None))
        .values(settled_at=now, settled_how=how)
    )
    return result.rowcount == 1


def _select() -> Select[Any]:
    return select(
        dead_letters, connections.c.name.label("connection_name"), connections.c.provider
    ).join_from(dead_letters, connections, dead_letters.c.connection_id == connections.c.id)
