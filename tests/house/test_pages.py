"""The pages: what they lead to is there, what they name exists, what they type can be run."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from pages import SHELL, blocks_of

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("deploy/*.md"),
        *ROOT.glob("plugins/*/*.md"),
    ]
)
TYPED = sorted([*ROOT.glob("docs/tutorial/*.md"), *ROOT.glob("docs/how-to/*.md")])
# Languages of blocks that nobody types into a shell.
OTHERS = {"ini", "json", "python", "sql", "text", "toml"}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def without_code(page: Path) -> str:
    return re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


@cache
def anchors(page: Path) -> set[str]:
    """Return what can be linked to in a page, as GitHub writes it."""
    heads = re.findall(r"^#+ (.+)$", without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_a_file_and_to_a_heading_in_it(page):
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        found = (page.parent / path) if path else page
        assert found.exists(), target
        if anchor and found.suffix == ".md":
            assert anchor in anchors(found), target


@cache
def known_tests() -> set[str]:
    files = [*ROOT.glob("tests/**/*.py"), *ROOT.glob("plugins/*/tests/**/*.py")]
    return {each for file in files for each in re.findall(r"def (test_\w+)", file.read_text())}


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/**/*.md")), ids=name)
def test_tests_and_files_that_a_page_names_are_there(page):
    text = without_code(page)
    named = set(re.findall(r"`(test_\w+)`", text)) - {"test_contract"}  # a plugin's own
    assert named - known_tests() == set()
    for file in re.findall(r"`((?:tests|core|benchmarks|deploy)/[\w/.-]+\.\w+)`", text):
        here = [ROOT, *ROOT.glob("examples/*")]  # or in the example that the page is about
        assert any((each / file).exists() for each in here) or file == "tests/test_contract.py", (
            file
        )


@pytest.mark.parametrize("page", TYPED, ids=name)
def test_every_block_says_what_it_is_and_none_is_hidden_from_those_that_run_them(page):
    """Shell is typed by tests/acceptance/test_how_to_pages.py and test_first_ten_minutes.py."""
    for block in blocks_of(page):
        assert block.language in SHELL | OTHERS, f"line {block.line}: {block.language!r}"
        if block.language not in SHELL:
            assert not re.search(r"^\$? ?\.?/?tie(line)? ", block.text, re.MULTILINE), block.line
    indented = re.findall(r"\n\n    \S.*", without_code(page))
    assert [line for line in indented if not re.match(r"\n\n    ([-*]|\d+\.) ", line)] == []


def test_every_page_can_be_found_from_the_list_of_pages():
    listed = (ROOT / "docs/README.md").read_text()
    files = [each.relative_to(ROOT / "docs").as_posix() for each in ROOT.glob("docs/*/*")]
    assert [each for each in files if f"]({each})" not in listed] == []
    assert "docs/README.md" in (ROOT / "README.md").read_text()
