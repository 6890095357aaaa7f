"""The pictures of the docs: drawn by the command, true to the code, readable by everybody."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from pictures import FOLDER, PICTURES, one_page, parts, recording, states, webhook
from pictures.canvas import Sheet

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"
MEND = "mend: .venv/bin/python tests/pictures"
EMBEDDED = re.compile(r"!\[([^\]]*)\]\(([^)\s]+\.svg)\)")


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_what_the_command_draws(name):
    assert (FOLDER / name).read_text() == PICTURES[name](), MEND


def test_there_is_no_picture_that_nothing_draws():
    assert {path.name for path in FOLDER.iterdir()} == {*PICTURES, recording.SESSION.name}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_has_words_for_those_who_do_not_see_it_and_needs_no_other_file(name):
    text = (FOLDER / name).read_text()
    root = ET.fromstring(text)
    for child in ("title", "desc"):
        assert root.find(f"{SVG}{child}").text.strip()
        assert root.find(f"{SVG}{child}").get("id") in root.get("aria-labelledby").split()
    assert root.get("role") == "img"
    assert len(root.findall(f".//{SVG}text")) > 10, "words are text, not shapes"
    outside = r"https?://(?!www\.w3\.org/2000/svg|127\.0\.0\.1)|@import|@font-face|url\((?!#)|href"
    assert re.findall(outside, text) == []
    assert len(text.encode()) < (300_000 if name == "first-minutes.svg" else 40_000)


@pytest.mark.parametrize("name", PICTURES)
def test_every_colour_of_a_picture_has_another_one_in_the_dark(name):
    style = ET.fromstring((FOLDER / name).read_text()).find(f"{SVG}style").text
    light, dark = style.split("@media (prefers-color-scheme:dark)")
    inks = set(re.findall(r"([\w.-]+)\{[^}]*#[0-9a-f]{6}", light))
    assert inks
    told = {each for head in re.findall(r"([\w.,-]+)\{[^}]*#[0-9a-f]{6}", dark)
            for each in head.split(",")}  # fmt: skip
    assert inks <= told


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_on_a_page_with_words_in_its_place(name):
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
    words = [
        alt
        for page in pages
        for alt, target in EMBEDDED.findall(page.read_text())
        if (page.parent / target).resolve() == FOLDER / name
    ]
    assert words
    assert [alt for alt in words if len(alt) < 20] == []


def without_last(told: dict) -> dict:
    return dict(list(told.items())[:-1])


FORGOTTEN = {
    "a floor": (parts, "TOLD", parts.draw),
    "a failpoint of a sync": (one_page, "LOSSES", one_page.draw),
    "a state of a connection": (states, "CONNECTIONS", states.draw),
    "a state of a run that rests": (states, "ACTIVE", states.draw),
    "a state of a run that is over": (states, "OVER", states.draw),
    "a reason to refuse a delivery": (webhook, "STEPS", webhook.draw),
}


@pytest.mark.parametrize("what", FORGOTTEN)
def test_what_is_in_the_code_and_not_in_a_picture_is_told(what, monkeypatch):
    module, name, draw = FORGOTTEN[what]
    told = getattr(module, name)
    less = without_last(told) if isinstance(told, dict) else list(told)[:-1]
    monkeypatch.setattr(module, name, less)
    with pytest.raises(ValueError, match=r"are others by now|than are told"):
        draw()


def test_a_recording_without_motion_stands_at_its_end():
    text = (FOLDER / "first-minutes.svg").read_text()
    rows = [float(y) for y in re.findall(r'<text x="\d+" y="(\d+)"', text)]
    up = float(re.search(r"\.screen\{transform:translateY\((-?\d+)px\)", text)[1])
    height = float(re.search(r'height="(\d+)"', text)[1])
    assert up < 0, "it scrolls"
    assert height - 40 < max(rows) + up < height - 10
    assert re.search(r"prefers-reduced-motion:reduce\)\{\*\{animation:none", text)
    assert not re.search(r"(?<!\{)opacity:0", re.sub(r"@keyframes .*", "", text))


def test_a_recording_holds_every_word_of_the_session():
    root = ET.fromstring((FOLDER / "first-minutes.svg").read_text())
    rows = ["".join(each.itertext()) for each in root.findall(f".//{SVG}text")]
    said = recording.SESSION.read_text().expandtabs(8)
    assert "".join(rows) == said.replace("\n", "")


def sheet() -> Sheet:
    made = Sheet(title="A sheet", told="for a test", height=200)
    made.box(20, 20, 100, 40, "a box")
    return made


UNREADABLE = {
    "a word beside its box": lambda it: it.box(200, 20, 60, 40, "a heading that is too long"),
    "more lines than fit": lambda it: it.box(200, 20, 100, 40, "a box", ["one", "two", "three"]),
    "a box on a box": lambda it: it.box(100, 40, 100, 40, "another"),
    "a word on a box": lambda it: it.words(30, 40, "a word"),
    "a word beyond the edge": lambda it: it.words(760, 40, "a long word"),
    "a box beyond the edge": lambda it: it.box(20, 180, 100, 40, "a box"),
    "a line through a box": lambda it: it.arrow((10, 40), (200, 40)),
    "a line that is askew": lambda it: it.arrow((10, 100), (200, 140)),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_what_could_not_be_read_is_not_drawn(what):
    made = sheet()
    assert made.svg()

    def draw() -> str:
        UNREADABLE[what](made)
        return made.svg()

    with pytest.raises(ValueError, match="A sheet: "):
        draw()
