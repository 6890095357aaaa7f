"""What RQ calls. A job is a wake-up: it names a run or a connection, and nothing else."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

from rq import get_current_job

from tieline.engine import Engine, drain_events, mourn, this_worker
from tieline.engine import help_run as work_on
from tieline.errors import DependencyError
from tieline.queue import ASKED_IN
from tieline.services.installation import Installation
from tieline.store import grants
from tieline.telemetry import flush_traces, get_logger

__all__ = ["drain", "help_run", "use"]

_log = get_logger(__name__)
_LOOK_S = 0.2
_GIVE_BACK_S = 4.0
_HUNG = 70  # EX_SOFTWARE
_stop = threading.Event()
_installation: Installation | None = None


def use(installation: Installation) -> None:
    """Let the jobs of this process and of its forks work on an installation."""
    global _installation  # noqa: PLW0603 - RQ calls plain functions, and forks inherit this
    _installation = installation


def stop_on(*numbers: int) -> None:
    """Leave at the next page when one of these signals comes, whatever is under way.

    Python runs a handler between two steps of the main thread, and to wait for one's
    turn to write in SQLite is one step of up to half a minute. So the kernel's side of it
    tells a thread, which is awake meanwhile.
    """
    ear, mouth = socket.socketpair()
    mouth.settimeout(0)
    for number in numbers:
        signal.signal(number, lambda _number, _frame: _stop.set())
    signal.set_wakeup_fd(mouth.detach(), warn_on_full_buffer=False)

    def listen() -> None:
        while told := ear.recv(64):  # to the end: the kernel's side complains if nobody reads
            if set(told).intersection(numbers):
                _stop.set()

    threading.Thread(target=listen, name="signals", daemon=True).start()


def leave_with_parent(poll_s: float = 1.0) -> None:
    """Leave at the next page once the worker that forked this process is gone."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent and not _stop.wait(poll_s):
            pass
        _stop.set()

    threading.Thread(target=watch, name="parent", daemon=True).start()


def leave_in_time(patience_s: float = 7.0) -> None:
    """Leave without the page at hand if its call takes longer than a leaving process may.

    Whatever is committed stays; the leases are given back if the database takes
    that, the rest is read again. New tokens that are on their way are waited for:
    where the old ones are used up by then, nobody could ask for them again.
    """

    def watch() -> None:
        _stop.wait()
        time.sleep(patience_s)
        if _installation is not None:
            giving = threading.Thread(target=_give_back, args=(_installation,), daemon=True)
            giving.start()
            giving.join(_GIVE_BACK_S)  # else the leases lapse by themselves
            with contextlib.suppress(DependencyError):
                _let_tokens_be_stored(_installation)
        flush_traces()
        os._exit(0)

    threading.Thread(target=watch, name="leave", daemon=True).start()


def _give_back(installation: Installation) -> None:
    with contextlib.suppress(DependencyError):
        mourn(installation.engine, this_worker(), has_died=False)


def _let_tokens_be_stored(installation: Installation) -> None:
    until = time.monotonic() + 3 * installation.settings.token_deadline_s
    while time.monotonic() < until:
        with installation.database.read() as connection:
            if not grants.is_asking(connection, this_worker(), installation.clock.now()):
                return
        time.sleep(_LOOK_S)


def help_run(run_id: str) -> None:
    """Lend a hand to a run; see :func:`tieline.engine.help_run`."""
    installation = _installation or Installation()
    with _traced() as asked_in:
        work_on(_alone(installation.engine), run_id, _stop, asked_in=asked_in)


def drain(connection_id: str) -> None:
    """Handle a connection's events; see :func:`tieline.engine.drain_events`."""
    installation = _installation or Installation()
    with contextlib.suppress(DependencyError):  # it is rung again later than need be, at worst
        installation.doorbell.note_heard(connection_id)
    with _traced() as asked_in:
        drain_events(_alone(installation.engine), connection_id, _stop, asked_in=asked_in)


def _alone(engine: Engine) -> Engine:
    """Let this work-horse end if its job hangs: the worker mourns it, and takes the next one."""
    return replace(engine, give_up=_give_up)


def _give_up() -> None:
    _log.error("a job hangs; its process ends")
    flush_traces()
    os._exit(_HUNG)


@contextlib.contextmanager
def _traced() -> Iterator[str]:
    """Tell in which trace this job was asked for; send its spans, for a work-horse just ends."""
    job = get_current_job()
    asked_in = job.meta.get(ASKED_IN, "") if job is not None else ""
    try:
        yield asked_in if isinstance(asked_in, str) else ""
    finally:
        flush_traces()
