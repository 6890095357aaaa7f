"""The copies of one page, before anything is known of their records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from tieline.contract import InvalidRecordError, KeyOf, Record
from tieline.records.canonical import digests, usual_texts
from tieline.records.order import Copy, Known
from tieline.store.quarantined import BadRecord

__all__ = ["Draft", "record_key", "usual_copies"]

_MAX_KEY = 255
_UNTOLD = (LookupError, TypeError, ValueError, AttributeError)
"""What a plugin's function raises that finds no key in a record."""
_new = tuple.__new__  # half of what a named tuple's own costs


@dataclass(slots=True)
class Draft:
    """The copies of one page, before anything is known of their records.

    Attributes:
        copies: The copy of each key, and the record if there is one.
        bad: Records for the quarantine.
        doubtful: Keys of which the page held copies that differ, or none.
        repeats: How many records of the page were dropped for a later one.
        is_versioned: Ranks of records are versions; those of deletions are times.
        asked: What was known of the keys that were asked about, when they were.
    """

    copies: dict[str, tuple[Copy, Record | None]] = field(default_factory=dict)
    bad: list[BadRecord] = field(default_factory=list)
    doubtful: set[str] = field(default_factory=set)
    repeats: int = 0
    is_versioned: bool = False
    asked: dict[str, Known | None] = field(default_factory=dict)

    def put(self, copy: Copy, record: Record | None) -> None:
        """Add a copy; of two of one key the later stands, of equal ones a deletion or the last."""
        if (found := self.copies.get(copy.key)) is not None:
            before = found[0]
            is_mixed = before.is_deleted != copy.is_deleted
            is_tie = before.rank == copy.rank or (is_mixed and self.is_versioned)
            if is_tie and (is_mixed or before.digest != copy.digest):
                self.doubtful.add(copy.key)
            stays = before.is_deleted if is_tie and is_mixed else before.rank > copy.rank
            self.repeats += not (copy if stays else before).is_deleted
            if stays:
                return
        self.copies[copy.key] = (copy, record)

    def forget(self, key: str) -> None:
        """Take a record out of the page: what became of it cannot be found out now."""
        self.doubtful.discard(key)
        self.copies.pop(key, None)

    def ask_instead(self, key: str, others: Iterable[str], *, rank: int, source: str) -> None:
        """Ask about the records that were meant, in the place of a key that none of them has."""
        self.forget(key)
        for other in others:
            if other not in self.copies:
                self.copies[other] = (Copy(other, b"", "", rank, source), None)
                self.doubtful.add(other)

    def has(self, key: str) -> bool:
        """Whether the page tells what became of a record, not only that something did."""
        copy, record = self.copies[key]
        return copy.is_deleted or record is not None


def usual_copies(
    records: Sequence[Record], name: str | KeyOf, ranks: Sequence[int], source: str
) -> dict[str, tuple[Copy, Record | None]] | None:
    """Draft a page whose records are all as usual, one column after the other.

    That takes two thirds of the time of one record after the other, which
    decides about all others, and comes to the same for these.

    Args:
        records: As the plugin returned them.
        name: The field that holds their key, or the function that tells it.
        ranks: Of each.
        source: Of all.

    Returns:
        Copy and record by key; None if a record is odd in any way: a key is no
        short, printable text, or comes twice, or the text has to be escaped.
    """
    tell = itemgetter(name) if isinstance(name, str) else name
    try:
        keys = list(map(tell, records))
        lengths = set(map(len, keys))
        is_usual = all(map(str.isprintable, keys)) and len(set(keys)) == len(keys)
    except (*_UNTOLD, InvalidRecordError):
        return None
    if not is_usual or 0 in lengths or max(lengths, default=0) > _MAX_KEY:
        return None
    if set(map(type, records)) - {dict} or (texts := usual_texts(records)) is None:
        return None
    columns = zip(keys, texts, digests(texts), ranks, strict=True)
    return {
        key: (_new(Copy, (key, text, digest, rank, source, False, False)), record)
        for (key, text, digest, rank), record in zip(columns, records, strict=True)
    }


def record_key(record: Any, name: str | KeyOf) -> str:
    """Find a record's key.

    Args:
        record: Whatever a plugin returned as one.
        name: The field that holds it, or the function that tells it.

    Raises:
        InvalidRecordError: It is no object, or has no key that can be stored.
    """
    if type(record) is not dict and not isinstance(record, Mapping):
        raise InvalidRecordError(
            f"a {type(record).__name__} stands where a record should", code="record-not-object"
        )
    key = record.get(name) if isinstance(name, str) else _told_key(record, name)
    if type(key) is str and 0 < len(key) <= _MAX_KEY and key.isprintable():
        return key
    if type(key) is int:
        key = str(key)
    if not isinstance(key, str) or not key:
        what = f"text in {name!r}" if isinstance(name, str) else "key"
        raise InvalidRecordError(f"it has no {what}", code="record-key")
    if len(key) > _MAX_KEY or not key.isprintable():
        what = repr(name) if isinstance(name, str) else "key"
        raise InvalidRecordError(
            f"its {what} is longer than {_MAX_KEY} characters or not printable",
            code="record-key",
        )
    return key


def _told_key(record: Record, tell: KeyOf) -> str | None:
    try:
        return tell(record)
    except _UNTOLD as error:
        raise InvalidRecordError(
            f"its key cannot be told: {type(error).__name__}", code="record-key"
        ) from None
