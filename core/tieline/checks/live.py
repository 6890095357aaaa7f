"""Look at what a provider sends today: the first page of each entity, beside its schema."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tieline.checks.bound import bounded
from tieline.checks.drift import Compared, compare_records
from tieline.checks.record import Recorder
from tieline.checks.subject import Subject
from tieline.contract import Entity, NeedsReauthError, RetryLaterError, TielineError

__all__ = ["MOST_S", "Look", "look_at_each"]

MOST_S = 60.0
"""The most seconds that a provider and a plugin have for one page."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What came of looking at one entity.

    Attributes:
        entity: Its name.
        compared: Its first page beside its schema; None: it could not be read.
        is_all: Whether the provider has no more than that page.
        error: Why it could not be read; None if it could.
    """

    entity: str
    compared: Compared | None = None
    is_all: bool = False
    error: TielineError | None = None

    @property
    def fits(self) -> bool:
        """Whether it was read, and no record would be quarantined."""
        return self.compared is not None and not self.compared.quarantined

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values; the error is left to whoever tells it."""
        found = self.compared
        return {
            "entity": self.entity,
            "records": found.count if found else 0,
            "is_all": self.is_all,
            "quarantined": found.quarantined if found else 0,
            "where": found.where if found else "",
            "drift": [each.as_dict() for each in found.drift] if found else [],
        }


def look_at_each(
    subject: Subject, recorder: Recorder, entities: Sequence[Entity]
) -> Iterator[Look]:
    """Read the first page of each entity; nothing is stored, and nothing written there.

    It ends early where the others would meet the same: the credential is refused,
    or the provider is away.

    Args:
        subject: The plugin; importable.
        recorder: The account, open.
        entities: Which, in this order.
    """
    for entity in entities:
        look = _look_at(subject, recorder, entity)
        yield look
        if isinstance(look.error, (NeedsReauthError, RetryLaterError)):
            return


def _look_at(subject: Subject, recorder: Recorder, entity: Entity) -> Look:
    try:
        with bounded(MOST_S):
            page = recorder.first_page(entity)
    except TielineError as error:
        return Look(entity=entity.name, error=error)
    return Look(
        entity=entity.name,
        compared=compare_records(subject, entity, page.records),
        is_all=page.next is None,
    )
