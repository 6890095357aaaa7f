"""The quarantine: records that cannot be used, with their raw text."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from marshmallow import fields

from tieline.services import quarantine as service
from tieline.web.api.cursors import page_of, read_cursor
from tieline.web.api.operation import Call, Operation
from tieline.web.api.schemas import Answer, Choice, Given, PageQuery, Text, Time, listed

__all__ = ["OPERATIONS"]


class BadRecord(Answer):
    """A record that cannot be used."""

    id = fields.String()
    entity = fields.String()
    record_id = fields.String(allow_none=True)
    reason_code = fields.String()
    reason = fields.String()
    size_bytes = fields.Integer()
    run_id = fields.String(allow_none=True)
    first_seen_at = Time()
    seen_at = Time()


class WholeBadRecord(BadRecord):
    """The same with its raw text."""

    raw = fields.String(metadata={"description": "ASCII; other bytes are written as escapes."})


class TriedRecord(Answer):
    """What became of a quarantined record that was judged again."""

    id = fields.String()
    entity = fields.String()
    record_id = fields.String(allow_none=True)
    became = Choice("recovered", "same", "older", "bad", "undecided")
    reason_code = fields.String()
    reason = fields.String()


class TriedRecords(Answer):
    """Of each; those that somebody else settled meanwhile are left out."""

    data = fields.List(fields.Nested(TriedRecord))


class DroppedRecords(Answer):
    """How many were forgotten."""

    count = fields.Integer()


class BadQuery(PageQuery):
    """Which."""

    entity = Text("Only of this entity.", least=1, most=40, load_default=None)


class BadChoice(Given):
    """Which of a connection's."""

    entity = Text("Only of this entity.", least=1, most=40, load_default=None)


BadPage = listed(BadRecord)


def _facts(row: Any, size: int | None = None) -> dict[str, Any]:
    names = ("id", "entity", "record_id", "reason_code", "reason", "run_id", "seen_at")
    return {name: getattr(row, name) for name in names} | {
        "size_bytes": row.size_bytes if size is None else size,
        "first_seen_at": row.created_at,
    }


def list_(call: Call) -> dict[str, Any]:
    """Return quarantined records without their raw text, the last seen first."""
    query = call.query
    rows = service.list_quarantine(
        call.installation,
        call.path["connection"].id,
        query["entity"],
        before=read_cursor("list_quarantine", query.get("cursor"), [datetime, str]),
        limit=query["limit"] + 1,
    )
    page = page_of("list_quarantine", rows, query["limit"], lambda row: (row.seen_at, row.id))
    return page | {"data": [_facts(row) for row in page["data"]]}


def show(call: Call) -> dict[str, Any]:
    """Return one quarantined record with its raw text."""
    row = call.path["bad"]
    raw = row.raw.decode("ascii", "backslashreplace")
    return _facts(row, len(row.raw)) | {"raw": raw}


def _tried(call: Call, chosen: Any) -> dict[str, Any]:
    return {"data": service.retry(call.installation, chosen, actor=call.actor)}


def retry(call: Call) -> dict[str, Any]:
    """Judge one again by the present schema; the provider is not asked."""
    return _tried(call, service.choose(call.installation, ids=[call.path["bad"].id]))


def retry_all(call: Call) -> dict[str, Any]:
    """Judge all of a connection, or of one entity, again by the present schema."""
    chosen = service.choose(
        call.installation, connection=call.path["connection"].id, entity=call.body["entity"]
    )
    return _tried(call, chosen)


def drop(call: Call) -> dict[str, Any]:
    """Forget one; it comes back with the next sync that reads it, if it is still so."""
    chosen = service.choose(call.installation, ids=[call.path["bad"].id])
    return {"count": service.drop(call.installation, chosen, actor=call.actor)}


OPERATIONS = (
    Operation(
        name="list_quarantine",
        method="GET",
        path="/connections/{connection}/quarantine",
        tag="quarantine",
        summary="List the quarantined records of a connection.",
        scope="read",
        does=list_,
        query=BadQuery,
        answer=BadPage,
        command="records quarantine list",
    ),
    Operation(
        name="retry_quarantine",
        method="POST",
        path="/connections/{connection}/quarantine/retry",
        tag="quarantine",
        summary="Judge all quarantined records of a connection again.",
        scope="operate",
        does=retry_all,
        body=BadChoice,
        answer=TriedRecords,
        example={"entity": "customers"},
        command="records quarantine retry",
    ),
    Operation(
        name="get_quarantined",
        method="GET",
        path="/quarantine/{bad}",
        tag="quarantine",
        summary="Return one quarantined record with its raw text.",
        scope="read",
        does=show,
        answer=WholeBadRecord,
        command="records quarantine show",
    ),
    Operation(
        name="retry_quarantined",
        method="POST",
        path="/quarantine/{bad}/retry",
        tag="quarantine",
        summary="Judge one quarantined record again.",
        scope="operate",
        does=retry,
        answer=TriedRecords,
        command="records quarantine retry",
    ),
    Operation(
        name="drop_quarantined",
        method="DELETE",
        path="/quarantine/{bad}",
        tag="quarantine",
        summary="Forget one quarantined record.",
        scope="operate",
        does=drop,
        answer=DroppedRecords,
        command="records quarantine drop",
    ),
)
