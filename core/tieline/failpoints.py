"""Named places where a test may kill, raise, stop or slow this process.

Unset, a place costs one look at an empty dictionary. ``TIELINE_FAILPOINTS``
sets them, ``name=action@n`` separated by semicolons: the action happens at
the n-th passage, at the first if no ``n`` is given. Actions are ``kill``
(SIGKILL), ``killall`` (the parent too), ``stop`` (SIGSTOP), ``raise``
(:class:`Crash`) and ``sleep:SECONDS``.
"""

from __future__ import annotations

import os
import signal
import threading
import time

from tieline.contract.errors import SettingsError

__all__ = ["NAMES", "Crash", "failpoint", "set_failpoints"]

NAMES = frozenset(
    {
        "sync.claim.after",
        "sync.split.before_commit",
        "sync.fetch.before",
        "sync.fetch.after",
        "sync.page.before_commit",
        "sync.page.after_commit",
        "sync.finish.before_commit",
        "sync.finish.after_commit",
        "auth.refresh.before_call",
        "auth.refresh.after_reply",
        "auth.refresh.after_commit",
        "push.claim.after_commit",
        "push.send.before",
        "push.send.after",
        "push.end.before_commit",
        "push.end.after_commit",
        "schedule.tick.before_commit",
        "schedule.tick.after_commit",
        "alert.deliver.before",
        "alert.deliver.after",
        "inbox.accept.before_commit",
        "inbox.accept.after_commit",
        "inbox.drain.before_commit",
        "inbox.drain.after_commit",
        "move.before_commit",
        "move.after_commit",
    }
)
_ACTIONS = frozenset({"kill", "killall", "stop", "raise", "sleep"})
_armed: dict[str, tuple[str, int]] = {}


class Crash(BaseException):
    """A process that dies, for tests that stay in one process."""


def set_failpoints(text: str) -> None:
    """Arm failpoints; an empty text disarms all.

    Raises:
        SettingsError: A name or an action is unknown.
    """
    _armed.clear()
    for part in filter(None, text.split(";")):
        name, _, rest = part.partition("=")
        action, _, count = rest.partition("@")
        if name not in NAMES or action.split(":")[0] not in _ACTIONS:
            raise SettingsError(f"TIELINE_FAILPOINTS: there is no failpoint {part!r}")
        _armed[name] = (action, int(count or 1))


def failpoint(name: str) -> None:
    """Pass a named place."""
    if _armed and name in _armed:
        _pass(name)


def _pass(name: str) -> None:
    action, left = _armed[name]
    if left > 1:
        _armed[name] = (action, left - 1)
        return
    del _armed[name]
    if action == "raise":
        raise Crash(name)
    if action.startswith("sleep:"):
        time.sleep(float(action.removeprefix("sleep:")))
        return
    if action == "stop":
        # Sent to the process, another thread may take it, and this one would pass meanwhile.
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        return
    if action == "killall":
        os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
