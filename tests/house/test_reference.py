"""The pages of docs/reference that tell of settings, metrics and tables are what the code has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Boolean, Column, Float, Integer, LargeBinary, Table

from tieline.registry import Registry
from tieline.services.settings import write_configuration_page
from tieline.store.tables import metadata
from tieline.store.types import JsonValue, UtcTime

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs/reference"


def test_the_page_of_settings_is_what_the_settings_say():
    """Mend: ./tie config env-example --markdown > docs/reference/configuration.md."""
    assert (REFERENCE / "configuration.md").read_text() == write_configuration_page(Registry())


def families() -> Iterator[tuple[str, str, str]]:
    """Yield name, kind and explanation of each metric in the code."""
    for path in (ROOT / "core/tieline").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if kind := re.fullmatch(r"(Gauge|Counter)MetricFamily", node.func.id):
                name, doc = (ast.literal_eval(each) for each in node.args)
                yield f"{name}_total" if kind[1] == "Counter" else name, kind[1].lower(), doc


def test_every_metric_has_a_line_with_what_it_says_of_itself():
    rows = re.findall(
        r"^\| `(tieline_\w+)` \| (gauge|counter) \| [^|]* \| (.+) \|$",
        (REFERENCE / "metrics.md").read_text(),
        re.MULTILINE,
    )
    assert sorted(rows) == sorted(families())


def kind_of(column: Column) -> str:
    """Name a column's type as the page does."""
    if column.type is JsonValue:
        return "JSON"
    kinds = {
        UtcTime: "time",
        LargeBinary: "bytes",
        Boolean: "true or false",
        Integer: "whole number",
        Float: "number",
    }
    return next((word for kind, word in kinds.items() if isinstance(column.type, kind)), "text")


def described(table: Table) -> str:
    """Write what the page has of a table beside its words."""
    columns = [
        f"`{column.name}` {kind_of(column)}{' or null' if column.nullable else ''}"
        for column in table.columns
    ]
    keys = ", ".join(f"`{column.name}`" for column in table.primary_key.columns)
    refers = sorted(
        {
            f"`{each.parent.name}` to `{each.column.table.name}`"
            for each in table.foreign_keys
        }
    )  # fmt: skip
    lines = [f"- Key: {keys}.", f"- Columns: {', '.join(columns)}."]
    if refers:
        lines.insert(1, f"- Refers by {', '.join(refers)}.")
    return "\n".join(lines)


def test_every_table_is_on_the_page_with_its_key_and_its_columns():
    page = (REFERENCE / "data-model.md").read_text()
    sections = dict(re.findall(r"^### `(\w+)`\n\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL))
    assert set(sections) == set(metadata.tables)
    for name, table in metadata.tables.items():
        words, _, listed = sections[name].partition("\n\n")
        assert listed.replace("\n  ", " ").strip() == described(table), name
        assert words.endswith("."), name
