"""The states of connections and of runs, as the code lists them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pictures.canvas import Place, Sheet
from tieline.services.runs import RETRYABLE, STATES
from tieline.store.tables import ACTIVE_STATES
from tieline.web.api.resources.connections import Connection

__all__ = ["connection_states", "draw"]

# A state that comes or goes has to be told here, or nothing is drawn.
CONNECTIONS = {
    "ok": "syncs",
    "needs_reauth": "waits for a person",
    "disconnected": "has no credential",
}
RESTING = {
    "waiting": ("for a limit, or until its", "connection is resumed"),
    "retrying": ("the provider is away;", "pauses grow"),
}
ACTIVE = {"queued", "running", *RESTING}
OVER = {
    "succeeded": "all was read to its end",
    "succeeded_with_quarantine": "some records could not be used",
    "failed": "its error says why; the cursor stays",
    "cancelled": "asked for, also while it rests",
    "needs_reauth": "the credential was refused",
}
_RUNS = 196


def connection_states() -> Collection[str]:
    """Return the states that the API documents for a connection."""
    choices: Collection[str] = Connection._declared_fields["state"].validate.choices
    return choices


def draw() -> str:
    """Draw it."""
    _require("connection", connection_states(), CONNECTIONS)
    _require("run that is not over", ACTIVE_STATES, ACTIVE)
    _require("run that is over", set(STATES) - set(ACTIVE_STATES), OVER)
    sheet = Sheet(
        title="The states of connections and of runs",
        told="A connection is ok until its credential is refused: then it needs_reauth, and is ok "
        "again once somebody connects it anew. Removed with its records kept it is disconnected. "
        "A run is queued, then running; put off it is waiting or retrying until it is due. It ends "
        "as succeeded, succeeded_with_quarantine, failed, cancelled or needs_reauth. One that "
        "needs_reauth is queued again after a new consent, and goes on from its checkpoint. The "
        "run of a killed worker stays running; the next worker claims it.",
        height=582,
    )
    _connections(sheet)
    _active(sheet)
    _over(sheet)
    return sheet.svg()


def _require(what: str, known: Collection[str], told: Collection[str] | Mapping[str, str]) -> None:
    if set(known) != set(told):
        raise ValueError(f"other states of a {what} than are told: {sorted(known)}")


def _connections(sheet: Sheet) -> None:
    sheet.words(14, 24, "A connection", kind="head")
    at = {"ok": 14, "needs_reauth": 320, "disconnected": 626}
    boxes = {
        state: sheet.box(at[state], 66, 160, 56, state, [words])
        for state, words in CONNECTIONS.items()
    }
    _both(sheet, boxes["ok"], boxes["needs_reauth"], "refused", "connected again")
    sheet.arrow((480, 94), (626, 94))
    sheet.words(553, 88, "removed", kind="small", anchor="middle")
    sheet.arrow((706, 66), (706, 42), (134, 42), (134, 66), kind="back")
    sheet.words(400, 36, "connected again", kind="small", anchor="middle")
    sheet.arrow((94, 122), (94, 146), (706, 146), (706, 122))
    sheet.words(400, 162, "removed; its records stay", kind="small", anchor="middle")


def _both(sheet: Sheet, left: Place, right: Place, there: str, back: str) -> None:
    """Draw that each leads to the other."""
    middle = (left.right + right.x) / 2
    sheet.arrow((left.right, left.y + 18), (right.x, left.y + 18))
    sheet.words(middle, left.y + 12, there, kind="small", anchor="middle")
    sheet.arrow((right.x, left.y + 38), (left.right, left.y + 38), kind="back")
    sheet.words(middle, left.y + 54, back, kind="small", anchor="middle")


def _active(sheet: Sheet) -> None:
    """Draw the runs that are not over."""
    sheet.words(14, _RUNS, "A run", kind="head")
    sheet.box(34, _RUNS + 40, 124, 66, "queued", ["asked for"], kind="core")
    running = ("a worker that is killed: the", "next one claims its work")
    sheet.box(232, _RUNS + 40, 190, 66, "running", running, kind="core")
    sheet.arrow((158, _RUNS + 73), (232, _RUNS + 73))
    sheet.words(195, _RUNS + 66, "claimed", kind="small", anchor="middle")
    sheet.frame(34, _RUNS + 164, 388, 116, "rests")
    for number, (state, words) in enumerate(RESTING.items()):
        sheet.box(44 + number * 190, _RUNS + 192, 178, 76, state, words, kind="core")
    sheet.arrow((270, _RUNS + 106), (270, _RUNS + 164))
    sheet.words(262, _RUNS + 139, "put off", kind="small", anchor="end")
    sheet.arrow((384, _RUNS + 164), (384, _RUNS + 106), kind="back")
    sheet.words(376, _RUNS + 139, "due", kind="small", anchor="end")
    sheet.arrow((96, _RUNS + 164), (96, _RUNS + 106), kind="back")
    sheet.words(104, _RUNS + 139, "resumed", kind="small")


def _over(sheet: Sheet) -> None:
    """Draw how a run ends, and which end is none."""
    top = _RUNS + 10
    sheet.frame(506, top - 20, 280, 296, "over")
    for number, (state, words) in enumerate(OVER.items()):
        kind = "good" if state.startswith("succeeded") else "bad" if state == "failed" else "plain"
        sheet.box(516, top + 8 + number * 52, 260, 46, state, [words], kind=kind)
    sheet.arrow((422, _RUNS + 73), (506, _RUNS + 73))
    sheet.words(464, _RUNS + 66, "ends", kind="small", anchor="middle")
    bottom = top + 306
    sheet.arrow((646, top + 276), (646, bottom), (18, bottom), (18, _RUNS + 73), (34, _RUNS + 73),
                kind="back")  # fmt: skip
    words = "needs_reauth, and connected again: goes on from its checkpoint"
    sheet.words(332, bottom + 18, words, kind="small", anchor="middle")
    again = f"{', '.join(RETRYABLE)}: tieline runs retry asks for a new run"
    sheet.words(332, bottom + 44, again, kind="small", anchor="middle")
