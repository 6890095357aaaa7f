"""What an operation rests on, and whether the record is still so: pure rules, no I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from tieline.contract import Entity, InvalidRecordError, Record, Write
from tieline.records import canonical

__all__ = ["POLICIES", "Basis", "Judgement", "Policy", "judge", "says_already"]

Policy = Literal["hold", "provider_wins", "local_wins", "newest_wins"]
POLICIES: tuple[Policy, ...] = ("hold", "provider_wins", "local_wins", "newest_wins")

Judgement = Literal["send", "done", "hold", "provider"]
"""``send`` it on top of the record as it is now; ``done``: it is so already; ``hold`` it
for a person; ``provider``: the provider's record stands, the operation is dropped."""

_NOTHING = object()


@dataclass(frozen=True, kw_only=True, slots=True)
class Basis:
    """What was known of a record when a change of it was asked for.

    Attributes:
        digest: Hash of the whole record, but for what is volatile.
        token: The version that the provider compares; None if it has none.
        fields: The record's own values in the shape of the payload: what the
            change would overwrite.
    """

    digest: str
    token: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        write: Write,
        record: Record,
        payload: Mapping[str, Any],
        volatile: Sequence[str] = (),
    ) -> Basis:
        """Note what of a record matters to a change.

        Args:
            write: The declaration.
            record: The record.
            payload: What the change names.
            volatile: Fields of the record that change without meaning.
        """
        return cls(
            digest=digest_of(record, volatile),
            token=token_of(write, record),
            fields=in_shape_of(payload, record),
        )

    @classmethod
    def read(cls, text: str | None) -> Basis | None:
        """Read what :meth:`write` wrote."""
        return None if text is None else cls(**json.loads(text))

    def write(self) -> str:
        """Write it as ASCII: a column of text takes every character so."""
        return json.dumps(asdict(self), separators=(",", ":"))

    def is_overwritten_unseen(self, payload: Mapping[str, Any], record: Record) -> bool:
        """Whether a field that the payload names is another one in the record by now."""
        return in_shape_of(payload, record) != self.fields

    def after_own_write(
        self,
        write: Write,
        *,
        own: Mapping[str, Any],
        payload: Mapping[str, Any],
        record: Record,
        was_unchanged: bool,
        volatile: Sequence[str] = (),
    ) -> Basis:
        """Rest on what our own earlier operation made of the record.

        What somebody else changed stays seen: the token moves on only if no
        field that ``payload`` overwrites became another one without us.

        Args:
            write: The declaration.
            own: The earlier operation's payload.
            payload: The payload of the operation that rests on this.
            record: The record as the earlier operation left it.
            was_unchanged: Before it, the record was as the core knew it.
            volatile: As for :meth:`of`.
        """
        found = in_shape_of(payload, record)
        expected = _overlaid(self.fields, in_shape_of(own, record), payload)
        moved = replace(self, fields=expected)
        if payload and found != expected:
            return moved
        if not payload and not was_unchanged:  # a delete rests on the whole record
            return moved
        digest = digest_of(record, volatile)
        return Basis(digest=digest, token=token_of(write, record), fields=found)


def judge(
    policy: Policy,
    *,
    entity: Entity,
    payload: Mapping[str, Any],
    basis: Basis | None,
    record: Record | None,
    asked_at: datetime,
) -> Judgement:
    """Say what becomes of an update or delete, given the record as it is now.

    Args:
        policy: What is to happen when somebody else changed the record.
        entity: The declaration; its ``write`` is there.
        payload: The fields that an update changes; empty for a delete.
        basis: What the operation rests on; None: on whatever there is.
        record: The record; None: the provider says that it is gone.
        asked_at: When the change was asked for, aware UTC.
    """
    write = entity.write
    assert write is not None  # who asks has checked it
    is_delete = not payload
    if record is None:
        return "done" if is_delete else _at_odds(policy, newest="provider")
    if is_delete and write.is_deleted is not None and write.is_deleted(record):
        return "done"
    if not is_delete and says_already(write, payload, record):
        return "done"
    if basis is None:
        return "send"
    is_other = (
        digest_of(record, entity.volatile) != basis.digest
        if is_delete
        else basis.is_overwritten_unseen(payload, record)
    )
    if not is_other:
        return "send"
    changed_at = write.changed_at(record) if write.changed_at else None
    is_ours_newer = changed_at is not None and changed_at < asked_at
    return _at_odds(policy, newest="send" if is_ours_newer else "provider")


def says_already(write: Write, payload: Mapping[str, Any], record: Record) -> bool:
    """Say whether a record is as a payload wants it."""
    if write.matches is not None:
        return write.matches(payload, record)
    return _is_same(in_shape_of(payload, record), payload)


def in_shape_of(payload: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """Take of a record what a payload names; what the record lacks is left out."""
    found: dict[str, Any] = {}
    for name, wanted in payload.items():
        present = record.get(name, _NOTHING)
        if isinstance(wanted, Mapping) and isinstance(present, Mapping):
            found[name] = in_shape_of(wanted, present)
        elif present is not _NOTHING:
            found[name] = present
    return found


def digest_of(record: Record, volatile: Sequence[str] = ()) -> str:
    """Hash a record as it is stored, but for what is volatile; empty for one that cannot be."""
    try:
        return canonical(record, tuple(volatile)).digest
    except InvalidRecordError:
        return ""


def token_of(write: Write, record: Record) -> str | None:
    """Read the version that the provider compares; None if it is not there."""
    try:
        return None if write.token is None else str(write.token(record))
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _is_same(one: Any, other: Any) -> bool:
    """Compare without taking ``true`` for 1; 10 and 10.0 are the same to every provider."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        is_alike = one.keys() == other.keys()
        return is_alike and all(_is_same(each, other[name]) for name, each in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _at_odds(policy: Policy, *, newest: Judgement) -> Judgement:
    by_policy: dict[Policy, Judgement] = {
        "hold": "hold",
        "provider_wins": "provider",
        "local_wins": "send",
        "newest_wins": newest,
    }
    return by_policy[policy]


def _overlaid(
    known: Mapping[str, Any], own: Mapping[str, Any], payload: Mapping[str, Any]
) -> dict[str, Any]:
    """Put what we wrote over what was known, as far as the payload names it."""
    laid = dict(known)
    for name in payload.keys() & own.keys():
        wanted, ours, before = payload[name], own[name], known.get(name)
        if isinstance(wanted, Mapping) and isinstance(ours, Mapping):
            laid[name] = _overlaid(before if isinstance(before, Mapping) else {}, ours, wanted)
        else:
            laid[name] = ours
    return laid
