"""``tieline records follow`` and ``tieline records consumers``: the change feed."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

import click

from tieline import services
from tieline.cli.face import (
    actor,
    ago,
    flush,
    installation,
    json_option,
    note,
    print_json,
    print_table,
    write_line,
)

if TYPE_CHECKING:
    from tieline.services.feed import Changes, ListedConsumer

    Read = Callable[[int, bool], Changes]
    Done = Callable[[Changes], None]

__all__ = ["consumers", "follow"]

_POLL_S = 0.5
_AT_ONCE = 500


class _Ears:
    """Waits, and wakes when this process is told to stop or nobody reads any more.

    No Event: a handler that sets one which the main thread is about to wait
    for can lock up.
    """

    def __init__(self) -> None:
        self.is_told = False
        self._wake, self._bell = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._bell, False)
        self._poll = select.poll()
        self._poll.register(self._wake, select.POLLIN)
        self._stdout = self._watch_stdout()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before_fd = signal.set_wakeup_fd(self._bell, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._before_fd)
        os.close(self._wake)
        os.close(self._bell)

    def wait(self, seconds: float) -> None:
        """Wait, at most so long.

        Raises:
            BrokenPipeError: Whoever read stdout went away.
        """
        for descriptor, what in self._poll.poll(max(0.0, seconds) * 1000):
            if descriptor == self._stdout and what & (select.POLLERR | select.POLLHUP):
                raise BrokenPipeError

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        if self.is_told:  # twice: whatever it is in the middle of
            raise SystemExit(128 + number)
        self.is_told = True

    def _watch_stdout(self) -> int | None:
        try:
            descriptor = sys.stdout.fileno()
            self._poll.register(descriptor, 0)  # errors are told unasked
        except (OSError, ValueError):
            return None
        return descriptor


@click.command()
@click.argument("connection")
@click.argument("entity")
@click.option("--consumer", metavar="NAME", help="Keep the position in the database, under NAME.")
@click.option(
    "--after", type=click.IntRange(0, 2**63 - 1), help="Position to begin after [the beginning]."
)
@click.option("--once", is_flag=True, help="Leave when all that is there was written.")
@click.option("--for", "seconds", type=click.FloatRange(0), help="Leave after so many seconds.")
@click.option("--live", is_flag=True, help="Leave tombstones out.")
@click.option("--limit", type=click.IntRange(1), help="Leave after so many lines.")
@click.option("--json", "as_json", is_flag=True, hidden=True)
def follow(
    connection: str,
    entity: str,
    consumer: str | None,
    after: int | None,
    once: bool,
    seconds: float | None,
    live: bool,
    limit: int | None,
    as_json: bool,
) -> None:
    """Write changes as JSON lines in the order of their positions, and go on.

    Lines are those of `records export`: each record's last state, tombstones
    included. With --consumer the position moves on only after the lines were
    written and flushed, so each change comes at least once; one reader at a
    time, a second ends with exit code 6. Ctrl-C or SIGTERM: end with 0 after
    the lines at hand.

    Example: `tieline records follow shop customers --consumer crm | ./load`
    """
    if consumer is not None and after is not None:
        raise click.UsageError(
            "--after does not go with --consumer, which knows where it is; see: tieline records"
            " consumers reset"
        )
    if once and seconds is not None:
        raise click.UsageError("--once does not go with --for")
    with _Ears() as ears, installation() as opened:
        read, done = _reader(
            services.feed.open_feed(opened, connection, entity), consumer, after or 0
        )
        _follow(ears, read, done, is_once=once, seconds=seconds, live=live, limit=limit)


def _reader(feed: services.feed.Feed, consumer: str | None, after: int) -> tuple[Read, Done]:
    """Say how to read on, and what to do with what was written."""
    if consumer is not None:
        named = services.feed.consumer_of(feed, consumer)
        return lambda limit, live: named.read(limit=limit, with_deleted=not live), named.move_on
    position = after

    def read(limit: int, live: bool) -> Changes:
        return feed.read(position, limit=limit, with_deleted=not live)

    def move_on(changes: Changes) -> None:
        nonlocal position
        position = changes.next

    return read, move_on


def _follow(
    ears: _Ears,
    read: Read,
    done: Done,
    *,
    is_once: bool,
    seconds: float | None,
    live: bool,
    limit: int | None,
) -> None:
    until = None if seconds is None else time.monotonic() + seconds
    left, end = limit, None
    while not ears.is_told and left != 0:
        changes = read(_AT_ONCE if left is None else min(left, _AT_ONCE), live)
        for record in changes.records:
            write_line(services.records.record_line(record))
        flush()
        done(changes)
        left = left and left - len(changes.records)
        end = changes.end if end is None else end
        is_idle = changes.next == changes.after
        if is_once and (is_idle or changes.next >= end):
            return  # what changed since is for the next time
        rest = _POLL_S if until is None else until - time.monotonic()
        if rest <= 0:
            return
        ears.wait(min(rest, _POLL_S) if is_idle else 0)


@click.group()
def consumers() -> None:
    """List, reset and drop the named readers of a change feed."""


@consumers.command("list")
@click.argument("connection")
@click.argument("entity")
@json_option
def list_(connection: str, entity: str, as_json: bool) -> None:
    """List the consumers of a feed and how far each one is.

    Example: `tieline records consumers list shop customers`
    """
    with installation() as opened:
        found = services.feed.list_consumers(opened, connection, entity)
        now = opened.clock.now()
    if as_json:
        print_json({"consumers": [_facts(each) for each in found]})
        return
    if not found:
        note(f"  no consumer yet (next: tieline records follow {connection} {entity} --consumer …)")
        return
    print_table(
        ("NAME", "POSITION", "BEHIND", "MOVED"),
        (
            (each.row.name, each.row.position, each.behind, ago(each.row.updated_at, now))
            for each in found
        ),
    )


def _position(_ctx: click.Context, _param: click.Parameter, text: str) -> int | None:
    if text in {"begin", "end"}:
        return 0 if text == "begin" else None
    if text.isascii() and text.isdigit() and len(text) < 20 and int(text) < 2**63:
        return int(text)
    raise click.BadParameter(f"{text[:40]!r} is no position: begin, end or a whole number")


@consumers.command()
@click.argument("connection")
@click.argument("entity")
@click.argument("name")
@click.option(
    "--to",
    required=True,
    metavar="POS|begin|end",
    callback=_position,
    help="After which position it goes on.",
)
@json_option
def reset(connection: str, entity: str, name: str, to: int | None, as_json: bool) -> None:
    """Put a consumer to a position; make it there if there is none of that name.

    Whoever follows under this name at the moment ends with exit code 6.

    Example: `tieline records consumers reset shop customers crm --to end`
    """
    with installation() as opened:
        put = services.feed.reset_consumer(opened, connection, entity, name, to=to, actor=actor())
    if as_json:
        print_json({"consumer": _facts(put)})
    else:
        note(f"  reset     {name} to position {put.row.position}, {put.behind} behind the end")


@consumers.command()
@click.argument("connection")
@click.argument("entity")
@click.argument("name")
@json_option
def drop(connection: str, entity: str, name: str, as_json: bool) -> None:
    """Forget a consumer and its position; the records stay.

    Example: `tieline records consumers drop shop customers crm`
    """
    with installation() as opened:
        services.feed.drop_consumer(opened, connection, entity, name, actor=actor())
    if as_json:
        print_json({"dropped": {"connection": connection, "entity": entity, "name": name}})
    else:
        note(f"  dropped   the consumer {name} of {connection} {entity}")


def _facts(consumer: ListedConsumer) -> dict[str, Any]:
    row = consumer.row
    return {
        "name": row.name,
        "position": row.position,
        "behind": consumer.behind,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }
