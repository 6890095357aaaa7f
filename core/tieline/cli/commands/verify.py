"""``tieline verify``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tieline import services
from tieline.cli.commands.runs import run_facts
from tieline.cli.commands.sync import follow, tell_end
from tieline.cli.face import actor, installation, json_option, note, print_json, print_table, when
from tieline.cli.failures import run_exit_code

if TYPE_CHECKING:
    from tieline.services.verify import Outcome

__all__ = ["verify"]

_DIFFERS = 6


@click.command()
@click.argument("connection", required=False)
@click.argument("entity", required=False)
@click.option("--repair", is_flag=True, help="Mend what differs.")
@click.option("--wait", is_flag=True, help="Wait until the run is over, and show what it found.")
@click.option("--run", "run_id", metavar="ID", help="Show what an earlier verification found.")
@click.option(
    "--limit",
    default=100,
    show_default=True,
    type=click.IntRange(0, 100_000),
    help="The most findings to name; all are counted.",
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
def verify(
    ctx: click.Context,
    connection: str | None,
    entity: str | None,
    repair: bool,
    wait: bool,
    run_id: str | None,
    limit: int,
    patience: float,
    as_json: bool,
) -> None:
    """Read all of ENTITY at the provider, and name each record that differs here.

    `missing` is not stored or not live here, `stale` has other content, and
    `surplus` is gone at the provider. No record is changed without `--repair`.
    What changes at the provider meanwhile is left to the next sync. With `--wait`
    or `--run`: exit 0 if nothing differs or all was mended, 6 if something does.

    Example: `tieline verify shop customers --wait`, then
    `tieline verify shop customers --repair --wait`
    """
    if patience != patience:  # noqa: PLR0124 - only NaN differs from itself
        raise click.BadParameter("a number of seconds", param_hint="--patience")
    if run_id is not None:
        if connection or repair or wait:
            raise click.UsageError("--run shows what was found: leave everything else away")
        with installation() as opened:
            outcome = services.verify.read_outcome(opened, run_id, limit=limit)
        _show(outcome, as_json=as_json)
        ctx.exit(_exit_code(outcome))
    if not connection or not entity:
        raise click.UsageError("name a connection and an entity, or --run ID")
    with installation() as opened:
        asked = services.verify.start_verify(
            opened, connection, entity, repair=repair, actor=actor()
        )
        if wait:
            run = follow(opened, asked.run, patience_s=patience, is_quiet=as_json)
            outcome = services.verify.read_outcome(opened, run.id, limit=limit)
    if wait:
        _show(outcome, as_json=as_json)
        ctx.exit(_exit_code(outcome))
    if as_json:
        print_json({"run": run_facts(asked.run), "is_new": asked.is_new})
        return
    note(f"  {'asked' if asked.is_new else 'active':<10}{asked.run.mode} run   {asked.run.id}")
    note(f"  next      tieline verify --run {asked.run.id}")


def _exit_code(outcome: Outcome) -> int:
    run = outcome.run
    if not run.is_over and run.state not in {"waiting", "retrying"}:
        return 0  # it goes on, and so far it has no end
    if outcome.differs and run.state in {"succeeded", "succeeded_with_quarantine"}:
        return _DIFFERS
    return run_exit_code(run.state, run.error_code)


def _show(outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        print_json({"run": run_facts(outcome.run), "verification": _facts(outcome)})
        return
    if len(outcome.windows) > 1:
        print_table(
            ("SINCE", "UNTIL", "RECORDS", "READ"),
            (
                (when(each.since), when(each.until), each.records, "yes" if each.is_done else "no")
                for each in outcome.windows
            ),
        )
    if outcome.findings:
        print_table(
            ("FINDING", "RECORD", "FOUND", "MENDED"),
            (
                (each["kind"], each["record_id"], when(each["found_at"]), when(each["repaired_at"]))
                for each in outcome.findings
            ),
        )
    if (more := sum(outcome.counts.values()) - len(outcome.findings)) > 0:
        note(f"  … and {more} more (--limit)")
    said = ", ".join(f"{count} {kind}" for kind, count in outcome.counts.items())
    verb = "mended" if outcome.run.mode == "repair" else "found"
    note(f"  {verb:<10}{said}; the provider listed {outcome.theirs}, live here are {outcome.ours}")
    tell_end(outcome.run)
    if outcome.differs:
        run = outcome.run
        note(f"  next      tieline verify {run.connection_name} {run.entity} --repair --wait")


def _facts(outcome: Outcome) -> dict[str, Any]:
    return {
        "mode": outcome.run.mode,
        "counts": outcome.counts,
        "records": {"theirs": outcome.theirs, "ours": outcome.ours},
        "windows": [
            {
                "since": each.since,
                "until": each.until,
                "records": each.records,
                "is_done": each.is_done,
            }
            for each in outcome.windows
        ],
        "findings": list(outcome.findings),
    }
