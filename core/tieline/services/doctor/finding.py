"""What one look found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from tieline.contract import TielineError

__all__ = ["MOST_NAMED", "Finding", "listed"]

MOST_NAMED = 5
"""How many things of a kind are named before the others are only counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What one look found.

    Attributes:
        subject: What was looked at.
        level: ``ok``, ``warn`` (works, but) or ``fail``.
        message: One sentence.
        fix: What to do, as a command where there is one.
        code: Stable slug that `tieline help` explains; empty if all is well.
        repair: Does what ``fix`` says, where that is safe; None: a person has to.
    """

    subject: str
    level: Literal["ok", "warn", "fail"]
    message: str
    fix: str = ""
    code: str = ""
    repair: Callable[[], object] | None = None

    @classmethod
    def ok(cls, subject: str, message: str) -> Self:
        """Say that all is well."""
        return cls(subject=subject, level="ok", message=message)

    @classmethod
    def of(cls, subject: str, error: TielineError) -> Self:
        """Say what stopped a look."""
        return cls(
            subject=subject, level="fail", message=error.message, fix=error.hint, code=error.slug
        )


def listed(names: Sequence[str]) -> str:
    """Name the first few of many, and count the others."""
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
