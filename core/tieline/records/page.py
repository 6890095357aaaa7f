"""What one page does to the records: hashed, compared, checked, written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any

from tieline.contract import Entity, InvalidRecordError, Page, Record
from tieline.records.canonical import canonical, raw_text
from tieline.records.check import RecordCheck
from tieline.store import quarantined
from tieline.store import records as store
from tieline.store.database import Connection, Database
from tieline.store.quarantined import BadRecord
from tieline.store.records import NewRecord
from tieline.store.rows import Counts

__all__ = ["PageWriter", "Prepared", "Written", "record_key"]

_MAX_RANK = 2**63 - 1
_MAX_KEY = 255


@dataclass(frozen=True, slots=True)
class Prepared:
    """A page, ready to be written.

    Attributes:
        new: Records that are new or differ from what was known, by key.
        keys: Keys of all records on the page that have one.
        bad: Records for the quarantine.
        deleted: Keys that the provider said are gone.
        seen: How many records the page held.
        rank: When the page was read, in microseconds since 1970.
        read_at: When its call began.
    """

    new: Sequence[NewRecord]
    keys: Sequence[str]
    bad: Sequence[BadRecord]
    deleted: Sequence[str]
    seen: int
    rank: int
    read_at: datetime


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
    """Prepares and writes pages of one entity of one connection.

    Args:
        database: Where the records are.
        connection_id: The connection.
        entity: The entity's declaration.
    """

    def __init__(self, database: Database, connection_id: str, entity: Entity) -> None:
        self._database = database
        self._connection_id = connection_id
        self._entity = entity
        self._check = RecordCheck(entity.schema)
        with database.read() as connection:
            self._has_quarantined = quarantined.has_quarantined(
                connection, connection_id, entity.name
            )
            latest = store.latest_rank(connection, connection_id, entity.name)
        # A clock that was set back must not make every later copy look older.
        self._floor = 0 if entity.version else latest

    def prepare(self, page: Page, *, read_at: datetime) -> Prepared:
        """Hash a page's records, compare them with the known ones, check the rest.

        Args:
            page: As the plugin returned it.
            read_at: When its call began, aware UTC.
        """
        rank = max(int(read_at.timestamp() * 1_000_000), self._floor + 1)
        bad: list[BadRecord] = []
        copies: dict[str, tuple[NewRecord, Record]] = {}
        for record in page.records:
            try:
                copy = self._copy(record, rank)
                copies[copy.record_id] = (copy, record)
            except InvalidRecordError as error:
                bad.append(self._bad(record, error, rank))
        known = self._known(list(copies))
        new: list[NewRecord] = []
        for key in sorted(copies):
            copy, record = copies[key]
            stored = known.get(key)
            if stored and stored.content_hash == copy.content_hash and not stored.is_deleted:
                continue
            try:
                self._check(record)
                new.append(copy)
            except InvalidRecordError as error:
                bad.append(self._bad(record, error, rank))
        keys = [*copies, *(record.record_id for record in bad if record.record_id)]
        return Prepared(new, keys, bad, page.deleted, len(page.records), rank, read_at)

    def write(
        self, connection: Connection, prepared: Prepared, *, run_id: str | None, now: datetime
    ) -> Written:
        """Write a prepared page in the caller's transaction; harmless to repeat."""
        name = self._entity.name
        written: Mapping[str, int] = {}
        if prepared.new:
            at = store.take_positions(connection, self._connection_id, name, len(prepared.new))
            written = store.upsert(
                connection,
                self._connection_id,
                name,
                prepared.new,
                at=at,
                read_at=prepared.read_at,
                run_id=run_id,
                now=now,
            )
        deleted = self._tombstone(connection, prepared, run_id, now)
        self._quarantine(connection, prepared, run_id, now)
        created = sum(1 for revision in written.values() if revision == 1)
        counts = Counts(
            seen=prepared.seen,
            created=created,
            updated=len(written) - created,
            unchanged=prepared.seen - len(prepared.bad) - len(written),
            deleted=deleted,
            quarantined=len(prepared.bad),
        )
        return Written(counts, [key for key in prepared.keys if key not in written])

    def _known(self, keys: list[str]) -> Mapping[str, store.Known]:
        if not keys:
            return {}
        with self._database.read() as connection:
            return store.read_known(connection, self._connection_id, self._entity.name, keys)

    def _copy(self, record: Record, rank: int) -> NewRecord:
        key = record_key(record, self._entity.key)
        text = canonical(record)
        return NewRecord(key, text.text, text.digest, self._rank(record, rank), text.is_escaped)

    def _rank(self, record: Record, read_at: int) -> int:
        if self._entity.version is None:
            return read_at
        try:
            version = self._entity.version(record)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidRecordError(
                f"its version cannot be read: {type(error).__name__}", code="record-version"
            ) from None
        if not isinstance(version, int) or not 0 <= version <= _MAX_RANK:
            raise InvalidRecordError(
                "its version is no whole number from 0 to 2^63 - 1", code="record-version"
            )
        return version

    def _bad(self, record: object, error: InvalidRecordError, rank: int) -> BadRecord:
        raw = raw_text(record)
        try:
            key = record_key(record, self._entity.key)
        except InvalidRecordError:
            key = None
        return BadRecord(
            record_id=key,
            fingerprint=blake2b(raw, digest_size=16).hexdigest(),
            reason_code=error.slug,
            reason=error.message,
            raw=raw,
            rank=rank,
        )

    def _tombstone(
        self, connection: Connection, prepared: Prepared, run_id: str | None, now: datetime
    ) -> int:
        if not prepared.deleted:
            return 0
        return store.tombstone(
            connection,
            self._connection_id,
            self._entity.name,
            prepared.deleted,
            rank=prepared.rank,
            run_id=run_id,
            now=now,
        )

    def _quarantine(
        self, connection: Connection, prepared: Prepared, run_id: str | None, now: datetime
    ) -> None:
        name = self._entity.name
        if self._has_quarantined:
            bad = {record.record_id for record in prepared.bad}
            good = [key for key in prepared.keys if key not in bad]
            quarantined.drop_recovered(connection, self._connection_id, name, good)
        if prepared.bad:
            self._has_quarantined = True
            quarantined.add_quarantined(
                connection, self._connection_id, name, prepared.bad, run_id=run_id, now=now
            )


def record_key(record: Any, field: str) -> str:
    """Find a record's key.

    Raises:
        InvalidRecordError: It is no object, or has no key that can be stored.
    """
    if type(record) is not dict and not isinstance(record, Mapping):
        raise InvalidRecordError(
            f"a {type(record).__name__} stands where a record should", code="record-not-object"
        )
    key = record.get(field)
    if type(key) is int:
        key = str(key)
    if not isinstance(key, str) or not key:
        raise InvalidRecordError(f"it has no text in {field!r}", code="record-key")
    if len(key) > _MAX_KEY or not key.isprintable():
        raise InvalidRecordError(
            f"its {field!r} is longer than {_MAX_KEY} characters or not printable",
            code="record-key",
        )
    return key
