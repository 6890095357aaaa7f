"""The badge of a plugin's level: a small picture, made here, that needs no other file."""

from __future__ import annotations

from tieline.checks.kinds import LEVELS

__all__ = ["draw_badge"]

_LEFT = "Tieline plugin"
# White letters on each of these have a contrast of 4.5 and more.
_COLOURS = {"bronze": "#8a5a2b", "silver": "#5f6b76", "gold": "#856404"}
_NONE = "#6e6e6e"
_LETTER, _MARGIN, _HEIGHT = 7, 8, 20


def draw_badge(level: str) -> str:
    """Draw the badge that says which level a plugin shows.

    Args:
        level: One of the levels; anything else is shown as none.

    Returns:
        An SVG document, the same for the same level on every machine.
    """
    right = level if level in LEVELS else "no level"
    left_px, right_px = (len(text) * _LETTER + 2 * _MARGIN for text in (_LEFT, right))
    said = f"{_LEFT}: {right}"
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" width="{left_px + right_px}" height="{_HEIGHT}" role="img" \
aria-label="{said}">
<title>{said}</title>
<rect width="{left_px}" height="{_HEIGHT}" fill="#333333"/>
<rect x="{left_px}" width="{right_px}" height="{_HEIGHT}" fill="{_COLOURS.get(right, _NONE)}"/>
<g fill="#ffffff" font-family="Verdana, sans-serif" font-size="11" text-anchor="middle">
<text x="{left_px / 2:g}" y="14" textLength="{len(_LEFT) * _LETTER}">{_LEFT}</text>
<text x="{left_px + right_px / 2:g}" y="14" textLength="{len(right) * _LETTER}">{right}</text>
</g>
</svg>
"""
