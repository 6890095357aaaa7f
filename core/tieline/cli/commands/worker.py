"""``tieline worker``, ``up`` and ``down``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import rich_click as click

from tieline.cli.commands.serve import DEFAULT_PORT
from tieline.cli.face import installation, json_option, note, print_json
from tieline.errors import InvalidInputError
from tieline.queue import QUEUE
from tieline.services import setup
from tieline.services.views import refresh_views

__all__ = ["down", "up", "worker"]

_LEAVE_WITHIN_S = 40.0  # it leaves within a second, unless it waits for tokens


@click.command()
@click.option("--burst", is_flag=True, help="Leave when nothing is left to do.")
@click.option("--queues", default=QUEUE, show_default=True, help="Queues, separated by commas.")
def worker(burst: bool, queues: str) -> None:
    """Do the jobs. Any number of workers may run, on any machine.

    SIGTERM or Ctrl-C once: finish the page at hand, give its lease back and
    leave; twice: leave at once. Whatever a killed worker left is taken up
    again when its lease lapses.
    """
    from tieline.jobs.worker import work  # noqa: PLC0415 - RQ takes a while to import

    names = [name.strip() for name in queues.split(",") if name.strip()]
    if not names:
        raise InvalidInputError("--queues names no queue", hint=f"--queues {QUEUE}")
    with installation(is_service=True) as opened:
        refresh_views(opened)
        work(opened, queues=names, is_burst=burst)


@click.command()
@click.option(
    "--port",
    default=DEFAULT_PORT,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Where webhooks and browsers are answered; 0 takes a free one.",
)
def up(port: int) -> None:
    """Run all that one box needs: Valkey, database, a worker, a scheduler, `tieline serve`.

    Makes the installation if there is none. Ctrl-C stops all but the embedded
    Valkey, which goes on until `tieline down`.
    """
    from tieline.jobs.worker import work  # noqa: PLC0415 - RQ takes a while to import

    with installation(is_service=True) as opened:
        made = setup.initialise(opened)
        _ = opened.redis
        note(f"  home      {made.home}")
        note(f"  database  {made.database}, schema {made.revision}")
        refresh_views(opened)
        with _beside("scheduler"), _beside("serve", "--port", str(port)):
            note("  worker    ready, with a scheduler and a server beside it; Ctrl-C stops all")
            note("  next      in another terminal: tieline connect stripe --name shop")
            work(opened, queues=[QUEUE])


@contextmanager
def _beside(*command: str) -> Iterator[None]:
    """Run a further command of ours that ends with this process, however that ends.

    A process and no thread: the worker forks, and a fork must not find a
    database connection of SQLite's in use.
    """
    process = subprocess.Popen(  # noqa: S603 - our own command line
        [sys.executable, "-m", "tieline", *command, "--parent", str(os.getpid())],
        stdin=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(_LEAVE_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@click.command()
@json_option
def down(as_json: bool) -> None:
    """Stop the embedded Valkey of this installation. No data is lost."""
    with installation() as opened:
        was_running = not opened.settings.redis_url and opened.embedded.stop()
    if as_json:
        print_json({"stopped": was_running})
    else:
        note("  stopped" if was_running else "  nothing was running")
