"""What happens to one page, and what a kill costs at each of a sync's failpoints."""

from __future__ import annotations

from pictures.canvas import Sheet
from tieline.failpoints import NAMES

__all__ = ["LOSSES", "draw"]

# A failpoint that comes or goes has to be told here, or nothing is drawn.
LOSSES = {
    "sync.split.before_commit": "the window stays in one piece",
    "sync.claim.after": "the lease ends; the next worker goes on from the checkpoint",
    "sync.fetch.before": "the page is asked for by the next worker",
    "sync.fetch.after": "the page is fetched again",
    "sync.page.before_commit": "the transaction is undone as a whole; the page is fetched again",
    "sync.page.after_commit": "the next worker goes on behind this page",
    "sync.finish.before_commit": "every page is there; the next worker ends the run",
    "sync.finish.after_commit": "the run is over",
}
_MARKS = dict(zip(LOSSES, "ABCDEFGH", strict=True))
_BEGIN, _END, _MARKED = 54, 184, 222


def draw() -> str:
    """Draw it."""
    known = {name for name in NAMES if name.startswith("sync.")}
    if known != set(LOSSES):
        raise ValueError(f"other failpoints than are told: {sorted(known ^ set(LOSSES))}")
    sheet = Sheet(
        title="One page of a sync, and what a kill costs at each point",
        told="From left to right: claim a partition, fetch a page, compare it with what is stored, "
        "write it in one transaction, go on with the next page or finish the run. The transaction "
        "holds positions of the change feed, records, checkpoint, counters and the fence. A kill "
        "at any of eight marked points loses nothing: before the commit the page is fetched "
        "again, after it the next worker goes on behind it.",
        height=528,
    )
    _steps(sheet)
    _kills(sheet)
    _losses(sheet)
    return sheet.svg()


def _steps(sheet: Sheet) -> None:
    middle = (_BEGIN + _END) / 2
    sheet.box(
        14, _BEGIN, 112, 130, "claim", ["a partition:", "lease ahead,", "fence + 1"], kind="core"
    )
    sheet.box(160, _BEGIN, 112, 130, "fetch", ["a page, by", "the plugin's", "step"], kind="core")
    sheet.box(
        306, _BEGIN, 112, 130, "compare", ["one form, hash;", "check what", "differs"], kind="core"
    )
    sheet.frame(446, _BEGIN - 26, 202, 164, "one transaction")
    rows = ("feed positions", "records", "checkpoint, counters", "only under the fence")
    for number, row in enumerate(rows):
        sheet.box(456, _BEGIN + number * 33, 182, 29, "", [row], kind="good", body="words")
    sheet.box(684, _BEGIN, 76, 130, "finish", ["deletes,", "the run's", "end"], kind="core")
    for left, right in ((126, 160), (272, 306), (418, 446), (648, 684)):
        sheet.arrow((left, middle), (right, middle))
    sheet.arrow((547, _BEGIN - 26), (547, 16), (216, 16), (216, _BEGIN), kind="back")
    sheet.words(226, 34, "next page, from the checkpoint", kind="small")


def _kills(sheet: Sheet) -> None:
    """Mark where a kill may come: inside of a step, or between two."""
    middle = (_BEGIN + _END) / 2
    at = {
        "A": (60, _END), "B": (143, middle + 3), "C": (176, _END), "D": (289, middle + 3),
        "E": (622, _END + 8), "F": (666, middle + 3), "G": (736, _END), "H": (776, middle + 3),
    }  # fmt: skip
    for letter, (x, up) in at.items():
        sheet.mark(x, _MARKED, letter)
        sheet.arrow((x, _MARKED - 9), (x, up), kind="away")
    sheet.words(306, _MARKED + 4, "kill -9 at each of these points", kind="head")


def _losses(sheet: Sheet) -> None:
    sheet.words(14, 268, "Where", kind="head")
    sheet.words(260, 268, "Lost", kind="head")
    sheet.words(340, 268, "Because", kind="head")
    for number, (name, loss) in enumerate(LOSSES.items()):
        y = 296 + number * 28
        sheet.mark(23, y - 4, _MARKS[name])
        sheet.words(40, y, name, kind="code")
        sheet.words(260, y, "nothing")
        sheet.words(340, y, loss)
