"""Partitions: claimed by lease, held by fence, moved on page by page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import (
    ColumnElement,
    and_,
    case,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from tieline.store.database import Connection, run_plain
from tieline.store.ids import new_id
from tieline.store.rows import Counts, PartitionRow
from tieline.store.tables import partitions, runs, sqlite_time

__all__ = [
    "Advance",
    "Moved",
    "add_partition",
    "advance",
    "all_done",
    "claim_partition",
    "complete",
    "drop_all",
    "earliest_as_of",
    "is_held",
    "is_held_beside",
    "last_list_read",
    "last_list_run",
    "read_partition",
    "release",
    "release_all_of",
    "renew",
    "split",
    "splittable",
]


# A literal: SQLite finds no partial index by a bound value.
_IS_HELD = partitions.c.state == literal_column("'running'")
_RUN_IS_RUNNING = exists().where(runs.c.id == partitions.c.run_id, runs.c.state == "running")
_IS_CANCELLED = (
    select(runs.c.cancel_requested_at.is_not(None))
    .where(runs.c.id == partitions.c.run_id)
    .scalar_subquery()
    .label("is_cancelled")
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Advance:
    """One page's step of a partition.

    Attributes:
        partition_id: The partition.
        fence: The fence under which the page was fetched.
        page: How many pages were committed before this one.
        checkpoint: Cursor of the next page; None: the partition's start, or
            its end if ``is_done``.
        counts: What the page did.
        now: When.
        lease_until: The lease's new end.
        is_done: Whether this was the last page.
        is_restart: The window is read again from its start.
        as_of: The provider's time of the page; the first page's is kept.
        reached_at: How far the window was read by now; None if nobody can tell.
        page_span_s: About how many seconds of the window a page holds.
        is_ordered: The pages came in the order that the entity declares. Once
            they did not, the partition is read to its end whoever split it.
    """

    partition_id: str
    fence: int
    page: int
    checkpoint: str | None
    counts: Counts
    now: datetime
    lease_until: datetime
    is_done: bool = False
    is_restart: bool = False
    as_of: datetime | None = None
    reached_at: datetime | None = None
    page_span_s: float | None = None
    is_ordered: bool = True


@dataclass(frozen=True, slots=True)
class Moved:
    """What moving a partition on told.

    Attributes:
        is_cancelled: Its run is to stop.
        split_at: Where its window ends since it was split; None if it was not.
    """

    is_cancelled: bool
    split_at: datetime | None


def add_partition(
    connection: Connection,
    *,
    run_id: str,
    number: int | None,
    window: tuple[datetime | None, datetime | None] = (None, None),
    source: str = "list",
) -> str:
    """Add a part of a run, ready to be claimed; return its id. No number: the next one."""
    partition_id = new_id("par")
    if number is None:
        latest = select(func.max(partitions.c.number)).where(partitions.c.run_id == run_id)
        number = (connection.execute(latest).scalar() or 0) + 1
    connection.execute(
        insert(partitions).values(
            id=partition_id,
            run_id=run_id,
            number=number,
            state="ready",
            source=source,
            window_start=window[0],
            window_end=window[1],
            pages=0,
            restarts=0,
            rescues=0,
            fence=0,
        )
    )
    return partition_id


def claim_partition(
    connection: Connection, run_id: str, *, owner: str, now: datetime, lease_until: datetime
) -> PartitionRow | None:
    """Take the first part of a run that nobody holds.

    Args:
        connection: Open write transaction.
        run_id: The run.
        owner: Who claims, for people to read.
        now: Aware UTC.
        lease_until: How long the claim holds unless it is renewed.

    Returns:
        The partition under a new fence, or None if there is nothing to take.
    """
    is_free = or_(
        partitions.c.state == "ready",
        and_(partitions.c.state == "running", partitions.c.lease_until < now),
    )
    # A run that was paused or ended meanwhile has nothing to be had: its pages count no more.
    free = (
        select(partitions.c.id)
        .where(partitions.c.run_id == run_id, is_free, _RUN_IS_RUNNING)
        .order_by(partitions.c.number)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    statement = (
        update(partitions)
        .where(partitions.c.id == free.scalar_subquery())
        .values(
            state="running",
            lease_owner=owner,
            lease_until=lease_until,
            fence=partitions.c.fence + 1,
            # Taken from a holder that gave no sign of life, not given back.
            rescues=partitions.c.rescues + case((partitions.c.state == "running", 1), else_=0),
        )
        .returning(partitions)
    )
    row = connection.execute(statement).mappings().first()
    return None if row is None else PartitionRow.of(dict(row))


def advance(connection: Connection, step: Advance) -> Moved | None:
    """Move a partition on by one page, in the transaction that stores the page.

    Returns:
        None if it did not move, and nothing may be committed: the fence is out
        of date, the run is over, or this page was committed before.
    """
    is_sqlite = connection.dialect.name == "sqlite"
    given = {
        "partition_id": step.partition_id,
        "fence": step.fence,
        "page": step.page,
        "page_step": 0 if step.is_restart else 1,
        "restart_step": 1 if step.is_restart else 0,
        "checkpoint": step.checkpoint,
        "state": "done" if step.is_done else "running",
        "is_ordered": step.is_ordered,
        "page_span_s": step.page_span_s,
        **step.counts.as_dict(),
    }
    for name in ("now", "as_of", "lease_until", "reached_at"):
        time = getattr(step, name)
        given[name] = sqlite_time(time) if is_sqlite and time else time
    statement = _ADVANCE if is_sqlite else _ADVANCE_POSTGRESQL
    row = run_plain(connection, statement, given, is_kept=True).fetchone()
    if row is None:
        return None
    is_cancelled, split_at = row
    if isinstance(split_at, str):
        split_at = datetime.fromisoformat(split_at)
    return Moved(bool(is_cancelled), split_at and split_at.astimezone(UTC))


# Once a page, so in the driver's own words.
_ADVANCE = """
UPDATE partitions SET pages = pages + :page_step, restarts = restarts + :restart_step,
  rescues = 0, checkpoint = :checkpoint, checkpoint_at = :now, as_of = COALESCE(as_of, :as_of),
  reached_at = :reached_at, page_span_s = :page_span_s,
  split_at = CASE WHEN :is_ordered THEN split_at END,
  lease_until = :lease_until, state = :state, requests = requests + :requests,
  seen = seen + :seen, created = created + :created, updated = updated + :updated,
  unchanged = unchanged + :unchanged, deleted = deleted + :deleted,
  quarantined = quarantined + :quarantined
