"""How often the suite tries what takes seconds a time, and how often the soak lane does."""

from __future__ import annotations

import os

__all__ = ["SOAK", "chances"]

SOAK = os.environ.get("TIELINE_SOAK") == "1"
"""Whether this is the lane of ``./tie soak``: everything, as often as it was promised."""


def chances(*, suite: int, soak: int) -> int:
    """Choose a number of tries."""
    return soak if SOAK else suite
