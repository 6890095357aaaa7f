"""What a process that stays spares itself, and those that it forks."""

from __future__ import annotations

import gc

__all__ = ["spare_what_is_there"]


def spare_what_is_there() -> None:
    """Leave what was imported by now out of all collections to come.

    A collection goes through all of it, for a tenth of a second. Nobody is
    answered meanwhile; and a forked process copies every page that it touches.
    """
    gc.collect()
    gc.freeze()
