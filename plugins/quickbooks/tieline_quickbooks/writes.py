"""How customers are written: one request each, or thirty operations in one.

Bodies are made by hand: the SDK's objects send every field that is not set as
a blank or a zero, which empties it, in a sparse update too. A customer is never
deleted but made inactive.

A single request carries our key as its ``requestid``; Intuit answers a second
one as it did the first, for a time that it does not say. A batch carries none:
it is never sent twice, and a remembered answer would repeat its refusals. What
became of a create whose answer was lost is found by its name, which customers,
vendors and employees share and no two of them have.

Source:
    Intuit, "Customer", "Batch operation", and its developer blog of 2015-04-06
    on request ids.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from quickbooks import QuickBooks  # type: ignore[import-untyped]  # 0.9.12 has no type hints

from tieline.contract import (
    ConflictError,
    Operation,
    Outcome,
    OutcomeUnknownError,
    ProviderError,
    Record,
    RecordNotFoundError,
    Reply,
    RequestRejectedError,
    Write,
    as_of,
)
from tieline_quickbooks.client import QuickBooksApi
from tieline_quickbooks.errors import refusal_in
from tieline_quickbooks.lists import CHANGED, rows_of
from tieline_quickbooks.payloads import DELETED, NAMES, CustomerPayload, without_suffix

__all__ = ["customer_write"]

_CUSTOMER = "Customer"
_TAKEN = "maybe by an inactive one: update that one, or give this one another name"


def customer_write(scope: str) -> Write:
    """Declare how customers are written."""
    return Write(
        schema=CustomerPayload(),
        create=_write,
        update=_write,
        delete=_write,
        batch=_write_together,
        batch_size=30,
        find=_find,
        # So long Intuit may work on a call, which ends at our side before (limits page).
        visible_after=timedelta(seconds=120),
        token=lambda record: record["SyncToken"],
        changed_at=CHANGED.time_of,
        matches=_matches,
        is_deleted=lambda record: record.get("Active") is False,
        scope=scope,
    )


def _write(api: QuickBooksApi, operation: Operation) -> Outcome:
    send = getattr(QuickBooks, f"{_method(operation)}_object")
    text, key = json.dumps(_body(operation)), operation.idempotency_key
    try:
        answer = api.ask(lambda sdk: send(sdk, _CUSTOMER, text, request_id=key))
    except RequestRejectedError as error:
        raise _meant(operation, error) from None
    return _outcome(operation, *answer)


def _write_together(api: QuickBooksApi, operations: Sequence[Operation]) -> list[Outcome]:
    """Send a batch; its answers come in any order, each with the number of its operation."""
    sent = {str(place): operation for place, operation in enumerate(operations)}
    items = [
        {"bId": place, "operation": _method(operation), _CUSTOMER: _body(operation)}
        for place, operation in sent.items()
    ]
    text = json.dumps({"BatchItemRequest": items})
    body, reply = api.ask(lambda sdk: sdk.batch_operation(text))
    answered = body.get("BatchItemResponse")
    parts = answered if isinstance(answered, list) else []
    found = {each.get("bId"): each for each in parts if isinstance(each, Mapping)}
    return [_outcome(operation, found.get(place), reply) for place, operation in sent.items()]


def _method(operation: Operation) -> str:
    return "create" if operation.kind == "create" else "update"


def _body(operation: Operation) -> dict[str, Any]:
    """Write a new customer, or a sparse update: a full one empties all that it does not name."""
    is_new = operation.kind == "create"
    fields: dict[str, Any] = _filled(operation.payload, empties=not is_new)
    if is_new:
        return fields
    header = {"Id": operation.key, "SyncToken": operation.token or "", "sparse": True}
    return header | ({"Active": False} if operation.kind == "delete" else fields)


def _filled(given: Any, *, empties: bool) -> Any:
    """Write an empty text for null, which a sparse update would pass over; or nothing."""
    if not isinstance(given, Mapping):
        return "" if given is None else given
    return {
        name: _filled(each, empties=empties)
        for name, each in given.items()
        if each is not None or empties
    }


def _outcome(operation: Operation, answer: Any, reply: Reply) -> Outcome:
    """Read what became of one operation; what an answer leaves out is open."""
    given = answer if isinstance(answer, Mapping) else {}
    error = refusal_in(given, reply)
    if error is None and isinstance(given.get(_CUSTOMER), Mapping):
        return Outcome(record=given[_CUSTOMER], as_of=as_of(reply))
    words = f"QuickBooks answered without what became of a customer's {operation.kind}"
    left_open = OutcomeUnknownError(words, code="answer-malformed")
    return Outcome(error=_meant(operation, error or left_open))


def _meant(operation: Operation, error: ProviderError) -> ProviderError:
    """Say what a refusal means for a write of this kind, in Intuit's words.

    A taken name is a conflict of a create, which would be the same customer; an
    update can do nothing about it. What cannot be made inactive may be so
    already: 610 says that of it too, and that is not gone.
    """
    is_taken = operation.kind == "create" and error.slug == "duplicate-name"
    if is_taken or (operation.kind == "delete" and isinstance(error, RecordNotFoundError)):
        return ConflictError(error.message, code=error.slug, hint=_TAKEN if is_taken else "")
    return error


def _find(api: QuickBooksApi, operation: Operation) -> Outcome | None:
    """Look for a customer as a create wanted it; one that only has its name is not it."""
    payload = operation.payload
    parts = [payload[part] for part in NAMES if payload.get(part)]
    name = payload.get("DisplayName") or " ".join(parts)
    names = f"{_quoted(name)}, {_quoted(name + DELETED)}"
    select = f"SELECT * FROM Customer WHERE Active IN (true, false) AND DisplayName IN ({names})"  # noqa: S608 - quoted
    answer = api.ask(lambda sdk: sdk.query(select))
    found = [row for row in rows_of(answer, _CUSTOMER) if _matches(payload, row)]
    found.sort(key=lambda row: row.get("Active") is False)
    return Outcome(record=found[0], as_of=as_of(answer.reply)) if found else None


def _quoted(text: str) -> str:
    """Write a text of the query language: the SDK leaves the backslash as it is."""
    return "'{}'".format(text.replace("\\", "\\\\").replace("'", "\\'"))


def _matches(payload: Mapping[str, Any], record: Record) -> bool:
    """Compare as Intuit writes: what is empty is left out, and inactive names have a suffix."""
    return _is_in(payload, {**record, "DisplayName": without_suffix(record)})


def _is_in(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, Mapping):
        given = found if isinstance(found, Mapping) else {}
        return all(_is_in(each, given.get(name)) for name, each in wanted.items())
    return bool((None if wanted == "" else wanted) == (None if found == "" else found))
