"""Send operations, one by one or in batches, and find out what became of each.

Nothing is stored here: :mod:`tieline.engine.push` stores what this tells, and
asks for the next only then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, cast

from tieline.contract import (
    Outcome,
    OutcomeUnknownError,
    ProviderError,
    RetryLaterError,
    TielineError,
    Write,
)
from tieline.engine.basis import Basis, Policy, digest_of, judge, token_of
from tieline.engine.steps import FailedError, Seen, Steps, operation_of
from tieline.errors import DeclarationError
from tieline.records import Known
from tieline.store.operations import OperationRow

__all__ = ["Ended", "Sender", "settled_from"]

_MOST_ROUNDS = 3
_MOST_ATTEMPTS = 20
_PAUSE = timedelta(seconds=5)
_KEY_MARGIN = 0.9


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """What became of one claimed operation.

    Attributes:
        row: As it was claimed.
        state: What it is now.
        outcome: What to write back to the records; None: nothing.
        at: When the answer's request left, aware UTC.
        asked: What the database had of the record before that.
        source: ``write``, or ``get`` where the record was read by its key.
        code: Slug of why; empty if it was simply done.
        reason: The provider's words, or ours.
        due_at: When it may be sent again.
        was_unchanged: Before it, the record was as the core knew it.
        error: What keeps the others from being sent now.
    """

    row: OperationRow
    state: str
    at: datetime
    outcome: Outcome | None = None
    asked: Known | None = None
    source: str = "write"
    code: str = ""
    reason: str = ""
    due_at: datetime | None = None
    was_unchanged: bool = False
    error: TielineError | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ready:
    """An operation that is to be sent now, on top of the version ``token``."""

    row: OperationRow
    token: str | None = None
    asked: Known | None = None
    was_unchanged: bool = True


def settled_from(write: Write, kind: str, sent_at: datetime | None, now: datetime) -> datetime:
    """Say from when on it can be found out what became of an operation that was sent.

    Args:
        write: The declaration.
        kind: What the operation is.
        sent_at: When its idempotency key was first used; None: never.
        now: Aware UTC.
    """
    by_key = kind == "create" and _is_remembered(write, sent_at, now)
    return now if by_key else now + write.visible_after


def _is_remembered(write: Write, sent_at: datetime | None, now: datetime) -> bool:
    """Say whether the provider knows a create's idempotency key if it ever got that create."""
    may_have_shared = write.batch is not None and "create" in write.batch_kinds
    if write.idempotency is None or (may_have_shared and not write.batch_remembers):
        return False
    return sent_at is None or now - sent_at < write.idempotency * _KEY_MARGIN


