"""HTTP/1.1 as uvicorn speaks it, for callers who take their time.

uvicorn bounds how long a connection is idle after an answer, and nothing before
the first request, or within the head of one: whoever opens a thousand
connections and says little would keep all others out. Nor does it bound how
long an answer waits for who asked for it and does not take it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["PunctualProtocol"]

_SLOWEST_HEAD_S = 10.0
_STUCK_S = 30.0


class PunctualProtocol(H11Protocol):
    """Ends a connection whose other end neither asks in time nor takes its answer."""

    _deadline: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take what came; once a request is under way, its body has a time of its own."""
        super().data_received(data)
        if self._is_under_way:
            self._rest()

    def on_response_complete(self) -> None:
        """Wait for the next request, or for what is left of a body that nobody read."""
        super().on_response_complete()
        self._rest()
        if not self._is_under_way:  # none had come already
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        super().connection_lost(exc)
        self._rest()
        self._flow()

    def pause_writing(self) -> None:
        """Look from now on whether anything is taken."""
        super().pause_writing()
        self._look_again_below(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Stop looking: most was taken."""
        super().resume_writing()
        self._flow()

    @property
    def is_awaited(self) -> bool:
        """Whether a request has yet to come: the first, or the rest of one that has begun."""
        return self.cycle is None or (not self._is_under_way and bool(self.conn.trailing_data[0]))

    @property
    def is_at_rest(self) -> bool:
        """Whether it was answered, and nothing came since."""
        return not self.is_awaited and not self._is_under_way

    @property
    def _is_under_way(self) -> bool:
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete

    def _wait(self) -> None:
        self._deadline = self.loop.call_later(_SLOWEST_HEAD_S, self.transport.close)

    def _rest(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _look_again_below(self, left: int) -> None:
        def look() -> None:
            now = self.transport.get_write_buffer_size()
            if now < left:
                self._look_again_below(now)
            else:
                self.transport.abort()  # to close would wait for what is left

        self._stuck = self.loop.call_later(_STUCK_S, look)

    def _flow(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None
