"""How much memory a process has, so that one that grew too large can make way for a fresh one."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["resident_mb"]


def resident_mb(pid: int) -> float:
    """Return what a process has in memory, in megabytes; 0 where that cannot be known.

    Pages that it shares with the worker that forked it count too. Read from
    ``/proc``: outside Linux it is always 0.
    """
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1_000_000
