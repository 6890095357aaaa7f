"""Lines that somebody pastes while something else is waited for."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

__all__ = ["Pasted"]

_LOOK_S = 0.2
_LONGEST = 65_536


class Pasted:
    """Hands over the lines of a terminal, as a context.

    It reads the terminal itself, past ``sys.stdin``: a thread that waits there
    holds a lock which Python wants at its end, and would not end in peace.

    Args:
        terminal: Its file descriptor.
        on_line: Called with each line that is not empty, one at a time.
    """

    def __init__(self, terminal: int, on_line: Callable[[str], None]) -> None:
        self._terminal = terminal
        self._on_line = on_line
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join(2 * _LOOK_S)

    def _read(self) -> None:
        text = b""
        while not self._end.is_set():
            if not select.select([self._terminal], [], [], _LOOK_S)[0]:
                continue
            try:
                got = os.read(self._terminal, 4096)
            except OSError:  # the terminal is gone
                return
            if not got:
                return
            *lines, text = (text + got)[-_LONGEST:].splitlines(keepends=True) or [b""]
            if text.endswith((b"\n", b"\r")):
                lines, text = [*lines, text], b""
            for line in lines:
                if plain := line.decode(errors="replace").strip():
                    self._on_line(plain)
