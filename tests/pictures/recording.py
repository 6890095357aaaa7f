"""A terminal in which the recorded session is seen: one screen, which scrolls as it goes.

What it shows is text. Where motion is not wanted it stands still at its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from pictures.canvas import WIDTH

__all__ = ["COLUMNS", "SESSION", "draw"]

SESSION = Path(__file__).parents[2] / "docs/pictures/first-minutes.txt"

COLUMNS = 91
"""How wide the terminal is, in letters."""

_ROW, _TOP, _LEFT, _ROWS = 18, 50, 18, 25
_TYPING_S, _ANSWER_S, _READING_S, _END_S = 0.9, 0.5, 0.45, 6.0
_STYLE = """
.ground{fill:#f7f9fb;stroke:#9aa7b4}.bar{fill:#e3e8ee}.dot{fill:#9aa7b4}
text{fill:#1c2733;white-space:pre;font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,
"DejaVu Sans Mono",monospace}
.typed{font-weight:700}.sign{fill:#2b7d45}.name{font-weight:700}
@media (prefers-color-scheme:dark){.ground{fill:#0f151c;stroke:#5b6a79}.bar{fill:#1c2630}
.dot{fill:#5b6a79}text{fill:#d7e0e8}.sign{fill:#5fbb7c}}
"""
_TOLD = (
    "A terminal. Somebody makes an installation, connects a sandbox, syncs 2,000 customers, kills "
    "the worker in the middle of a second sync, starts another, and sees the same run go on to its "
    "end; a comparison with the provider finds nothing missing, stale or surplus."
)


@dataclass(frozen=True)
class _Part:
    """Lines that come to be seen at once."""

    at: float
    lines: Sequence[str]
    is_typed: bool


def draw() -> str:
    """Draw the session that was recorded."""
    parts, whole = _timed(SESSION.read_text().splitlines())
    height = _TOP + _ROWS * _ROW + 12
    groups, row = [], 0
    for number, part in enumerate(parts):
        lines = "\n".join(_line(line, row + at, part) for at, line in enumerate(part.lines))
        groups.append(f'<g class="p{number}">\n{lines}\n</g>')
        row += len(part.lines)
    seen = "\n".join(groups)
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" \
height="{height}" role="img" aria-labelledby="title told">
<title id="title">The first minutes, as they are typed</title>
<desc id="told">{_TOLD}</desc>
<style>{_STYLE}{_motion(parts, whole)}
@media (prefers-reduced-motion:reduce){{*{{animation:none!important}}}}
</style>
<clipPath id="glass"><rect x="1" y="{_TOP - 14}" width="{WIDTH - 2}" height="{height - _TOP + 12}"/>
</clipPath>
<rect class="ground" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>
<rect class="bar" x="1" y="1" width="{WIDTH - 2}" height="28" rx="8"/>
<circle class="dot" cx="18" cy="15" r="5"/><circle class="dot" cx="36" cy="15" r="5"/>\
<circle class="dot" cx="54" cy="15" r="5"/>
<g clip-path="url(#glass)"><g class="screen" xml:space="preserve">
{seen}
</g></g>
</svg>
"""


def _motion(parts: Sequence[_Part], whole: float) -> str:
    """Write when each part comes to be seen, and how the screen scrolls to the last row."""
    styles, scroll, row, up = [], "", 0, 0
    for number, part in enumerate(parts):
        share = f"{100 * part.at / whole:.2f}%"
        row += len(part.lines)
        up = _ROW * min(0, _ROWS - row)
        scroll += f"{share}{{transform:translateY({up}px)}}"
        if number:  # the first one is there when it begins
            styles.append(f"@keyframes p{number}{{0%{{opacity:0}}{share},100%{{opacity:1}}}}")
            styles.append(f".p{number}{{animation:p{number} {whole:g}s step-end infinite}}")
    end = f"transform:translateY({up}px)"
    styles.append(f"@keyframes scroll{{{scroll}100%{{{end}}}}}")
    styles.append(f".screen{{{end};animation:scroll {whole:g}s step-end infinite}}")
    return "\n".join(styles)


def _timed(lines: Sequence[str]) -> tuple[list[_Part], float]:
    """Say what is seen when, and how long it takes until it begins again, in seconds."""
    parts, at = [], 0.0
    for block, is_typed in _blocks(lines):
        rows = [row for line in block for row in _wrapped(line.expandtabs(8))]
        parts.append(_Part(at, rows, is_typed))
        at += _TYPING_S if is_typed else _ANSWER_S + _READING_S * len(block)
    return parts, at + _END_S


def _wrapped(line: str) -> list[str]:
    """Break a line where a terminal does: at its edge."""
    return [line[at : at + COLUMNS] for at in range(0, len(line), COLUMNS)] or [""]


def _blocks(lines: Sequence[str]) -> Iterator[tuple[list[str], bool]]:
    """Cut the session into commands, and what they print."""
    block: list[str] = []
    is_typed = True
    for line in lines:
        goes_on = bool(block) and is_typed and block[-1].endswith("\\")
        begins = line.startswith("$ ")
        if block and (begins or is_typed) and not goes_on:
            yield block, is_typed
            block = []
        if not block:
            is_typed = begins
        block.append(line)
    yield block, is_typed


def _line(line: str, row: int, part: _Part) -> str:
    y = _TOP + row * _ROW
    if line.startswith("$ "):
        words = f'<tspan class="sign">$</tspan> <tspan class="typed">{escape(line[2:])}</tspan>'
    elif part.is_typed:
        words = f'<tspan class="typed">{escape(line)}</tspan>'
    else:
        words = escape(line)
    return f'<text x="{_LEFT}" y="{y}">{words}</text>'
