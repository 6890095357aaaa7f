"""Call a plugin's steps for operations, and say of what fails whether anything had left."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar, cast

from tieline.auth import OpenConnection
from tieline.contract import (
    Entity,
    Operation,
    OperationKind,
    Outcome,
    OutcomeUnknownError,
    RateLimitedError,
    RetryLaterError,
    TielineError,
)
from tieline.engine.blame import blamed
from tieline.engine.fate import Fate, fate_of
from tieline.engine.fetch import Timed, retrying
from tieline.engine.kit import Engine
from tieline.errors import DeclarationError
from tieline.failpoints import failpoint
from tieline.records import Known
from tieline.store import records as record_store
from tieline.store.database import Connection
from tieline.store.operations import OperationRow
from tieline.telemetry import span

__all__ = ["Answer", "FailedError", "Seen", "Steps", "operation_of"]

T = TypeVar("T")


class FailedError(Exception):
    """A call that failed.

    Args:
        error: What was raised, or stood in the answer.
        was_sent: Whether a request had left.
        at: When it left, or would have, aware UTC.
    """

    def __init__(self, error: Exception, *, was_sent: bool, at: datetime) -> None:
        super().__init__(str(error))
        self.error, self.was_sent, self.at = error, was_sent, at

    @property
    def fate(self) -> Fate:
        """What follows for a write that met it."""
        return fate_of(self.error, was_sent=self.was_sent)

    @property
    def code(self) -> str:
        """Its slug."""
        return self.error.slug if isinstance(self.error, TielineError) else "bug"

    @property
    def words(self) -> str:
        """The provider's words, or the name of a bug."""
        known = isinstance(self.error, TielineError)
        return self.error.message if known else type(self.error).__name__  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What a step returned, and when its request left, aware UTC."""

    value: T
    at: datetime


@dataclass(frozen=True, slots=True)
class Seen:
    """A record as the provider has it now.

    Attributes:
        outcome: The record, or that it is gone.
        at: When the request left, aware UTC.
        asked: What the database had of it before; None: nothing.
    """

    outcome: Outcome
    at: datetime
    asked: Known | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Steps:
    """The steps of one entity, bound to a client.

    Attributes:
        engine: The parts.
        opened: The connection's client.
        entity: What is written.
        stop: Cuts waits short.
        check: Raises if this process may send nothing any more. It is asked
            once more when a request has had its turn and is about to leave.
    """

    engine: Engine
    opened: OpenConnection
    entity: Entity
    stop: threading.Event
    check: Callable[[], None]

    def change(self, step: Any, given: Any, checked: Callable[[Any], T]) -> Answer[T]:
        """Make a call that writes; repeat it at once only if it is certain that it did nothing.

        Args:
            step: The plugin's.
            given: The operation, or those of a batch.
            checked: Refuses what the step may not return.

        Raises:
            FailedError: With what it raised in the end.
        """
        transport = self.opened.transport
        was_sent = False

        def send(operations: Any) -> T:
            nonlocal was_sent
            calls = transport.calls_here
            self.check()
            failpoint("push.send.before")
            try:
                with (
                    blamed(self.opened.plugin, self.entity, is_write=True),
                    transport.guarded(self.check),
                ):
                    answer = step(self.opened.client, operations)
            except RateLimitedError:
                raise
            except Exception as error:
                was_sent = transport.calls_here > calls
                if was_sent and isinstance(error, RetryLaterError):
                    raise OutcomeUnknownError(error.message, code=error.slug) from error
                raise
            was_sent = True
            failpoint("push.send.after")
            return checked(answer)

        count = len(given) if isinstance(given, Sequence) else 1
        with span("operations.send", entity=self.entity.name, operations=count):
            return self._made(send, given, lambda: was_sent)

    def read(self, step: Callable[[Any, Any], T], given: Any) -> Answer[T]:
        """Make a call that reads, and may be repeated.

        Raises:
            FailedError: With what it raised in the end.
        """

        def read(of: Any) -> T:
            self.check()
            with blamed(self.opened.plugin, self.entity):
                return step(self.opened.client, of)

        return self._made(read, given, lambda: False)

    def look_at(self, key: str) -> Seen:
        """Read a record as it is now, and note what the database had of it before.

        Raises:
            FailedError: It cannot be read now.
        """
        get = self.entity.get
        assert get is not None  # whoever declares updates or deletes declares it
        asked = self.known([key]).get(key)
        found = self.read(get, key)
        record = found.value
        outcome = Outcome(is_gone=True) if record is None else Outcome(record=record)
        return Seen(outcome, found.at, asked)

    def known(self, keys: Sequence[str]) -> Mapping[str, Known]:
        """Read what the database has of some records."""
        if not keys:
            return {}

        def read(connection: Connection) -> Mapping[str, Known]:
            of = (self.opened.connection.id, self.entity.name)
            rows = record_store.read_known(connection, *of, list(keys))
            return {row[0]: Known(*row[1:]) for row in rows}

        return self.engine.database.transact(read, is_read=True)

    def require_outcome(self, answer: Any) -> Outcome:
        """Refuse what is no outcome.

        Raises:
            DeclarationError: It is none.
        """
        if isinstance(answer, Outcome) and not answer.is_undone:
            return answer
        what = "is_undone" if isinstance(answer, Outcome) else type(answer).__name__
        raise DeclarationError(
            f"{self.opened.plugin.found.distribution}: a step that writes {self.entity.name}"
            f" returned {what}, not Outcome"
        )

    def require_outcomes(self, count: int) -> Callable[[Any], Sequence[Outcome]]:
        """Make a check that refuses what is not so many outcomes."""

        def check(answer: Any) -> Sequence[Outcome]:
            if isinstance(answer, Sequence) and len(answer) == count:
                return [
                    each if isinstance(each, Outcome) else self.require_outcome(each)
                    for each in answer
                ]
            raise DeclarationError(
                f"{self.opened.plugin.found.distribution}: the batch step of {self.entity.name}"
                f" was given {count} operations and did not return as many outcomes"
            )

        return check

    def _made(
        self, call: Callable[[Any], T], given: Any, was_sent: Callable[[], bool]
    ) -> Answer[T]:
        transport, clock = self.opened.transport, self.engine.clock
        timed = Timed(call, clock, transport)
        try:
            value = retrying(lambda: timed(given), clock, self.stop, transport.may_retry)
        except Exception as error:
            raise FailedError(error, was_sent=was_sent(), at=timed.sent_at) from error
        return Answer(value, timed.sent_at)


def operation_of(row: OperationRow, token: str | None = None) -> Operation:
    """Return an operation as steps are handed it."""
    return Operation(
        id=row.id,
        kind=cast("OperationKind", row.kind),
        key="" if row.kind == "create" else row.record_id or "",
        payload=row.payload,
        idempotency_key=row.idempotency_key,
        token=token,
    )
