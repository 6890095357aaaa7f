"""How records are changed at a provider: what is handed to a step, what it answers.

A step is one request. It keeps no loop and repeats nothing: the core decides
when an operation is sent, again or at all, and settles what nobody knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, get_args

from tieline.contract.errors import ProviderError
from tieline.contract.values import Record

if TYPE_CHECKING:
    from marshmallow import Schema

__all__ = [
    "Operation",
    "OperationKind",
    "Outcome",
    "SendBatch",
    "SendOne",
    "Write",
    "require_schema",
]

OperationKind = Literal["create", "update", "delete"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One change that is to be made, as a step is handed it.

    Attributes:
        id: Ours, 19 characters, the same however often it is sent. A provider
            that keeps a reference of ours may be given it, for ``find``.
        kind: ``create``, ``update`` or ``delete``.
        key: Key of the record; empty for a create.
        payload: As it was asked for and as :attr:`Write.schema` takes it: of an
            update the fields that change and no others; empty for a delete.
        idempotency_key: 36 characters, the same whenever the same request is
            repeated, and a new one after the provider has said no.
        token: What :attr:`Write.token` read from the record that the change
            rests on; None where that is unknown or there is no ``token``.
    """

    id: str
    kind: OperationKind
    key: str = ""
    payload: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    idempotency_key: str = ""
    token: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of one operation.

    Without record, error, ``is_gone`` and ``is_undone`` it was done and the
    answer holds no record: the core reads it by its key where the entity has a ``get``.

    Attributes:
        record: The record as it is now, as the provider's list gives it.
        key: Its key, where ``record`` is None and the operation names none.
        is_gone: The record is no longer there.
        error: Why nothing was done, in the provider's own words.
        is_undone: Of a batch only: nothing was done, and the operation has to
            be sent by itself.
        as_of: As for :class:`~tieline.contract.Page`; ``as_of(reply)`` has it.
    """

    record: Record | None = None
    key: str = ""
    is_gone: bool = False
    error: ProviderError | None = None
    is_undone: bool = False
    as_of: datetime | None = None

    def __post_init__(self) -> None:
        said = (self.record is not None, self.is_gone, self.error is not None, self.is_undone)
        if sum(said) > 1:
            raise ValueError("Outcome: one of record, is_gone, error and is_undone")


SendOne = Callable[[Any, Operation], Outcome]
"""``(client, operation) -> Outcome``: one request."""
SendBatch = Callable[[Any, Sequence[Operation]], Sequence[Outcome]]
"""``(client, operations) -> outcomes``: one request, as many outcomes in the same order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Write:
    """How records are changed at the provider.

    A step returns an :class:`Outcome` or raises what reading steps raise:
    ``ConflictError`` if the record is another one by now, ``InvalidRecordError``
    or ``RequestRejectedError`` if the provider refuses what it was given,
    ``RateLimitedError`` only where it is certain that nothing was done, and
    ``ProviderUnavailableError`` or ``OutcomeUnknownError`` where nobody knows.

    Attributes:
        schema: Checks a payload before it is stored; its ``unknown`` must be
            ``RAISE``. An update is checked with ``partial=True``.
        create: Makes a record; None: cannot be done. So for the next two.
        update: Changes the named fields of one record, and no others.
        delete: Deletes it, or does what the provider has in place of that.
        batch: Sends several operations in one request.
        batch_size: The most that one request takes.
        batch_kinds: What may be sent so; the rest goes one by one.
        batch_by: ``(operation) -> text``: only operations with the same text
            may share a request, such as those of one list; None: all.
        idempotency: For how long the provider remembers an idempotency key;
            None: not at all.
        batch_remembers: Whether it remembers the key of each operation of a
            batch, too.
        find: ``(client, operation) -> Outcome``, or None if there is nothing:
            looks for what a create made, by our reference or a key of its own.
        visible_after: How long after we gave a request up the provider may
            still be at work on it, or not yet show in ``find`` or ``get`` what
            it did; nothing is judged, or sent again without a key, before.
        token: ``(record) -> text``: the version that the provider compares
            before it changes a record. None: it compares nothing, and the core
            reads the record just before and compares by itself.
        changed_at: ``(record) -> time``, aware, at which the provider last
            changed it; without it there is no policy ``newest_wins``.
        matches: ``(payload, record) -> bool``: the record is already as the
            payload wants it. None: every field of the payload is in the record
            with the same value. For fields that are only ever written, or that
            the provider writes in another way.
        is_deleted: ``(record) -> bool``: the record is as ``delete`` leaves it,
            where that stays in the provider's lists, archived or inactive. None:
            what was deleted is gone.
        scope: The right that writing needs, as the provider's pages name it.
    """

    schema: Schema
    create: SendOne | None = None
    update: SendOne | None = None
    delete: SendOne | None = None
    batch: SendBatch | None = None
    batch_size: int = 1
    batch_kinds: frozenset[OperationKind] = frozenset(get_args(OperationKind))
    batch_by: Callable[[Operation], str] | None = None
    idempotency: timedelta | None = None
    batch_remembers: bool = False
    find: Callable[[Any, Operation], Outcome | None] | None = None
    visible_after: timedelta = timedelta(seconds=30)
    token: Callable[[Record], str] | None = None
    changed_at: Callable[[Record], datetime | None] | None = None
    matches: Callable[[Mapping[str, Any], Record], bool] | None = None
    is_deleted: Callable[[Record], bool] | None = None
    scope: str = ""

    def __post_init__(self) -> None:
        require_schema(self.schema, "Write.schema", unknown="raise")
        steps = ("create", "update", "delete", "batch")
        rules = ("batch_by", "find", "token", "changed_at", "matches", "is_deleted")
        for name in (*steps, *rules):
            value = getattr(self, name)
            if value is not None and not callable(value):
                raise TypeError(f"Write.{name} must be a function, not {type(value).__name__}")
        if not self.kinds:
            raise ValueError("Write: one of create, update and delete is needed")
        self._check_batch()
        self._check_settling()

    def _check_batch(self) -> None:
        if (self.batch is None) != (self.batch_size == 1) or self.batch_size < 1:
            raise ValueError("Write.batch and a batch_size above 1 go together")
        if not self.batch_kinds or self.batch_kinds - set(get_args(OperationKind)):
            raise ValueError("Write.batch_kinds: some of create, update and delete")

    def _check_settling(self) -> None:
        if self.idempotency is not None and self.idempotency <= timedelta(0):
            raise ValueError("Write.idempotency must be longer than nothing, or None")
        if self.visible_after < timedelta(0):
            raise ValueError("Write.visible_after must not be less than nothing")
        if self.create is None or self.find is not None:
            return
        is_batched = self.batch is not None and "create" in self.batch_kinds
        if self.idempotency is None or (is_batched and not self.batch_remembers):
            raise ValueError(
                "Write.create needs find, or an idempotency key that is remembered however it is"
                " sent: a lost answer could not be made up for"
            )

    @property
    def kinds(self) -> tuple[OperationKind, ...]:
        """What can be done."""
        kinds: tuple[OperationKind, ...] = get_args(OperationKind)
        return tuple(kind for kind in kinds if getattr(self, kind) is not None)


def require_schema(given: object, name: str, *, unknown: Literal["exclude", "raise"]) -> None:
    """Refuse what is no schema, or one that does otherwise with fields that it does not name.

    Args:
        given: What was declared.
        name: Where, such as ``Write.schema``.
        unknown: What it has to do with such fields.
    """
    # An error's class is wanted far more often than a declaration is made, and
    # marshmallow takes longer to import than all the rest of the contract.
    from marshmallow import Schema  # noqa: PLC0415

    if not isinstance(given, Schema):
        raise TypeError(f"{name} must be a marshmallow Schema instance")
    if given.unknown != unknown:
        raise ValueError(f"{name} must have unknown = {unknown.upper()}")
