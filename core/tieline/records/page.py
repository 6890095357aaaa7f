"""What one page does to the records: hashed, compared, checked, written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b

from tieline.contract import Change, Entity, InvalidRecordError, Page, Record
from tieline.errors import Overtaken
from tieline.records.canonical import canonical, is_same_content, raw_text
from tieline.records.check import RecordCheck
from tieline.records.draft import Draft, record_key, usual_copies
from tieline.records.order import Copy, Known, Order, Verdict, gone
from tieline.store import copies as history
from tieline.store import drift, quarantined
from tieline.store import records as store
from tieline.store.copies import LostCopy
from tieline.store.database import Connection, Database, Desk
from tieline.store.quarantined import BadRecord
from tieline.store.records import NewRecord
from tieline.store.rows import Counts
from tieline.telemetry import tellable

__all__ = ["PageWriter", "Plan", "Written", "rank_of"]

_MAX_RANK = 2**63 - 1
_new = tuple.__new__  # half of what a named tuple's own costs
_NOTHING: Mapping[str, Known] = {}


@dataclass(slots=True)
class Plan:
    """What is to be done with a page's copies.

    Attributes:
        seen: How many records the page held.
        bad: Records for the quarantine.
        asks: Keys of records that have to be read again first.
        keys: Keys of all records of the page.
        new: Rows to write, sorted by key.
        later: Keys of records that are as they were, at a later event, with its rank.
        lost: Copies that were older than what is known.
        revived: Keys of records that are tombstones here and live there.
        shapes: The field names of each record to write.
        based_on: What was known of the records that are written or moved on.
        created: How many rows are records that were unknown.
        deleted: How many rows are tombstones.
    """

    seen: int
    bad: list[BadRecord]
    asks: list[str]
    keys: list[str] = field(default_factory=list)
    new: list[NewRecord] = field(default_factory=list)
    later: list[tuple[str, int]] = field(default_factory=list)
    lost: list[LostCopy] = field(default_factory=list)
    revived: set[str] = field(default_factory=set)
    shapes: list[tuple[str, ...]] = field(default_factory=list)
    based_on: dict[str, Known] = field(default_factory=dict)
    created: int = 0
    deleted: int = 0

    @property
    def counts(self) -> Counts:
        """What it comes to; ``requests`` is left at 0."""
        updated = len(self.new) - self.created - self.deleted
        return Counts(
            seen=self.seen,
            created=self.created,
            updated=updated,
            unchanged=self.seen - len(self.bad) - self.created - updated,
            deleted=self.deleted,
            quarantined=len(self.bad),
        )

    def put_aside(self, copy: Copy, verdict: Verdict) -> None:
        """Note a copy that is not written."""
        if verdict is Verdict.NOTE:
            self.later.append((copy.key, copy.rank))
        elif verdict is Verdict.OLDER:
            self.lost.append(LostCopy(copy.key, copy.source, copy.rank, copy.digest or None))
        elif verdict is Verdict.ASK and copy.key not in self.asks:
            self.asks.append(copy.key)


@dataclass(frozen=True, slots=True)
class Written:
    """What writing a page did.

    Attributes:
        counts: By kind; ``requests`` is left at 0.
        met: Keys that the page held and that were not written: unchanged,
            older than what is there, or bad.
    """

    counts: Counts
    met: Sequence[str]


class PageWriter:
    """Drafts, compares and writes pages of one entity of one connection.

    Args:
        database: Where the records are; a desk of it for many pages.
        connection_id: The connection.
        entity: The entity's declaration.
        read_until: Rank of the last list read before, for copies from events.
        is_proving: Stored hashes are not trusted: each copy is compared with
            the payload that stands.
    """

    def __init__(
        self,
        database: Database | Desk,
        connection_id: str,
        entity: Entity,
        *,
        read_until: int = 0,
        is_proving: bool = False,
    ) -> None:
        self._database = database
        self._connection_id = connection_id
        self._entity = entity
        self._volatile = tuple(entity.volatile)
        self._read_until = read_until
        self._is_proving = is_proving
        self._check = RecordCheck(entity.schema)
        self._shapes: Counter[tuple[str, ...]] = Counter()
        self._shape: tuple[str, ...] = ()
        self._alike = 0
        self._has_quarantined, self._expects_new = database.transact(self._look, is_read=True)

    def _look(self, connection: Connection) -> tuple[bool, bool]:
        of = (self._connection_id, self._entity.name)
        # While all is new, asking what is known of it is a read for nothing.
        expects_new = not self._is_proving and store.is_empty(connection, *of)
        return quarantined.has_quarantined(connection, *of), expects_new

    def draft_page(self, page: Page, *, rank: int, source: str = "list") -> Draft:
        """Hash the records of a list page.

        Args:
            page: As the plugin returned it.
            rank: When it was read, in the provider's time.
            source: ``list`` or ``get``.
        """
        draft = Draft(is_versioned=self._entity.version is not None)
        if (usual := self._usual_copies(page.records, rank, source)) is not None:
            draft.copies = usual
        else:
            for record in page.records:
                self._draft_record(draft, record, rank, source)
        for key in page.deleted:
            draft.put(gone(key, rank, source), None)
        return draft

    def draft_changes(self, changes: Iterable[Change], *, source: str = "feed") -> Draft:
        """Hash the entries of a log of changes; those without a record are doubtful."""
        draft = Draft(is_versioned=self._entity.version is not None)
        for change in changes:
            rank = rank_of(change.at)
            if change.is_deleted:
                draft.put(gone(change.key, rank, source), None)
            elif change.record is None:
                draft.put(Copy(change.key, b"", "", rank, source), None)
                draft.doubtful.add(change.key)
            else:
                self._draft_record(draft, change.record, rank, source)
        return draft

    def _usual_copies(
        self, records: Sequence[Record], rank: int, source: str
    ) -> dict[str, tuple[Copy, Record | None]] | None:
        """Draft a whole page at once, unless there is something odd about one of its records."""
        if self._volatile:
            return None
        ranks, version = [rank] * len(records), self._entity.version
        if version is not None:
            try:
                ranks = [self._version(version, record) for record in records]
            except InvalidRecordError:
                return None
        return usual_copies(records, self._entity.key, ranks, source)

    def _draft_record(self, draft: Draft, record: Record, rank: int, source: str) -> None:
        version = self._entity.version
        try:
            key = record_key(record, self._entity.key)
            text, digest, is_escaped = canonical(record, self._volatile)
            of = rank if version is None else self._version(version, record)
        except InvalidRecordError as error:
            draft.bad.append(self._bad(record, error, rank))
            return
        draft.put(Copy(key, text, digest, of, source, is_escaped=is_escaped), record)

    def settle(self, draft: Draft, key: str, record: Record | None, *, rank: int) -> None:
        """Put what was read again in the place of a copy that nobody could judge.

        Args:
            draft: The page.
            key: The record's key.
            record: As it is now; None if the provider says that it is gone.
            rank: When it was read, in the provider's time.
        """
        draft.doubtful.discard(key)
        draft.copies.pop(key, None)
        if record is None:
            draft.put(gone(key, rank, "get"), None)
            return
        again = self.draft_page(Page(records=[record], next=None), rank=rank, source="get")
        draft.copies.update(again.copies)
        draft.bad += again.bad

    def compare(self, draft: Draft, *, now: int) -> Plan:
        """Judge a page's copies by what is known; nothing is written.

        Args:
            draft: The page.
            now: The provider's present time, as a rank.
        """
        copies = draft.copies
        known = _NOTHING if self._expects_new else self._known(list(copies))
        proven = self._proven(copies, known) if self._is_proving else known
        order = Order(
            is_versioned=self._entity.version is not None,
            can_ask=self._entity.get is not None,
            now=now,
            read_until=self._read_until,
        )
        lost = sum(copy.is_deleted for copy, _ in copies.values())
        plan = Plan(
            seen=len(copies) - lost + len(draft.bad) + draft.repeats,
            bad=list(draft.bad),
            asks=[key for key in sorted(draft.doubtful) if order.can_ask or not draft.has(key)],
        )
        if known or not self._accept_all(plan, copies):
            self._judge_each(plan, draft, known, proven, order)
        draft.asked |= {key: proven.get(key) for key in plan.asks}
        plan.keys = [*copies, *(each.record_id for each in plan.bad if each.record_id)]
        return plan

    def _judge_each(
        self,
        plan: Plan,
        draft: Draft,
        known: Mapping[str, Known],
        proven: Mapping[str, Known],
        order: Order,
    ) -> None:
        for key in sorted(draft.copies):
            copy, record = draft.copies[key]
            stored = known.get(key)
            if stored is None:
                self._accept(plan, copy, record, None)
                continue
            verdict = order.judge(proven[key], copy, draft.asked.get(key))
            if verdict is Verdict.SAME:
                continue
            if verdict is Verdict.WRITE or verdict is Verdict.NOTE:
                plan.based_on[key] = stored
            if verdict is Verdict.WRITE:
                self._accept(plan, copy, record, stored)
            else:
                plan.put_aside(copy, verdict)

    def _accept_all(self, plan: Plan, copies: Mapping[str, tuple[Copy, Record | None]]) -> bool:
        """Plan to write a page of new records at once, if certainly nothing is wrong with any."""
        found = [copies[key] for key in sorted(copies)]
        records = [record for copy, record in found if record is not None and not copy.is_deleted]
        if len(records) != len(found) or not self._check.all_good(records):
            return False
        plan.new = [_new(NewRecord, (*copy, 1)) for copy, _ in found]
        plan.shapes = list(map(tuple, records))
        plan.created = len(records)
        return True

    def _accept(self, plan: Plan, copy: Copy, record: Record | None, stored: Known | None) -> None:
        """Plan to write a copy, unless its record breaks the schema's promises."""
        if copy.is_deleted:
            copy = self._tombstone(copy, stored)
            plan.deleted += 1
        elif record is not None:
            try:
                self._check(record)
            except InvalidRecordError as error:
                plan.bad.append(self._bad(record, error, copy.rank))
                return
            plan.shapes.append(tuple(record))
            plan.created += stored is None
        if stored is None:
            plan.new.append(NewRecord(*copy, 1))
            return
        if stored.is_deleted:
            plan.revived.add(copy.key)
        plan.new.append(NewRecord(*copy, stored.revision + 1))

    def write(
        self, connection: Connection, plan: Plan, *, run_id: str | None, now: datetime
    ) -> Written:
        """Do what was planned in the caller's transaction.

        Raises:
            Overtaken: A record changed since it was compared: compare again.
        """
        of = (self._connection_id, self._entity.name)
        if plan.lost:
            history.note_lost(connection, *of, plan.lost, run_id=run_id, now=now)
        if plan.based_on:
            store.take_positions(connection, *of, 0)  # from here on nobody else writes
            rows = store.read_known(connection, *of, list(plan.based_on))
            if any(Known(*row[1:]) != plan.based_on[row[0]] for row in rows):
                raise Overtaken
        if plan.later:
            store.move_ranks(connection, *of, plan.later)
        if plan.new:
            count = store.upsert(connection, *of, plan.new, run_id=run_id, now=now)
            if count != len(plan.new):
                self._expects_new = False
                raise Overtaken
        counts = plan.counts
        self._expects_new = self._expects_new or (counts.created == counts.seen and counts.seen > 1)
        self._quarantine(connection, plan, run_id, now)
        for shape in plan.shapes:
            if shape != self._shape:  # nearly all are alike, and comparing is quicker than hashing
                self._add_shape()
                self._shape = shape
            self._alike += 1
        if len(plan.new) == len(plan.keys):
            return Written(counts, ())
        written = {row.record_id for row in plan.new}
        return Written(counts, [key for key in plan.keys if key not in written])

    def quarantine_alone(
        self, connection: Connection, plan: Plan, *, run_id: str, now: datetime
    ) -> None:
        """Keep a page's bad records and leave everything else as it is."""
        of = (self._connection_id, self._entity.name)
        quarantined.add_quarantined(connection, *of, plan.bad, run_id=run_id, now=now)

    @property
    def has_shapes(self) -> bool:
        """Whether :meth:`flush_drift` has anything to add."""
        return bool(self._shapes or self._alike)

    def _add_shape(self) -> None:
        if self._alike:
            self._shapes[self._shape] += self._alike
            self._alike = 0

    def flush_drift(self, connection: Connection, *, run_id: str | None, now: datetime) -> None:
        """Add up which fields the schema did not name, and which it named in vain."""
        self._add_shape()
        promised = {f.data_key or name for name, f in self._entity.schema.load_fields.items()}
        fields: Counter[tuple[str, str]] = Counter()
        for shape, count in self._shapes.items():
            for name in set(shape) - promised:
                fields[name, "unknown"] += count
            for name in promised - set(shape):
                fields[name, "missing"] += count
        self._shapes.clear()
        drift.add(
            connection, self._connection_id, self._entity.name, fields, run_id=run_id, now=now
        )

    def _known(self, keys: list[str]) -> Mapping[str, Known]:
        if not keys:
            return _NOTHING

        def read(connection: Connection) -> Sequence[tuple[str, str, int, bool, int]]:
            return store.read_known(connection, self._connection_id, self._entity.name, keys)

        rows = self._database.transact(read, is_read=True)
        return {row[0]: Known(*row[1:]) for row in rows}

    def _proven(
        self, copies: Mapping[str, tuple[Copy, Record | None]], known: Mapping[str, Known]
    ) -> Mapping[str, Known]:
        """Take the hash away from what stands and is not what its hash says."""
        keys = [
            key
            for key, stored in known.items()
            if stored.digest == copies[key][0].digest and not stored.is_deleted
        ]

        def read(connection: Connection) -> Sequence[tuple[str, str, int, str, bool]]:
            return store.read_payloads(connection, self._connection_id, self._entity.name, keys)

        rows = self._database.transact(read, is_read=True) if keys else ()
        altered = {}
        for key, digest, revision, payload, is_escaped in rows:
            stored, copy = known[key], copies[key][0]
            is_unmoved = (digest, revision) == (stored.digest, stored.revision)
            escaped = (bool(is_escaped), copy.is_escaped)
            is_held = is_same_content(payload, copy.text, escaped=escaped, volatile=self._volatile)
            if is_unmoved and not is_held:
                altered[key] = stored._replace(digest="")
        return {**known, **altered}

    def _tombstone(self, copy: Copy, stored: Known | None) -> Copy:
        """Give a deletion the least text that a row needs, and the rank that it may have."""
        name = self._entity.key
        text, digest, _ = canonical({name: copy.key} if isinstance(name, str) else {})
        rank = copy.rank
        if self._entity.version is not None:  # a time is no version
            rank = stored.rank if stored else 0
        return copy._replace(text=text, digest=digest, rank=rank)

    def _version(self, version: Callable[[Record], int], record: Record) -> int:
        try:
            found = version(record)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidRecordError(
                f"its version cannot be read: {type(error).__name__}", code="record-version"
            ) from None
        if not isinstance(found, int) or not 0 <= found <= _MAX_RANK:
            raise InvalidRecordError(
                "its version is no whole number from 0 to 2^63 - 1", code="record-version"
            )
        return found

    def _bad(self, record: object, error: InvalidRecordError, rank: int) -> BadRecord:
        raw = raw_text(record)
        try:
            key = record_key(record, self._entity.key)
        except InvalidRecordError:
            key = None
        return BadRecord(
            record_id=key,
            # What cannot be written looks alike; its key tells two of them apart.
            fingerprint=blake2b(raw, digest_size=16, key=(key or "").encode()[:64]).hexdigest(),
            reason_code=error.slug,
            reason=tellable(error.message),
            raw=raw,
            rank=rank,
        )

    def _quarantine(
        self, connection: Connection, plan: Plan, run_id: str | None, now: datetime
    ) -> None:
        of = (self._connection_id, self._entity.name)
        if self._has_quarantined:
            bad = {record.record_id for record in plan.bad}
            good = [key for key in plan.keys if key not in bad]
            quarantined.drop_recovered(connection, *of, good)
        if plan.bad:
            self._has_quarantined = True
            quarantined.add_quarantined(connection, *of, plan.bad, run_id=run_id, now=now)


def rank_of(time: datetime) -> int:
    """Turn a time into a rank: microseconds since 1970."""
    return int(time.timestamp() * 1_000_000)
