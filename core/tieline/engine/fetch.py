"""Fetch the pages of a partition, a few ahead of the writer."""

from __future__ import annotations

import contextvars
import os
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from tieline.clock import Clock
from tieline.contract import (
    FeedPage,
    Page,
    ProviderError,
    ProviderUnavailableError,
    RetryLaterError,
)
from tieline.engine.waiting import Waiting
from tieline.failpoints import failpoint
from tieline.telemetry import span
from tieline.throttle import BREAKER_OPEN
from tieline.transport import HttpTransport

__all__ = ["MAX_PAGES", "FetchedPage", "Fetcher", "Timed", "retrying"]

T = TypeVar("T")

MAX_PAGES = 1_000_000
_TRIES = 5
_LONGEST_WAIT_S = 30.0
_FIRST_WAIT_S = 0.5
_LEAVE_S = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchedPage:
    """A page and when its call began.

    Attributes:
        page: As the plugin returned it.
        read_at: Our time just before the call that was answered, aware UTC.
        sent_at: Our time when its request left; later, if it had to wait for its turn.
        requests: Calls that were made for it.
        waited_s: Seconds for which nothing was computed for it: the provider's.
    """

    page: Page | FeedPage
    read_at: datetime
    sent_at: datetime
    requests: int
    waited_s: float = 0.0


class Fetcher:
    """Runs a page step, on a thread of its own where that saves time.

    Use it as a context manager, then iterate. A page is fetched when the one
    before it has been dealt with, until a good part of the time turns out to
    be spent waiting for the provider: then a thread fetches ahead. Where there
    is little to wait for, two threads only take the processor from each other.

    Args:
        read: ``(cursor) -> page``: the entity's step, bound to client and window.
        cursor: Where to begin.
        ahead: How many pages may be fetched, or wait, while one is written; 0: none ever.
        clock: For waits and for ``read_at``.
        wake: Cuts a wait before another try short.
        transport: Says what was sent, and when.
    """

    def __init__(
        self,
        read: Callable[[str | None], Page | FeedPage],
        *,
        cursor: str | None,
        ahead: int,
        clock: Clock,
        wake: threading.Event,
        transport: HttpTransport,
    ) -> None:
        self._read = Timed(read, clock, transport)
        self._cursor = cursor
        self._clock = clock
        self._transport = transport
        self._wake = wake
        self._stop = threading.Event()
        self._is_leaving = False
        self._ahead = ahead
        self._pages: queue.SimpleQueue[FetchedPage | BaseException | None] = queue.SimpleQueue()
        # One turn for each page that may be fetched ahead, so the pages need no bound of their own.
        self._turns: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(max(1, ahead)):
            self._turns.put(None)
        self._walk = self._walking()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._turns.put(None)
        if self._thread is not None:
            # A call may be in flight for longer: its answer finds nobody who wants it.
            self._thread.join(_LEAVE_S)

    def pages(self, *, patience_s: float) -> Iterator[FetchedPage | None]:
        """Yield the pages in order, and None whenever one takes long.

        Args:
            patience_s: Seconds between two signs of life while waiting.

        Raises:
            ProviderError: What the step raised, once its own tries were used up.
        """
        before, waiting = time.monotonic(), Waiting()
        for page in self._walk:
            yield page
            now = time.monotonic()
            waiting.add(now - before, page.waited_s)
            if self._ahead and waiting.is_long:
                yield from self._ahead_of_us(patience_s)
                return
            before = now

    def _ahead_of_us(self, patience_s: float) -> Iterator[FetchedPage | None]:
        run = contextvars.copy_context().run  # logs and spans are the run's there, too
        self._thread = threading.Thread(target=run, args=(self._run,), name="fetch", daemon=True)
        self._thread.start()
        while True:
            try:
                item = self._pages.get(timeout=patience_s)
            except queue.Empty:
                yield None
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            self._turns.put(None)  # the next is fetched while this one is written
            yield item

    def leave(self) -> None:
        """Fetch nothing more; what is fetched or under way can still be had."""
        self._is_leaving = True
        self._turns.put(None)

    def _run(self) -> None:
        try:
            for page in self._walk:
                self._pages.put(page)
            self._pages.put(None)
        except BaseException as error:  # noqa: BLE001 - handed to the writer's thread
            self._pages.put(error)

    def _walking(self) -> Iterator[FetchedPage]:
        cursor = self._cursor
        seen = {hash(cursor)}
        for _ in range(MAX_PAGES):
            if not self._has_turn():
                return
            calls = self._transport.calls_here
            began, busy = time.monotonic(), _busy_s()
            failpoint("sync.fetch.before")
            with span("page.fetch"):
                page = retrying(
                    partial(self._read, cursor), self._clock, self._wake, self._transport.may_retry
                )
            failpoint("sync.fetch.after")
            yield FetchedPage(
                page=page,
                read_at=self._read.read_at,
                sent_at=self._read.sent_at,
                requests=max(1, self._transport.calls_here - calls),
                waited_s=time.monotonic() - began - (_busy_s() - busy),
            )
            cursor = page.next
            if cursor is None:
                return
            if hash(cursor) in seen:
                raise ProviderError(
                    "the provider gave the same cursor twice: its pages never end",
                    code="cursor-loop",
                )
            seen.add(hash(cursor))
        raise ProviderError(f"the provider gave more than {MAX_PAGES:,} pages", code="cursor-loop")

    def _has_turn(self) -> bool:
        """Wait until a page may be fetched; False if none is wanted any more."""
        if self._thread is not None and not self._stop.is_set():
            self._turns.get()
        return not (self._is_leaving or self._stop.is_set())


