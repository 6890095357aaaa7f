"""What each error code means: read by `tieline help CODE`, and written to the docs.

The texts are in the files of the folder ``explained``: a title, then for each code
its name, why it comes, its effect, and what to do, a line each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

__all__ = ["ANY_FIELD", "Explained", "explain", "explained", "reference"]

ANY_FIELD = "FIELD-invalid"
"""Stands for every code that names the field which is wrong."""

_HEAD = """\
# Error codes

Each error is one line, `error[code]: what was wrong (next: what to do)`. `tieline help CODE` prints
what is written here. Codes are stable: programs may compare them. A plugin may have codes of its
own; its README has those.

Made by: `./tie help --markdown > docs/reference/errors.md`
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Explained:
    """One error code.

    Attributes:
        code: The code.
        section: What it has to do with.
        because: Why it comes.
        effect: What is and what is not done.
        next: What to do.
    """

    code: str
    section: str
    because: str
    effect: str
    next: str


def explained() -> dict[str, Explained]:
    """Read all codes, by name."""
    return {each.code: each for each in _read()}


def explain(code: str) -> Explained | None:
    """Explain a code; None if there is none of that name."""
    known = explained()
    if code not in known and code.endswith("-invalid"):
        return known[ANY_FIELD]
    return known.get(code)


def reference() -> str:
    """Write the page with all codes."""
    parts, section = [_HEAD], ""
    for each in _read():
        if each.section != section:
            section = each.section
            parts.append(f"## {section}\n")
        parts.append(f"### {each.code}\n\n{each.because} {each.effect}\n\n{each.next}\n")
    return "\n".join(parts)


def _read() -> Iterator[Explained]:
    folder = files("tieline.cli") / "explained"
    for file in sorted(folder.iterdir(), key=lambda each: each.name):
        if not file.name.endswith(".txt"):
            continue
        section, *blocks = file.read_text("utf-8").strip().split("\n\n")
        for block in blocks:
            name, because, effect, what_next = block.split("\n")
            yield Explained(
                code=name.removeprefix("# "),
                section=section,
                because=because,
                effect=effect,
                next=what_next,
            )
