"""``tieline worker``, ``up`` and ``down``."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from tieline import services
from tieline.cli.choices import QUEUE
from tieline.cli.commands.serve import DEFAULT_PORT, lent_socket, refuse_address_beside
from tieline.cli.face import installation, json_option, note, print_json
from tieline.errors import InvalidInputError
from tieline.telemetry import get_logger

__all__ = ["down", "up", "worker"]

_log = get_logger(__name__)
_FIRST_PAUSE_S = 0.5
_LONG_LIFE_S = 30.0
_LEAVE_WITHIN_S = 40.0  # it leaves within a second, unless it waits for tokens


@click.command()
@click.option("--burst", is_flag=True, help="Leave when nothing is left to do.")
@click.option("--queues", default=QUEUE, show_default=True, help="Queues, separated by commas.")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 64),
    help="Parts of one run that are read at once, in place of TIELINE_HANDS.",
)
@click.option(
    "--max-jobs", type=click.IntRange(min=1), help="Leave after so many jobs, for a fresh process."
)
def worker(burst: bool, queues: str, concurrency: int | None, max_jobs: int | None) -> None:
    """Do the jobs. Any number of workers may run, on any machine.

    SIGTERM or Ctrl-C once: finish the page at hand, give its lease back and
    leave; twice: leave at once. Whatever a killed worker left is taken up
    again when its lease lapses.
    """
    from tieline.jobs.worker import work

    names = [name.strip() for name in queues.split(",") if name.strip()]
    if not names:
        raise InvalidInputError("--queues names no queue", hint=f"--queues {QUEUE}")
    with installation(is_service=True, given={"TIELINE_HANDS": concurrency}) as opened:
        services.views.refresh_views(opened)
        work(opened, queues=names, is_burst=burst, most_jobs=max_jobs)


@click.command()
@click.option(
    "--port",
    default=DEFAULT_PORT,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Where webhooks and browsers are answered; 0 takes a free one.",
)
@lent_socket
def up(port: int, fd: int | None) -> None:
    """Run all that one box needs: Valkey, database, a worker, a scheduler, `tieline serve`.

    Makes the installation if there is none, and starts again what dies. Ctrl-C
    stops all but the embedded Valkey, which goes on until `tieline down`.
    """
    refuse_address_beside(fd)
    from tieline.jobs.worker import work

    with installation(is_service=True) as opened:
        made = services.setup.initialise(opened)
        _ = opened.redis
        note(f"  home      {made.home}")
        note(f"  database  {made.database}, schema {made.revision}")
        services.views.refresh_views(opened)
        serve = ("serve", "--port", str(port)) if fd is None else ("serve", "--fd", str(fd))
        with _beside("scheduler") as scheduler, _beside(*serve, lent=fd) as server:
            note("  worker    ready, with a scheduler and a server beside it; Ctrl-C stops all")
            note("  next      in another terminal: tieline connect stripe --name shop")

            def look() -> None:
                scheduler.look()
                server.look()

            work(opened, queues=[QUEUE], on_sweep=look)


class _Beside:
    """A further command of ours that ends with this process, however that ends.

    A process and no thread: the worker forks, and a fork must not find a
    database connection of SQLite's in use.
    """

    def __init__(self, command: tuple[str, ...], lent: int | None) -> None:
        self._command = command
        self._lent = () if lent is None else (lent,)
        self._pause_s = _FIRST_PAUSE_S
        self._start()

    def _start(self) -> None:
        ours = [sys.executable, "-m", "tieline", *self._command, "--parent", str(os.getpid())]
        self._process = subprocess.Popen(  # noqa: S603 - our own
            ours, stdin=subprocess.DEVNULL, pass_fds=self._lent
        )
        self._started = time.monotonic()

    def look(self) -> None:
        """Start it again if it died, with growing pauses if it keeps dying."""
        code = self._process.poll()
        if code is None:
            return
        lived_s = time.monotonic() - self._started
        if lived_s > _LONG_LIFE_S:
            self._pause_s = _FIRST_PAUSE_S
        if lived_s < self._pause_s:
            return
        _log.warning("a process died and is started again", what=self._command[0], exit_code=code)
        self._pause_s = min(2 * self._pause_s, _LONG_LIFE_S)
        self._start()

    def stop(self) -> None:
        """Have it leave, and see that it does."""
        self._process.terminate()
        try:
            self._process.wait(_LEAVE_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def _beside(*command: str, lent: int | None = None) -> Iterator[_Beside]:
    """Run a further command until the end of this context; lend it a socket, if there is one."""
    process = _Beside(command, lent)
    try:
        yield process
    finally:
        process.stop()


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
