"""The audit log, and the alerts: what was done by whom, and what somebody should look at."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from marshmallow import fields

from tieline.services import alerts as alerting
from tieline.services import audit as service
from tieline.services.audit import Wanted
from tieline.web.api.cursors import page_of, read_cursor
from tieline.web.api.operation import Call, Operation
from tieline.web.api.resources.runs import LogEntry
from tieline.web.api.schemas import (
    Answer,
    Choice,
    ConnectionRef,
    Flag,
    Json,
    PageQuery,
    Text,
    Time,
    listed,
)

__all__ = ["OPERATIONS"]


class AlertFacts(Answer):
    """What somebody should look at."""

    id = fields.String()
    kind = fields.String()
    severity = Choice("warning", "error")
    state = Choice("open", "closed")
    subject = fields.String()
    provider = fields.String(allow_none=True)
    connection = fields.String(allow_none=True)
    connection_id = fields.String(allow_none=True)
    message = fields.String()
    hint = fields.String()
    facts = Json()
    since = Time()
    seen_at = Time()
    times = fields.Integer()
    closed_at = Time(allow_none=True)
    told = fields.List(fields.String(), metadata={"description": "Where it was told already."})
    attempts = fields.Integer()
    delivered_at = Time(allow_none=True)
    due_at = Time(allow_none=True)
    trouble = fields.String(allow_none=True)


class AuditQuery(PageQuery):
    """Which."""

    connection = ConnectionRef()
    actor = Text("Whoever did it, such as `api:warehouse`.", least=1, most=80, load_default=None)
    event = Text("Such as `connection.paused`.", least=1, most=40, load_default=None)
    entity = Text("Of this entity.", least=1, most=40, load_default=None)
    run = Text("Of this run.", least=1, most=32, load_default=None)
    since = Time("Then or later.", load_default=None)
    until = Time("Before then.", load_default=None)


class AlertsQuery(PageQuery):
    """Which."""

    connection = ConnectionRef()
    all = Flag("Those that are closed too.", load_default=False)


EntryPage = listed(LogEntry)
AlertPage = listed(AlertFacts)


def list_(call: Call) -> dict[str, Any]:
    """Return the newest entries first."""
    query = call.query
    [before] = read_cursor("list_audit", query.get("cursor"), [int]) or (None,)
    names = ("actor", "event", "entity", "since", "until")
    wanted = Wanted(
        connection=query.get("connection"),
        run_id=query["run"],
        **{name: query[name] for name in names},
    )
    rows = service.list_audit(
        call.installation,
        wanted,
        visible=call.visible,
        before=before,
        limit=query["limit"] + 1,
    )
    return page_of("list_audit", rows, query["limit"], lambda row: (row["id"],))


def _facts(row: Any) -> dict[str, Any]:
    names = [name for name in AlertFacts().fields if name != "connection"]
    return {name: getattr(row, name) for name in names} | {"connection": row.connection_name}


def alerts(call: Call) -> dict[str, Any]:
    """Return the newest alerts first: those that are open, or all."""
    query = call.query
    rows = alerting.list_alerts(
        call.installation,
        connection=query.get("connection"),
        visible=call.visible,
        with_closed=query["all"],
        before=read_cursor("list_alerts", query.get("cursor"), [datetime, str]),
        limit=query["limit"] + 1,
    )
    page = page_of("list_alerts", rows, query["limit"], lambda row: (row.since, row.id))
    return page | {"data": [_facts(row) for row in page["data"]]}


OPERATIONS = (
    Operation(
        name="list_audit",
        method="GET",
        path="/audit-log",
        tag="audit log",
        summary="Say who asked for what, and what happened, newest first.",
        scope="read",
        does=list_,
        query=AuditQuery,
        answer=EntryPage,
        command="audit",
    ),
    Operation(
        name="list_alerts",
        method="GET",
        path="/alerts",
        tag="alerts",
        summary="List what somebody should look at.",
        scope="read",
        does=alerts,
        query=AlertsQuery,
        answer=AlertPage,
        command="alerts",
    ),
)
