"""What becomes of events that could not be handled: they wait, or are given up."""

from __future__ import annotations

import random
import traceback
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from tieline.contract import ProviderError, RateLimitedError, RetryLaterError, TielineError
from tieline.errors import KeyUnavailableError, WorkerLostError
from tieline.telemetry import tellable
from tieline.throttle import BREAKER_OPEN

__all__ = ["Fate", "fate_of", "is_wide"]

_FIRST_PAUSE_S = 2.0
_LONGEST_PAUSE_S = 900.0
# With the pauses growing to a quarter of an hour, about three days: as long as
# providers themselves go on to deliver.
_MOST_WAITS = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class Fate:
    """What becomes of the events of one record.

    Attributes:
        code: Stable slug of the error.
        message: Its words, fit to be shown.
        due_at: When they are tried again; None: they are given up.
        dead_kind: Whose fault it is: of the provider and its data, ``theirs``,
            or of Tieline, a plugin or the settings, ``ours``.
    """

    code: str
    message: str
    due_at: datetime | None
    dead_kind: Literal["theirs", "ours"]


def fate_of(error: Exception, *, attempts: int, most_attempts: int, now: datetime) -> Fate:
    """Decide what becomes of events that met an error.

    Args:
        error: What they met.
        attempts: How often they failed before.
        most_attempts: How often a fault of ours is tried in all.
        now: Aware UTC.
    """
    is_passing = isinstance(error, (RetryLaterError, KeyUnavailableError))
    is_theirs = isinstance(error, ProviderError)
    if is_passing:
        may_wait = attempts + 1 < _MOST_WAITS
    else:  # what the provider refuses is not better the next time, nor is what kills
        is_final = is_theirs or isinstance(error, WorkerLostError)
        may_wait = not is_final and attempts + 1 < most_attempts
    code, message = _told(error)
    return Fate(
        code=code,
        message=message,
        due_at=now + _pause(error, attempts) if may_wait else None,
        dead_kind="theirs" if is_theirs else "ours",
    )


def _pause(error: Exception, attempts: int) -> timedelta:
    asked = getattr(error, "retry_after", None)
    if asked is None:
        longest = min(_FIRST_PAUSE_S * 2 ** min(attempts, 10), _LONGEST_PAUSE_S)
        asked = random.uniform(longest / 2, longest)  # noqa: S311 - jitter, not a secret
    return timedelta(seconds=min(max(asked, 0.1), _LONGEST_PAUSE_S))


def _told(error: Exception) -> tuple[str, str]:
    if isinstance(error, TielineError):
        return error.slug, tellable(error.message)
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
    return "bug", f"{where}: this is a fault of Tieline's"


def is_wide(error: Exception) -> bool:
    """Say whether an error is of the whole connection: other records would meet it too."""
    is_open = isinstance(error, RetryLaterError) and error.slug == BREAKER_OPEN
    return is_open or isinstance(error, (KeyUnavailableError, RateLimitedError))