@dataclass(kw_only=True, slots=True)
class Sender:
    """Sends operations of one entity through one client.

    Attributes:
        steps: The plugin's steps.
        rekey: Stores a new idempotency key for an operation whose request has
            become another one, and returns the row with it.
        write: The entity's declaration.
    """

    steps: Steps
    rekey: Callable[[OperationRow], OperationRow]
    write: Write = field(init=False)

    def __post_init__(self) -> None:
        write, name = self.steps.entity.write, self.steps.entity.name
        if write is None:
            raise DeclarationError(
                f"{self.steps.opened.plugin.found.distribution}: {name} cannot be written any more",
                code="write-unsupported",
            )
        self.write = write

    def send(self, claimed: Sequence[OperationRow]) -> Iterator[list[Ended]]:
        """Send operations; yield what became of them as soon as it is known.

        Args:
            claimed: No two of one record.

        Yields:
            What became of one, or of those that shared a request. The next is
            sent when the caller comes back for it.
        """
        ready: list[_Ready] = []
        known = self.steps.known([row.record_id for row in claimed if row.record_id])
        for row in claimed:
            prepared = self._prepared(row, known.get(row.record_id or ""))
            if isinstance(prepared, Ended):
                yield [prepared]
            else:
                ready.append(prepared)
        for group in self._groups(ready):
            if len(group) > 1:
                yield from self._send_together(group)
            else:
                yield [self._send_alone(group[0])]

    # --- what has to be known first ---------------------------------------------------------------

    def _prepared(self, row: OperationRow, known: Known | None) -> _Ready | Ended:
        """Find out what became of an operation before, and on what it is sent now."""
        if getattr(self.write, row.kind) is None:
            words = f"the provider's plugin cannot {row.kind} {self.steps.entity.name} any more"
            return self._dead(row, "write-unsupported", words)
        try:
            if row.kind == "create":
                return self._prepared_create(row)
            basis = Basis.read(row.based_on)
            if self._reads_first(row, basis):
                return self._judged(row, self.steps.look_at(row.record_id or ""))
        except FailedError as failed:
            return self._put_back(row, failed)
        return _Ready(
            row=row,
            token=basis.token if basis else None,
            asked=known,
            was_unchanged=self.write.token is not None,
        )

    def _prepared_create(self, row: OperationRow) -> _Ready | Ended:
        if row.state != "unknown" or _is_remembered(self.write, row.sent_at, self._now()):
            return _Ready(row=row)
        if self.write.find is None:
            words = (
                "its answer was lost, and the provider no longer remembers its key: look there"
                " whether it was made, then drop it or try it again"
            )
            return Ended(
                row=row, state="held", at=self._now(), code="outcome-unknown", reason=words
            )
        found = self.steps.read(self.write.find, operation_of(row))
        if found.value is None:
            return _Ready(row=row)
        outcome = self.steps.require_outcome(found.value)
        return self._finished(_Ready(row=row), outcome, found.at)

    def _reads_first(self, row: OperationRow, basis: Basis | None) -> bool:
        if row.state == "unknown":
            return True
        if self.write.token is not None:
            return basis is None or basis.token is None
        return row.policy != "local_wins"

    def _judged(
        self, row: OperationRow, seen: Seen, because: FailedError | None = None
    ) -> _Ready | Ended:
        """Decide by the record as it is now, and by the policy.

        Args:
            row: The operation.
            seen: The record.
            because: What the provider said when it was sent; None: it was not yet.
        """
        basis, record = Basis.read(row.based_on), seen.outcome.record
        judgement = judge(
            cast("Policy", row.policy),
            entity=self.steps.entity,
            payload=row.payload,
            basis=basis,
            record=record,
            asked_at=row.created_at,
        )
        ended = Ended(
            row=row,
            state="done",
            at=seen.at,
            outcome=seen.outcome,
            asked=seen.asked,
            source="get",
        )
        words = because.words if because else ""
        if judgement == "done":
            return replace(ended, code="already-so")
        if because is not None and because.fate == "conflict" and self.write.token is None:
            # It compares no versions, so what it refuses it would refuse again.
            judgement = "provider" if row.policy == "provider_wins" else "hold"
        if judgement == "send" and record is not None:
            token = token_of(self.write, record)
            is_other = token != (basis.token if basis else None)
            if because is not None or (row.sent_at is not None and is_other):
                row = self.rekey(row)
            digest = digest_of(record, self.steps.entity.volatile)
            is_same = basis is not None and digest == basis.digest
            return _Ready(row=row, token=token, asked=seen.asked, was_unchanged=is_same)
        if record is None:
            words = words or "the provider no longer has the record"
        if judgement == "send":
            return replace(ended, state="dead", code="record-not-found", reason=words)
        if judgement == "provider":
            return replace(ended, state="dropped", code="provider-won", reason=words)
        words = words or "the record was changed at the provider since this was asked for"
        return replace(ended, state="held", code="conflict", reason=words)

    # --- sending ----------------------------------------------------------------------------------

    def _groups(self, ready: Sequence[_Ready]) -> Iterator[list[_Ready]]:
        """Put together what may share a request; the rest comes alone."""
        by = self.write.batch_by or (lambda _operation: "")
        shared, alone = [], []
        for each in ready:
            if self._may_share(each.row):
                shared.append((by(operation_of(each.row)), each))
            else:
                alone.append(each)
        shared.sort(key=lambda pair: pair[0])
        for _, pairs in groupby(shared, key=lambda pair: pair[0]):
            group = [each for _, each in pairs]
            for start in range(0, len(group), self.write.batch_size):
                yield group[start : start + self.write.batch_size]
        for each in alone:
            yield [each]

    def _may_share(self, row: OperationRow) -> bool:
        """What may have been sent before is repeated as it was: alone, under its key."""
        write = self.write
        return write.batch is not None and row.kind in write.batch_kinds and row.state == "queued"

    def _send_together(self, group: list[_Ready]) -> Iterator[list[Ended]]:
        operations = [operation_of(each.row, each.token) for each in group]
        try:
            answer = self.steps.change(
                self.write.batch, operations, self.steps.require_outcomes(len(group))
            )
        except FailedError as failed:
            if failed.fate in {"dead", "conflict", "gone"}:
                # Refused as a whole, and nobody says for which one: each finds out by itself.
                for each in group:
                    yield [self._send_alone(each)]
            else:
                yield [self._failed(each.row, failed) for each in group]
            return
        together: list[Ended] = []
        again: list[tuple[_Ready, FailedError | None]] = []
        for each, outcome in zip(group, answer.value, strict=True):
            if outcome.is_undone:
                again.append((each, None))
                continue
            if outcome.error is None:
                together.append(self._finished(each, outcome, answer.at))
                continue
            said = FailedError(outcome.error, was_sent=True, at=answer.at)
            if said.fate in {"conflict", "gone"}:
                again.append((each, said))
            else:
                together.append(self._failed(each.row, said))
        if together:
            yield together
        for each, refusal in again:
            yield [self._send_alone(each, refusal)]

    def _send_alone(self, ready: _Ready, failed: FailedError | None = None) -> Ended:
        """Send one, again on top of a newer record if that overwrites nothing unseen.

        Args:
            ready: The operation.
            failed: What the provider said to it in a batch, if it was sent in one.
        """
        for _ in range(_MOST_ROUNDS):
            tried = failed or self._tried(ready)
            if isinstance(tried, Ended):
                return tried
            judged = self._after(ready, tried)
            if isinstance(judged, Ended):
                return judged
            ready, failed, refused = judged, None, tried
        return Ended(
            row=ready.row, state="held", at=refused.at, code="conflict", reason=refused.words
        )

    def _tried(self, ready: _Ready) -> Ended | FailedError:
        step = getattr(self.write, ready.row.kind)
        try:
            answer = self.steps.change(
                step, operation_of(ready.row, ready.token), self.steps.require_outcome
            )
        except FailedError as failed:
            return failed
        if answer.value.error is not None:
            return FailedError(answer.value.error, was_sent=True, at=answer.at)
        return self._finished(ready, answer.value, answer.at)

    def _after(self, ready: _Ready, failed: FailedError) -> _Ready | Ended:
        """Say what follows from a refusal: an end, or one more round on a newer record."""
        row = ready.row
        if failed.fate not in {"conflict", "gone"}:
            return self._failed(row, failed)
        if row.kind == "create" and failed.fate == "gone":  # what it names, such as its list
            return self._dead(row, failed.code, failed.words)
        if row.kind == "create":
            is_provider = row.policy == "provider_wins"
            return Ended(
                row=row,
                state="dropped" if is_provider else "held",
                at=failed.at,
                code="provider-won" if is_provider else "conflict",
                reason=failed.words,
            )
        if row.kind == "delete" and failed.fate == "gone":
            return self._finished(ready, Outcome(is_gone=True), failed.at)
        try:
            seen = self.steps.look_at(row.record_id or "")
        except FailedError as again:
            return self._put_back(row, again)
        return self._judged(row, seen, failed)

    # --- ends -------------------------------------------------------------------------------------

    def _failed(self, row: OperationRow, failed: FailedError) -> Ended:
        """Say what follows for one operation from what was raised."""
        if failed.fate == "dead":
            return self._dead(row, failed.code, failed.words)
        if failed.fate != "unknown":
            return self._put_back(row, failed)
        ended = Ended(row=row, state="unknown", at=failed.at, code=failed.code, reason=failed.words)
        if row.state == "unknown" and row.attempts >= _MOST_ATTEMPTS:
            words = f"nobody knows whether one of {row.attempts} attempts did it: {failed.words}"
            return replace(ended, state="held", code="outcome-unknown", reason=words)
        is_lost = isinstance(failed.error, (RetryLaterError, OutcomeUnknownError))
        return replace(
            ended,
            due_at=settled_from(self.write, row.kind, row.sent_at, self._now()),
            # A plugin that cannot read an answer says nothing of the next operation's.
            error=RetryLaterError(failed.words, code=failed.code) if is_lost else None,
        )

    def _put_back(self, row: OperationRow, failed: FailedError) -> Ended:
        """Leave an operation as it was found: this time nothing was sent, or nothing done."""
        error: Any = failed.error
        is_later = isinstance(error, RetryLaterError)
        asked_for = error.retry_after if is_later else None
        pause = _PAUSE if asked_for is None else timedelta(seconds=asked_for)
        is_known = isinstance(error, TielineError)
        return Ended(
            row=row,
            state=row.state,
            at=failed.at,
            code=failed.code,
            reason=failed.words,
            due_at=self._now() + pause if is_later else None,
            error=error if is_known else ProviderError(failed.words, code="bug"),
        )

    def _finished(self, ready: _Ready, outcome: Outcome, at: datetime) -> Ended:
        """End one that was done; read the record where the answer did not hold it."""
        row, key, asked = ready.row, outcome.key or ready.row.record_id, ready.asked
        source = "write"
        if outcome.record is None and not outcome.is_gone:
            if key and self.steps.entity.get is not None:
                try:
                    seen = self.steps.look_at(key)
                    outcome, at, asked, source = seen.outcome, seen.at, seen.asked, "get"
                except FailedError:  # it is done; the record comes with the next sync
                    outcome = replace(outcome, key=key)
            elif row.kind == "delete":
                outcome = replace(outcome, is_gone=True)
        return Ended(
            row=row,
            state="done",
            at=at,
            outcome=outcome,
            asked=asked,
            source=source,
            was_unchanged=ready.was_unchanged,
        )

    def _dead(self, row: OperationRow, code: str, words: str) -> Ended:
        return Ended(row=row, state="dead", at=self._now(), code=code, reason=words)

    def _now(self) -> datetime:
        return self.steps.engine.clock.now()
