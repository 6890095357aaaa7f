"""What is installed, read from package metadata; nothing is imported here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

__all__ = ["LEVELS", "PROVIDERS", "SANDBOXES", "Found", "find_plugins", "find_sandboxes"]

PROVIDERS = "tieline.providers"
SANDBOXES = "tieline.sandboxes"
LEVELS = "tieline.levels"
"""Group in which a plugin shows its level: the entry point's value is the level."""


_LEVELS = ("bronze", "silver", "gold")


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """An entry point that claims to be a provider.

    Attributes:
        name: The provider's name.
        distribution: Name of the installed distribution; empty if unknown.
        version: Its version; empty if unknown.
        entry_point: How to load it.
        level: ``bronze``, ``silver`` or ``gold``, as the plugin shows it; empty
            for none.
        holder: The other distribution that the name belongs to, or the rivals
            between which nobody decided; empty if the name is this one's.
    """

    name: str
    distribution: str
    version: str
    entry_point: EntryPoint
    level: str = ""
    holder: tuple[str, ...] = ()


def find_plugins(
    given: Iterable[EntryPoint] | None = None, pins: Mapping[str, str] | None = None
) -> list[Found]:
    """List the installed plugins by name, importing none.

    A name that several distributions claim belongs to the one that is pinned,
    else to ``tieline-<name>`` if it is among them, else to nobody; never to
    whichever came last.

    Args:
        given: Entry points to take instead of the installed ones.
        pins: Provider name to the distribution that may have it.
    """
    points = list(entry_points(group=PROVIDERS) if given is None else given)
    claims: dict[str, dict[str, EntryPoint]] = defaultdict(dict)
    for point in points:
        claims[point.name].setdefault(_distribution(point), point)
    return [
        Found(
            name=name,
            distribution=distribution,
            version=point.dist.version if point.dist else "",
            entry_point=point,
            level=_level(point),
            holder=_holder(name, distribution, set(claimants), (pins or {}).get(name, "")),
        )
        for name, claimants in sorted(claims.items())
        for distribution, point in sorted(claimants.items())
    ]


def _holder(name: str, claimant: str, claimants: set[str], pin: str) -> tuple[str, ...]:
    for owner in (pin, f"tieline-{name.replace('_', '-')}"):
        if owner in claimants:
            return () if claimant == owner else (owner,)
    return tuple(sorted(claimants - {claimant}))


def _level(point: EntryPoint) -> str:
    """Read the level that a plugin shows; empty for none, or for one that there is not."""
    shown = point.dist.entry_points.select(group=LEVELS, name=point.name) if point.dist else ()
    return next((each.value for each in shown if each.value in _LEVELS), "")


def find_sandboxes() -> dict[str, EntryPoint]:
    """List the installed sandboxes by provider, importing none."""
    return {point.name: point for point in entry_points(group=SANDBOXES)}


def _distribution(point: EntryPoint) -> str:
    return str(point.dist.name) if point.dist else point.value
