"""The quarantine: look at records that could not be used, try them again, drop them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from tieline.contract import Entity, InvalidRecordError, Page
from tieline.errors import DependencyError, InvalidInputError, NotFoundError, Overtaken
from tieline.records import Draft, PageWriter, Plan, rank_of, read_raw, record_key
from tieline.services.connections import get_connection
from tieline.services.installation import Installation
from tieline.store import connections, log, partitions
from tieline.store import quarantined as store
from tieline.store.choosing import Mark
from tieline.store.connections import ConnectionRow
from tieline.store.database import Connection as Transaction
from tieline.store.quarantined import Kept, Listed
from tieline.telemetry import tellable

__all__ = [
    "Became",
    "Tried",
    "choose",
    "drop",
    "get_quarantined",
    "list_quarantine",
    "retry",
]

_MOST_ROWS = 100
_MOST_BYTES = 32_000_000
_MOST_OVERTAKEN = 10

Became = Literal["recovered", "same", "older", "bad", "undecided"]
"""``recovered``: it is a record now. ``same``: what is stored says so already.
``older``: a newer copy stands. ``bad``: it still cannot be used. ``undecided``:
only the provider can tell which copy is newer. The first three leave quarantine."""

_SETTLED = frozenset({"recovered", "same", "older"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """What became of one quarantined record that was tried again.

    Attributes:
        id: ``bad_…``.
        entity: The entity.
        record_id: Its key; None if it has none that can be used.
        became: See :data:`Became`.
        reason_code: For ``bad`` and ``undecided``: stable slug; else empty.
        reason: For ``bad`` and ``undecided``: why it stays; else empty.
    """

    id: str
    entity: str
    record_id: str | None
    became: Became
    reason_code: str = ""
    reason: str = ""


def list_quarantine(
    installation: Installation,
    connection: str,
    entity: str | None = None,
    *,
    before: Mark | None = None,
    limit: int = 100,
) -> list[Listed]:
    """Return quarantined records without their raw text, the last seen first.

    Args:
        installation: Where.
        connection: Name or id.
        entity: Only of this entity.
        before: Time and id of the last one of the page before.
        limit: The most to return.

    Raises:
        NotFoundError: No such connection or entity.
    """
    row = get_connection(installation, connection)
    _require_entity(installation, row, entity)
    with installation.database.read() as transaction:
        return store.last_seen(transaction, row.id, entity, before=before, limit=limit)


def get_quarantined(installation: Installation, bad_id: str) -> Kept:
    """Return one quarantined record with its raw text.

    Raises:
        NotFoundError: There is none of that id.
    """
    with installation.database.read() as transaction:
        found = store.find_quarantined(transaction, bad_id) if _is_plausible(bad_id) else None
    if found is None:
        raise _unknown(bad_id)
    return found


def choose(
    installation: Installation,
    *,
    ids: Sequence[str] = (),
    connection: str | None = None,
    entity: str | None = None,
) -> list[Listed]:
    """Return the quarantined records that somebody means, the newest copies first.

    Args:
        installation: Where.
        ids: These, each of which has to be there; empty for all of a connection.
        connection: With no ids: name or id.
        entity: With no ids: only of this entity.

    Raises:
        NotFoundError: No such id, connection or entity.
        InvalidInputError: Neither ids nor a connection were given, or both.
    """
    if bool(ids) == bool(connection):
        raise InvalidInputError(
            "say which quarantined records are meant",
            hint="name their ids, or --all --connection NAME",
            code="quarantine-choice",
        )
    row = get_connection(installation, connection) if connection else None
    if row is not None:
        _require_entity(installation, row, entity)
    for bad_id in ids:
        if not _is_plausible(bad_id):
            raise _unknown(bad_id)
    with installation.database.read() as transaction:
        found = store.choose_quarantined(
            transaction, ids=ids, connection_id=row.id if row else None, entity=entity
        )
    if lost := sorted(set(ids) - {each.id for each in found}):
        raise _unknown(lost[0])
    return found


def retry(installation: Installation, chosen: Sequence[Listed], *, actor: str) -> list[Tried]:
    """Judge quarantined records again by the present schema; the provider is not asked.

    What is good becomes a record, unless a newer copy stands, and leaves the
    quarantine; what is still bad stays, with its present reason. Each batch is
    one transaction, and trying again what stayed changes nothing.

    Args:
        installation: Where.
        chosen: From :func:`choose`.
        actor: Who asks, for the sync log.

    Returns:
        What became of each; those that somebody else settled meanwhile are left out.

    Raises:
        PluginError: The provider's plugin is broken.
        NotFoundError: The plugin no longer declares the entity.
        DependencyError: The same records kept being changed by somebody else.
    """
    tried: list[Tried] = []
    place = lambda each: (each.connection_id, each.entity)  # noqa: E731 - a key, twice
    for (connection_id, entity), group in groupby(sorted(chosen, key=place), key=place):
        judge = _judge_of(installation, connection_id, entity)
        if judge is None:
            continue  # the connection was removed, and its quarantine with it
        rows = {each.id: each for each in group}
        newest_first = [rows[each.id] for each in chosen if each.id in rows]
        found = [one for batch in _batches(newest_first) for one in judge.judge(batch)]
        judge.note(found, actor=actor)
        tried += found
    return tried


def drop(installation: Installation, chosen: Sequence[Listed], *, actor: str) -> int:
    """Forget quarantined records; return how many were there.

    A record that the provider still sends that way comes back with the next
    sync that reads it.
    """

    def work(transaction: Transaction) -> int:
        places = Counter((each.connection_id, each.entity) for each in chosen)
        for (connection_id, entity), count in sorted(places.items()):
            log.add_entry(
                transaction,
                at=installation.clock.now(),
                actor=actor,
                event="quarantine.dropped",
                connection_id=connection_id,
                entity=entity,
                detail=f"{count} quarantined records",
            )
        return store.drop_quarantined(transaction, [each.id for each in chosen])

    return installation.database.transact(work)


@dataclass(slots=True)
class _Judge:
    """Tries the quarantined records of one entity of one connection again."""

    installation: Installation
    row: ConnectionRow
    entity: Entity
    writer: PageWriter
    last_list_run: str | None

    def judge(self, ids: Sequence[str]) -> list[Tried]:
        """Try records, those of one key one after the other, the newest copy first."""
        with self.installation.database.read() as transaction:
            rows = store.read_quarantined(transaction, ids)
        tried: list[Tried] = []
        while rows:
            draft = Draft(is_versioned=self.entity.version is not None)
            drafted: dict[str, Kept] = {}
            rest = []
            for row in rows:
                key = self._draft(draft, drafted, row, tried)
                if key is not None and drafted[key] is not row:
                    rest.append(row)
            tried += self._write(draft, drafted)
            rows = rest
        self._keep_reasons(tried)
        return tried

    def _draft(
        self, draft: Draft, drafted: dict[str, Kept], row: Kept, tried: list[Tried]
    ) -> str | None:
        """Put a record into the draft, or say why it stays; return the key it has."""
        try:
            record = read_raw(row.raw)
            key = record_key(record, self.entity.key)
        except InvalidRecordError as error:
            tried.append(self._stays(row, error.slug, error.message))
            return None
        if key in drafted:
            return key
        # Only what the last list still showed tells how the record is now.
        source = "list" if row.run_id and row.run_id == self.last_list_run else "feed"
        page = Page(records=[record], next=None)
        own = self.writer.draft_page(page, rank=row.rank, source=source)
        if own.bad:
            tried.append(self._stays(row, own.bad[0].reason_code, own.bad[0].reason))
            return None
        drafted[key] = row
        draft.copies |= own.copies
        return key

    def _write(self, draft: Draft, drafted: dict[str, Kept]) -> list[Tried]:
        for _ in range(_MOST_OVERTAKEN if drafted else 0):
            now = self.installation.clock.now()
            plan = self.writer.compare(draft, now=rank_of(now))
            found = self._outcomes(plan, drafted)
            plan.bad, plan.keys = [], []  # the quarantine's rows are settled by their ids

            def work(transaction: Transaction, plan: Plan = plan) -> None:
                settled = [each.id for each in found if each.became in _SETTLED]  # noqa: B023
                self.writer.write(transaction, plan, run_id=None, now=now)  # noqa: B023
                store.drop_quarantined(transaction, settled)

            try:
                self.installation.database.transact(work)
            except Overtaken:
                continue  # somebody else wrote one of the records meanwhile
            return found
        if not drafted:
            return []
        raise DependencyError(
            "the same records kept being changed by somebody else",
            hint="try again when the sync that runs now is over",
            code="overtaken",
        )

    def _outcomes(self, plan: Plan, drafted: dict[str, Kept]) -> list[Tried]:
        bad = {each.record_id: each for each in plan.bad}
        new = {each.record_id for each in plan.new}
        older = {each.record_id for each in plan.lost}
        found = []
        for key, row in drafted.items():
            if key in bad:
                found.append(self._stays(row, bad[key].reason_code, bad[key].reason))
            elif key in plan.asks:
                found.append(self._undecided(row, key))
            else:
                became: Became = "recovered" if key in new else "older" if key in older else "same"
                found.append(Tried(id=row.id, entity=row.entity, record_id=key, became=became))
        return found

    def _stays(self, row: Kept, code: str, reason: str) -> Tried:
        return Tried(
            id=row.id,
            entity=row.entity,
            record_id=row.record_id,
            became="bad",
            reason_code=code,
            reason=tellable(reason),
        )

    def _undecided(self, row: Kept, key: str) -> Tried:
        return Tried(
            id=row.id,
            entity=row.entity,
            record_id=key,
            became="undecided",
            reason_code="record-order",
            reason="only the provider can tell whether this copy or the stored one is newer;"
            f" settle it: tieline sync run {self.row.name} {row.entity} --full",
        )

    def _keep_reasons(self, tried: Sequence[Tried]) -> None:
        def work(transaction: Transaction) -> None:
            for each in tried:
                if each.became == "bad":
                    store.set_reason(
                        transaction, each.id, code=each.reason_code, reason=each.reason
                    )

        self.installation.database.transact(work)

    def note(self, tried: Sequence[Tried], *, actor: str) -> None:
        """Count the recovered records' fields, and leave an entry in the sync log."""
        counts = Counter(each.became for each in tried)
        now = self.installation.clock.now()

        def work(transaction: Transaction) -> None:
            if self.writer.has_shapes:
                self.writer.flush_drift(transaction, run_id=None, now=now)
            log.add_entry(
                transaction,
                at=now,
                actor=actor,
                event="quarantine.retried",
                connection_id=self.row.id,
                entity=self.entity.name,
                detail=", ".join(f"{count} {name}" for name, count in sorted(counts.items())),
            )

        self.installation.database.transact(work)


