"""``tieline sync``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from typing import TYPE_CHECKING

import click

from tieline import services
from tieline.cli.commands.runs import run_facts, state_words
from tieline.cli.commands.sync_plan import plan
from tieline.cli.commands.sync_try import try_out
from tieline.cli.face import (
    TIME,
    actor,
    installation,
    json_option,
    note,
    print_json,
    print_json_line,
)
from tieline.cli.failures import exit_code_of_runs, run_exit_code
from tieline.cli.habits import habit

if TYPE_CHECKING:
    from tieline.engine import Asked
    from tieline.services.following import Step
    from tieline.services.installation import Installation
    from tieline.store.rows import RunRow

__all__ = ["follow", "sync"]


@click.group()
def sync() -> None:
    """Run syncs, say what one would do, and cancel them."""


sync.add_command(plan)


@sync.command("run")
@click.argument("connection")
@click.argument("entities", metavar="[ENTITY]...", nargs=-1)
@click.option("--full", is_flag=True, help="Read everything, and delete what is gone.")
@click.option("--allow-deletes", is_flag=True, help="Let a full run delete any share.")
@click.option("--since", type=TIME, help="Read only what was made at this time or later.")
@click.option("--until", type=TIME, help="Read only what was made before this time.")
@click.option("--wait", is_flag=True, help="Wait until the run is over, or put off.")
@click.option(
    "--follow",
    "-f",
    "is_followed",
    is_flag=True,
    help="Wait until it is over, and say what it does and waits for.",
)
@click.option("--dry-run", is_flag=True, help="Read some, say what would be done, store nothing.")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    help="The most records of a dry run; 20 unless said.",
)
@click.option(
    "--patience",
    default=15.0,
    show_default=True,
    type=click.FloatRange(0, 3600),
    help="Seconds to wait without any living worker.",
)
@json_option
@click.pass_context
def run_(
    ctx: click.Context,
    connection: str,
    entities: tuple[str, ...],
    full: bool,
    allow_deletes: bool,
    since: datetime | None,
    until: datetime | None,
    wait: bool,
    is_followed: bool,
    dry_run: bool,
    limit: int | None,
    patience: float,
    as_json: bool,
) -> None:
    """Sync each ENTITY of CONNECTION, or all that there are; workers do it.

    Asking again while a run is active returns that run. `--since` and
    `--until` fill in one range of time and leave the rest alone: a date, or a
    date and time as 2026-03-01T12:00; UTC unless they name another zone. With
    `--wait` the exit code says how it ended: 0 done, 8 some records
    quarantined, 4 needs authorisation, 5 the provider refuses for now, 9 no
    worker; of several runs the first that did not end well. `--follow --json`
    prints a line for each step, and one for each run that is over. `--dry-run`
    asks the provider for the first records of one ENTITY by itself, without a
    worker.

    Examples: `tieline sync run shop customers --wait`,
    `tieline sync run shop customers --full --follow`
    """
    if patience != patience:  # noqa: PLR0124 - only NaN differs from itself
        raise click.BadParameter("a number of seconds", param_hint="--patience")
    has_window = since is not None or until is not None
    if has_window and (full or allow_deletes):
        raise click.UsageError("--full reads everything: leave --since and --until away, or --full")
    if dry_run:
        if len(entities) != 1 or full or allow_deletes or wait or is_followed:
            raise click.UsageError("--dry-run: one ENTITY, with --limit, --since and --until")
        try_out(connection, entities[0], limit or 20, (since, until), as_json=as_json)
        return
    if limit is not None:
        raise click.UsageError("--limit goes with --dry-run: a run that is cut off is no sync")
    with installation() as opened:
        asked = services.syncs.start_syncs(
            opened,
            connection,
            entities,
            mode="window" if has_window else "full" if full or allow_deletes else "incremental",
            actor=actor(),
            allow_deletes=allow_deletes,
            window=(since, until),
        )
        _tell_known(asked)
        if not (wait or is_followed):
            _print_asked(asked, as_json=as_json, is_one=len(entities) == 1)
            return
        runs = [
            _watch(opened, each, is_told=is_followed, patience_s=patience, as_json=as_json)
            for each in asked
        ]
    if as_json and not is_followed:
        facts = [{"run": run_facts(run)} for run in runs]
        print_json(facts[0] if len(entities) == 1 else {"runs": facts})
    ctx.exit(exit_code_of_runs([run_exit_code(run.state, run.error_code) for run in runs]))


@sync.command()
@click.argument("run_id")
@json_option
def cancel(run_id: str, as_json: bool) -> None:
    """Stop a run at its next page. What it committed stays; nothing is deleted."""
    with installation() as opened:
        run = services.syncs.cancel_run(opened, run_id, actor=actor())
    if as_json:
        print_json({"run": run_facts(run)})
    else:
        note(f"  cancelling  {run.id}, {run.state}")


def follow(
    opened: Installation,
    run: RunRow,
    *,
    patience_s: float,
    total: int | None = None,
    is_quiet: bool = False,
) -> RunRow:
    """Wait for a run with a progress bar on stderr."""
    is_shown = sys.stderr.isatty() and not (is_quiet or habit("quiet"))
    with _bar(opened, run, total) if is_shown else nullcontext(_show_nothing) as show:
        return _wait(opened, run, show, patience_s=patience_s)


def _watch(
    opened: Installation, asked: Asked, *, is_told: bool, patience_s: float, as_json: bool
) -> RunRow:
    """Wait for a run, and say how it ended."""
    if is_told:
        run = _tell_all(opened, asked, patience_s=patience_s, as_json=as_json)
    else:
        run = follow(opened, asked.run, patience_s=patience_s, is_quiet=as_json)
    if not as_json:
        tell_end(run)
    return run


def _tell_all(opened: Installation, asked: Asked, *, patience_s: float, as_json: bool) -> RunRow:
    """Wait for a run, also while it is put off, with a line for each thing that happens."""
    follower = services.following.Follower(opened, is_new=asked.is_new)
    name = f"{asked.run.provider} · {asked.run.connection_name} · {asked.run.entity}"

    def show(now: RunRow) -> None:
        for step in follower.look(now):
            if as_json:
                print_json_line(_facts_of(step, now))
            else:
                note(f"  {_words_of(step, name)}")

    run = _wait(opened, asked.run, show, patience_s=patience_s, is_patient=True)
    if as_json:
        print_json_line({"run": run_facts(run)})
    return run


def _facts_of(step: Step, run: RunRow) -> dict[str, object]:
    counts = step.counts.as_dict()
    requests = counts.pop("requests")
    return {
        "step": step.kind,
        "run_id": run.id,
        "connection": run.connection_name,
        "entity": run.entity,
        "pages": step.pages,
        "counts": counts,
        "requests": requests,
        "at": step.at,
        "why": step.why or None,
    }


def _words_of(step: Step, name: str) -> str:
    counts = step.counts
    if step.kind == "resuming":
        since = f"{step.at.astimezone():%H:%M:%S}" if step.at else "-"
        return f"Resuming  {name} from page {step.pages + 1} (checkpoint {since})"
    if step.kind == "fetched":
        return (
            f"Fetched   page {step.pages:<5} {counts.seen:>8,} records  {counts.created:>6,} new"
            f"  {counts.updated:>6,} changed"
        )
    until = f", until {step.at.astimezone():%H:%M:%S}" if step.at else ""
    return f"Waiting   {step.why}{until}"


def _wait(
    opened: Installation,
    run: RunRow,
    show: Callable[[RunRow], None],
    *,
    patience_s: float,
    is_patient: bool = False,
) -> RunRow:
    try:
        return services.syncs.wait_for_run(
            opened,
            run.id,
            patience_s=patience_s,
            on_progress=show,
            on_lonely=lambda: note(
                "  waiting   no worker is alive; start one: tieline worker (or: tieline up)"
            ),
            is_patient=is_patient,
        )
    except KeyboardInterrupt:
        note(f"  the run goes on without you: tieline runs show {run.id}")
        raise


@contextmanager
def _bar(
    opened: Installation, run: RunRow, total: int | None
) -> Iterator[Callable[[RunRow], None]]:
    """Draw a progress bar; yields what moves it."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[share]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    label = f"{run.provider} · {run.connection_name} · {run.entity}"
    with bar:
        task = bar.add_task(label, total=total, share="")

        def show(now: RunRow) -> None:
            progress = services.progress.look_at(opened, now)
            about = total if total is not None or progress is None else progress.total
            text = label if now.state == "running" else f"{label}: {state_words(now, progress)}"
            seen = now.counts.seen
            share = f"{seen:,} records" if about is None else f"{seen:,} of about {about:,}"
            bar.update(task, completed=seen, total=about, description=text, share=share)

        yield show