class Timed(Generic[T]):
    """Times each attempt at a call. What went by before the last one says nothing of clocks.

    Attributes:
        read_at: Our time just before the last attempt, aware UTC.
        sent_at: Our time when its request left: later, if it had to wait for its turn.
    """

    def __init__(self, call: Callable[[Any], T], clock: Clock, transport: HttpTransport) -> None:
        self._call, self._clock, self._transport = call, clock, transport
        self.read_at = self.sent_at = clock.now()

    def __call__(self, given: Any) -> T:
        """Make the call."""
        calls, self.read_at = self._transport.calls_here, self._clock.now()
        answer = self._call(given)
        self.sent_at, sent = self.read_at, self._transport.sent_here
        if sent is not None and self._transport.calls_here == calls + 1:
            self.sent_at = self._clock.now() - timedelta(seconds=time.monotonic() - sent)
        return answer


def _busy_s() -> float:
    """Seconds for which this thread computed, or could have but for want of a processor.

    Where the machine is busy, or gives this process a part of a core, waiting
    for that would look like waiting for the provider, and more hands would
    come to wait too. Linux alone tells it.
    """
    try:
        told = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        try:
            return sum(map(int, os.read(told, 100).split()[:2])) / 1e9
        finally:
            os.close(told)
    except (OSError, ValueError):
        return time.thread_time()


def retrying(
    call: Callable[[], T],
    clock: Clock,
    stop: threading.Event,
    may_retry: Callable[[], bool] = lambda: True,
) -> T:
    """Make a call that is safe to repeat, up to five times.

    Waits as long as the provider asked, else with full jitter; a wait of more
    than 30 seconds is left to the run, which then makes room for others, and
    so is an open breaker: nobody repeats what nobody may send.

    Args:
        call: The call.
        clock: For the waits.
        stop: Cuts them short.
        may_retry: Takes one retry from the budget of the run; False if it is
            used up.

    Raises:
        RetryLaterError: The last answer, once the tries are used up.
    """
    for attempt in range(1, _TRIES + 1):
        try:
            return call()
        except RetryLaterError as error:
            if error.slug == BREAKER_OPEN:
                raise
            wait = error.retry_after
            if wait is None:
                longest = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**attempt)
                wait = random.uniform(0, longest)  # noqa: S311 - jitter, not a secret
            if attempt == _TRIES or wait > _LONGEST_WAIT_S or not may_retry():
                raise
            if clock.sleep(wait, stop):
                raise
    raise ProviderUnavailableError("no tries left")  # not reached; keeps the type whole