WHERE id = :partition_id AND fence = :fence AND state = 'running' AND pages = :page
  AND EXISTS (SELECT 1 FROM runs WHERE runs.id = run_id AND runs.state = 'running')
RETURNING (SELECT cancel_requested_at IS NOT NULL FROM runs WHERE runs.id = run_id), split_at
"""
_ADVANCE_POSTGRESQL = re.sub(r":(\w+)", r"%(\1)s", _ADVANCE)
for _name in ("as_of", "reached_at"):
    _ADVANCE_POSTGRESQL = _ADVANCE_POSTGRESQL.replace(f"%({_name})s", f"%({_name})s::timestamptz")


def is_held(connection: Connection, partition_id: str, *, fence: int) -> bool:
    """Say whether a partition is held under a fence, and hold its row until the transaction ends.

    A run that was paused or ended meanwhile has nothing that could be held.
    """
    result = connection.execute(
        update(partitions)
        .where(*_held(partition_id, fence), _RUN_IS_RUNNING)
        .values(state="running")
    )
    return result.rowcount == 1


def is_held_beside(connection: Connection, run_id: str, *, owner: str, now: datetime) -> bool:
    """Say whether somebody else than ``owner`` holds a part of a run."""
    others = exists().where(
        partitions.c.run_id == run_id,
        partitions.c.state == "running",
        partitions.c.lease_until >= now,
        partitions.c.lease_owner != owner,
    )
    return bool(connection.execute(select(others)).scalar())


def complete(connection: Connection, partition_id: str, *, fence: int) -> bool:
    """Mark a partition as done; False if the lease was lost."""
    result = connection.execute(
        update(partitions).where(*_held(partition_id, fence)).values(state="done")
    )
    return result.rowcount == 1


def list_partitions(connection: Connection, run_id: str) -> list[PartitionRow]:
    """Read all parts of a run, the first planned first."""
    statement = select(partitions).where(partitions.c.run_id == run_id)
    found = connection.execute(statement.order_by(partitions.c.number)).mappings()
    return [PartitionRow.of(dict(row)) for row in found]


def splittable(connection: Connection, run_id: str) -> list[PartitionRow]:
    """Read the parts of a run whose reading is under way in a known order."""
    statement = select(partitions).where(
        partitions.c.run_id == run_id,
        partitions.c.state == "running",
        partitions.c.source == "list",
        partitions.c.reached_at.is_not(None),
    )
    return [PartitionRow.of(dict(row)) for row in connection.execute(statement).mappings()]


def split(
    connection: Connection,
    partition: PartitionRow,
    *,
    at: datetime,
    newest_first: bool,
) -> bool:
    """Cut the unread rest of a partition in two; the far part becomes one of its own.

    Args:
        connection: Open write transaction that holds the run's row.
        partition: As it was read in this transaction.
        at: Where; the partition keeps what its reader meets before it.
        newest_first: The list runs backwards in time.

    Returns:
        False, changing nothing, if its reader has come past ``at`` meanwhile.
    """
    reached = partitions.c.reached_at
    result = connection.execute(
        update(partitions)
        .where(
            partitions.c.id == partition.id,
            partitions.c.state == "running",
            partitions.c.split_at.is_not_distinct_from(partition.split_at),
            reached > at if newest_first else reached < at,
        )
        .values(split_at=at)
    )
    if result.rowcount != 1:
        return False
    low = partition.split_at or partition.window_start
    high = partition.split_at or partition.window_end
    window = (low, at) if newest_first else (at, high)
    add_partition(connection, run_id=partition.run_id, number=None, window=window)
    return True


def drop_all(connection: Connection, run_id: str) -> None:
    """Take a run's parts out of it, whoever holds them; what they counted stays."""
    connection.execute(
        update(partitions)
        .where(partitions.c.run_id == run_id)
        .values(state="dropped", lease_owner=None, lease_until=None, fence=partitions.c.fence + 1)
    )


