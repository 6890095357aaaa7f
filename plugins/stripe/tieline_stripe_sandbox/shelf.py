"""Objects of one kind: what exists from the start, and what changed since.

An object is its index, in the order of creation. Those from the start are
functions of the seed, made when they are first looked at; an index is never
used twice. They are all older than the event log reaches back, so nothing but
what happens later has an event.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from copy import deepcopy
from importlib.resources import files
from random import Random
from typing import Any

import orjson

from tieline_stripe_sandbox.clock import BASE, Clock
from tieline_stripe_sandbox.event_log import RETENTION_S, Change, EventLog
from tieline_stripe_sandbox.history import YEARS_2

__all__ = ["SAME_SECOND", "Object", "Shelf", "official", "previous_values"]

Object = dict[str, Any]

SAME_SECOND = range(40, 160)
"""Edge case: objects with these indices were created in one second, more than a page of them."""
_LATEST = BASE - RETENTION_S - 86400


def official(schema: str) -> Object:
    """Return the official fixture of a definition."""
    examples = orjson.loads(files(__package__).joinpath("data/objects.json").read_bytes())
    value: Object = next(each["value"] for each in examples if each["schema"] == schema)
    return value


def blank(schema: str) -> Object:
    """Return the fields of the official fixture in the order of the wire, all null."""
    names = sorted(official(schema).keys() - {"id", "object"})
    return {"id": "", "object": schema, **dict.fromkeys(names)}


class Shelf(ABC):
    """All objects of one kind.

    Args:
        kind: ``object`` of each, such as ``charge``.
        count: How many exist from the start.
        seed: Chooses what they are.
        clock: The sandbox's time.
        events: Where changes are written.
    """

    created_event = ""
    """Type of the event of a new object, unless its maker names another."""

    def __init__(self, kind: str, count: int, seed: int, clock: Clock, events: EventLog) -> None:
        self.kind = kind
        self.clock = clock
        self._seed = seed
        self._seeded = count
        self._events = events
        self._objects: list[Object | None] = [None] * count
        self._deleted: set[int] = set()
        self._indices = {self.name(index): index for index in range(count)}

    @abstractmethod
    def name(self, index: int) -> str:
        """Return the id that an index has unless somebody chose another."""

    @abstractmethod
    def make(self, index: int, created: int, chance: Random) -> Object:
        """Make an object as it was when it was new; its id is :meth:`name`."""

    def __len__(self) -> int:
        """Count the indices, deleted ones included."""
        return len(self._objects)

    @property
    def live(self) -> int:
        """How many objects there are."""
        return len(self) - len(self._deleted)

    def get(self, index: int) -> Object:
        """Return an object, also a deleted one as it was last. It is not to be changed."""
        found = self._objects[index]
        if found is None:
            found = self.make(index, self.created(index), self._chance(index))
            self._objects[index] = found
        return found

    def created(self, index: int) -> int:
        """Return the second in which an object was created; it never falls as the index grows."""
        if index >= self._seeded:
            created: int = self.get(index)["created"]
            return created
        place = SAME_SECOND.start if index in SAME_SECOND else index
        start = BASE - YEARS_2
        return start + place * (_LATEST - start) // max(self._seeded, SAME_SECOND.stop)

    def find(self, name: str) -> int | None:
        """Turn an id into an index; None when no such object ever existed."""
        return self._indices.get(name)

    def is_deleted(self, index: int) -> bool:
        """Whether an object is gone."""
        return index in self._deleted

    def listed(self, low: int, high: int, *, upwards: bool) -> Iterator[int]:
        """Walk a range as lists show it; those of a test clock are not in it."""
        indices = range(low, high) if upwards else range(high - 1, low - 1, -1)
        return (index for index in indices if index not in self._deleted)

    def served(self, index: int) -> bytes:
        """Write an object as an answer shows it."""
        return self.show(self.get(index))

    def show(self, found: Object) -> bytes:
        """Write any object of this kind as answers and events show it."""
        return orjson.dumps(found)

    def add(self, fields: Mapping[str, Any], event: str | None = "") -> str:
        """Make an object.

        Args:
            fields: What differs from one that is made by chance, id included.
            event: Type of its event; empty: the usual one; None: without one.

        Returns:
            Its id.
        """
        index = len(self._objects)
        made = self.make(index, self.clock.second(), self._chance(index)) | dict(fields)
        if made["id"] in self._indices:
            raise ValueError(f"there is a {made['id']} already")
        if made["created"] < (self.created(index - 1) if index else 0):
            raise ValueError("nothing is created before what is there")
        self._objects.append(made)
        self._indices[made["id"]] = index
        if event is not None:
            self.tell(event or self.created_event, made)
        return str(made["id"])

    def change(self, index: int, fields: Mapping[str, Any], event: str | None) -> None:
        """Change an object, and tell so unless the event is None."""
        before = self.get(index)
        after = before | dict(fields)
        self._objects[index] = after
        if event is not None:
            self.tell(event, after, previous_values(before, after))

    def remove(self, index: int, event: str | None) -> None:
        """Delete an object; its last state stays in the event."""
        self._deleted.add(index)
        if event is not None:
            self.tell(event, self.get(index))

    def tell(self, kind: str, found: Object, previous: Object | None = None) -> None:
        """Write an event about an object of this kind."""
        self.tell_text(kind, self.show(found), previous)

    def tell_text(self, kind: str, text: bytes, previous: Object | None = None) -> None:
        """Write an event about any object."""
        self._events.record(
            Change(
                kind=kind,
                created=self.clock.second(),
                index=-1,
                object_text=text,
                previous=orjson.dumps(previous) if previous else None,
            )
        )

    @abstractmethod
    def happen(self, index: int, chance: Random) -> None:
        """Let something happen to an object, with the event that tells of it."""

    def pick(self, chance: Random) -> int | None:
        """Choose a live object; None when there is none."""
        live = [index for index in range(len(self)) if index not in self._deleted]
        return chance.choice(live) if live else None

    def copy(self, index: int) -> Object:
        """Return a copy of an object that may be changed."""
        return deepcopy(self.get(index))

    def _chance(self, index: int) -> Random:
        return Random(f"{self._seed}:{self.kind}:{index}")  # noqa: S311 - test data


def previous_values(before: Object, after: Object) -> Object:
    """Return the old values of what changed, as ``previous_attributes`` has them."""
    return {
        name: before.get(name) for name in before | after if before.get(name) != after.get(name)
    }
