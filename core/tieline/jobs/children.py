"""A child process that does one thing and ends, beside a worker that may wait for nobody."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

from tieline.errors import DependencyError
from tieline.telemetry import flush_traces, get_logger

__all__ = ["Child"]

_log = get_logger(__name__)


class Child:
    """One child at a time.

    A worker may wait for nobody, since it would count as lost; and may have no
    thread, since it forks for every job.

    Args:
        name: What ``ps`` calls it, on Linux; at most 15 characters.
        longest_s: After so many seconds it is ended.
    """

    def __init__(self, name: str, *, longest_s: int) -> None:
        self._name = name
        self._longest_s = longest_s
        self._pid: int | None = None

    def is_under_way(self) -> bool:
        """Say whether the child is at work; one that ended is cleared away."""
        if self._pid is None:
            return False
        try:
            found, _ = os.waitpid(self._pid, os.WNOHANG)
        except ChildProcessError:  # somebody else has waited for it
            found = self._pid
        if found:
            self._pid = None
        return not found

    def start(self, work: Callable[[], object]) -> None:
        """Fork a child that does some work, and leaves without what Python does at its end."""
        self._pid = os.fork() or self._be_it(work)

    def _be_it(self, work: Callable[[], object]) -> int:
        try:
            _name_this_process(self._name)
            signal.alarm(self._longest_s)  # the parent may be gone by then
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
                signal.signal(number, signal.SIG_DFL)
            work()
        except DependencyError as error:
            _log.warning("a child gave up", child=self._name, reason=error.message)
        except BaseException:  # noqa: BLE001 - nothing of the parent's may run here
            _log.exception("a bug of ours", child=self._name)
        finally:
            try:
                flush_traces()
            finally:
                os._exit(0)


def _name_this_process(name: str) -> None:
    """Let people tell it from a work-horse."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name)
