"""What everybody has to be able to read: contrast, names of things, ways to move about."""

from __future__ import annotations

import re
from importlib.resources import files
from itertools import product

import pytest

FILES = files("tieline.web.console")
STYLE = FILES.joinpath("static", "console.css").read_text()
LEAST_OF_TEXT, LEAST_OF_EDGES = 4.5, 3.0  # WCAG 2.2, 1.4.3 and 1.4.11


def themes() -> dict[str, dict[str, str]]:
    light, dark = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    found = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", each)) for each in (light, dark)]
    assert found[0].keys() == found[1].keys()
    return dict(zip(("light", "dark"), found, strict=True))


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_contrast_of_black_and_white_is_twenty_one_and_that_of_a_grey_what_wcag_says():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("theme", themes())
def test_every_ink_can_be_read_on_every_paper_and_every_edge_be_seen(theme):
    colours = themes()[theme]
    papers = [name for name in colours if name.startswith("paper")]
    inks = [name for name in colours if name.startswith("ink")]
    assert (len(papers), len(inks)) == (2, 7)
    for ink, paper in product(inks, papers):
        assert contrast(colours[ink], colours[paper]) >= LEAST_OF_TEXT, (ink, paper)
    for paper in papers:
        assert contrast(colours["line"], colours[paper]) >= LEAST_OF_EDGES, paper


def test_no_colour_is_used_that_is_not_one_of_those():
    rules = re.sub(r":root \{.*?\}", "", STYLE, flags=re.DOTALL)
    assert re.findall(r"#[0-9a-f]{3,8}\b|rgb|hsl", rules) == []
    for name, value in re.findall(r"[;{ ](color|background|fill): ([^;]+);", rules):
        assert value == "currentColor" or re.fullmatch(r"var\(--(ink|paper)[\w-]*\)", value), name
    used = set(re.findall(r"var\(--([\w-]+)\)", rules))
    assert used == set(themes()["light"])


def test_whoever_has_no_mouse_sees_where_they_are():
    assert ":focus-visible { outline: 3px solid" in STYLE
    assert not re.search(r"outline: *(0|none)", STYLE)


def test_states_are_told_by_words_and_signs_and_not_by_colour_alone():
    for kind in ("rest", "wait", "bad"):
        assert f'.state.{kind}::before {{ content: "' in STYLE


def test_the_script_stops_while_nobody_looks_and_can_be_held():
    script = FILES.joinpath("static", "console.js").read_text()
    assert "if (paused || document.hidden" in script
    assert "EVERY_MS = 5000" in script
    assert not re.search(r"innerHTML *=[^=]|document\.write|eval\(|insertAdjacent", script)