def _show_nothing(_now: RunRow) -> None:
    pass


def tell_end(run: RunRow) -> None:
    """Say in one or two lines how a run ended."""
    counts = run.counts
    said = (
        f"{counts.seen} records, {counts.created} created, {counts.updated} updated,"
        f" {counts.unchanged} unchanged, {counts.deleted} deleted,"
        f" {counts.quarantined} quarantined"
    )
    note(f"  {run.state:<10}{said}   {run.id}")
    if run.error_code:
        next_step = f" (next: {run.error_hint})" if run.error_hint else ""
        note(f"error[{run.error_code}]: {run.error_message}{next_step}", is_error=True)


def _tell_known(asked: Sequence[Asked]) -> None:
    for each in asked:
        if not each.is_new:
            note(
                f"  a run is active already ({each.run.mode}), no new one was asked for:"
                f" {each.run.id}, {each.run.state}"
            )


def _print_asked(asked: Sequence[Asked], *, as_json: bool, is_one: bool) -> None:
    if as_json:
        facts = [{"run": run_facts(each.run), "is_new": each.is_new} for each in asked]
        print_json(facts[0] if is_one else {"runs": facts})
        return
    for each in asked:
        note(f"  asked     {each.run.mode} run of {each.run.entity}   {each.run.id}")
        note(f"  next      tieline runs show {each.run.id}")
