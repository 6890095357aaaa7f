"""``tieline sync plan``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from tieline import services
from tieline.cli.face import TIME, installation, json_option, note, print_json, print_table, when

if TYPE_CHECKING:
    from tieline.services.plans import PlannedLimits, SyncPlan

__all__ = ["plan"]


@click.command()
@click.argument("connection")
@click.argument("entities", metavar="[ENTITY]...", nargs=-1)
@click.option("--full", is_flag=True, help="As `sync run --full`.")
@click.option("--since", type=TIME, help="As `sync run --since`.")
@click.option("--until", type=TIME, help="As `sync run --until`.")
@json_option
def plan(
    connection: str,
    entities: tuple[str, ...],
    full: bool,
    since: datetime | None,
    until: datetime | None,
    as_json: bool,
) -> None:
    """Say what `sync run` would do now, and why; the provider is not asked.

    Of each ENTITY, or of all: how it would be read, from where, and about how
    many requests that takes, by the last run like it. A run that reads
    everything where you expected changes says so here.

    Example: `tieline sync plan shop`
    """
    has_window = since is not None or until is not None
    if has_window and full:
        raise click.UsageError("--full reads everything: leave --since and --until away, or --full")
    with installation() as opened:
        plans, limits = services.plans.plan_syncs(
            opened,
            connection,
            entities,
            mode="window" if has_window else "full" if full else "incremental",
            window=(since, until),
        )
    if as_json:
        print_json({"plans": [_plan_facts(each) for each in plans], "limits": asdict(limits)})
        return
    print_table(
        ("ENTITY", "MODE", "READS", "FROM", "UNTIL", "REQUESTS", "TAKES", "WHY"),
        [
            (
                each.entity,
                each.mode,
                "log of changes" if each.source == "feed" else "list",
                *(when(time) for time in each.window),
                "?" if each.requests is None else f"about {each.requests:,}",
                "?" if each.least_s is None else f"{each.least_s:,.0f} s or more",
                each.reason or "-",
            )
            for each in plans
        ],
    )
    _tell_what_holds(plans, limits)


def _plan_facts(planned: SyncPlan) -> dict[str, Any]:
    since, until = planned.window
    trouble = planned.trouble
    return {
        "entity": planned.entity,
        "mode": planned.mode,
        "reason": planned.reason,
        "source": planned.source,
        "window": {"since": since, "until": until},
        "is_split": planned.is_split,
        "synced_until": planned.synced_until,
        "records": planned.records,
        "requests": planned.requests,
        "basis": planned.basis and planned.basis.id,
        "least_s": planned.least_s,
        "active": planned.active and planned.active.id,
        "trouble": trouble
        and {"code": trouble.slug, "message": trouble.message, "hint": trouble.hint},
    }


def _tell_what_holds(plans: Sequence[SyncPlan], limits: PlannedLimits) -> None:
    """Say what stands in the way of runs, and how fast they may be."""
    rates = [*limits.rates, *([f"{limits.concurrency} at once"] if limits.concurrency else [])]
    lowered = f", {limits.share:.0%} of it now" if limits.share < 1 else ""
    note(f"  limits    {', '.join(rates) or 'none is known'}{lowered}")
    for each in plans:
        if each.active:
            note(
                f"  active    {each.entity}: {each.active.id}, {each.active.state}; it is returned"
            )
    for words, time in (("paused", limits.paused_until), ("breaker", limits.breaker_until)):
        if time is not None:
            note(f"  {words:<9} nothing is sent until {when(time)}")
    if plans and (trouble := plans[0].trouble):
        note(f"  refused   {trouble.message} (next: {trouble.hint})")
