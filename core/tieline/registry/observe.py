"""Call an observer hook on every plugin, each in its own guard."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tieline.registry.load import Plugin
from tieline.telemetry import get_logger

__all__ = ["Observers"]

_log = get_logger(__name__)


class Observers:
    """The observers of this process; threads may share it.

    A guard is a thread: what an observer raises ends there, and one that hangs
    is left behind in it. Its plugin is passed over until it is done, so that
    no more than one thread hangs for a plugin.
    """

    def __init__(self) -> None:
        self._busy: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()

    def call(
        self, plugins: Iterable[Plugin], hook: str, given: Mapping[str, Any], *, within_s: float
    ) -> list[str]:
        """Call a hook on every plugin that has it, all at once, and wait for them.

        Args:
            plugins: Those that work.
            hook: Name of the observer.
            given: Its arguments.
            within_s: Seconds that they may take, together.

        Returns:
            Names of the plugins that were passed over or did not come back;
            one that raised has been called.
        """
        with self._lock:
            begun = [
                (plugin.name, self._begin(plugin, hook, given))
                for plugin in plugins
                if getattr(plugin.hook, hook).get_hookimpls()
            ]
        until = time.monotonic() + within_s
        missed = []
        for name, thread in begun:
            if thread is not None:
                thread.join(max(0.0, until - time.monotonic()))
            if thread is None or thread.is_alive():
                _log.warning("an observer hangs", plugin=name, hook=hook, is_new=thread is not None)
                missed.append(name)
        return missed

    def _begin(
        self, plugin: Plugin, hook: str, given: Mapping[str, Any]
    ) -> threading.Thread | None:
        """Start one call; None if the plugin still hangs in an earlier one."""
        known = self._busy.get(plugin.name)
        if known is not None and known.is_alive():
            return None
        thread = threading.Thread(
            target=_guarded, args=(plugin, hook, given), name=f"{hook} {plugin.name}", daemon=True
        )
        self._busy[plugin.name] = thread
        thread.start()
        return thread


def _guarded(plugin: Plugin, hook: str, given: Mapping[str, Any]) -> None:
    try:
        getattr(plugin.hook, hook)(**given)
    except BaseException as error:  # noqa: BLE001 - even SystemExit is this plugin's own affair
        place = traceback.extract_tb(error.__traceback__)[-1]
        _log.error(
            "an observer raised",
            plugin=plugin.found.distribution,
            hook=hook,
            error=type(error).__name__,
            at=f"{Path(place.filename).name}:{place.lineno}",
        )
