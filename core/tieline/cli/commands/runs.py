"""``tieline runs``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tieline import services
from tieline.cli.choices import RUN_FIELDS
from tieline.cli.face import (
    TIME,
    actor,
    ago,
    installation,
    json_option,
    note,
    print_json,
    print_table,
    when,
    yes_option,
)
from tieline.cli.habits import can_ask
from tieline.errors import RefusedError

if TYPE_CHECKING:
    from datetime import datetime

    from tieline.services.installation import Installation
    from tieline.services.progress import Progress
    from tieline.services.runs import Done, RunsWanted
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


_SHOWN = 10


def _choosing(command: Any) -> Any:
    """Add the options that say which runs are meant."""
    for option in (
        click.option("--until", type=TIME, help="Asked for before then."),
        click.option("--since", type=TIME, help="Asked for then or later."),
        click.option("--where", multiple=True, metavar="NAME=VALUE",
                     help=f"{', '.join(RUN_FIELDS)}; may be repeated."),
        click.option("--code", multiple=True, help="With this error code; may be repeated."),
        click.option("--state", multiple=True, help="In this state; may be repeated."),
        click.option("--entity", multiple=True, help="Of this entity; may be repeated."),
        click.option("--connection", multiple=True, help="Of this connection; may be repeated."),
    ):  # fmt: skip
        command = option(command)
    return command


def _wanted(
    opened: Installation, since: datetime | None, until: datetime | None, given: dict[str, Any]
) -> RunsWanted:
    """Put options and ``--where`` together; values of one name are alternatives."""
    values = {name: list(given[name]) for name in ("connection", "entity", "state", "code")}
    for text in given["where"]:
        name, sign, value = text.partition("=")
        if not sign or not value:
            raise click.BadParameter(f"{text[:60]!r} is not NAME=VALUE", param_hint="--where")
        values.setdefault(name.strip(), []).append(value.strip())
    return services.runs.wanted_runs(opened, values, since=since, until=until)


@click.group(invoke_without_command=True)
@click.pass_context
@click.option("--limit", default=20, type=click.IntRange(1, 1000), help="The most to list.")
@json_option
def runs(ctx: click.Context, limit: int, as_json: bool) -> None:
    """List runs, show one; try again or cancel one, or all that fit."""
    if ctx.invoked_subcommand is None:
        with installation() as opened:
            _list(opened, None, limit=limit, as_json=as_json)


@runs.command("list")
@_choosing
@click.option("--limit", default=20, type=click.IntRange(1, 1000), help="The most to list.")
@json_option
def list_(
    since: datetime | None, until: datetime | None, limit: int, as_json: bool, **given: Any
) -> None:
    """List the newest runs first.

    Example: `tieline runs list --state failed --where provider=stripe`
    """
    with installation() as opened:
        wanted = _wanted(opened, since, until, given)
        _list(opened, wanted, limit=limit, as_json=as_json)


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
    _print_log(entries)


def _print_log(entries: list[dict[str, Any]]) -> None:
    print_table(
        ("AT", "WHO", "WHAT", "DETAIL"),
        ((when(e["at"]), e["actor"], e["event"], e["detail"]) for e in entries),
    )


@runs.command()
@click.argument("run_id")
@json_option
def logs(run_id: str, as_json: bool) -> None:
    """Show what the sync log has of a run: who asked, what happened, when.

    `tieline logs tail --run` follows it.
    """
    with installation() as opened:
        services.syncs.get_run(opened, run_id)
        entries = services.syncs.run_log(opened, run_id)
    if as_json:
        print_json({"log": entries})
        return
    _print_log(entries)


_MANY = (
    click.argument("run_id", required=False),
    click.option("--all", "is_all", is_flag=True, help="All that fit; the count is shown first."),
    click.option("--dry-run", is_flag=True, help="With --all: show the count, and do nothing."),
)


def _many(command: Any) -> Any:
    for option in reversed(_MANY):
        command = option(command)
    return command


@runs.command()
@click.pass_context
@_many
@_choosing
@yes_option
@json_option
def retry(
    ctx: click.Context,
    run_id: str | None,
    is_all: bool,
    dry_run: bool,
    since: datetime | None,
    until: datetime | None,
    yes: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Ask once more for a run that ended without success; or, with --all, for all that fit.

    Same entity, mode and window; nothing is doubled. With --all the newest of
    each entity is tried, once. Exit 6: some could not be, and the line says why.

    Example: `tieline runs retry --all --where code=provider-unavailable`
    """
    _require_choice(run_id, is_all=is_all, dry_run=dry_run, given=(since, until, *given.values()))
    with installation() as opened:
        if run_id is not None:
            asked = services.runs.retry_run(opened, run_id, actor=actor())
            if as_json:
                print_json({"run": run_facts(asked.run), "is_new": asked.is_new})
            else:
                said = "asked" if asked.is_new else "active"
                note(f"  {said:<10}{asked.run.mode} run of {asked.run.entity}   {asked.run.id}")
                note(f"  next      tieline runs show {asked.run.id}")
            return
        wanted = services.runs.to_retry(_wanted(opened, since, until, given))
        chosen = _chosen(opened, wanted, "tried again", dry_run=dry_run, yes=yes, as_json=as_json)
        if chosen is not None:
            done = services.runs.retry_runs(opened, chosen, actor=actor())
            _tell(ctx, done, "asked", as_json=as_json)


