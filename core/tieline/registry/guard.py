"""Load a plugin on a thread of its own, so that what it does meanwhile stays its own affair.

A plugin that hangs is left behind. One that would end the process, start a
thread or move the working directory is kept from it, and told of. This is for
mistakes: code that means harm finds other ways.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from tieline.errors import PluginLoadError
from tieline.registry.found import Found

__all__ = ["guarded", "place_of"]

T = TypeVar("T")

_TURN = threading.Lock()  # what is kept from one thread is put back before it is from another
_KEPT: tuple[tuple[Any, str, str], ...] = (
    (os, "_exit", "ends the process"),
    (os, "abort", "ends the process"),
    (os, "chdir", "changes the working directory"),
    (threading.Thread, "start", "starts a thread"),
)


def guarded(found: Found, load: Callable[[], T], *, within_s: float) -> T:
    """Load a plugin, and wait for it no longer than that.

    Args:
        found: Which; for messages.
        load: Imports it and asks its hooks; may raise anything.
        within_s: Seconds that it may take.

    Raises:
        PluginLoadError: It hangs, or did what no plugin may while it is loaded.
        BaseException: Whatever ``load`` raised.
    """
    loading = _Loading(load, f"load {found.name}")
    with _TURN, _kept_from(loading, found) as met:
        loading.start()
        loading.join(within_s)
    if loading.is_alive():
        place = _place(_stack_of(loading), found)
        loading.give_up()
        raise PluginLoadError(
            f"{found.distribution} is not loaded after {within_s:g} s: it hangs at {place}",
            hint=f"take what waits out of it, or leave it out: {_leave_out(found)}",
        )
    if met:
        what, place = met[0]
        raise PluginLoadError(
            f"{found.distribution} {what} while it is loaded, at {place}",
            hint=f"move it into the function that needs it, or leave it out: {_leave_out(found)}",
        )
    if loading.error is not None:
        raise loading.error
    return loading.made[0]


def place_of(error: BaseException, found: Found) -> str:
    """Return ``file:line`` of the deepest line of a plugin that an exception came through."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}:{error.lineno}"
    return _place(traceback.extract_tb(error.__traceback__), found)


def _place(frames: Sequence[traceback.FrameSummary], found: Found) -> str:
    """Find the deepest line that is the plugin's own; the deepest of all if none is."""
    package = found.entry_point.value.partition(":")[0].partition(".")[0]
    names = {package, f"{package}.py"}
    own = [frame for frame in frames if names & set(Path(frame.filename).parts)] or frames[-1:]
    if not own:
        return package
    path = Path(own[-1].filename)
    return f"{path.parent.name}/{path.name}:{own[-1].lineno}"


def _stack_of(thread: threading.Thread) -> Sequence[traceback.FrameSummary]:
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - documented, for this use
    return traceback.extract_stack(frame) if frame is not None else []


def _leave_out(found: Found) -> str:
    return f"TIELINE_PROVIDERS_DISABLED={found.name}"


class _Loading(threading.Thread, Generic[T]):
    """The thread that loads one plugin."""

    def __init__(self, load: Callable[[], T], name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._load = load
        self.made: list[T] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.made.append(self._load())
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
            self.error = error

    def give_up(self) -> None:
        """Ask it to end at its next line, lest it counts on a processor for ever."""
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(self.ident or 0), ctypes.py_object(SystemExit)
        )


@contextmanager
def _kept_from(loading: threading.Thread, found: Found) -> Iterator[list[tuple[str, str]]]:
    """Refuse to one thread what no plugin may do while it is loaded, and note it."""
    met: list[tuple[str, str]] = []

    def kept(original: Callable[..., Any], what: str) -> Callable[..., Any]:
        @functools.wraps(original)
        def refuse(*given: Any, **named: Any) -> Any:
            if threading.current_thread() is not loading:
                return original(*given, **named)
            met.append((what, _place(traceback.extract_stack()[:-1], found)))
            raise PermissionError(f"a plugin that is being loaded {what}")

        return refuse

    before = [(where, name, getattr(where, name)) for where, name, _ in _KEPT]
    for where, name, what in _KEPT:
        setattr(where, name, kept(getattr(where, name), what))
    try:
        yield met
    finally:
        for where, name, original in before:
            setattr(where, name, original)
