"""How the parts fit: the floors of the core, as the import contracts have them."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pictures.canvas import Sheet

__all__ = ["draw", "floors", "providers"]

ROOT = Path(__file__).parents[2]
# What each floor is for. A floor that comes or changes has to be told here, or nothing is drawn.
TOLD = {
    "testing": "",
    "cli": "commands",
    "web · jobs · checks · scaffold": "",
    "recording": "answers as files, masked",
    "services": "a function per use case",
    "engine": "plan, claim, fetch, write, push",
    "auth · inbox · records": "",
    "alerts": "",
    "transport": "the one way to a provider",
    "registry · vault · throttle · queue": "",
    "store · coordination": "all SQL · Redis",
    "telemetry": "",
    "settings": "",
    "errors · clock · failpoints": "",
    "contract · client": "",
}
CORE = {"cli", "web · jobs · checks · scaffold", "services", "engine", "contract · client"}
TOP, FLOOR, GAP = 64, 30, 5
LEFT, RIGHT = 246, 546


def _importlinter() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]


def floors() -> list[str]:
    """Return the floors of the core, the highest first."""
    [layers] = [each for each in _importlinter()["contracts"] if each["type"] == "layers"]
    return [each.replace(" | ", " · ") for each in layers["layers"]]


def providers() -> list[str]:
    """Return whose plugins are in the workspace."""
    roots = [each.removeprefix("tieline_") for each in _importlinter()["root_packages"]]
    return [each for each in roots if f"{each}_sandbox" in roots]


def draw() -> str:
    """Draw it."""
    found = floors()
    if found != list(TOLD):
        raise ValueError(f"the floors are others by now: {found}")
    bottom = TOP + len(found) * (FLOOR + GAP)
    sheet = Sheet(
        title="How the parts fit",
        told="The core as floors, each of which imports only what is below it: command line, HTTP "
        "API and jobs; services; the engine; authorisation, inbox and records; transport; "
        "registry, vault, throttle and queue; store and coordination; the contract. Plugins import "
        "the contract and nothing else of the core. Commands, server, workers and scheduler come "
        "in from above. The store speaks to PostgreSQL or SQLite, the queue to Redis, the "
        "transport to a provider, whose place a sandbox may take.",
        height=bottom + 52,
    )
    sheet.words((LEFT + RIGHT) / 2, 24, "the core", kind="head", anchor="middle")
    sheet.words((LEFT + RIGHT) / 2, 44, "imports go down, never up", kind="small", anchor="middle")
    for number, floor in enumerate(found):
        words = f"{floor}: {TOLD[floor]}" if TOLD[floor] else floor
        kind = "core" if floor in CORE else "plain"
        y = TOP + number * (FLOOR + GAP)
        sheet.box(LEFT, y, RIGHT - LEFT, FLOOR, "", [words], kind=kind, body="words")
    _processes(sheet, found)
    _outside(sheet, found)
    _plugins(sheet, found)
    names = ", ".join(providers())
    sheet.words(14, bottom + 28, f"plugins and sandboxes in the workspace: {names}", kind="small")
    return sheet.svg()


def _middle(found: list[str], floor: str) -> float:
    return TOP + found.index(floor) * (FLOOR + GAP) + FLOOR / 2


def _processes(sheet: Sheet, found: list[str]) -> None:
    """Draw what people start, and which floor it comes in by."""
    cli, web = _middle(found, "cli"), _middle(found, "web · jobs · checks · scaffold")
    sheet.box(14, cli - 42, 176, 48, "tieline …", ["people, scripts"], kind="core")
    sheet.arrow((190, cli - 8), (LEFT, cli - 8))
    sheet.frame(14, web - 9, 176, 198, "any number of each")
    sheet.box(24, web + 18, 156, 50, "tieline serve", ["HTTP API, webhooks"], kind="core")
    sheet.box(24, web + 74, 156, 50, "tieline worker", ["does what is asked"], kind="core")
    sheet.box(24, web + 130, 156, 50, "tieline scheduler", ["asks for what is due"], kind="core")
    sheet.arrow((190, web + 5), (LEFT, web + 5))


def _outside(sheet: Sheet, found: list[str]) -> None:
    """Draw what the core speaks to, and which floor does."""
    transport = _middle(found, "transport")
    queue = _middle(found, "registry · vault · throttle · queue")
    store = _middle(found, "store · coordination")
    sheet.box(616, 64, 170, 62, "sandbox", ["stands in for the provider,", "on your machine"])
    sheet.arrow((701, 126), (701, 172), kind="back")
    sheet.box(616, 172, 170, 62, "SaaS provider", ["its API, its webhooks"])
    sheet.arrow((RIGHT, transport), (580, transport), (580, 203), (616, 203))
    sheet.box(
        616, queue - 53, 170, 66, "Redis, or Valkey", ["wakes up, counts limits;", "may vanish"]
    )
    sheet.arrow((RIGHT, queue), (616, queue))
    sheet.box(616, store + 2, 170, 66, "PostgreSQL, SQLite", ["all that has to last"], kind="good")
    sheet.arrow((RIGHT, store + 7), (580, store + 7), (580, store + 35), (616, store + 35))
    sheet.arrow((RIGHT, store - 7), (598, store - 7), (598, queue), (616, queue))


def _plugins(sheet: Sheet, found: list[str]) -> None:
    """Draw what a plugin imports, and how it is found."""
    contract = _middle(found, "contract · client")
    registry = _middle(found, "registry · vault · throttle · queue")
    words = ("one for each provider;", "imports the contract alone")
    sheet.box(14, contract - 64, 176, 79, "plugin", words, kind="good")
    sheet.arrow((190, contract), (LEFT, contract))
    sheet.arrow((LEFT, registry), (40, registry), (40, contract - 64), kind="back")
    sheet.words(50, registry + 20, "found as an entry point", kind="small")
