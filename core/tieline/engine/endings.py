"""Store what became of operations: their rows, their records, and who comes after them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tieline.alerts import raise_alert
from tieline.contract import Entity, InvalidRecordError, Page
from tieline.engine.basis import Basis
from tieline.engine.kit import this_worker
from tieline.engine.send import Ended
from tieline.errors import LeaseLost
from tieline.records import Draft, PageWriter, rank_of, record_key
from tieline.store import log, operations
from tieline.store.database import Connection
from tieline.store.operations import WAITING_STATES
from tieline.store.rows import Counts, RunRow
from tieline.telemetry import tellable

__all__ = ["StoredBefore", "counts_of", "draft_of", "store_end"]

_COUNTED = {"create": "created", "update": "updated", "delete": "deleted"}


class StoredBefore(BaseException):
    """It stands already: the answer to its commit was lost."""


def draft_of(writer: PageWriter, entity: Entity, ended: Sequence[Ended]) -> Draft:
    """Make copies of the records that answers held, as a page of a list would."""
    draft = Draft(is_versioned=entity.version is not None)
    for each in ended:
        if each.outcome is None:
            continue
        rank = rank_of((each.outcome.as_of or each.at).astimezone(UTC))
        record, key = each.outcome.record, each.row.record_id or each.outcome.key
        page = Page(records=[] if record is None else [record], next=None)
        if each.outcome.is_gone and key:
            page = replace(page, deleted=(key,))
        own = writer.draft_page(page, rank=rank, source=each.source)
        draft.bad += own.bad
        for name, (copy, its_record) in own.copies.items():
            draft.put(copy, its_record)
            if each.asked is not None:
                draft.asked[name] = each.asked
    return draft


def store_end(
    connection: Connection, run: RunRow, entity: Entity, ended: Ended, now: datetime
) -> None:
    """End one operation in the transaction that writes its record.

    Raises:
        LeaseLost: Somebody else has claimed it since; nothing may be committed.
        StoredBefore: This was committed before.
    """
    row, key = ended.row, _key_of(entity, ended)
    values: dict[str, Any] = {} if ended.due_at is None else {"due_at": ended.due_at}
    if ended.state == "queued":
        values["sent_at"] = row.sent_at  # nothing was done: the key is as good as new
    is_ours = operations.end_operation(
        connection,
        row.id,
        fence=row.fence,
        state=ended.state,
        now=now,
        record_id=key,
        reason_code=ended.code or None,
        reason=tellable(ended.reason) or None,
        **values,
    )
    if not is_ours:
        present = operations.get_operation(connection, row.id)
        if present and (present.fence, present.state) == (row.fence, ended.state):
            raise StoredBefore
        raise LeaseLost
    if ended.state == "done" and key is not None:
        _rebase(connection, entity, ended, key)
    if ended.state in {*WAITING_STATES, "dropped"}:
        _tell(connection, run, ended, key, now)


def counts_of(ended: Sequence[Ended]) -> Counts:
    """Count operations as a run counts records; those that wait for a person are quarantined."""
    counts = Counts(requests=1)
    for each in ended:
        if each.state in WAITING_STATES:
            counts += Counts(seen=1, quarantined=1)
        elif each.state == "done" and not each.code:
            name = _COUNTED[each.row.kind]
            counts += Counts(seen=int(name != "deleted"), **{name: 1})
        elif each.state in {"done", "dropped"}:
            counts += Counts(seen=1, unchanged=1)
    return counts


def _key_of(entity: Entity, ended: Ended) -> str | None:
    if ended.row.record_id or ended.outcome is None:
        return ended.row.record_id
    if ended.outcome.record is None:
        return ended.outcome.key or None
    try:
        return record_key(ended.outcome.record, entity.key)
    except InvalidRecordError:
        return None  # it goes to quarantine


def _rebase(connection: Connection, entity: Entity, ended: Ended, key: str) -> None:
    """Let later operations of the record rest on what this one made of it."""
    write, outcome = entity.write, ended.outcome
    if write is None or outcome is None or outcome.record is None:
        return
    for follower in operations.followers(connection, ended.row, key):
        basis = Basis.read(follower.based_on)
        if basis is not None:
            moved = basis.after_own_write(
                write,
                own=ended.row.payload,
                payload=follower.payload,
                record=outcome.record,
                was_unchanged=ended.was_unchanged,
                volatile=entity.volatile,
            )
            operations.set_basis(connection, follower.number, moved.write())


def _tell(
    connection: Connection, run: RunRow, ended: Ended, key: str | None, now: datetime
) -> None:
    row, words = ended.row, tellable(ended.reason)
    log.add_entry(
        connection,
        at=now,
        actor=this_worker(),
        event=f"operation.{ended.state}",
        connection_id=row.connection_id,
        entity=row.entity,
        run_id=run.id,
        error_code=ended.code or None,
        detail=f"{row.id}, {row.kind} {key or ''}: {words}",
    )
    if ended.state in WAITING_STATES:
        raise_alert(
            connection,
            "operations-wait",
            f"{row.connection_id}/{row.entity}",
            f"{run.connection_name}, {row.entity}: a change cannot be sent: {words}",
            now=now,
            connection_id=row.connection_id,
            hint=f"tieline outbox list --connection {run.connection_name}",
            facts={"operation_id": row.id, "state": ended.state, "run_id": run.id},
        )
