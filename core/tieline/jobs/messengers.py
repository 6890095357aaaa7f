"""Have alerts told: by a thread of a scheduler, by a child of a worker."""

from __future__ import annotations

import threading
import time

from tieline.clock import Clock
from tieline.errors import DependencyError
from tieline.jobs.children import Child
from tieline.services.alerts import Lookout, is_anything_to_tell, new_lookout
from tieline.services.installation import Installation
from tieline.telemetry import get_logger

__all__ = ["NAME", "ForkedMessenger", "tell_alerts"]

NAME = "tie-messenger"
"""What ``ps`` calls the child, on Linux; at most 15 characters."""

_log = get_logger(__name__)
_LOOK_S = 1.0
_AFTER_TROUBLE_S = 15.0
_LOOK_ROUND_S = 60.0
_CHILD_S = 60


def tell_alerts(lookout: Lookout, clock: Clock, stop: threading.Event) -> None:
    """Watch limits and tell alerts, every second, until ``stop`` is set."""
    wait_s = 0.0
    while not clock.sleep(wait_s, stop):
        try:
            lookout.look(stop)
            wait_s = _LOOK_S
        except DependencyError as error:
            _log.warning("a dependency is away", reason=error.message, again_in_s=_AFTER_TROUBLE_S)
            wait_s = _AFTER_TROUBLE_S
        except Exception:  # noqa: BLE001 - the next alert must be told all the same
            _log.exception("a bug of ours", again_in_s=_AFTER_TROUBLE_S)
            wait_s = _AFTER_TROUBLE_S


class ForkedMessenger:
    """Tells alerts in a child process, one at a time, for a minute at most.

    Args:
        installation: Where.

    Raises:
        SettingsError: The settings of alerts make no sense.
    """

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._lookout = new_lookout(installation)
        self._child = Child(NAME, longest_s=_CHILD_S)
        self._looked_at = -_LOOK_ROUND_S

    def send(self) -> None:
        """Start a child if there is something to tell; look after the one that is under way.

        Raises:
            DependencyError: Database or Redis does not answer.
        """
        if self._child.is_under_way():
            return
        now = time.monotonic()
        is_time = now - self._looked_at > _LOOK_ROUND_S
        if not is_time and not is_anything_to_tell(self._installation):
            return
        self._looked_at = now
        self._child.start(self._lookout.look)
