"""``fields`` and ``exclude_fields``: which parts of a document are wanted.

Source: Mailchimp API reference: a comma-separated list, parts of
sub-objects with dot notation; a path reaches into every element of a list.
"""

from __future__ import annotations

from typing import Any

from tieline_mailchimp_sandbox.request import Params

__all__ = ["select"]


def select(document: dict[str, Any], params: Params) -> dict[str, Any]:
    """Return the parts of a document that were asked for; unknown names are no error."""
    for name, wants in (("fields", True), ("exclude_fields", False)):
        paths = [path.strip().split(".") for path in params.get(name, "").split(",")]
        paths = [path for path in paths if path != [""]]
        if paths:
            document = (_only if wants else _without)(document, paths)
    return document


def _only(value: Any, paths: list[list[str]]) -> Any:
    if isinstance(value, list):
        return [_only(part, paths) for part in value]
    if not isinstance(value, dict) or [] in paths:
        return value
    asked = {name: _below(paths, name) for name in value}
    return {name: _only(value[name], below) for name, below in asked.items() if below}


def _without(value: Any, paths: list[list[str]]) -> Any:
    if isinstance(value, list):
        return [_without(part, paths) for part in value]
    if not isinstance(value, dict):
        return value
    asked = {name: _below(paths, name) for name in value}
    return {name: _without(value[name], below) for name, below in asked.items() if [] not in below}


def _below(paths: list[list[str]], name: str) -> list[list[str]]:
    return [path[1:] for path in paths if path[:1] == [name]]
