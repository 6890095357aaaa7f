"""What every sandbox has beside its provider: a clock, a script of faults, a log."""

from __future__ import annotations

from time import monotonic, time
from typing import Any

__all__ = ["Clock", "Script"]


class Clock:
    """The sandbox's own time: as real as it goes, until an order stops it or puts it ahead."""

    def __init__(self) -> None:
        self._ahead_s, self._stopped = 0.0, 0.0

    def real(self) -> float:
        """Return seconds that no order moves."""
        return monotonic()

    def now(self) -> float:
        """Return seconds since 1970."""
        return self._stopped or time() + self._ahead_s

    def order(self, given: dict[str, Any]) -> dict[str, Any]:
        """Set it, put it ahead, stop it or let it go on; never back."""
        at = max(self.now(), given.get("now", 0.0)) + max(0.0, given.get("advance_s", 0.0))
        self._ahead_s = at - time()
        is_stopped = given.get("frozen", bool(self._stopped))
        self._stopped = at if is_stopped else 0.0
        return {"now": self.now(), "frozen": is_stopped}


class Script:
    """The faults that are to happen, and what was asked so far."""

    def __init__(self) -> None:
        self._faults: list[dict[str, Any]] = []
        self._counts: list[int] = []
        self._log: list[dict[str, Any]] = []

    def order(self, faults: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
        """Take a new script; None leaves it as it is."""
        if faults is not None:
            self._faults, self._counts = faults, [0] * len(faults)
        pairs = zip(self._faults, self._counts, strict=True)
        return [{"fault": fault, "matched": count} for fault, count in pairs]

    def met(self, method: str, path: str) -> dict[str, Any]:
        """Count a request and return the fault that it meets; empty for none."""
        found: dict[str, Any] = {}
        for place, fault in enumerate(self._faults):
            asked = fault.get("path", "*")
            is_there = path.startswith(asked[:-1]) if asked.endswith("*") else path == asked
            if fault.get("method", "") in {"", method} and is_there:
                self._counts[place] += 1
                after = self._counts[place] - fault.get("nth", 1)
                times = fault.get("times", 1)
                if after >= 0 and (times == 0 or after < times):
                    found = found or fault
        return found

    def note(self, method: str, path: str, query: str, status: int) -> None:
        """Write a request into the log."""
        entry = {"method": method, "path": path, "query": query, "status": status}
        self._log.append({"number": len(self._log) + 1} | entry)

    def since(self, number: int) -> dict[str, Any]:
        """Return the log behind a number."""
        return {"total": len(self._log), "requests": self._log[number:]}
