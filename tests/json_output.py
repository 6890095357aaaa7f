"""What commands print with ``--json``, held to docs/reference/json-output.json.

Whoever runs a command in a test has its output looked at here: its schema, closed to
fields that it does not name. So a field that is added, renamed or changed is met by the
first test that has it printed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import click
import jsonschema

from tieline.cli.main import cli

__all__ = ["DOCUMENT", "command_of", "commands_with_json", "require_known", "seen", "tree"]

DOCUMENT = json.loads((Path(__file__).parents[1] / "docs/reference/json-output.json").read_text())
LINES = {"logs tail", "records export", "records follow", "webhooks listen"}
"""Commands that print a line each; others do with ``--watch`` and ``--follow``."""
DEFAULTS = {"limits": "limits show"}
"""Groups that take the words of one of their commands."""

seen: set[str] = set()
"""The commands whose output was looked at in this process."""


@cache
def tree() -> dict[str, click.Command]:
    """Return every command by its words, a group too."""
    found: dict[str, click.Command] = {}
    root = click.Context(cli, info_name="tieline")

    def walk(words: tuple[str, ...], command: click.Command) -> None:
        if words:
            found[" ".join(words)] = command
        if isinstance(command, click.Group):
            for name in command.list_commands(root):
                if not words:
                    root.meta["tieline.called"] = name
                each = command.get_command(root, name)
                assert each is not None
                walk((*words, name), each)

    walk((), cli)
    return found


@cache
def commands_with_json() -> frozenset[str]:
    """Return the commands that take ``--json``, behind their names too."""
    found = tree().items()
    return frozenset(n for n, each in found if any("--json" in o.opts for o in each.params))


def command_of(arguments: Sequence[str]) -> str:
    """Say which command some words call; empty: none that there is."""
    name = ""
    for word in arguments:
        if word.startswith("-"):
            if name:
                break
            continue
        longer = f"{name} {word}".strip()
        if longer not in tree():
            break
        name = longer
    return DEFAULTS.get(name, name)


def documents_of(name: str, arguments: Sequence[str], stdout: str) -> list[Any]:
    """Read the documents that a command printed.

    Raises:
        AssertionError: They are no JSON.
    """
    is_lined = name in LINES or {"--watch", "--follow", "-f"} & {*arguments}
    texts = stdout.splitlines() if is_lined and "\n  " not in stdout else [stdout]
    try:
        return [json.loads(text) for text in texts if text]
    except ValueError as error:
        raise AssertionError(f"tieline {' '.join(arguments)}: no JSON: {error}") from None


def require_known(arguments: Sequence[str], code: int, stdout: str) -> None:
    """Look at what a command printed; without ``--json``, or if it was cut off, at nothing.

    Raises:
        AssertionError: The reference says otherwise.
    """
    if "--json" not in arguments or code not in range(128):
        return
    name = command_of(arguments)
    if name and name not in commands_with_json():
        return  # it prints no data, or none that could be JSON
    for told in documents_of(name, arguments, stdout):
        is_error = isinstance(told, dict) and told.keys() == {"error"}
        assert is_error or name in DOCUMENT["commands"], f"{name} is in no schema"
        if wrong := _wrong("error" if is_error else name, told):
            raise AssertionError(f"tieline {' '.join(arguments)}: {wrong}")
        if not is_error:
            seen.add(name)


def _wrong(name: str, told: Any) -> str:
    error = jsonschema.exceptions.best_match(_validator(name).iter_errors(told))
    return f"{error.json_path}: {error.message[:500]}" if error else ""


@cache
def _validator(name: str) -> Any:
    at = "#/error" if name == "error" else f"#/commands/{name.replace(' ', '%20')}"
    whole = {key: _closed(each) for key, each in DOCUMENT.items() if key != "about"}
    schema = whole | {"$ref": at}
    return jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )


def _closed(schema: Any) -> Any:
    """Let an object have no field that its schema does not name."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _closed(each) for key, each in schema.items()}
    if isinstance(made.get("properties"), dict) and "type" in made:
        made.setdefault("additionalProperties", False)
    return made
