"""Records: as received, what they mean, where each copy came from."""

from __future__ import annotations

from typing import Any

import orjson
from marshmallow import fields

from tieline.services import explain as explaining
from tieline.services import records as service
from tieline.services.shapes import meanings_of
from tieline.web.api.cursors import page_of, read_cursor
from tieline.web.api.operation import Call, Operation
from tieline.web.api.schemas import (
    Answer,
    Choice,
    Flag,
    Given,
    Json,
    PageQuery,
    Text,
    Time,
    listed,
)

__all__ = ["OPERATIONS", "Record", "record_facts"]


class Record(Answer):
    """A record: its last state, as received.

    It is made of :func:`record_facts`, whose values are written as they are: to
    dump a page of them field by field took a quarter of a call.
    """

    id = fields.String()
    payload = Json("As received; of a tombstone, the last one that was.")
    changed_at = Time()
    deleted_at = Time("A tombstone: since when it is known to be deleted.", allow_none=True)
    position = fields.Integer(metadata={"description": "In the change feed."})
    revision = fields.Integer()
    first_seen_at = Time()

    def _serialize(self, obj: Any, *, many: bool = False) -> Any:
        names = list(self.dump_fields)
        if many:
            return [{name: each[name] for name in names} for each in obj]
        return {name: obj[name] for name in names}


class MeantRecord(Record):
    """A record, and what it means in a shape that providers share."""

    canonical = Json("null unless it was asked for.", allow_none=True)
    canonical_problem = fields.String(
        allow_none=True, metadata={"description": "Why it means nothing there."}
    )


class CopyOf(Answer):
    """One copy of a record."""

    outcome = fields.String()
    source = fields.String()
    run_id = fields.String(allow_none=True)
    rank = fields.Integer()
    rank_means = fields.String()
    content_hash = fields.String(allow_none=True)
    at = Time()
    why = fields.String()


class BadCopy(Answer):
    """A copy of a record that is in quarantine."""

    id = fields.String()
    reason_code = fields.String()
    reason = fields.String()
    run_id = fields.String(allow_none=True)
    seen_at = Time()


class Explanation(Answer):
    """Where a record's copies came from, and which one stands."""

    connection = fields.String()
    entity = fields.String()
    record_id = fields.String()
    state = fields.String()
    revision = fields.Integer(allow_none=True)
    position = fields.Integer(allow_none=True)
    first_seen_at = Time(allow_none=True)
    copies = fields.List(fields.Nested(CopyOf))
    quarantined = fields.List(fields.Nested(BadCopy))


class DriftOf(Answer):
    """A field that the schema does not name, or names in vain."""

    entity = fields.String()
    field = fields.String()
    kind = Choice("unknown", "missing")
    records = fields.Integer()
    first_seen_at = Time()
    seen_at = Time()
    run_id = fields.String(allow_none=True)


class Drift(Answer):
    """All of them."""

    data = fields.List(fields.Nested(DriftOf))


class RecordsQuery(PageQuery):
    """Which."""

    live = Flag("Leave tombstones out.", load_default=False)
    canonical = Flag(
        "Say too what records mean in a shape that providers share.", load_default=False
    )


class RecordQuery(Given):
    """What of it."""

    canonical = Flag("Say too what it means in a shape that providers share.", load_default=False)


class ExplanationQuery(Given):
    """Which record."""

    record_id = Text("The record.", least=1, most=255, required=True)


class DriftQuery(Given):
    """Which entity."""

    entity = Text("Only of this entity.", least=1, most=40, load_default=None)


RecordPage = listed(MeantRecord)


def record_facts(record: Any) -> dict[str, Any]:
    """Return a record as its schema has it."""
    names = ("changed_at", "deleted_at", "position", "revision", "first_seen_at")
    return {name: getattr(record, name) for name in names} | {
        "id": record.record_id,
        "payload": orjson.Fragment(record.payload),
    }


def _of(call: Call) -> tuple[str, str]:
    return call.path["connection"].id, call.path["entity"]


def _meant(call: Call, found: list[Any]) -> list[dict[str, Any]]:
    """Add what records mean, if that is wanted."""
    nothing: dict[str, Any] = {"canonical": None, "canonical_problem": None}
    if not call.query["canonical"]:
        return [record_facts(record) | nothing for record in found]
    meaning_of = meanings_of(call.installation, *_of(call))
    told = []
    for record in found:
        meaning = meaning_of(record)
        canonical = orjson.Fragment(meaning.text) if meaning.text else None
        facts = record_facts(record)
        told.append(facts | {"canonical": canonical, "canonical_problem": meaning.problem})
    return told


def list_(call: Call) -> dict[str, Any]:
    """Return records in the order of their last change."""
    query = call.query
    [after] = read_cursor("list_records", query.get("cursor"), [int]) or (0,)
    found = service.list_records(
        call.installation,
        *_of(call),
        after=after,
        limit=query["limit"] + 1,
        with_deleted=not query["live"],
    )
    page = page_of("list_records", found, query["limit"], lambda record: (record.position,))
    return page | {"data": _meant(call, page["data"])}


def show(call: Call) -> dict[str, Any]:
    """Return one record, a tombstone too."""
    found = service.get_record(call.installation, *_of(call), call.path["record"])
    return _meant(call, [found])[0]


def explain(call: Call) -> dict[str, Any]:
    """Tell where a record's copies came from, and which one stands."""
    found = explaining.explain_record(call.installation, *_of(call), call.query["record_id"])
    names = ("connection", "entity", "record_id", "state", "revision", "position", "first_seen_at")
    copies = [
        {each: getattr(copy, each) for each in CopyOf().fields if each != "rank_means"}
        | {"rank_means": explaining.rank_words(copy.rank, is_versioned=found.is_versioned)}
        for copy in found.copies
    ]
    facts = {name: getattr(found, name) for name in names}
    return facts | {"copies": copies, "quarantined": found.quarantined}


def drift(call: Call) -> dict[str, Any]:
    """Return the fields that a schema does not name, or names in vain."""
    found = service.list_drift(call.installation, call.path["connection"].id, call.query["entity"])
    return {"data": found}


_ENTITY = "/connections/{connection}/entities/{entity}"

OPERATIONS = (
    Operation(
        name="list_records",
        method="GET",
        path=f"{_ENTITY}/records",
        tag="records",
        summary="List records in the order of their last change.",
        scope="read",
        does=list_,
        query=RecordsQuery,
        answer=RecordPage,
        command="records list",
    ),
    Operation(
        name="get_record",
        method="GET",
        path=f"{_ENTITY}/records/{{record}}",
        tag="records",
        summary="Return one record, a tombstone too.",
        scope="read",
        does=show,
        query=RecordQuery,
        answer=MeantRecord,
        command="records show",
    ),
    Operation(
        name="explain_record",
        method="GET",
        path=f"{_ENTITY}/explanation",
        tag="records",
        summary="Tell where a record's copies came from, and which one stands.",
        scope="read",
        does=explain,
        query=ExplanationQuery,
        answer=Explanation,
        command="records explain",
    ),
    Operation(
        name="list_drift",
        method="GET",
        path="/connections/{connection}/drift",
        tag="records",
        summary="List the fields that a schema does not name, or names in vain.",
        scope="read",
        does=drift,
        query=DriftQuery,
        answer=Drift,
        command="records drift",
    ),
)