def last_list_read(connection: Connection, connection_id: str, entity: str) -> datetime | None:
    """Say when a page of an entity's list was last committed, in our time."""
    at = partitions.c.checkpoint_at
    recent = (
        select(runs.c.id)
        .where(runs.c.connection_id == connection_id, runs.c.entity == entity)
        .order_by(runs.c.created_at.desc())
        .limit(50)
    )
    statement = select(func.max(at, type_=at.type)).where(
        partitions.c.run_id.in_(recent), partitions.c.source == "list"
    )
    return connection.execute(statement).scalar()


def last_list_run(connection: Connection, connection_id: str, entity: str) -> str | None:
    """Return the last run that committed a page of an entity's list."""
    statement = (
        select(runs.c.id)
        .where(
            runs.c.connection_id == connection_id,
            runs.c.entity == entity,
            exists().where(
                partitions.c.run_id == runs.c.id,
                partitions.c.source == "list",
                partitions.c.pages > 0,
            ),
        )
        .order_by(runs.c.created_at.desc(), runs.c.id)
        .limit(1)
    )
    return connection.execute(statement).scalar()


def earliest_as_of(connection: Connection, run_id: str) -> datetime | None:
    """Return the provider's time up to which a run's partitions know everything."""
    column = partitions.c.as_of
    statement = select(func.min(column, type_=column.type)).where(partitions.c.run_id == run_id)
    return connection.execute(statement).scalar()


def read_partition(connection: Connection, partition_id: str) -> PartitionRow | None:
    """Read one partition as it is now."""
    found = connection.execute(select(partitions).where(partitions.c.id == partition_id))
    row = found.mappings().first()
    return None if row is None else PartitionRow.of(dict(row))


def renew(
    connection: Connection, partition_id: str, *, fence: int, lease_until: datetime
) -> tuple[bool, bool]:
    """Lengthen a lease.

    Returns:
        Whether the partition is still ours, and whether its run is to stop.
    """
    row = connection.execute(
        update(partitions)
        .where(*_held(partition_id, fence), _RUN_IS_RUNNING)
        .values(lease_until=lease_until)
        .returning(_IS_CANCELLED)
    ).first()
    return row is not None, bool(row and row.is_cancelled)


def release(connection: Connection, partition_id: str, *, fence: int) -> bool:
    """Give a lease back, the checkpoint as it stands; False if it was lost."""
    result = connection.execute(
        update(partitions)
        .where(*_held(partition_id, fence))
        .values(state="ready", lease_owner=None, lease_until=None)
    )
    return result.rowcount == 1


def release_all_of(connection: Connection, owner: str, *, has_died: bool = True) -> list[str]:
    """Give back every lease of one owner; return the runs that they were for.

    Args:
        connection: Open write transaction.
        owner: Whose.
        has_died: It died on its work, which may be the work's fault: counted.
    """
    statement = (
        update(partitions)
        .where(partitions.c.lease_owner == owner, _IS_HELD)
        .values(
            state="ready",
            lease_owner=None,
            lease_until=None,
            rescues=partitions.c.rescues + int(has_died),
        )
        .returning(partitions.c.run_id)
    )
    return sorted(set(connection.execute(statement).scalars()))


def all_done(connection: Connection, run_id: str) -> bool:
    """Say whether a run has parts and all of them were read to their end."""
    statement = select(func.count(), func.count().filter(partitions.c.state != "done")).where(
        partitions.c.run_id == run_id, partitions.c.state != "dropped"
    )
    total, open_ones = connection.execute(statement).one()
    return total > 0 and open_ones == 0


def _held(partition_id: str, fence: int) -> tuple[ColumnElement[bool], ...]:
    return (
        partitions.c.id == partition_id,
        partitions.c.fence == fence,
        partitions.c.state == "running",
    )
