"""The table of all checks, as the reference has it."""

from __future__ import annotations

from tieline.checks.kinds import CHECKS, LEVELS

__all__ = ["write_table"]


def write_table() -> str:
    """Write every check as a row of Markdown, level by level."""
    rows = ["| check | level | what holds if it passes | if it fails |", "|---|---|---|---|"]
    for level in LEVELS:
        rows += [
            f"| `{each.name}` | {level} | {_cell(each.proves)} | {_cell(each.do)} |"
            for each in CHECKS.values()
            if each.level == level
        ]
    return "\n".join(rows)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
