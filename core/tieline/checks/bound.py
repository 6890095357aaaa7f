"""Give up what hangs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["bounded"]


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Give up what takes longer, where no other alarm is set and this is the main thread.

    Args:
        seconds: The most that it may take.

    Raises:
        TimeoutError: In the middle of whatever was at work.
    """
    is_free = threading.current_thread() is threading.main_thread() and not any(
        signal.getitimer(signal.ITIMER_REAL)
    )
    if not is_free:
        yield
        return

    def ring(_number: int, _frame: object) -> None:
        raise TimeoutError(f"it took longer than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
