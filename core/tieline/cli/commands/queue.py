"""``tieline queue``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from tieline import services
from tieline.cli.choices import QUEUE
from tieline.cli.face import actor, ago, installation, json_option, note, print_json, print_table

if TYPE_CHECKING:
    from tieline.services.queues import Job, Queue

__all__ = ["queue"]

_TOLD_EVERY_S = 10.0


@click.group(invoke_without_command=True)
@click.pass_context
@json_option
def queue(ctx: click.Context, as_json: bool) -> None:
    """Show what waits for workers; hold it, let it go on, wait until nobody is at work."""
    if ctx.invoked_subcommand is None:
        _show(as_json=as_json)


@queue.command()
@json_option
def show(as_json: bool) -> None:
    """Show each queue: what waits and since when, what is being worked and by whom."""
    _show(as_json=as_json)


@queue.command()
@click.argument("name", default=QUEUE)
@json_option
def pause(name: str, as_json: bool) -> None:
    """Have all workers take no further job; what is under way goes on to its end.

    Kept in the database: it holds for workers that start later, and when Redis
    was emptied, until `tieline queue resume`. Webhooks are still taken in.

    Example, before a server is maintained: `tieline queue pause`, then `tieline
    queue drain --timeout 10m`
    """
    with installation() as opened:
        held = services.queues.pause_queue(opened, name, actor=actor())
    _tell(held, f"  paused    {held.name}, {_jobs(len(held.working))} under way", as_json)
    if not as_json:
        note(f"  next      tieline queue drain {held.name} (or: tieline queue resume {held.name})")


@queue.command()
@click.argument("name", default=QUEUE)
@json_option
def resume(name: str, as_json: bool) -> None:
    """Let workers take jobs again, within seconds."""
    with installation() as opened:
        freed = services.queues.resume_queue(opened, name, actor=actor())
    _tell(freed, f"  resumed   {freed.name}, {_jobs(freed.count)} waiting", as_json)


@queue.command()
@click.argument("name", default=QUEUE)
@click.option(
    "--timeout", default="5m", show_default=True, metavar="5m", help="How long: s, m, h or d."
)
@json_option
def drain(name: str, timeout: str, as_json: bool) -> None:
    """Wait until nobody is at work; unless the queue is paused, until nothing waits, too.

    Exit 0: it is so. Exit 6: it took longer; everything goes on as before. Exit
    9: database or Redis is away.
    """
    with installation() as opened:
        told_at = [opened.clock.monotonic()]

        def tell(working: int, waiting: int) -> None:
            if opened.clock.monotonic() - told_at[0] >= _TOLD_EVERY_S:
                told_at[0] = opened.clock.monotonic()
                note(f"  waiting   {_jobs(working)} under way, {waiting} waiting")

        rested = services.queues.drain_queue(opened, name, timeout=timeout, on_progress=tell)
    _tell(rested, f"  at rest   {rested.name}, {_jobs(rested.count)} waiting", as_json)


def _jobs(count: int) -> str:
    return f"{count} job{'' if count == 1 else 's'}"


def _tell(found: Queue, line: str, as_json: bool) -> None:
    if as_json:
        print_json({"queue": asdict(found)})
    else:
        note(line)


def _show(*, as_json: bool) -> None:
    with installation() as opened:
        found = services.queues.list_queues(opened)
        now = opened.clock.now()
    if as_json:
        print_json({"queues": [asdict(each) for each in found]})
        return
    print_table(
        ("QUEUE", "STATE", "WORKERS", "WAITING", "SINCE", "WORKING"),
        (
            (
                each.name,
                f"paused {ago(each.paused_at, now)} by {each.paused_by}"
                if each.paused_at
                else "open",
                each.workers,
                each.count,
                ago(each.waits_since, now),
                len(each.working),
            )
            for each in found
        ),
    )
    jobs = [
        (each.name, words, job)
        for each in found
        for words, of in (("working", each.working), ("waiting", each.waiting))
        for job in of
    ]
    if jobs:
        print_table(
            ("QUEUE", "JOB", "OF", "WORKER", "SINCE"),
            ((name, words, _of(job), job.worker, ago(job.since, now)) for name, words, job in jobs),
        )


def _of(job: Job) -> str:
    words = (job.connection, job.entity, job.run or job.what)
    return " ".join(filter(None, words))
