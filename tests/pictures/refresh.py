"""The race for new tokens: two workers, one lease, one generation."""

from __future__ import annotations

from pictures.canvas import Sheet

__all__ = ["draw"]

_LANES = {"provider": 78, "worker A": 286, "database": 516, "worker B": 722}
_TOP = 66


def draw() -> str:
    """Draw it."""
    sheet = Sheet(
        title="Two workers, one refresh: lease and generation",
        told="Both workers read generation 7, which is due. Worker A claims the grant: an update "
        "that holds only where the generation is still 7 and no lease runs. Worker B's update "
        "changes nothing, so it uses the token that is still good, or waits. A calls the provider "
        "with no lock held, then stores the new pair from generation 7 and makes it 8; only then "
        "is it used. B reads again and finds generation 8. The provider was asked once.",
        height=644,
    )
    for name, x in _LANES.items():
        sheet.lane(x, _TOP - 20, 470)
        sheet.box(x - 64, 14, 128, 34, name, kind="core" if "worker" in name else "plain")
    _grant(sheet, 92, "generation 7", "due, no lease")
    _say(sheet, 142, "worker A", "database", "reads: generation 7")
    _say(sheet, 142, "worker B", "database", "reads: generation 7")
    _say(sheet, 180, "worker A", "database", "claim, where 7, no lease")
    _grant(sheet, 214, "generation 7", "lease: A, 60 s")
    _say(sheet, 264, "worker B", "database", "claim: 0 rows changed")
    sheet.box(660, 276, 124, 42, "", ["uses the old one,", "or waits"])
    _say(sheet, 296, "worker A", "provider", "refresh token, no lock")
    _say(sheet, 334, "provider", "worker A", "a new pair")
    _say(sheet, 372, "worker A", "database", "store, where 7")
    _grant(sheet, 404, "generation 8", "the new pair")
    _say(sheet, 452, "worker B", "database", "reads: generation 8")
    _say(sheet, 452, "worker A", "database", "uses what is stored")
    _otherwise(sheet)
    return sheet.svg()


def _say(sheet: Sheet, y: float, who: str, whom: str, words: str) -> None:
    """Draw what one asks of another."""
    begin, end = _LANES[who], _LANES[whom]
    sheet.arrow((begin, y), (end, y))
    sheet.words((begin + end) / 2, y - 6, words, kind="small", anchor="middle")


def _grant(sheet: Sheet, y: float, head: str, line: str) -> None:
    """Draw how the row is from here on."""
    sheet.box(_LANES["database"] - 64, y - 24, 128, 42, head, [line], kind="good")


def _otherwise(sheet: Sheet) -> None:
    rows = {
        "A dies before it asks": "its lease ends, then B claims generation 7",
        "A wakes after its lease": "it asks no more; a late answer finds no generation 7 to change",
        "A dies, answer in hand": "without grace at the provider: connect again",
        "the answer is lost": "asked once more with the same token, never a third time",
        "the answer cannot be sealed": "it was never asked for: keys are at hand before the call",
    }
    sheet.words(14, 508, "Otherwise", kind="head")
    for number, (when, then) in enumerate(rows.items()):
        y = 534 + number * 24
        sheet.words(14, y, when)
        sheet.words(230, y, then)
