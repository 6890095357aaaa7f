"""Read the headers that every provider writes, in all their forms."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache

from tieline.contract.values import Reply

__all__ = ["LONGEST_RETRY_AFTER_S", "as_of", "links_of", "retry_after"]

LONGEST_RETRY_AFTER_S = 900.0

# A target in angle brackets, then parameters, whose values may hold commas in quotes.
_LINK = re.compile(r'<([^<>]*)>((?:[^,"<]|"(?:[^"\\]|\\.)*")*)')
_PARAMETER = re.compile(r';\s*([^\s=;,"]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;,"]*)')


def as_of(reply: Reply) -> datetime | None:
    """Tell from when an answer is at the latest, in the provider's own clock.

    Args:
        reply: Any answer.

    Returns:
        Its ``Date`` less the call's duration, in whole seconds, aware UTC;
        None if there is no usable ``Date``.
    """
    sent = _date(reply.headers.get("date", ""))
    if sent is None:
        return None
    return (sent - timedelta(seconds=min(reply.seconds, 3600))).replace(microsecond=0)


def links_of(reply: Reply) -> Mapping[str, str]:
    """Read ``Link``, in which many lists name their next page.

    Args:
        reply: Any answer.

    Returns:
        Relation, in lower case, to target as it is written: ``{"next": "/things?page=2"}``.
        Of several targets of one relation the first counts.

    Source:
        RFC 8288, 3.
    """
    found: dict[str, str] = {}
    for target, parameters in _LINK.findall(reply.headers.get("link", "")):
        named = {name.lower(): text for name, text in reversed(_PARAMETER.findall(parameters))}
        for word in named.get("rel", "").strip('"').lower().split():
            found.setdefault(word, target.strip())
    return found


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read ``Retry-After``, given in seconds or as a date.

    Args:
        headers: Of the answer; names in any case.

    Returns:
        Seconds from 0 to 900, larger ones cut; None if there is none or it
        makes no sense.

    Source:
        RFC 9110, 10.2.3.
    """
    named = {name.lower(): text for name, text in headers.items()}
    text = named.get("retry-after", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        until, now = _date(text), _date(named.get("date", "")) or datetime.now(UTC)
        if until is None:
            return None
        seconds = max(0.0, (until - now).total_seconds())
    if not math.isfinite(seconds) or seconds < 0:
        return None
    return min(seconds, LONGEST_RETRY_AFTER_S)


@lru_cache(maxsize=64)  # the answers of one second have the same
def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
