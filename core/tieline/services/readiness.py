"""Say whether this process could do its work right now, without telling a secret."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tieline.contract import TielineError
from tieline.coordination import ping
from tieline.services.installation import Installation
from tieline.store.schema import require_current

__all__ = ["Part", "look"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One thing that is needed.

    Attributes:
        name: ``database``, ``schema``, ``redis`` or ``key``.
        is_ready: Whether it is there.
        code: The slug of what is wrong; empty if nothing is.
    """

    name: str
    is_ready: bool
    code: str = ""


def look(installation: Installation) -> list[Part]:
    """Look at all that is needed; one thing that is away hides no other."""
    looks: dict[str, Callable[[], object]] = {
        "database": lambda: _ask(installation),
        "schema": lambda: require_current(installation.raw_database),
        "redis": lambda: ping(installation.redis),
        "key": lambda: installation.vault,
    }
    return [_part(name, each) for name, each in looks.items()]


def _ask(installation: Installation) -> None:
    with installation.raw_database.read() as transaction:
        transaction.exec_driver_sql("SELECT 1")


def _part(name: str, each: Callable[[], object]) -> Part:
    try:
        each()
    except TielineError as error:
        return Part(name=name, is_ready=False, code=error.slug)
    return Part(name=name, is_ready=True)
