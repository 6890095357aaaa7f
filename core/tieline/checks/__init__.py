"""Named checks of a plugin, against its own sandbox: what it promises is tried out.

A check drives the real engine, on SQLite, against the sandbox over HTTP, and
has the sandbox fail, change and refuse in between. It says what is wrong,
where in the plugin, and what to do.
"""

from tieline.checks import (
    changing,
    deliveries,
    failing,
    hostile,
    limits,
    papers,
    reading,
    recorded,
    writing,
)
from tieline.checks.badge import draw_badge
from tieline.checks.case import Case
from tieline.checks.kinds import CHECKS, LEVELS, Check, Finding, Level
from tieline.checks.run import Report, check_plugin, chosen, make_check
from tieline.checks.subject import Subject, find_subject

__all__ = [
    "CHECKS",
    "LEVELS",
    "Case",
    "Check",
    "Finding",
    "Level",
    "Report",
    "Subject",
    "check_plugin",
    "chosen",
    "draw_badge",
    "find_subject",
    "make_check",
]

# What is seen without running anything comes first.
_GROUPS = (papers, reading, changing, failing, deliveries, hostile, writing, limits, recorded)
_PLACES = {group.__name__: place for place, group in enumerate(_GROUPS)}
for _each in sorted(CHECKS.values(), key=lambda each: _PLACES[each.run.__module__]):
    CHECKS[_each.name] = CHECKS.pop(_each.name)
