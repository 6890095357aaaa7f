"""What a provider's first entity costs its author, and each further one, at the HubSpot example.

Counted are lines of code beside the schema, without blank lines, comments and docstrings: all that
reads the entity, from its declaration to its last helper. What all calls share (client, refusals,
limits) and what writes are not part of it.
"""

from __future__ import annotations

import ast
from pathlib import Path

PLUGIN = Path(__file__).parents[2] / "examples/tieline-hubspot/tieline_hubspot/__init__.py"
SHARED = {"CRM", "LIST_SIZE", "SEARCH_SIZE", "read", "search", "Client", "events_of"}


def lines_of(node: ast.AST, without: tuple[ast.AST, ...] = ()) -> set[int]:
    """Return the numbers of a part's lines, but for docstrings and ``without``."""
    found = set(range(node.lineno, node.end_lineno + 1))
    functions = [each for each in ast.walk(node) if isinstance(each, ast.FunctionDef)]
    texts = [each.body[0] for each in functions if ast.get_docstring(each) is not None]
    for each in (*texts, *without):
        found -= set(range(each.lineno, each.end_lineno + 1))
    return found


class Example:
    """The plugin's source, by its top-level names."""

    def __init__(self, source: str) -> None:
        self.lines = source.splitlines()
        self.named: dict[str, ast.stmt] = {}
        for each in ast.parse(source).body:
            if isinstance(each, ast.FunctionDef):
                self.named[each.name] = each
            elif isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name):
                self.named[each.targets[0].id] = each
        calls = [
            each
            for each in ast.walk(self.named["tieline_entities"])
            if isinstance(each, ast.Call) and getattr(each.func, "id", "") == "objects"
        ]
        self.entities = {each.args[0].value: each for each in calls}

    def count(self, numbers: set[int]) -> int:
        texts = [self.lines[number - 1].strip() for number in numbers]
        return sum(1 for text in texts if text and not text.startswith("#"))

    def needed(self, node: ast.AST, found: set[str]) -> set[str]:
        """Add to ``found`` all names of the module that something leads to."""
        for each in ast.walk(node):
            name = each.id if isinstance(each, ast.Name) else ""
            if name in self.named and name not in found | SHARED:
                found.add(name)
                self.needed(self.named[name], found)
        return found

    def first(self, name: str) -> int:
        declared = self.entities[name]
        writes = tuple(each.value for each in declared.keywords if each.arg == "write")
        numbers = lines_of(declared, writes)
        for each in self.needed(declared.func, set()):
            numbers |= lines_of(self.named[each])
        return self.count(numbers)

    def further(self, name: str) -> int:
        return self.count(lines_of(self.entities[name]))


def test_the_first_entity_is_read_in_sixty_lines_beside_its_schema():
    example = Example(PLUGIN.read_text())
    assert set(example.entities) == {"contacts", "companies"}
    assert {"objects", "look_up", "updated_at"} <= example.needed(
        example.entities["contacts"].func, set()
    )
    assert 40 < example.first("contacts") <= 60


def test_a_further_entity_is_read_in_twelve_lines_beside_its_schema():
    assert 1 <= Example(PLUGIN.read_text()).further("companies") <= 12


def test_a_helper_that_is_put_elsewhere_counts_all_the_same():
    source = PLUGIN.read_text()
    before = Example(source).first("contacts")
    helper = "def _further() -> int:\n    return 1\n"
    longer = source.replace(
        "    found: Record = parse", "    _further()\n    found: Record = parse"
    )
    assert longer != source
    assert Example(f"{longer}\n\n{helper}").first("contacts") == before + 3
