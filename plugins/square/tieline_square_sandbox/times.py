"""Times as Square writes and reads them: RFC 3339, in whatever form it likes today.

Fractional digits vary (none, three, nine) and so does the zone, so texts cannot
be compared. Inside they are whole microseconds since 1970, full milliseconds.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from tieline_square_sandbox.answers import bad_request

__all__ = ["DAY", "micros", "read_time", "whole_ms", "write_time"]

DAY = 86_400_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EAST = timezone(timedelta(hours=1))


def whole_ms(seconds: float) -> int:
    """Turn seconds since 1970 into microseconds, cut to a full millisecond."""
    return int(seconds * 1000) * 1000


def write_time(time: int, form: int = 0) -> str:
    """Write a time; ``form`` picks how, from 0 to 3."""
    at = _EPOCH + timedelta(microseconds=time)
    if form == 1 and at.microsecond == 0:
        return at.strftime("%Y-%m-%dT%H:%M:%SZ")
    if form == 2:
        return at.strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"
    if form == 3:
        return at.astimezone(_EAST).isoformat(timespec="milliseconds")
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def micros(text: object) -> int | None:
    """Read a time; None for what is none."""
    try:
        at = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    if at is None or at.tzinfo is None:
        return None
    return (at - _EPOCH) // timedelta(microseconds=1)


def read_time(text: object, field: str) -> int | None:
    """Read a parameter; None if it was left out.

    Raises:
        RefusedError: 400 for what is no time.
    """
    if text is None or text == "":
        return None
    if (time := micros(text)) is None:
        raise bad_request(f"Invalid RFC 3339 timestamp {text!r}.", "INVALID_TIME", field)
    return time
