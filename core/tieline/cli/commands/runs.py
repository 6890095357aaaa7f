"""``tieline runs``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tieline import services
from tieline.cli.face import ago, installation, json_option, note, print_json, print_table, when

if TYPE_CHECKING:
    from tieline.services.progress import Progress
    from tieline.store.rows import RunRow

__all__ = ["run_facts", "runs", "state_words"]


def run_facts(run: RunRow, progress: Progress | None = None) -> dict[str, Any]:
    """Return what is shown of a run; its progress where it was looked at."""
    counts = run.counts.as_dict()
    requests = counts.pop("requests")
    started, finished = run.started_at, run.finished_at
    seconds = (finished - started).total_seconds() if started and finished else None
    error = None
    if run.error_code:
        error = {"code": run.error_code, "message": run.error_message, "hint": run.error_hint}
    return {
        "id": run.id,
        "connection": run.connection_name,
        "provider": run.provider,
        "entity": run.entity,
        "direction": run.direction,
        "mode": run.mode,
        "reason": run.reason,
        "state": run.state,
        "window": {"since": run.window_start, "until": run.window_end},
        "counts": counts,
        "progress": None if progress is None else progress.facts(),
        "requests": requests,
        "seconds": seconds,
        "attempt": run.attempt,
        "asked_by": run.asked_by,
        "error": error,
        "due_at": run.due_at if _has_a_time(run) else None,
        "created_at": run.created_at,
        "started_at": started,
        "finished_at": finished,
    }


def _has_a_time(run: RunRow) -> bool:
    """Say whether it is known when a run that rests goes on."""
    from tieline.store.parking import PAUSED

    return run.state in {"waiting", "retrying"} and run.error_code != PAUSED


def state_words(run: RunRow, progress: Progress | None) -> str:
    """Say in which state a run is, as people read it."""
    from tieline.store.parking import PAUSED

    if progress is not None and run.state == "retrying":
        return f"retrying ({run.attempt} of {progress.attempts})"
    if run.state == "waiting":
        return "waiting (paused)" if run.error_code == PAUSED else "waiting (limit)"
    if run.state == "succeeded_with_quarantine":
        what = "wait for a person" if run.direction == "outbound" else "quarantined"
        return f"succeeded, {run.counts.quarantined} {what}"
    return run.state


@click.group(invoke_without_command=True)
@click.pass_context
@click.option("--limit", default=20, type=click.IntRange(1, 1000), help="The most to list.")
@json_option
def runs(ctx: click.Context, limit: int, as_json: bool) -> None:
    """List the newest runs; `show` tells all about one."""
    if ctx.invoked_subcommand is None:
        _list(None, (), limit=limit, as_json=as_json)


@runs.command("list")
@click.option("--connection", help="Only of this connection.")
@click.option("--state", "states", multiple=True, help="Only in this state; may be repeated.")
@click.option("--limit", default=20, type=click.IntRange(1, 1000), help="The most to list.")
@json_option
def list_(connection: str | None, states: tuple[str, ...], limit: int, as_json: bool) -> None:
    """List the newest runs first."""
    _list(connection, states, limit=limit, as_json=as_json)


@runs.command()
@click.argument("run_id")
@json_option
def show(run_id: str, as_json: bool) -> None:
    """Show one run and its entries in the sync log."""
    with installation() as opened:
        run = services.syncs.get_run(opened, run_id)
        entries = services.syncs.run_log(opened, run_id)
        progress = services.progress.look_at(opened, run)
    facts = run_facts(run, progress)
    if as_json:
        print_json({"run": facts, "log": entries})
        return
    print_table((run.id, f"{run.provider} · {run.connection_name} · {run.entity}"), [])
    said = f"{run.mode}: {state_words(run, progress)}"
    print_table(("state", f"{said} ({run.reason})" if run.reason else said), [])
    if run.window_start or run.window_end:
        print_table(("window", f"{when(run.window_start)} to {when(run.window_end)}"), [])
    if _has_a_time(run):
        print_table(("goes on", when(run.due_at)), [])
    if progress is not None and progress.total:
        about = f"{progress.seen:,} of about {progress.total:,}, by {progress.basis}"
        print_table(("progress", about), [])
    print_table(("counts", ", ".join(f"{n} {name}" for name, n in facts["counts"].items())), [])
    if run.error_code:
        print_table(("error", f"[{run.error_code}] {run.error_message}"), [])
        print_table(("next", run.error_hint or "-"), [])
    print_table(
        ("AT", "WHO", "WHAT", "DETAIL"),
        ((when(e["at"]), e["actor"], e["event"], e["detail"]) for e in entries),
    )


def _list(connection: str | None, states: tuple[str, ...], *, limit: int, as_json: bool) -> None:
    with installation() as opened:
        found = services.syncs.list_runs(opened, connection=connection, states=states, limit=limit)
        now = opened.clock.now()
        progress = [services.progress.look_at(opened, run) for run in found]
    if as_json:
        facts = [run_facts(*each) for each in zip(found, progress, strict=True)]
        print_json({"runs": facts})
        return
    if not found:
        note("  there is no run yet (next: tieline sync run NAME ENTITY)")
        return
    print_table(
        ("RUN", "CONNECTION", "ENTITY", "MODE", "STATE", "SEEN", "NEW", "CHANGED", "ASKED"),
        (
            (
                run.id,
                run.connection_name,
                run.entity,
                run.mode,
                state_words(run, its),
                run.counts.seen,
                run.counts.created,
                run.counts.updated,
                ago(run.created_at, now),
            )
            for run, its in zip(found, progress, strict=True)
        ),
    )
