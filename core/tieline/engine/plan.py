"""Decide what a run really reads, and say why where it is not what was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from tieline.contract import Entity, Feed
from tieline.errors import RefusedError
from tieline.store.connections import EntityState

__all__ = ["MODES", "Part", "RunPlan", "is_out_of_reach", "make_plan"]

MODES = ("incremental", "full", "window", "verify", "repair", "push")
_SAFETY = timedelta(hours=1)

Range = tuple[datetime | None, datetime | None]


@dataclass(frozen=True, slots=True)
class Part:
    """What one partition reads.

    Attributes:
        source: ``list`` or ``feed``; ``outbox`` where records are written.
        window: Start, included, and end, excluded.
    """

    source: str
    window: Range = (None, None)


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run does.

    Attributes:
        mode: What it is.
        reason: Why, if something else was asked for.
        part: Where it begins.
        may_split: Whether idle hands may cut windows up.
    """

    mode: str
    reason: str
    part: Part
    may_split: bool


def make_plan(
    mode: str, entity: Entity, state: EntityState | None, *, window: Range, now: datetime
) -> RunPlan:
    """Plan a run.

    Args:
        mode: One of :data:`MODES`.
        entity: What is read, or with ``push`` written.
        state: How far it is; None if it was never synced.
        window: For mode ``window``: what to read.
        now: Aware UTC.

    Raises:
        RefusedError: A window was asked for, and the provider's list has none.
    """
    if mode == "push":
        return RunPlan(mode, "", Part("outbox"), may_split=False)
    may_split = entity.windows is not None and bool(entity.windows.order)
    if mode == "window":
        if entity.windows is None:
            raise RefusedError(
                f"the list of {entity.name} cannot be bounded by time",
                hint="leave --since and --until away to read all of it",
                code="no-windows",
            )
        return RunPlan(mode, "", Part("list", window), may_split)
    if mode != "incremental":
        return RunPlan(mode, "", Part("list"), may_split)
    reason = _why_full(entity, state, now)
    if reason or entity.feed is None or state is None or state.synced_until is None:
        return RunPlan("full", reason, Part("list"), may_split)
    since = state.synced_until - entity.feed.overlap
    return RunPlan(mode, "", Part("feed", (since, None)), may_split=False)


def _why_full(entity: Entity, state: EntityState | None, now: datetime) -> str:
    if entity.feed is None:
        return f"the provider keeps no log of changes of {entity.name}, so everything is read"
    if state is None or state.synced_until is None:
        return "nothing was synced to its end yet, so everything is read"
    if entity.feed.retention is None:
        return ""
    if is_out_of_reach(entity.feed, state.synced_until - entity.feed.overlap, now):
        return (
            f"the log of changes reaches back {entity.feed.retention.days} days and the last"
            f" sync is from {state.synced_until:%Y-%m-%d %H:%M} UTC, so everything is read"
        )
    return ""


def is_out_of_reach(feed: Feed, since: datetime, now: datetime) -> bool:
    """Say whether a log of changes may have forgotten some of what happened since then."""
    return feed.retention is not None and now - since > feed.retention - _SAFETY