def _judge_of(installation: Installation, connection_id: str, entity: str) -> _Judge | None:
    with installation.database.read() as transaction:
        row = connections.find_connection(transaction, connection_id)
        at = partitions.last_list_read(transaction, connection_id, entity)
        last = partitions.last_list_run(transaction, connection_id, entity)
    if row is None:
        return None
    declared = installation.registry.get(row.provider).entity(entity)
    writer = PageWriter(
        installation.database, row.id, declared, read_until=rank_of(at) if at else 0
    )
    return _Judge(installation, row, declared, writer, last)


def _batches(rows: Sequence[Listed]) -> Iterator[list[str]]:
    """Cut rows into pieces that memory holds easily."""
    batch: list[str] = []
    size = 0
    for row in rows:
        if batch and (len(batch) == _MOST_ROWS or size + row.size_bytes > _MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(row.id)
        size += row.size_bytes
    if batch:
        yield batch


def _require_entity(installation: Installation, row: ConnectionRow, entity: str | None) -> None:
    if entity is not None:
        installation.registry.get(row.provider).entity(entity)


def _is_plausible(bad_id: str) -> bool:
    return bad_id.isascii() and bad_id.isprintable() and len(bad_id) <= 32


def _unknown(bad_id: str) -> NotFoundError:
    return NotFoundError(
        f"there is no quarantined record {bad_id[:60]!r}",
        hint="tieline records quarantine list NAME",
        code="quarantined-unknown",
    )
