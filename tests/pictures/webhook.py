"""The way of a delivery: what is refused where, and what happens before and after the answer."""

from __future__ import annotations

from pictures.canvas import Sheet
from tieline.inbox.accept import REFUSALS
from tieline.inbox.verify import REASONS

__all__ = ["STEPS", "draw"]

# Step, its words, and the answers with their reasons. A reason that comes or goes has to
# be told here, or nothing is drawn.
STEPS = (
    (
        "bounds",
        ("size, time, two lengths",),
        {
            "413": ("too-large",),
            "408": ("too-slow",),
            "415": ("encoded",),
            "503": ("crowded",),
        },
    ),
    (
        "endpoint, address",
        ("is it there, open, whose?",),
        {"404": ("endpoint-unknown", "endpoint-disabled", "path-wrong")},
    ),
    (
        "verify",
        ("signature over the raw bytes,", "and its age"),
        {
            "401": (
                "secret-missing", "scheme-unknown", "body-empty", "header-missing",
                "header-malformed", "time-malformed", "time-off", "signature-wrong",
            )
        },
    ),
    (
        "read",
        ("events, ids, account",),
        {"400": ("body-unreadable", "plugin-error"), "404": ("account-other",)},
    ),
    (
        "store",
        ("one commit, on the disk;", "an id that was there: once"),
        {"503": ("database-down",)},
    ),
)  # fmt: skip
_TALL, _STEP, _TOP = 62, 84, 72


def draw() -> str:
    """Draw it."""
    told = {reason for _, _, answers in STEPS for each in answers.values() for reason in each}
    if told != {*REFUSALS, *REASONS}:
        raise ValueError(f"other reasons than are told: {sorted(told ^ {*REFUSALS, *REASONS})}")
    sheet = Sheet(
        title="The way of a webhook delivery",
        told="From top to bottom: bounds, endpoint, signature, reading, storing, each with the "
        "answers and the reasons for which a delivery is refused there. Once the events are "
        "committed the provider gets 200. A worker handles them afterwards, in the order of truth, "
        "and reads the record from the provider where an event holds too little. A kill before "
        "the commit leaves nothing behind and the provider sends again; a kill after it loses "
        "nothing.",
        height=678,
    )
    sheet.box(20, 14, 250, 34, "provider: POST")
    sheet.words(330, 36, "refused, with the same words for all:", kind="head")
    for number, (name, words, answers) in enumerate(STEPS):
        y = _TOP + number * _STEP
        kind = "good" if name == "store" else "core"
        sheet.arrow((145, y - (24 if not number else 22)), (145, y))
        sheet.box(20, y, 250, _TALL, name, words, kind=kind)
        _refusals(sheet, y, answers)
    _afterwards(sheet, _TOP + len(STEPS) * _STEP)
    return sheet.svg()


def _refusals(sheet: Sheet, y: float, answers: dict[str, tuple[str, ...]]) -> None:
    rows = _rows(answers)
    sheet.arrow((270, y + _TALL / 2), (330, y + _TALL / 2), kind="away")
    sheet.box(330, y, 456, _TALL, "", rows, kind="bad", body="code")


def _rows(answers: dict[str, tuple[str, ...]]) -> list[str]:
    """Write what is refused, in lines that are not too long."""
    rows = [""]
    for status, reasons in answers.items():
        for number, reason in enumerate(reasons):
            words = reason if number else f"{status} {reason}"
            if rows[-1] and len(rows[-1]) + len(words) > 54:
                rows.append("")
            mark = ", " if number else " · "
            rows[-1] += f"{mark}{words}" if rows[-1] else words
    return rows


def _afterwards(sheet: Sheet, y: float) -> None:
    sheet.arrow((145, y - 22), (145, y + 8))
    sheet.box(20, y + 8, 250, 40, "answer 200", ["only now: it is safe"], kind="good")
    sheet.arrow((145, y + 48), (145, y + 84), kind="back")
    sheet.words(155, y + 71, "later, a worker", kind="small")
    sheet.box(20, y + 84, 250, 86, "process",
              ["older than what is stored: left alone", "holds too little: read the record",
               "events and records in one commit"], kind="core")  # fmt: skip
    sheet.words(330, y + 24, "kill -9", kind="head")
    rows = {
        "before the commit": "nothing is there; no 200, so it is sent again",
        "after it, before the 200": "sent again; its id is known, nothing doubles",
        "before the process": "a sweep finds the events, also without Redis",
        "while it is processed": "undone as a whole; the next worker does it",
        "too many times": "the event is dead, and waits for a person",
    }
    for number, (when, then) in enumerate(rows.items()):
        sheet.words(330, y + 50 + number * 24, when, kind="small")
        sheet.words(500, y + 50 + number * 24, then, kind="small")
