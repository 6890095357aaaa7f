"""A scheduler: takes the ticks that are due, sleeps until the next, goes on after outages."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

from tieline import __version__
from tieline.engine import this_worker
from tieline.engine.silence import drop_handled_events, look_after_endpoints
from tieline.engine.tick import MOST_AT_ONCE, tick
from tieline.engine.upkeep import look_after_grants
from tieline.errors import DependencyError
from tieline.jobs.messengers import tell_alerts
from tieline.queue import WorkerSign
from tieline.services.alerts import new_lookout
from tieline.services.installation import Installation
from tieline.services.pulse import Pulse
from tieline.store import schedules
from tieline.telemetry import get_logger

__all__ = ["schedule"]

_log = get_logger(__name__)
_LONGEST_SLEEP_S = 5.0
_SHORTEST_SLEEP_S = 0.1
_FIRST_BACKOFF_S = 0.5
_LONGEST_BACKOFF_S = 15.0
_POLL_S = 0.5
_LEAVE_WITHIN_S = 0.7
_STORE_S = 2.0
_LOOK_AFTER_S = 300.0
_SIGN_S = 5 * _LONGEST_SLEEP_S


def schedule(installation: Installation, *, parent: int | None = None) -> None:
    """Take ticks until SIGTERM or SIGINT; leave within a second, whatever hangs.

    One that is in the middle of renewing tokens ends that first, for an answer
    that nobody stores may be a lost grant; the same signal twice ends it all
    the same. A scheduler that loses the database or Redis goes on when they
    are back.

    Args:
        installation: Where.
        parent: Leave as well once this process is no longer the parent.

    Raises:
        SettingsError: The database's schema is not the code's, or the settings of
            alerts make no sense.
        DependencyError: At the start, the database or Redis is away.
    """
    _ = installation.engine, installation.redis
    lookout = new_lookout(installation)
    # A handler may do little: an Event that the main thread waits for can lock up in it.
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()

    def leave(number: int, _frame: FrameType | None) -> None:
        signals.put(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    _log.info("the scheduler is ready")
    stop = threading.Event()
    loop = threading.Thread(target=_loop, args=(installation, stop), name="ticks", daemon=True)
    loop.start()
    # A thread of its own: a provider that is slow to renew tokens must hold up no tick.
    keeper = threading.Thread(
        target=_look_after, args=(installation, stop, _keep_grants), name="upkeep", daemon=True
    )
    keeper.start()
    # Nobody waits for this one: whatever it is in the middle of may be cut short.
    threading.Thread(
        target=_look_after, args=(installation, stop, _tidy_inbox), name="inbox", daemon=True
    ).start()
    life = threading.Thread(target=_show_life, args=(installation, stop), name="life", daemon=True)
    life.start()
    # And another: whoever is told of an alert may be slow, too.
    threading.Thread(
        target=tell_alerts, args=(lookout, installation.clock, stop), daemon=True
    ).start()
    seen: set[int] = set()
    while loop.is_alive() and (parent is None or os.getppid() == parent):
        try:
            seen.add(signals.get(timeout=_POLL_S))
        except queue.Empty:
            continue
        break
    stop.set()
    # What it is in the middle of is one transaction: cut short, it was never begun.
    loop.join(_LEAVE_WITHIN_S)
    life.join(_SHORTEST_SLEEP_S)
    until = time.monotonic() + 2 * installation.settings.token_deadline_s + _STORE_S
    while keeper.is_alive() and time.monotonic() < until and not _insists(signals, seen):
        keeper.join(_SHORTEST_SLEEP_S)


def _insists(signals: queue.SimpleQueue[int], seen: set[int]) -> bool:
    """Say whether a signal came twice; Ctrl-C comes from the terminal, and then from `up`."""
    while not signals.empty():
        number = signals.get()
        if number in seen:
            return True
        seen.add(number)
    return False


def _keep_grants(installation: Installation, stop: threading.Event) -> None:
    """Keep grants alive that nobody uses."""
    look_after_grants(installation.engine, stop)


def _tidy_inbox(installation: Installation, stop: threading.Event) -> None:
    """Look for endpoints that fell silent; forget events that were handled long ago."""
    look_after_endpoints(installation.engine)
    drop_handled_events(installation.engine, stop)


def _look_after(
    installation: Installation,
    stop: threading.Event,
    work: Callable[[Installation, threading.Event], None],
) -> None:
    """Do some upkeep every so often."""
    wait_s = 0.0
    while not installation.clock.sleep(wait_s, stop):
        wait_s = _LOOK_AFTER_S
        try:
            work(installation, stop)
        except DependencyError as error:
            _log.warning("a dependency is away", reason=error.message, again_in_s=wait_s)
        except Exception:  # noqa: BLE001 - it is tried again
            _log.exception("a bug of ours", again_in_s=wait_s)


def _loop(installation: Installation, stop: threading.Event) -> None:
    clock = installation.clock
    pulse = Pulse(installation.settings.home, "scheduler")
    backoff_s = _FIRST_BACKOFF_S
    wait_s = 0.0
    while not clock.sleep(wait_s, stop):
        pulse.beat()
        try:
            wait_s = _take_ticks(installation, stop)
            backoff_s = _FIRST_BACKOFF_S
        except DependencyError as error:
            _log.warning("a dependency is away", reason=error.message, again_in_s=backoff_s)
            wait_s, backoff_s = backoff_s, min(backoff_s * 2, _LONGEST_BACKOFF_S)
        except Exception:  # noqa: BLE001 - the other schedules must go on
            _log.exception("a bug of ours", again_in_s=_LONGEST_BACKOFF_S)
            wait_s = _LONGEST_BACKOFF_S
    pulse.stop()


def _show_life(installation: Installation, stop: threading.Event) -> None:
    """Say every few seconds that this scheduler lives, and at its end that it leaves.

    A thread of its own: a Redis that hangs must hold up no tick.
    """
    sign = WorkerSign(name=this_worker(), queues=(), busy_with="", version=__version__)
    wait_s = 0.0
    while not installation.clock.sleep(wait_s, stop):
        wait_s = _LONGEST_SLEEP_S
        try:
            installation.schedulers.announce(sign, ttl_s=_SIGN_S)
        except DependencyError:
            pass  # whoever needs Redis tells of it
    try:
        installation.schedulers.withdraw(sign.name)
    except DependencyError:
        pass  # it vanishes by itself


def _take_ticks(installation: Installation, stop: threading.Event) -> float:
    """Take what is due; return the seconds until there may be more."""
    if tick(installation.engine, stop) == MOST_AT_ONCE:
        return 0.0
    with installation.database.read() as connection:
        due_at = schedules.next_due_at(connection)
    if due_at is None:
        return _LONGEST_SLEEP_S
    wait_s = (due_at - installation.clock.now()).total_seconds()
    return min(max(wait_s, _SHORTEST_SLEEP_S), _LONGEST_SLEEP_S)
