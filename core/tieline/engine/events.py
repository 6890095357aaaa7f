"""What an event asks for: a change of a record, a run of its entity, or nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tieline.contract import Change, Entity, parse_json
from tieline.registry import Plugin
from tieline.store.drains import PendingEvent

__all__ = ["Bundle", "Sorted", "sort_events"]

_CLOCKS_DIFFER = timedelta(minutes=5)


@dataclass(slots=True)
class Bundle:
    """The events of one entity.

    Attributes:
        entity: The entity.
        objects: Events of each record that can be brought in, in the order of arrival.
        unread: Events that tell only that something changed, where no record of
            the entity can be read alone: a run finds what it was.
    """

    entity: Entity
    objects: dict[str, list[PendingEvent]] = field(default_factory=dict)
    unread: list[PendingEvent] = field(default_factory=list)

    def changes(self, keys: Iterable[str]) -> list[Change]:
        """Return what the events of some records tell.

        Raises:
            ProviderUnavailableError: A snapshot is no JSON, which nobody stores.
        """
        return [change_of(event, key, self.entity) for key in keys for event in self.objects[key]]


@dataclass(slots=True)
class Sorted:
    """A batch of events, by what they ask for.

    Attributes:
        bundles: By entity.
        ignored: Events about nothing that is kept in step.
    """

    bundles: dict[str, Bundle] = field(default_factory=dict)
    ignored: list[PendingEvent] = field(default_factory=list)


def sort_events(events: Iterable[PendingEvent], plugin: Plugin) -> Sorted:
    """Sort events by entity and record."""
    found = Sorted()
    for event in events:
        entity = plugin.entities.get(event.entity or "")
        if entity is None or event.type not in entity.events:
            found.ignored.append(event)
            continue
        bundle = found.bundles.setdefault(entity.name, Bundle(entity))
        if event.record_key is None or not _can_be_brought_in(event, entity):
            bundle.unread.append(event)
        else:
            bundle.objects.setdefault(event.record_key, []).append(event)
    return found


def _can_be_brought_in(event: PendingEvent, entity: Entity) -> bool:
    """Whether it holds what became of its record, or that can be asked for."""
    action = entity.events[event.type]
    return (
        entity.get is not None
        or action == "delete"
        or (action == "upsert" and event.record is not None)
    )


def change_of(event: PendingEvent, key: str, entity: Entity) -> Change:
    """Say what an event tells of its record; without a record it is read again.

    A snapshot or deletion of no known time has no place in the order of truth,
    unless the provider's own version gives it one: it is read again where that
    can be done, else it is of when it came.
    """
    action, told_at = entity.events[event.type], _time_of(event)
    at = told_at or event.received_at
    has_place = told_at is not None or entity.get is None
    if action == "delete":
        return Change(key=key, at=at, is_deleted=has_place)
    is_told = action == "upsert" and event.record is not None
    if not is_told or not (has_place or entity.version is not None):
        return Change(key=key, at=at)
    assert event.record is not None  # is_told
    return Change(key=key, at=at, record=parse_json(event.record))


def _time_of(event: PendingEvent) -> datetime | None:
    """Return when it happened; a time to come is none, and would outrank all that comes."""
    at = event.occurred_at
    return None if at is None or at > event.received_at + _CLOCKS_DIFFER else at
