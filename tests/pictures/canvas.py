"""A sheet to draw on, in colours that follow the reader's, and in words that can be selected.

It refuses what could not be read: words that are wider than their place, places that
lie on one another or beyond the edge, lines through words. Letters are as wide as in
the widest of the fonts that a reader may have, so what fits here fits there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

__all__ = ["WIDTH", "Place", "Sheet", "width_of"]

WIDTH = 800
"""Pixels that every picture is wide."""

_LINE = 1.35
_SIZES = {"head": 14, "words": 13, "small": 12, "code": 12}
_STYLE = """
.ground{fill:#ffffff}.frame{fill:none;stroke:#9aa7b4;stroke-dasharray:5 4}
.plain{fill:#f2f5f8;stroke:#66788a}.core{fill:#dfeafc;stroke:#2f62b5}
.good{fill:#dff3e4;stroke:#2b7d45}.bad{fill:#fde7e4;stroke:#b3372a}
.line{fill:none;stroke:#4a5a6a;stroke-width:1.5}.away{fill:none;stroke:#b3372a;stroke-width:1.5}
.back{fill:none;stroke:#4a5a6a;stroke-width:1.5;stroke-dasharray:5 4}
.tip{fill:#4a5a6a}.tip-away{fill:#b3372a}.mark{fill:#b3372a}
text{fill:#1c2733;font:13px system-ui,"Segoe UI",Roboto,Helvetica,Arial,sans-serif}
text.head{font-size:14px;font-weight:600}text.small{font-size:12px;fill:#44525f}
text.code{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
text.on{fill:#ffffff;font-size:12px;font-weight:600}
@media (prefers-color-scheme:dark){
.ground{fill:#0f151c}.frame{stroke:#5b6a79}
.plain{fill:#1c2630;stroke:#7f92a5}.core{fill:#16304f;stroke:#6ea0ea}
.good{fill:#14351f;stroke:#5fbb7c}.bad{fill:#43201c;stroke:#ef8a7d}
.line,.back{stroke:#a9b7c4}.away{stroke:#ef8a7d}
.tip{fill:#a9b7c4}.tip-away,.mark{fill:#ef8a7d}
text{fill:#e6edf3}text.small{fill:#b4c0cb}text.on{fill:#2a0f0c}
}
"""


def width_of(text: str, kind: str = "words") -> float:
    """Return how many pixels a line of text takes at most."""
    size = _SIZES[kind]
    if kind == "code":
        return len(text) * size * 0.61
    broad = 1.08 if kind == "head" else 1.0
    return size * broad * sum(map(_em, text))


def _em(letter: str) -> float:
    if letter in "iljI.,:;'|!()[]ft ":
        return 0.36
    if letter in "mwMW@%—":
        return 0.92
    return 0.68 if letter.isupper() else 0.58


@dataclass(frozen=True)
class Place:
    """A rectangle that something takes up.

    Attributes:
        what: The words in it.
    """

    x: float
    y: float
    width: float
    height: float
    what: str

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def bottom(self) -> float:
        return self.y + self.height

    def meets(self, other: Place) -> bool:
        """Say whether two places have more than an edge in common."""
        return (
            self.x < other.right
            and other.x < self.right
            and self.y < other.bottom
            and other.y < self.bottom
        )


@dataclass(kw_only=True)
class Sheet:
    """One picture while it is drawn.

    Attributes:
        title: What it shows, in a few words.
        told: What it shows, for those who do not see it.
        height: Pixels; it is as wide as all are.
    """

    title: str
    told: str
    height: int
    _drawn: list[str] = field(default_factory=list)
    _places: list[Place] = field(default_factory=list)
    _lines: list[Place] = field(default_factory=list)

    def frame(self, x: float, y: float, width: float, height: float, label: str = "") -> None:
        """Draw what holds other things, with its name at the top."""
        self._drawn.append(_rect("frame", x, y, width, height))
        if label:
            self.words(x + 10, y + 18, label, kind="small")

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        head: str,
        lines: Sequence[str] = (),
        *,
        kind: str = "plain",
        body: str = "small",
    ) -> Place:
        """Draw a box with a heading and lines below it, in its middle."""
        place = Place(x, y, width, height, head)
        self._take(place)
        self._drawn.append(_rect(kind, x, y, width, height))
        rows = [*([("head", head)] if head else []), *((body, line) for line in lines)]
        heights = [_SIZES[style] * _LINE for style, _ in rows]
        if sum(heights) > height or any(width_of(text, style) > width - 8 for style, text in rows):
            raise ValueError(f"{self.title}: {rows} does not fit into {width} x {height}")
        at = y + (height - sum(heights)) / 2
        for (style, text), tall in zip(rows, heights, strict=True):
            self._text(x + width / 2, at + tall * 0.76, text, style, "middle")
            at += tall
        return place

    def words(
        self, x: float, y: float, text: str, *, kind: str = "words", anchor: str = "start"
    ) -> None:
        """Write a line; ``y`` is its base line."""
        wide, size = width_of(text, kind), _SIZES[kind]
        left = {"start": x, "middle": x - wide / 2, "end": x - wide}[anchor]
        self._take(Place(left, y - size, wide, size * _LINE, text))
        self._text(x, y, text, kind, anchor)

    def mark(self, x: float, y: float, letter: str) -> None:
        """Draw a round mark with a letter in it."""
        self._take(Place(x - 9, y - 9, 18, 18, letter))
        self._drawn.append(f'<circle class="mark" cx="{x:g}" cy="{y:g}" r="9"/>')
        self._text(x, y + 4, letter, "on", "middle")

    def arrow(self, *points: tuple[float, float], kind: str = "line") -> None:
        """Draw a line of straight pieces with a tip at its end; ``kind``: line, back or away."""
        for (x0, y0), (x1, y1) in pairwise(points):
            if x0 != x1 and y0 != y1:
                raise ValueError(f"{self.title}: a line from {x0},{y0} to {x1},{y1} is askew")
            self._lines.append(
                Place(min(x0, x1), min(y0, y1), abs(x1 - x0), abs(y1 - y0), "a line")
            )
        tip = "tip-away" if kind == "away" else "tip"
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        self._drawn.append(f'<polyline class="{kind}" points="{path}" marker-end="url(#{tip})"/>')

    def lane(self, x: float, top: float, bottom: float) -> None:
        """Draw the life of somebody, downwards; others may lie on it."""
        self._drawn.insert(0, f'<path class="frame" d="M{x:g} {top:g}V{bottom:g}"/>')

    def svg(self) -> str:
        """Return the document."""
        for line in self._lines:
            # Into a box a line may lead, or out of it; not through its middle.
            thin = Place(line.x, line.y, line.width or 0.1, line.height or 0.1, line.what)
            for place in self._places:
                core = Place(
                    place.x + 2, place.y + 2, place.width - 4, place.height - 4, place.what
                )
                if thin.meets(core):
                    raise ValueError(f"{self.title}: a line runs through {place.what!r}")
        drawn = "\n".join(self._drawn)
        return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" width="{WIDTH}" \
height="{self.height}" role="img" aria-labelledby="title told">
<title id="title">{escape(self.title)}</title>
<desc id="told">{escape(self.told)}</desc>
<style>{_STYLE}</style>
<defs>
{_tip("tip")}
{_tip("tip-away")}
</defs>
<rect class="ground" width="{WIDTH}" height="{self.height}"/>
{drawn}
</svg>
"""

    def _take(self, place: Place) -> None:
        if place.x < 4 or place.y < 4 or place.right > WIDTH - 4 or place.bottom > self.height - 4:
            raise ValueError(f"{self.title}: {place.what!r} is beyond the edge: {place}")
        for other in self._places:
            if place.meets(other):
                raise ValueError(f"{self.title}: {place.what!r} lies on {other.what!r}")
        self._places.append(place)

    def _text(self, x: float, y: float, text: str, kind: str, anchor: str) -> None:
        where = "" if anchor == "start" else f' text-anchor="{anchor}"'
        style = "" if kind == "words" else f' class="{kind}"'
        self._drawn.append(f'<text x="{x:g}" y="{y:.4g}"{style}{where}>{escape(text)}</text>')


def _rect(kind: str, x: float, y: float, width: float, height: float) -> str:
    return (
        f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="5"/>'
    )


def _tip(name: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
        f' orient="auto"><path class="{name}" d="M0 0L8 4L0 8Z"/></marker>'
    )
