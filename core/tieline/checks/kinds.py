"""What a check is, and what comes of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

__all__ = [
    "CHECKS",
    "LEVELS",
    "Check",
    "DoesNotApplyError",
    "Finding",
    "Level",
    "State",
    "WrongError",
    "check",
    "levels_up_to",
]

Level = Literal["bronze", "silver", "gold"]
LEVELS: tuple[Level, ...] = get_args(Level)
"""From the lowest to the highest; each holds those before it."""

State = Literal["passed", "failed", "exempt", "not applicable", "not made"]
Needs = Literal["", "plugin", "sandbox"]


class WrongError(Exception):
    """A check found something.

    Args:
        what: What is wrong, in one sentence.
        where: ``file:line`` in the plugin, or what there is to look at.
        do: What to do about it; empty for the check's own advice.
    """

    def __init__(self, what: str, *, where: str = "", do: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.do = do


class DoesNotApplyError(Exception):
    """There is nothing that a check could look at; says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One promise of a plugin, and how it is looked after.

    Attributes:
        name: Stable slug, as in exemptions and in the reference.
        level: The lowest level that asks for it.
        proves: What holds if it passes, in one sentence.
        do: What to do if it fails.
        needs: ``plugin``: it has to load; ``sandbox``: it has to have one that
            answers; empty: neither.
        run: Is handed a :class:`~tieline.checks.case.Case`; returns if all is well.
    """

    name: str
    level: Level
    proves: str
    do: str
    needs: Needs
    run: Callable[[Any], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What one check came to.

    Attributes:
        check: Which.
        state: ``exempt`` for one that failed, and has a written reason; ``not made``
            where an earlier one has to pass first.
        what: What is wrong, or why there was nothing to look at.
        where: ``file:line`` in the plugin.
        do: What to do.
        seconds: How long it took.
    """

    check: Check
    state: State
    what: str = ""
    where: str = ""
    do: str = ""
    seconds: float = 0.0

    def as_dict(self) -> Mapping[str, Any]:
        """Return it as plain values."""
        return {
            "name": self.check.name,
            "level": self.check.level,
            "state": self.state,
            "what": self.what,
            "where": self.where,
            "do": self.do,
            "seconds": round(self.seconds, 3),
        }


CHECKS: dict[str, Check] = {}
"""Every check by name, in the order in which they are made."""


def check(
    name: str, level: Level, proves: str, *, do: str, needs: Needs = "sandbox"
) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Make a function a check; see :class:`Check`."""

    def add(run: Callable[[Any], None]) -> Callable[[Any], None]:
        CHECKS[name] = Check(name=name, level=level, proves=proves, do=do, needs=needs, run=run)
        return run

    return add


def levels_up_to(level: Level | None) -> tuple[Level, ...]:
    """Return a level and those below it; all of them for None."""
    return LEVELS if level is None else LEVELS[: LEVELS.index(level) + 1]
