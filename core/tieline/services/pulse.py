"""A sign of life for whoever supervises processes on one machine: a file that is touched.

A file and not Redis: a worker that lost Redis waits for it, and is not to be killed for that.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tieline.errors import NotFoundError
from tieline.telemetry import get_logger

__all__ = ["FRESH_S", "ROLES", "Beat", "Pulse", "Role", "require_pulse"]

Role = Literal["worker", "scheduler"]
ROLES: Sequence[Role] = ("worker", "scheduler")

FRESH_S = 90.0
"""Seconds for which a sign holds: longer than any pause between two tries of what is away."""

_log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Beat:
    """One living process of this machine.

    Attributes:
        pid: Its number.
        age_s: Seconds since its last sign.
    """

    pid: int
    age_s: float


class Pulse:
    """What one process says of itself, as a file that vanishes when it leaves.

    Args:
        home: The installation's folder.
        role: What it is.
    """

    def __init__(self, home: Path, role: Role) -> None:
        self._file = _folder(home) / f"{_prefix(role)}{os.getpid()}"
        self._is_told = False

    def beat(self) -> None:
        """Say that this process goes on; a folder that cannot be written to is told of once."""
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file.touch(mode=0o600)
            os.utime(self._file)
        except OSError as error:
            if not self._is_told:
                self._is_told = True
                _log.warning(
                    "no sign of life can be left: `tieline health` finds none",
                    folder=str(self._file.parent),
                    reason=error.strerror,
                )

    def stop(self) -> None:
        """Say that this process leaves."""
        try:
            self._file.unlink(missing_ok=True)
        except OSError:
            pass  # it is told by its process that is gone


def require_pulse(home: Path, role: Role) -> list[Beat]:
    """Return the processes of a role that live on this machine, each with a fresh sign.

    One that left without a word, as a killed one does, is none any more.

    Raises:
        NotFoundError: There is none; or one lives that gives no sign.
    """
    found = _beats(home, role)
    if not found:
        raise NotFoundError(
            f"no {role} of this machine gives a sign of life",
            hint=f"tieline {role}",
            code="no-pulse",
        )
    late = [each for each in found if each.age_s > FRESH_S]
    if late:
        raise NotFoundError(
            f"the {role} {late[0].pid} of this machine gave its last sign of life"
            f" {late[0].age_s:.0f} s ago",
            hint="start it anew",
            code="no-pulse",
        )
    return found


def _beats(home: Path, role: Role) -> list[Beat]:
    prefix, now, found = _prefix(role), time.time(), []
    try:
        entries = list(os.scandir(_folder(home)))
    except OSError:
        return []
    for entry in entries:
        text = entry.name.removeprefix(prefix)
        if text == entry.name or not text.isdecimal() or not _is_alive(int(text)):
            continue
        try:
            found.append(Beat(pid=int(text), age_s=max(0.0, now - entry.stat().st_mtime)))
        except FileNotFoundError:
            continue  # it left at this very moment
    return sorted(found, key=lambda each: each.pid)


def _folder(home: Path) -> Path:
    return home / "alive"


def _prefix(role: Role) -> str:
    """Name the machine too: containers may share the folder, and all have a process 1."""
    return f"{role}-{socket.gethostname()}-"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True  # somebody else's, whom no signal of ours reaches
    return True
