"""Bring copies in: compare, read again what is doubtful, write. There is no other way in.

Pages of lists and logs and the events of webhooks all go through here, so that
whatever races with whatever is judged by the same order of truth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from tieline.contract import ProviderUnavailableError
from tieline.errors import Overtaken
from tieline.records import Draft, PageWriter, Plan

__all__ = ["bring_in"]

T = TypeVar("T")
_MOST_OVERTAKEN = 10


def bring_in(
    writer: PageWriter,
    draft: Draft,
    *,
    now: Callable[[], int],
    settle: Callable[[Sequence[str]], int],
    write: Callable[[Plan, int], T],
) -> T:
    """Bring a draft in, again and again while somebody else writes its records.

    Args:
        writer: Of the entity.
        draft: The copies; what is read again is put into it.
        now: The provider's present time, as a rank.
        settle: ``(keys) -> calls``: puts in the draft what the provider says of
            these records now, by :meth:`~tieline.records.PageWriter.settle`, or
            takes a record out of it; returns how many calls that took.
        write: ``(plan, calls)``: one transaction; :class:`Overtaken` undoes it.

    Returns:
        What ``write`` returned.

    Raises:
        ProviderUnavailableError: The same records kept being changed by others.
    """
    calls = 0
    plan = writer.compare(draft, now=now())
    for _ in range(_MOST_OVERTAKEN):
        if plan.asks:
            calls += settle(plan.asks)
        else:
            try:
                return write(plan, calls)
            except Overtaken:
                pass  # somebody else wrote one of its records meanwhile
        plan = writer.compare(draft, now=now())
    raise ProviderUnavailableError(
        "the same records kept being changed by somebody else", code="overtaken"
    )
