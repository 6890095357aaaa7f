"""Say every minute that deliveries are taken, so that a time without anybody is noticed."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from tieline.engine.silence import note_served
from tieline.errors import DependencyError
from tieline.services.installation import Installation
from tieline.telemetry import get_logger

__all__ = ["ServedSign"]

_log = get_logger(__name__)
_EVERY_S = 60.0
_LEAVE_S = 2.0


class ServedSign:
    """A thread that gives the sign while a server runs, as a context.

    The first sign has what was missed read, if nobody gave one for a while.

    Args:
        installation: Where.
    """

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="served", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(_LEAVE_S)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                if asked := note_served(self._installation.engine):
                    _log.warning("deliveries were missed; runs are asked for", runs=asked)
            except DependencyError as error:
                _log.warning("a dependency is away", reason=error.message, again_in_s=_EVERY_S)
            except Exception:  # noqa: BLE001 - it is tried again
                _log.exception("a bug of ours", again_in_s=_EVERY_S)
            self._stop.wait(_EVERY_S)
