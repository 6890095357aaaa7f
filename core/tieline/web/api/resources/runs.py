"""Runs: ask for one, follow it, stop it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from marshmallow import fields, validate

from tieline.errors import InvalidInputError
from tieline.services import progress, syncs, verify
from tieline.services import runs as service
from tieline.services.runs import STATES
from tieline.web.api.cursors import page_of, read_cursor
from tieline.web.api.operation import Call, Operation
from tieline.web.api.schemas import (
    Answer,
    Choice,
    ConnectionRef,
    Flag,
    Given,
    Json,
    Nested,
    PageQuery,
    Several,
    Text,
    Time,
    listed,
    whole,
)

__all__ = ["OPERATIONS", "Run", "run_facts"]

_MODES = ("incremental", "full", "window", "verify", "repair")


class RunCounts(Answer):
    """What a run did so far."""

    seen = fields.Integer()
    created = fields.Integer()
    updated = fields.Integer()
    unchanged = fields.Integer()
    deleted = fields.Integer()
    quarantined = fields.Integer()


class RunError(Answer):
    """What stands, or stood, in its way."""

    code = fields.String()
    message = fields.String(allow_none=True)
    hint = fields.String(allow_none=True)


class RunWindow(Answer):
    """The range that was asked for."""

    since = Time(allow_none=True)
    until = Time(allow_none=True)


class RunProgress(Answer):
    """How far an active run is."""

    seen = fields.Integer()
    total = fields.Integer(allow_none=True)
    basis = fields.String(allow_none=True)
    attempts = fields.Integer()


class Run(Answer):
    """One request to sync one entity of one connection."""

    id = fields.String()
    connection = fields.String(metadata={"description": "Its name."})
    connection_id = fields.String()
    provider = fields.String()
    entity = fields.String()
    direction = Choice("inbound", "outbound")
    mode = fields.String()
    reason = fields.String()
    state = Choice(*STATES)
    window = Nested(RunWindow)
    counts = Nested(RunCounts)
    requests = fields.Integer()
    seconds = fields.Float(allow_none=True)
    attempt = fields.Integer()
    asked_by = fields.String()
    error = Nested(RunError, allow_none=True)
    due_at = Time("When it goes on, if it rests.", allow_none=True)
    created_at = Time()
    started_at = Time(allow_none=True)
    finished_at = Time(allow_none=True)
    cancel_requested_at = Time(allow_none=True)


class WholeRun(Run):
    """A run and how far it is."""

    progress = Nested(RunProgress, allow_none=True)


class AskedRun(Answer):
    """What became of asking for a run."""

    run = Nested(Run)
    is_new = fields.Boolean(metadata={"description": "false: it was active already."})


class LogEntry(Answer):
    """An entry of the sync log."""

    id = fields.Integer()
    at = Time()
    actor = fields.String()
    event = fields.String()
    connection_id = fields.String(allow_none=True)
    entity = fields.String(allow_none=True)
    run_id = fields.String(allow_none=True)
    counts = Json(allow_none=True)
    error_code = fields.String(allow_none=True)
    detail = fields.String()


class RunLog(Answer):
    """The newest entries of a run, oldest of them first."""

    data = fields.List(fields.Nested(LogEntry))


class WindowCount(Answer):
    """How many records the provider has in a range."""

    since = Time(allow_none=True)
    until = Time(allow_none=True)
    records = fields.Integer()
    is_done = fields.Boolean()


class Finding(Answer):
    """A record that is not as at the provider."""

    record_id = fields.String()
    kind = fields.String()
    found_at = Time()
    repaired_at = Time(allow_none=True)


class Comparison(Answer):
    """What a run of mode `verify` or `repair` found so far."""

    run = Nested(Run)
    theirs = fields.Integer()
    ours = fields.Integer()
    counts = fields.Dict(keys=fields.String(), values=fields.Integer())
    windows = fields.List(fields.Nested(WindowCount))
    findings = fields.List(fields.Nested(Finding))


def _states() -> Any:
    return Several(
        Choice(*STATES),
        validate=validate.Length(min=1, max=len(STATES)),
        metadata={"description": "Only in this state; may come several times."},
    )


class _WhichRuns:
    """What runs are told apart by, in a query and in a body alike."""

    connection = ConnectionRef()
    provider = Text("Of this provider.", least=1, most=40)
    entity = Text("Of this entity.", least=1, most=40)
    state = _states()
    code = Text("With this error code.", least=1, most=60)
    mode = Text("Of this mode.", least=1, most=20)
    direction = Choice("inbound", "outbound", doc="Of this direction.")
    since = Time("Asked for then or later.")
    until = Time("Asked for before then.")


class RunsQuery(_WhichRuns, PageQuery):
    """Which."""


class ManyRuns(_WhichRuns, Given):
    """Which runs are meant: all that fit everything that is given; something has to be."""

    dry_run = Flag("Say how many are meant, and do nothing.", load_default=False)


class RunLeft(Answer):
    """A run that was left as it is."""

    run = fields.String(metadata={"description": "Its id."})
    code = fields.String()
    message = fields.String()


class ManyDone(Answer):
    """What became of many runs."""

    count = fields.Integer(metadata={"description": "How many are meant."})
    runs = fields.List(
        fields.Nested(Run), metadata={"description": "Asked for anew, or about to stop."}
    )
    active = fields.List(
        fields.Nested(Run), metadata={"description": "There was an active one already."}
    )
    left = fields.List(fields.Nested(RunLeft))


class FindingsQuery(Given):
    """How many."""

    limit = whole("The most findings to name.", least=1, most=1000, load_default=100)


class NewRun(Given):
    """A run that is wanted."""

    entity = Text("What to read.", most=40, least=1, required=True)
    mode = Choice(
        *_MODES,
        doc="verify compares with the provider, repair mends too.",
        load_default="incremental",
    )
    since = Time("For mode window: read only what was made then or later.", load_default=None)
    until = Time("For mode window: read only what was made before.", load_default=None)
    allow_deletes = Flag("Let a full run delete any share of the records.", load_default=False)


RunPage = listed(Run)


def run_facts(run: Any) -> dict[str, Any]:
    """Return a row as its schema has it."""
    same = (
        "id", "connection_id", "provider", "entity", "direction", "mode", "reason", "state",
        "attempt", "asked_by", "created_at", "started_at", "finished_at", "cancel_requested_at",
    )  # fmt: skip
    began, ended = run.started_at, run.finished_at
    is_put_off = run.state in {"waiting", "retrying"} and run.error_code != "paused"
    return {name: getattr(run, name) for name in same} | {
        "connection": run.connection_name,
        "window": {"since": run.window_start, "until": run.window_end},
        "counts": run.counts,
        "requests": run.counts.requests,
        "seconds": (ended - began).total_seconds() if began and ended else None,
        "error": {"code": run.error_code, "message": run.error_message, "hint": run.error_hint}
        if run.error_code
        else None,
        "due_at": run.due_at if is_put_off else None,
    }


def _wanted(call: Call, given: Mapping[str, Any]) -> service.RunsWanted:
    values = {name: given[name] for name in service.FIELDS if given.get(name)}
    return service.wanted_runs(
        call.installation,
        {name: [each] if isinstance(each, str) else each for name, each in values.items()},
        since=given.get("since"),
        until=given.get("until"),
        visible=call.visible,
    )


def list_(call: Call) -> dict[str, Any]:
    """Return the newest runs first."""
    query = call.query
    before = read_cursor("list_runs", query.get("cursor"), [datetime, str])
    wanted = _wanted(call, query)
    rows = syncs.list_runs(call.installation, wanted, before=before, limit=query["limit"] + 1)
    page = page_of("list_runs", rows, query["limit"], lambda run: (run.created_at, run.id))
    return page | {"data": [run_facts(run) for run in page["data"]]}


def show(call: Call) -> dict[str, Any]:
    """Return one run, and how far it is."""
    run = call.path["run"]
    return run_facts(run) | {"progress": progress.look_at(call.installation, run)}


def ask(call: Call) -> tuple[int, dict[str, Any]]:
    """Ask for a run; 200 with the one that is active already, if there is one."""
    row, body = call.path["connection"], call.body
    if body["mode"] in {"verify", "repair"}:
        asked = verify.start_verify(
            call.installation,
            row.id,
            body["entity"],
            repair=body["mode"] == "repair",
            actor=call.actor,
        )
    else:
        asked = syncs.start_sync(
            call.installation,
            row.id,
            body["entity"],
            mode=body["mode"],
            actor=call.actor,
            allow_deletes=body["allow_deletes"],
            window=(body["since"], body["until"]),
        )
    return (201 if asked.is_new else 200), {"run": run_facts(asked.run), "is_new": asked.is_new}


def cancel(call: Call) -> dict[str, Any]:
    """Ask a run to stop at its next page; what it committed stays."""
    return run_facts(syncs.cancel_run(call.installation, call.path["run"].id, actor=call.actor))


def retry(call: Call) -> tuple[int, dict[str, Any]]:
    """Ask once more for a run; 200 with the one that is active already, if there is one."""
    asked = service.retry_run(call.installation, call.path["run"].id, actor=call.actor)
    return (201 if asked.is_new else 200), {"run": run_facts(asked.run), "is_new": asked.is_new}


def retry_many(call: Call) -> dict[str, Any]:
    """Ask once more for every run that fits and ended without success."""
    return _many(call, service.to_retry, service.retry_runs)


def cancel_many(call: Call) -> dict[str, Any]:
    """Ask every run that fits to stop at its next page."""
    return _many(call, service.to_cancel, service.cancel_runs)


def _many(
    call: Call,
    narrow: Callable[[service.RunsWanted], service.RunsWanted],
    work: Callable[..., service.Done],
) -> dict[str, Any]:
    if not call.body.keys() - {"dry_run"}:
        raise InvalidInputError("say which runs are meant", code="runs-choice")
    chosen = service.choose_runs(call.installation, narrow(_wanted(call, call.body)))
    done = service.Done()
    if not call.body["dry_run"]:
        done = work(call.installation, chosen, actor=call.actor)
    return {
        "count": len(chosen),
        "runs": [run_facts(run) for run in done.runs],
        "active": [run_facts(run) for run in done.active],
        "left": [
            {"run": each.run.id, "code": each.error.slug, "message": each.error.message}
            for each in done.left
        ],
    }


def log(call: Call) -> dict[str, Any]:
    """Return what the sync log has of a run."""
    return {"data": syncs.run_log(call.installation, call.path["run"].id)}


def findings(call: Call) -> dict[str, Any]:
    """Return what a verification found so far."""
    run = call.path["run"]
    found = verify.read_outcome(call.installation, run.id, limit=call.query["limit"])
    return {
        "run": run_facts(found.run),
        "theirs": found.theirs,
        "ours": found.ours,
        "counts": found.counts,
        "windows": found.windows,
        "findings": found.findings,
    }


OPERATIONS = (
    Operation(
        name="list_runs",
        method="GET",
        path="/runs",
        tag="runs",
        summary="List the newest runs first.",
        scope="read",
        does=list_,
        query=RunsQuery,
        answer=RunPage,
        command="runs list",
    ),
    Operation(
        name="start_run",
        method="POST",
        path="/connections/{connection}/runs",
        tag="runs",
        summary="Ask for a run of one entity.",
        scope="operate",
        does=ask,
        body=NewRun,
        answer=AskedRun,
        status=201,
        other_status=200,
        example={"entity": "customers", "mode": "full"},
        command="sync run",
    ),
    Operation(
        name="get_run",
        method="GET",
        path="/runs/{run}",
        tag="runs",
        summary="Return a run, and how far it is.",
        scope="read",
        does=show,
        answer=WholeRun,
        command="runs show",
    ),
    Operation(
        name="cancel_run",
        method="POST",
        path="/runs/{run}/cancel",
        tag="runs",
        summary="Stop a run at its next page.",
        scope="operate",
        does=cancel,
        answer=Run,
        command="sync cancel",
    ),
    Operation(
        name="retry_run",
        method="POST",
        path="/runs/{run}/retry",
        tag="runs",
        summary="Ask once more for a run that ended without success.",
        scope="operate",
        does=retry,
        answer=AskedRun,
        status=201,
        other_status=200,
        command="runs retry",
    ),
    Operation(
        name="retry_runs",
        method="POST",
        path="/runs/retry",
        tag="runs",
        summary="Ask once more for all runs that fit and ended without success.",
        scope="operate",
        does=retry_many,
        body=ManyRuns,
        answer=ManyDone,
        example={"connection": "shop", "code": "provider-unavailable", "dry_run": True},
        command="runs retry",
    ),
    Operation(
        name="cancel_runs",
        method="POST",
        path="/runs/cancel",
        tag="runs",
        summary="Stop all runs that fit at their next page.",
        scope="operate",
        does=cancel_many,
        body=ManyRuns,
        answer=ManyDone,
        example={"connection": "shop", "dry_run": True},
        command="runs cancel",
    ),
    Operation(
        name="get_run_log",
        method="GET",
        path="/runs/{run}/log",
        tag="runs",
        summary="Return what the sync log has of a run.",
        scope="read",
        does=log,
        answer=RunLog,
        command="runs logs",
    ),
    Operation(
        name="get_run_findings",
        method="GET",
        path="/runs/{run}/findings",
        tag="runs",
        summary="Return what a verification found so far.",
        scope="read",
        does=findings,
        query=FindingsQuery,
        answer=Comparison,
        command="verify",
    ),
)
