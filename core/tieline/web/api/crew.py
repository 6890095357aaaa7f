"""A few threads that answer: the event loop waits for no database, and nobody for ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from starlette.responses import Response

from tieline.web.api.problems import Problem

__all__ = ["Crew"]

_WAITING_PER_THREAD = 8


class Crew:
    """Threads that work on calls; some wait for each thread, and who is one more is sent away.

    Args:
        name: What the threads are called.
        size: How many there are.
    """

    def __init__(self, name: str, size: int) -> None:
        self._threads = ThreadPoolExecutor(size, name)
        self._most = size * (1 + _WAITING_PER_THREAD)
        self._lock = threading.Lock()
        self._under_way = 0

    async def answer(self, work: Callable[[], Response], deadline_s: float) -> Response:
        """Have a call answered in a thread.

        Args:
            work: Answers.
            deadline_s: Seconds after which nobody waits for it any more.

        Raises:
            Problem: Too many are under way, or it takes too long.
        """
        waited_for = asyncio.shield(asyncio.wrap_future(self._begin(work)))
        try:
            return await asyncio.wait_for(waited_for, deadline_s)
        except TimeoutError:
            raise Problem(
                503,
                "deadline",
                f"this was not done within {deadline_s:g} s, and may be done still",
                hint="look whether it was; with an Idempotency-Key it is safe to ask again",
                headers={"Retry-After": "5"},
            ) from None

    def _begin(self, work: Callable[[], Response]) -> Future[Response]:
        if self._under_way >= self._most:
            raise Problem(
                503,
                "busy",
                "too many calls are under way",
                hint="ask again in a second",
                headers={"Retry-After": "1"},
            )
        with self._lock:
            self._under_way += 1
        future = self._threads.submit(work)
        future.add_done_callback(self._is_done)
        return future

    def _is_done(self, _future: Future[Response]) -> None:
        with self._lock:
            self._under_way -= 1
