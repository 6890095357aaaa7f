"""What an error says of a write that was tried: did it happen, and what comes next?"""

from __future__ import annotations

from typing import Literal

from tieline.contract import (
    ConflictError,
    InvalidRecordError,
    NeedsReauthError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitedError,
    RecordNotFoundError,
    RequestRejectedError,
    RetryLaterError,
)
from tieline.errors import PluginError

__all__ = ["Fate", "fate_of"]

Fate = Literal["later", "stop", "conflict", "gone", "dead", "unknown"]
"""``later``: nothing was done, send it again later. ``stop``: nothing was done, and nothing
of this entity can be. ``conflict``, ``gone``: the record is another one, or none, by now.
``dead``: the provider refuses it. ``unknown``: it may have been done."""


def fate_of(error: Exception, *, was_sent: bool) -> Fate:
    """Say what follows from an error of a step that writes.

    Only an error by which the provider says that it did nothing is believed;
    whatever else is raised after a request had left leaves the outcome open,
    a bug of the plugin that reads the answer among them.

    Args:
        error: What the step raised, or returned for one operation of a batch.
        was_sent: A request left this process.
    """
    if isinstance(error, RateLimitedError):
        return "later"
    if isinstance(error, (NeedsReauthError, PermissionDeniedError)):
        return "stop"
    if isinstance(error, ConflictError):
        return "conflict"
    if isinstance(error, RecordNotFoundError):
        return "gone"
    if isinstance(error, (InvalidRecordError, RequestRejectedError)):
        return "dead"
    if was_sent or isinstance(error, OutcomeUnknownError):
        return "unknown"
    if isinstance(error, RetryLaterError):
        return "later"
    return "dead" if isinstance(error, PluginError) else "stop"
