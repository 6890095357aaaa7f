"""What machines read says what the pages say, and leads to where they are."""

from __future__ import annotations

import re

import pytest

from llms_pages import MEND, ROOT, all_files

FILES = all_files()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_is_made_of_the_pages_as_they_are(path):
    assert path.read_text() == FILES[path], MEND


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_its_links_lead_to_files(path):
    text = re.sub(r"^ *```.*?^ *```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    targets = set(re.findall(r"\]\((?!https?:)([^)#\s]+)", text))
    assert targets
    assert [each for each in sorted(targets) if not (ROOT / each).exists()] == []


def test_every_page_is_in_both():
    pages = {each.relative_to(ROOT).as_posix() for each in ROOT.glob("docs/**/*.md")}
    listed = set(re.findall(r"\]\((docs/\S+\.md)\)", (ROOT / "llms.txt").read_text()))
    copied = re.findall(
        r"^<!-- (docs/\S+) -->$", (ROOT / "llms-full.txt").read_text(), re.MULTILINE
    )
    assert listed == pages - {"docs/README.md"}
    assert sorted(copied) == sorted(listed)
