"""Explain a record: where each copy came from, which one stands, and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tieline.errors import NotFoundError
from tieline.services.connections import get_connection
from tieline.services.installation import Installation
from tieline.store import copies, quarantined
from tieline.store import records as store
from tieline.store.quarantined import Kept

__all__ = ["CopyFacts", "Explained", "explain_record", "rank_words"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SOURCES = {
    "list": "a list",
    "feed": "the log of changes",
    "get": "reading it by its key",
    "webhook": "a webhook",
    "write": "our own write",
    "sweep": "a full run that did not meet it",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class CopyFacts:
    """One copy of a record.

    Attributes:
        outcome: ``stands``; ``replaced``: it stood until ``at``; ``older``: it
            came at ``at`` when a newer one stood.
        source: ``list``, ``feed``, ``get``, ``webhook``, ``write`` or ``sweep``.
        run_id: The run that brought it, if one did.
        rank: What orders the copies: see :func:`rank_words`.
        content_hash: 128 bits over its content, in hex; None for a deletion.
        at: Aware UTC.
        why: In words.
    """

    outcome: str
    source: str
    run_id: str | None
    rank: int
    content_hash: str | None
    at: datetime
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Explained:
    """All that is known of how a record came to be what it is.

    Attributes:
        connection: Its name.
        entity: The entity.
        record_id: The record's key.
        is_versioned: Ranks are the provider's versions; else times.
        state: ``live``, ``deleted``, or ``none``: there is no record.
        revision: How often it was written; None if never.
        position: Of its last change in the feed; None if there is none.
        first_seen_at: Aware UTC; None if never.
        copies: The one that stands first, then the one noted last.
        quarantined: Copies of it that could not be used, the last seen first.
    """

    connection: str
    entity: str
    record_id: str
    is_versioned: bool
    state: str
    revision: int | None
    position: int | None
    first_seen_at: datetime | None
    copies: tuple[CopyFacts, ...]
    quarantined: tuple[Kept, ...]


def explain_record(
    installation: Installation, connection: str, entity: str, record_id: str
) -> Explained:
    """Tell where a record's copies came from and which one stands.

    Copies that do not stand are known for 30 days.

    Raises:
        NotFoundError: No such connection or entity, or nothing is known of the record.
    """
    row = get_connection(installation, connection)
    declared = installation.registry.get(row.provider).entity(entity)
    of = (row.id, entity)
    is_storable = bool(record_id) and len(record_id) <= 255 and record_id.isprintable()
    if not is_storable:
        raise _unknown(row.name, entity, record_id)
    with installation.database.read() as transaction:
        stored = store.read_record(transaction, *of, record_id)
        known = store.read_known(transaction, *of, [record_id])
        others = copies.list_copies(transaction, *of, record_id)
        bad = quarantined.of_record(transaction, *of, record_id)
    if stored is None and not others and not bad:
        raise _unknown(row.name, entity, record_id)
    is_versioned = declared.version is not None
    found = [_other(each, is_versioned=is_versioned) for each in others]
    state = "none"
    if stored is not None:
        state = "deleted" if stored.deleted_at else "live"
        digest = None if stored.deleted_at else next((each[1] for each in known), None)
        standing = CopyFacts(
            outcome="stands",
            source=stored.source,
            run_id=stored.run_id,
            rank=stored.rank,
            content_hash=digest,
            at=stored.changed_at,
            why=_why_it_stands(found, stored.source, is_versioned=is_versioned),
        )
        found.insert(0, standing)
    return Explained(
        connection=row.name,
        entity=entity,
        record_id=record_id,
        is_versioned=is_versioned,
        state=state,
        revision=stored.revision if stored else None,
        position=stored.position if stored else None,
        first_seen_at=stored.first_seen_at if stored else None,
        copies=tuple(found),
        quarantined=tuple(bad),
    )


def rank_words(rank: int, *, is_versioned: bool) -> str:
    """Write a rank for people and programs: ``version 7``, or a time in RFC 3339 UTC."""
    if is_versioned:
        return f"version {rank}"
    try:
        time = _EPOCH + timedelta(microseconds=rank)
    except OverflowError:
        return f"no time ({rank})"
    return time.isoformat().replace("+00:00", "Z")


def _other(copy: dict[str, Any], *, is_versioned: bool) -> CopyFacts:
    what = "version" if is_versioned else "time"
    why = {
        "replaced": "it stood until a newer copy with other content came",
        "older": f"it came too late: what stood then had a later {what}",
    }
    return CopyFacts(
        outcome=copy["outcome"],
        source=copy["source"],
        run_id=copy["run_id"],
        rank=copy["rank"],
        content_hash=copy["content_hash"],
        at=copy["at"],
        why=why.get(copy["outcome"], copy["outcome"]),
    )


def _why_it_stands(others: list[CopyFacts], source: str, *, is_versioned: bool) -> str:
    came = f"from {_SOURCES.get(source, source)}"
    if not others:
        return f"{came}; no other copy is known"
    if source == "sweep":
        return f"{came}: the provider no longer has it"
    if source == "get":
        return f"{came}, which is newer than all that was known before"
    what = "version" if is_versioned else "time"
    return f"{came}; no copy that was met since has a later {what} and other content"


def _unknown(name: str, entity: str, record_id: str) -> NotFoundError:
    return NotFoundError(
        f"nothing is known of {record_id[:60]!r} in {entity} of {name}",
        hint=f"tieline records list {name} {entity}",
        code="record-unknown",
    )
