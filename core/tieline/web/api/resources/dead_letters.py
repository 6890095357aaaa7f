"""Dead letters: what was given up, and waits for a person."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from marshmallow import fields

from tieline.services import dead_letters as service
from tieline.web.api.cursors import page_of, read_cursor
from tieline.web.api.operation import Call, Operation
from tieline.web.api.resources.runs import Run, run_facts
from tieline.web.api.schemas import (
    Answer,
    Choice,
    ConnectionRef,
    Flag,
    Json,
    Nested,
    PageQuery,
    Time,
    listed,
)

__all__ = ["OPERATIONS"]


class DeadLetter(Answer):
    """A run, or events, that were given up."""

    id = fields.String()
    kind = fields.String()
    connection = fields.String()
    connection_id = fields.String()
    provider = fields.String()
    entity = fields.String(allow_none=True)
    run_id = fields.String(allow_none=True)
    reason_code = fields.String()
    reason = fields.String()
    facts = Json("What is known of the cause.")
    created_at = Time()
    settled_at = Time(allow_none=True)
    settled_how = Choice("retried", "dropped", allow_none=True)


class WholeLetter(DeadLetter):
    """A letter, and for how many events it stands."""

    events = fields.Integer()


class RetriedLetter(Answer):
    """What became of trying again."""

    letter = Nested(DeadLetter)
    run = Nested(Run, "null for a letter of events.", allow_none=True)
    is_new = fields.Boolean(metadata={"description": "Whether trying again made the run."})
    events = fields.Integer(metadata={"description": "How many are handled once more."})


class LettersQuery(PageQuery):
    """Which."""

    connection = ConnectionRef()
    all = Flag("Those that are settled too.", load_default=False)


LetterPage = listed(DeadLetter)


def _facts(letter: Any) -> dict[str, Any]:
    names = (
        "id", "kind", "connection_id", "provider", "entity", "run_id", "reason_code", "reason",
        "facts", "created_at", "settled_at", "settled_how",
    )  # fmt: skip
    return {name: getattr(letter, name) for name in names} | {"connection": letter.connection_name}


def list_(call: Call) -> dict[str, Any]:
    """Return the newest letters first: those that wait, or all."""
    query = call.query
    rows = service.list_dead_letters(
        call.installation,
        connection=query.get("connection"),
        visible=call.visible,
        with_settled=query["all"],
        before=read_cursor("list_dead_letters", query.get("cursor"), [datetime, str]),
        limit=query["limit"] + 1,
    )
    page = page_of("list_dead_letters", rows, query["limit"], lambda row: (row.created_at, row.id))
    return page | {"data": [_facts(row) for row in page["data"]]}


def show(call: Call) -> dict[str, Any]:
    """Return one letter, and for how many events it stands."""
    letter = call.path["letter"]
    return _facts(letter) | {"events": service.count_dead_events(call.installation, letter)}


def retry(call: Call) -> dict[str, Any]:
    """Ask for the same run once more, or have the events handled again; the letter is settled."""
    done = service.retry_dead_letter(call.installation, call.path["letter"].id, actor=call.actor)
    return {
        "letter": _facts(done.letter),
        "run": run_facts(done.run) if done.run else None,
        "is_new": done.is_new,
        "events": done.events,
    }


def drop(call: Call) -> dict[str, Any]:
    """Settle a letter and do nothing more; its events, if it is of events, are ignored."""
    letter = service.drop_dead_letter(call.installation, call.path["letter"].id, actor=call.actor)
    return _facts(letter)


OPERATIONS = (
    Operation(
        name="list_dead_letters",
        method="GET",
        path="/dead-letters",
        tag="dead letters",
        summary="List what was given up, and waits for a person.",
        scope="read",
        does=list_,
        query=LettersQuery,
        answer=LetterPage,
        command="dead list",
    ),
    Operation(
        name="get_dead_letter",
        method="GET",
        path="/dead-letters/{letter}",
        tag="dead letters",
        summary="Return one letter.",
        scope="read",
        does=show,
        answer=WholeLetter,
        command="dead show",
    ),
    Operation(
        name="retry_dead_letter",
        method="POST",
        path="/dead-letters/{letter}/retry",
        tag="dead letters",
        summary="Try again what was given up.",
        scope="operate",
        does=retry,
        answer=RetriedLetter,
        command="dead retry",
    ),
    Operation(
        name="drop_dead_letter",
        method="DELETE",
        path="/dead-letters/{letter}",
        tag="dead letters",
        summary="Settle a letter, and do nothing more.",
        scope="operate",
        does=drop,
        answer=DeadLetter,
        command="dead drop",
    ),
)
