"""The pages for plugins' authors say what the code does, and name nothing that is not there."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

import contract_pages
from tieline import contract
from tieline.checks import CHECKS
from tieline.contract import hookspecs

ROOT = Path(__file__).parents[2]
SHAPE = [
    "When it is called",
    "Arguments",
    "Returns",
    "Raises",
    "What follows",
    "Example",
    "What providers are like",
    "Checks",
]
FOR_AUTHORS = [
    *sorted(contract_pages.PAGES.glob("*.md")),
    ROOT / "docs/reference/contract.md",
    ROOT / "docs/reference/compatibility.md",
    ROOT / "docs/how-to/write-a-plugin.md",
    ROOT / "docs/how-to/plugin-cookbook.md",
    ROOT / "docs/how-to/publish-a-plugin.md",
]
NAME = re.compile(r"(?<![\w.<{-])([A-Z][A-Za-z0-9]*[a-z]\w*)(?:\.(\w+))?(?![\w-])")
MEND = "mend: .venv/bin/python tests/contract_pages.py"


def named(pages: list[Path]) -> list:
    return [pytest.param(page, id=page.stem) for page in pages]


def sections_of(page: Path) -> dict[str, str]:
    parts = re.split(r"^## (.+)\n", page.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_hook_has_a_page_and_every_page_a_hook():
    hooks = {name for name in vars(hookspecs) if name.startswith("tieline_")}
    assert {page.stem for page in contract_pages.PAGES.glob("*.md")} == hooks
    assert set(contract_pages.HOOKS) == hooks


@pytest.mark.parametrize("name", contract_pages.HOOKS)
def test_a_hook_s_page_begins_as_the_code_says(name):
    page = contract_pages.page_of_hook(name).read_text()
    assert page.startswith(contract_pages.head_of(name)), MEND


def test_the_page_of_the_declarations_is_what_the_code_says():
    assert contract_pages.DECLARATIONS.read_text() == contract_pages.declarations_page(), MEND


@pytest.mark.parametrize("name", contract_pages.HOOKS)
def test_every_page_of_a_hook_has_one_shape(name):
    sections = sections_of(contract_pages.page_of_hook(name))
    assert list(sections) == SHAPE
    assert [title for title, text in sections.items() if not text.strip()] == []


@pytest.mark.parametrize("name", contract_pages.HOOKS)
def test_the_example_of_a_hook_is_code_that_is_there(name):
    page = contract_pages.page_of_hook(name)
    text = sections_of(page)["Example"]
    [target] = re.findall(r"\]\(([^)]+)\)", text)
    source = (page.parent / target).read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    for block in blocks:
        assert f"{block.rstrip()}\n" in source
    assert name in text or name.removeprefix("tieline_") in text.lower()


@pytest.mark.parametrize("name", contract_pages.HOOKS)
def test_a_hook_s_page_names_checks_that_there_are(name):
    told = re.findall(r"`([a-z-]+)`", sections_of(contract_pages.page_of_hook(name))["Checks"])
    assert told
    assert set(told) <= set(CHECKS)


def test_every_check_that_a_page_mentions_is_one():
    """Only what looks like a check can be misspelt as one: three words or more."""
    for page in FOR_AUTHORS:
        words = set(re.findall(r"`([a-z]+(?:-[a-z]+){2,})`", page.read_text()))
        others = {"webhook-signature", "x-hub-signature"}
        assert {word for word in words - others if word not in CHECKS} == set(), page.name


@pytest.mark.parametrize("page", named(FOR_AUTHORS))
def test_a_page_names_nothing_that_the_contract_has_not(page):
    text = page.read_text()
    _, _, own = text.rpartition(contract_pages.END)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", own, flags=re.DOTALL))
    for span in spans:
        for name, attribute in NAME.findall(span):
            if name in OTHERS:
                continue
            assert hasattr(contract, name), f"{page.name}: there is no {name}"
            if attribute:
                assert attribute in members_of(name), f"{page.name}: {name} has no {attribute}"
        for name, given in re.findall(r"\b([A-Z]\w+)\(([^()]*)\)", span):
            fields = members_of(name) if hasattr(contract, name) else None
            for field in re.findall(r"(?:^|, )(\w+)=", given) if fields else []:
                assert field in fields, f"{page.name}: {name} has no {field}"


# Capitalised words in code spans that are Python's, or a library's, and no names of the contract.
OTHERS = {"Authorization", "Client", "False", "Link", "None", "True", "TypeError", "ValueError"}


def members_of(name: str) -> set[str]:
    thing = getattr(contract, name)
    fields = {each.name for each in dataclasses.fields(thing)} if is_data(thing) else set()
    return fields | set(dir(thing))


def is_data(thing: object) -> bool:
    return isinstance(thing, type) and dataclasses.is_dataclass(thing)


def test_nothing_of_this_version_of_the_contract_is_lost_or_changed():
    before, now = json.loads(contract_pages.SURFACE.read_text()), contract_pages.surface()
    assert contract_pages.lost(before, now) == [], "docs/reference/compatibility.md says why"
    assert before == now, MEND


def test_what_is_taken_away_or_changed_is_seen_and_what_is_added_is_not():
    now = contract_pages.surface()
    less = {name: parts for name, parts in now.items() if name != "Page"}
    other = now | {"Page": now["Page"] | {"next": "`None`"}}
    more = now | {"Page": now["Page"] | {"size": "`None`"}, "Further": {}}
    assert contract_pages.lost(now, less) == ["Page"]
    assert contract_pages.lost(now, other) == ["Page.next"]
    assert contract_pages.lost(now, more) == []


def anchors_of(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "", each)) for each in titles]
    return {each.strip().lower().replace(" ", "-") for each in plain}


@pytest.mark.parametrize("page", named(FOR_AUTHORS))
def test_a_link_into_a_page_finds_its_heading(page):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text()):
        there = (page.parent / target) if target else page
        assert anchor in anchors_of(there), f"{page.name}: {target}#{anchor}"
