"""``tieline status``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from tieline import services
from tieline.cli.face import (
    ago,
    flush,
    installation,
    json_option,
    print_json,
    print_json_line,
    print_table,
)

if TYPE_CHECKING:
    from tieline.queue import WorkerSign
    from tieline.services.installation import Installation
    from tieline.services.overview import Line, Overview

__all__ = ["status"]

_WATCH_S = 2.0


@click.command()
@click.option("--watch", is_flag=True, help="Again every two seconds, until Ctrl-C.")
@json_option
def status(watch: bool, as_json: bool) -> None:
    """Show on one screen how everything is: connections, runs, workers, what needs you.

    What is wrong, and why, `tieline doctor` says. Exit 0 whatever the state is.
    """
    with installation() as opened:
        if not watch:
            _show(services.overview.look_over(opened), as_json=as_json)
            return
        try:
            _watch(opened, as_json=as_json)
        except KeyboardInterrupt:
            return


def _watch(opened: Installation, *, as_json: bool) -> None:
    while True:
        found = services.overview.look_over(opened)
        if as_json:
            print_json_line(_facts(found))
        else:
            if sys.stdout.isatty():
                sys.stdout.write("\x1b[H\x1b[2J")
            _show(found, as_json=False)
        flush()
        opened.clock.sleep(_WATCH_S)


def _show(found: Overview, *, as_json: bool) -> None:
    if as_json:
        print_json(_facts(found))
        return
    if found.lines:
        print_table(
            ("CONNECTION", "PROVIDER", "STATE", "LAST SYNC", "NEXT", "TROUBLE"),
            (_row(line, found.at) for line in found.lines),
        )
    else:
        sys.stdout.write("  no connection (next: tieline connect PROVIDER --name NAME)\n")
    sys.stdout.write("\n".join(f"  {line}" for line in _summary(found)) + "\n")


def _row(line: Line, now: datetime) -> tuple[object, ...]:
    said = " · ".join(filter(None, (line.trouble, line.hint)))
    return (
        line.row.name,
        line.row.provider,
        _state_words(line),
        ago(line.last_success_at, now),
        _next_words(line, now),
        said or "-",
    )


def _state_words(line: Line) -> str:
    if line.state == "running":
        return f"running ({len([r for r in line.runs if r.state == 'running'])})"
    if line.state == "retrying":
        attempt = max(run.attempt for run in line.runs if run.state == "retrying")
        return f"retrying (attempt {attempt})"
    return line.state


def _next_words(line: Line, now: datetime) -> str:
    if line.state == "running":
        return "running"
    if line.state in {"needs_reauth", "paused"}:
        return "parked"
    return "-" if line.next_at is None else _until(line.next_at, now)


def _until(time: datetime, now: datetime) -> str:
    seconds = max(0, round((time - now).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"in {seconds // size} {unit}"
    return f"in {seconds} s"


def _summary(found: Overview) -> Iterator[str]:
    if found.redis_trouble:
        yield f"workers unknown   {found.redis_trouble}"
    else:
        stuck = f", {found.stuck} parts held by one that is gone" if found.stuck else ""
        yield (
            f"workers {_alive(found.workers)}{stuck}   schedulers {_alive(found.schedulers)}"
            f"   queue {found.jobs}"
        )
    if found.paused:
        yield f"paused {', '.join(found.paused)}   tieline queue resume {found.paused[0]}"
    yield (
        f"runs {sum(len(line.runs) for line in found.lines)}"
        f"   events {sum(line.events for line in found.lines)}"
        f"   dead {found.total('dead_letters')}"
        f"   quarantine {found.total('quarantined')}"
        f"   outbox waits {found.total('operations')}"
        f"   alerts {found.alerts}"
    )


def _alive(signs: Sequence[WorkerSign] | None) -> str:
    if not signs:
        return "none alive"
    busy = sum(bool(sign.busy_with) for sign in signs)
    return f"{len(signs)} alive" + (f" ({busy} busy)" if busy else "")


def _facts(found: Overview) -> dict[str, Any]:
    return {
        "at": found.at,
        "connections": [
            {
                "id": line.row.id,
                "name": line.row.name,
                "provider": line.row.provider,
                "state": line.state,
                "last_success_at": line.last_success_at,
                "next_at": line.next_at,
                "trouble": line.trouble or None,
                "hint": line.hint or None,
                "runs": [{"id": r.id, "entity": r.entity, "state": r.state} for r in line.runs],
                "events": line.events,
                **line.waiting,
            }
            for line in found.lines
        ],
        "workers": _signs(found.workers),
        "schedulers": _signs(found.schedulers),
        "jobs": found.jobs,
        "paused_queues": found.paused,
        "stuck": found.stuck,
        "alerts": found.alerts,
        "redis_trouble": found.redis_trouble or None,
    }


def _signs(signs: Sequence[WorkerSign] | None) -> list[dict[str, Any]] | None:
    if signs is None:
        return None
    return [
        {"name": sign.name, "busy_with": sign.busy_with or None, "version": sign.version}
        for sign in signs
    ]