@runs.command()
@click.pass_context
@_many
@_choosing
@yes_option
@json_option
def cancel(
    ctx: click.Context,
    run_id: str | None,
    is_all: bool,
    dry_run: bool,
    since: datetime | None,
    until: datetime | None,
    yes: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Stop a run at its next page; or, with --all, all that fit. What they committed stays.

    Example: `tieline runs cancel --all --connection shop`
    """
    _require_choice(run_id, is_all=is_all, dry_run=dry_run, given=(since, until, *given.values()))
    with installation() as opened:
        if run_id is not None:
            run = services.syncs.cancel_run(opened, run_id, actor=actor())
            if as_json:
                print_json({"run": run_facts(run)})
            else:
                note(f"  cancelling  {run.id}, {run.state}")
            return
        wanted = services.runs.to_cancel(_wanted(opened, since, until, given))
        chosen = _chosen(opened, wanted, "cancelled", dry_run=dry_run, yes=yes, as_json=as_json)
        if chosen is not None:
            done = services.runs.cancel_runs(opened, chosen, actor=actor())
            _tell(ctx, done, "stops", as_json=as_json)


def _require_choice(
    run_id: str | None, *, is_all: bool, dry_run: bool, given: tuple[Any, ...]
) -> None:
    if is_all == (run_id is not None):
        raise click.UsageError("name a run (run_…), or --all with what they have in common")
    if not is_all and (dry_run or any(given)):
        raise click.UsageError("--where and the like go with --all")


def _chosen(
    opened: Installation,
    wanted: RunsWanted,
    what: str,
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> list[RunRow] | None:
    """Show how many are meant, and ask; None: nothing is to be done."""
    chosen = services.runs.choose_runs(opened, wanted)
    if dry_run and as_json:
        print_json({"count": len(chosen), "runs": [run_facts(run) for run in chosen]})
        return None
    for run in chosen[:_SHOWN]:
        note(f"  {run.id}  {run.connection_name} {run.entity}  {run.state} {run.error_code or ''}")
    if len(chosen) > _SHOWN:
        note(f"  … and {len(chosen) - _SHOWN:,} more")
    note(f"  {len(chosen):,} runs would be {what}")
    if dry_run:
        return None
    if chosen and not yes:
        if not can_ask():
            raise RefusedError(
                f"{len(chosen)} runs would be {what}",
                hint="say --yes as well",
                code="interactive-needed",
            )
        if not click.confirm(f"Shall these {len(chosen):,} runs be {what}?", err=True):
            raise RefusedError("nothing was done")
    return chosen


def _tell(ctx: click.Context, done: Done, word: str, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "runs": [run_facts(run) for run in done.runs],
                "active": [run_facts(run) for run in done.active],
                "left": [
                    {"run": each.run.id, "code": each.error.slug, "message": each.error.message}
                    for each in done.left
                ],
            }
        )
    else:
        note(f"  {word:<10}{len(done.runs):,} runs")
        if done.active:
            note(f"  active    {len(done.active):,} have a run already")
        for each in done.left:
            note(f"  left      {each.run.id}  [{each.error.slug}] {each.error.message}")
    if done.left:
        ctx.exit(6)


def _list(opened: Installation, wanted: RunsWanted | None, *, limit: int, as_json: bool) -> None:
    found = services.syncs.list_runs(opened, wanted, limit=limit)
    now = opened.clock.now()
    progress = [services.progress.look_at(opened, run) for run in found]
    if as_json:
        facts = [run_facts(*each) for each in zip(found, progress, strict=True)]
        print_json({"runs": facts})
        return
    if not found:
        is_any = wanted is None or wanted == services.runs.RunsWanted()
        note(
            "  there is no run yet (next: tieline sync run NAME ENTITY)"
            if is_any
            else "  no run is like that"
        )
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
