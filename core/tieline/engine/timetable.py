"""When a schedule's ticks are: every N, or cron in a time zone, each with its jitter. No I/O.

A tick's time is a function of the schedule alone, never of when the last one
was noticed: so nothing drifts, two schedulers agree, and the next tick after
any moment can be told, whichever way the clock was moved.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from hashlib import blake2b
from itertools import islice, pairwise
from typing import Protocol
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from tieline.errors import InvalidInputError, nearest

__all__ = [
    "Cron",
    "Every",
    "Rule",
    "Timetable",
    "default_jitter_s",
    "find_zone",
    "read_duration_s",
    "read_rule",
    "require_jitter",
]

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]{1,12}) ?([smhd])")
_LEAST_S = 10
_MOST_S = 3660 * 86400
_LONGEST_RULE = 120  # as long as the column
_LONGEST_DEFAULT_JITTER_S = 60
_SHOWN = 60
_GAPS = 40  # more than a month of a daily rule, and both changes of the clocks of an hourly one
_EXAMPLE = "for example: every 15m, or with --cron: '30 3 * * *'"


class Rule(Protocol):
    """When ticks are, before their jitter."""

    @property
    def text(self) -> str:
        """The rule as it is stored; :func:`read_rule` reads it again."""
        ...

    def gap_s(self) -> int:
        """Return the least number of seconds between two ticks."""
        ...

    def after(self, time: datetime, anchor: datetime) -> Iterator[datetime]:
        """Yield the ticks after a time, aware UTC, whole seconds."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Every:
    """A tick every so many seconds, counted from an anchor."""

    seconds: int

    @property
    def text(self) -> str:
        """The rule in its largest whole unit."""
        unit = next(unit for unit in "dhms" if self.seconds % _SECONDS[unit] == 0)
        return f"every {self.seconds // _SECONDS[unit]}{unit}"

    def gap_s(self) -> int:
        """Return the interval."""
        return self.seconds

    def after(self, time: datetime, anchor: datetime) -> Iterator[datetime]:
        """Yield the ticks after a time; those before the anchor are on the same grid."""
        interval = timedelta(seconds=self.seconds)
        tick = anchor + ((time - anchor) // interval + 1) * interval
        while True:
            yield tick
            tick += interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Cron:
    """Five fields of cron in a time zone.

    As Debian's cron has it: fixed times that fall into the hour that clocks
    skip come right after it, those in the hour that is repeated come once;
    rules with ``*`` for minute or hour follow real time.
    """

    expression: str
    zone: tzinfo

    @property
    def text(self) -> str:
        """The rule behind its word."""
        return f"cron {self.expression}"

    def gap_s(self) -> int:
        """Return the least gap between the ticks that come next after a fixed day."""
        start = datetime(2026, 1, 1, tzinfo=UTC)
        ticks = islice(self.after(start, start), _GAPS)
        gaps = [(later - tick) // timedelta(seconds=1) for tick, later in pairwise(ticks)]
        return min(gaps, default=_MOST_S)

    def after(self, time: datetime, anchor: datetime) -> Iterator[datetime]:  # noqa: ARG002
        """Yield the ticks after a time; none if there is no such day within fifty years."""
        last = time
        for local in CronSim(self.expression, time.astimezone(self.zone)):
            tick = local.astimezone(UTC)
            if tick > last:  # within a repeated hour it begins an hour too early
                yield tick
                last = tick


@dataclass(frozen=True, kw_only=True, slots=True)
class Timetable:
    """One schedule's ticks, jitter included.

    Attributes:
        schedule_id: Whose; the jitter depends on it.
        rule: When ticks are without jitter.
        jitter_s: The most seconds by which a tick comes later; at most half of
            the rule's gap, so that ticks keep their order.
        anchor: From where intervals are counted.
    """

    schedule_id: str
    rule: Rule
    jitter_s: int
    anchor: datetime

    def next_after(self, time: datetime) -> datetime:
        """Return the first tick after a time.

        Raises:
            InvalidInputError: The rule has no further tick.
        """
        for tick in self.ticks_after(time):
            return tick
        raise _never(self.rule.text)

    def ticks_after(self, time: datetime) -> Iterator[datetime]:
        """Yield all ticks after a time, soonest first."""
        anchor = self.anchor.replace(microsecond=0)
        for tick in self.rule.after(time - timedelta(seconds=self.jitter_s + 1), anchor):
            moved = tick + self._jitter(tick)
            if moved > time:
                yield moved

    def _jitter(self, tick: datetime) -> timedelta:
        seed = f"{self.schedule_id} {int(tick.timestamp())}".encode()
        number = int.from_bytes(blake2b(seed, digest_size=8).digest())
        return timedelta(milliseconds=number % (self.jitter_s * 1000 + 1))


def read_rule(text: str, zone: str) -> Rule:
    """Read a rule as people write it, or as it was stored.

    Args:
        text: ``every 15m``, ``15m`` or ``cron 30 3 * * *``.
        zone: Name of the time zone; cron alone asks for it.

    Raises:
        InvalidInputError: The rule makes no sense, or never comes; or there is
            no such zone. The message begins with ``rule`` or ``zone``.
    """
    words = text.split() if len(text) <= 2 * _LONGEST_RULE and text.isascii() else []
    if words[:1] == ["cron"]:
        return _read_cron(" ".join(words[1:]), zone)
    if words[:1] == ["every"]:
        words = words[1:]
    if not words:
        raise _invalid("rule", text, "is no rule")
    if len(words) == 5:
        raise _invalid("rule", text, "is no interval", hint="a cron rule is marked with --cron")
    seconds = read_duration_s(" ".join(words), field="rule", least_s=_LEAST_S)
    return Every(seconds=seconds)


def read_duration_s(text: str, *, field: str, least_s: int) -> int:
    """Read a duration such as ``15m``.

    Args:
        text: A whole number and s, m, h or d.
        field: What it is for, in the message.
        least_s: The least that makes sense.

    Returns:
        Seconds.

    Raises:
        InvalidInputError: It is none, too short, or more than ten years.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        reason = "is no duration: a whole number and s, m, h or d is"
        raise _invalid(field, text, reason, hint=_EXAMPLE if field == "rule" else "for example: 7d")
    seconds = int(found[1]) * _SECONDS[found[2]]
    if not least_s <= seconds <= _MOST_S:
        most_d = _MOST_S // 86400
        raise _invalid(field, text, f"is out of range: from {least_s} s to {most_d} d")
    return seconds


def find_zone(name: str) -> tzinfo:
    """Return a time zone.

    Raises:
        InvalidInputError: There is none of that name.
    """
    if name == "UTC":
        return UTC
    known = _zones()
    if name not in known:
        hint = nearest(name, known) if len(name) <= _SHOWN else ""
        is_long = not hint.startswith("did")
        hint = "for example: UTC, Europe/Berlin" if is_long else hint
        raise _invalid("zone", name, "is no time zone", hint=hint)
    return ZoneInfo(name)


def default_jitter_s(rule: Rule) -> int:
    """Return a tenth of a rule's gap, one minute at most."""
    return min(rule.gap_s() // 10, _LONGEST_DEFAULT_JITTER_S)


def require_jitter(rule: Rule, jitter_s: int) -> None:
    """Refuse a jitter that could put ticks out of order.

    Raises:
        InvalidInputError: It is negative, or more than half of the rule's gap,
            which an hour more or less of daylight saving must not close.
    """
    most = min(rule.gap_s() // 2, _SECONDS["d"])
    if not 0 <= jitter_s <= most:
        raise _invalid("jitter", str(jitter_s), f"is out of range: from 0 to {most} s here")


@cache
def _zones() -> frozenset[str]:
    """Return the names of all zones; looking through their files takes a moment.

    Not of ``localtime``, which is another one on each machine.
    """
    return frozenset(available_timezones() - {"localtime"})


def _read_cron(expression: str, zone: str) -> Cron:
    text = f"cron {expression}"
    fields = len(expression.split())
    if fields != 5:
        reason = f"has {fields} fields; cron has five: minute, hour, day, month, day of week"
        raise _invalid("rule", text, reason, hint="for example: '30 3 * * *'")
    if len(text) > _LONGEST_RULE:
        raise _invalid("rule", text, f"is too long: {_LONGEST_RULE - 5} characters at most")
    rule = Cron(expression=expression, zone=find_zone(zone))
    start = datetime(2026, 1, 1, tzinfo=UTC)
    try:
        first = next(rule.after(start, start), None)
    except (CronSimError, AssertionError, ValueError) as error:
        raise _invalid("rule", text, f"is no cron rule: {str(error) or 'it makes no sense'}") from (
            None
        )
    if first is None:
        raise _never(text)
    return rule


def _never(text: str) -> InvalidInputError:
    return _invalid("rule", text, "never comes: there is no such day")


def _invalid(field: str, text: str, reason: str, *, hint: str = "") -> InvalidInputError:
    shown = repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
    if not hint and field == "rule":
        hint = _EXAMPLE
    words = f"{shown} {reason}"
    return InvalidInputError(
        f"{field}: {words}", hint=hint, code=f"{field}-invalid", fields=[(field, words)]
    )
