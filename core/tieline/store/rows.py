"""What the store hands out: one frozen value per row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Self

__all__ = ["COUNTS", "Counts", "PartitionRow", "RunRow", "plain"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """What a page, a partition or a run did.

    ``seen`` counts the records that pages held, and is the sum of created,
    updated, unchanged and quarantined ones. ``deleted`` counts tombstones.
    ``requests`` are the answers behind committed pages.
    """

    requests: int = 0
    seen: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    quarantined: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(**{name: getattr(self, name) + getattr(other, name) for name in COUNTS})

    def as_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        return {name: getattr(self, name) for name in COUNTS}

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Read the counts' columns of a row; missing or null ones are 0."""
        return cls(**{name: int(row.get(name) or 0) for name in COUNTS})


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as a dictionary whose keys are plain text, as JSON writers want it."""
    return {"".join(name): value for name, value in row.items()}


COUNTS = tuple(field.name for field in fields(Counts))


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRow:
    """A run: one request to sync one entity of one connection."""

    id: str
    connection_id: str
    entity: str
    direction: str
    mode: str
    state: str
    asked_by: str
    reason: str
    window_start: datetime | None
    window_end: datetime | None
    attempt: int
    due_at: datetime
    rings: int
    rung_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    allow_deletes: bool
    may_split: bool
    start_position: int | None
    error_code: str | None
    error_message: str | None
    error_hint: str | None
    counts: Counts
    connection_name: str = ""
    provider: str = ""

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to the run by itself."""
        return self.finished_at is not None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Read a row of ``runs``, with the connection's name where it was joined."""
        names = {field.name for field in fields(cls)} - {"counts"}
        return cls(counts=Counts.of(row), **{name: row[name] for name in names if name in row})


@dataclass(frozen=True, kw_only=True, slots=True)
class PartitionRow:
    """A part of a run, as it was when it was claimed."""

    id: str
    run_id: str
    number: int
    state: str
    source: str
    window_start: datetime | None
    window_end: datetime | None
    reached_at: datetime | None
    split_at: datetime | None
    page_span_s: float | None
    checkpoint: str | None
    checkpoint_at: datetime | None
    as_of: datetime | None
    pages: int
    restarts: int
    rescues: int
    fence: int
    counts: Counts

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Read a row of ``partitions``."""
        names = {field.name for field in fields(cls)} - {"counts"}
        return cls(counts=Counts.of(row), **{name: row[name] for name in names})
