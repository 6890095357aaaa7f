"""Read a provider's OpenAPI document: JSON, or YAML as most of them publish it."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any, ClassVar

from tieline.contract import SettingsError
from tieline.errors import InvalidInputError

__all__ = ["read_document"]

_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
# YAML 1.2's own: ``no`` is a country, ``2026-01-01`` a text, and neither is JSON's.
_CORE = (
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ("~", "n", "N", "")),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", tuple("tTfF")),
    (_INT, r"[-+]?[0-9]+", tuple("-+0123456789")),
    (
        _FLOAT,
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?",
        tuple("-+.0123456789"),
    ),
)


def read_document(raw: bytes) -> Any:
    """Parse a document; keys are texts, as JSON has them.

    Raises:
        InvalidInputError: It is neither JSON nor YAML; says where.
        SettingsError: It is no JSON, and what reads YAML is not installed.
    """
    try:
        return json.loads(raw)
    except RecursionError:
        raise InvalidInputError("the file is nested too deeply") from None
    except ValueError:
        pass
    return _read_yaml(raw)


def _read_yaml(raw: bytes) -> Any:
    try:
        import yaml  # noqa: PLC0415 - an extra
    except ImportError:
        raise SettingsError(
            "the file is not JSON, and YAML needs the package pyyaml, which is not installed",
            hint="pip install 'tieline[yaml]'",
            code="extra-missing",
        ) from None
    try:
        return yaml.load(raw, Loader=_loader())  # noqa: S506 - it makes plain values alone
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InvalidInputError(
            f"the file is neither JSON nor YAML: {error.problem}{where}"
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"the file is neither JSON nor YAML: {type(error).__name__}"
        ) from None


@cache
def _loader() -> Any:
    """Make what reads YAML as far as JSON goes, by the quick parser where there is one."""
    import yaml  # noqa: PLC0415

    fastest: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(fastest):  # type: ignore[misc]
        """Knows the types of JSON, and texts as keys."""

        yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {
            "<": [("tag:yaml.org,2002:merge", re.compile(r"<<"))]
        }

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[str, Any]:  # noqa: FBT002 - as it is there
            """Make an object whose keys are as they were written."""
            self.flatten_mapping(node)
            return {
                str(key.value): self.construct_object(value, deep=deep) for key, value in node.value
            }

    for tag, kind in ((_INT, int), (_FLOAT, float)):  # not by YAML 1.1, where 08 is no number
        Loader.add_constructor(tag, lambda _, node, kind=kind: kind(node.value))
    for tag, form, first in _CORE:
        Loader.add_implicit_resolver(tag, re.compile(f"(?:{form})$"), list(first))
    return Loader
