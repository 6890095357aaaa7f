"""Objects of one kind: as they are, and as the lists show them a little later."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tieline_square_sandbox.clock import Clock
from tieline_square_sandbox.times import micros, whole_ms

__all__ = ["Copy", "Object", "Shelf"]

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Copy:
    """An object as it was at some time.

    Attributes:
        id: Its id, or a name of our own for one that was planted without.
        value: As it is served. Never changed: a change is another copy.
        created: Microseconds since 1970.
        updated: The same.
    """

    id: str
    value: Object
    created: int
    updated: int

    @property
    def is_deleted(self) -> bool:
        """Whether it is a tombstone."""
        return self.value.get("is_deleted") is True


class Shelf:
    """All objects of one kind of one seller.

    Args:
        clock: The sandbox's.
        delay_s: How long a change takes to reach lists and searches. An object
            that is asked for by its id is always as it is.
    """

    def __init__(self, clock: Clock, delay_s: float = 0.0) -> None:
        self._clock = clock
        self._delay_s = delay_s
        self._true: dict[str, Copy] = {}
        self._index: dict[str, Copy] = {}
        self._late: deque[tuple[float, str, Copy | None]] = deque()
        self._nameless = 0

    def __iter__(self) -> Iterator[Copy]:
        return iter(list(self._true.values()))

    def find(self, name: str) -> Copy | None:
        """Return an object as it is; None if there is none."""
        return self._true.get(name)

    def put(self, value: Object, *, is_indexed: bool = False) -> str:
        """Add or replace an object; return its id.

        Args:
            value: Served as given, odd as it may be.
            is_indexed: Lists show it at once.
        """
        name = value.get("id")
        if not isinstance(name, str) or not name:
            self._nameless += 1
            name = f"?{self._nameless}"
        now = whole_ms(self._clock.now())
        updated = micros(value.get("updated_at"))
        updated = now if updated is None else updated
        created = micros(value.get("created_at"))
        copy = Copy(name, value, updated if created is None else created, updated)
        self._true[name] = copy
        self._tell(name, copy, 0.0 if is_indexed else self._delay_s)
        return name

    def remove(self, name: str) -> None:
        """Let an object be gone without a trace; ValueError if there is none."""
        if self._true.pop(name, None) is None:
            raise ValueError(f"there is no {name!r}")
        self._tell(name, None, self._delay_s)

    def indexed(self) -> list[Copy]:
        """Return the objects as lists and searches know them now."""
        now = self._clock.now()
        while self._late and self._late[0][0] <= now:
            _, name, copy = self._late.popleft()
            self._set(name, copy)
        return list(self._index.values())

    def _tell(self, name: str, copy: Copy | None, delay_s: float) -> None:
        if delay_s:
            self._late.append((self._clock.now() + delay_s, name, copy))
        else:
            self._set(name, copy)

    def _set(self, name: str, copy: Copy | None) -> None:
        if copy is None:
            self._index.pop(name, None)
        else:
            self._index[name] = copy
