"""What the pages of the contract take from the code: signatures, arguments, fields.

``.venv/bin/python tests/contract_pages.py`` writes it anew: the head of each page of a
hook, down to the line that ends it, and the whole page of the declarations.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from tieline import contract
from tieline.contract import hookspecs

__all__ = [
    "END",
    "HOOKS",
    "PAGES",
    "SURFACE",
    "declarations_page",
    "head_of",
    "lost",
    "page_of_hook",
    "surface",
]

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs/reference/hooks"
DECLARATIONS = ROOT / "docs/reference/declarations.md"
SURFACE = ROOT / f"tests/house/contract-{hookspecs.CONTRACT_VERSION}.json"
HOOKS = (*hookspecs.REQUIRED, *hookspecs.OPTIONAL, *hookspecs.OBSERVERS)
END = "<!-- From the code up to here: .venv/bin/python tests/contract_pages.py -->"
NEEDS = {
    hookspecs.REQUIRED: "Every plugin has it.",
    hookspecs.OPTIONAL: "Optional: leave it out where there is nothing to say.",
    hookspecs.OBSERVERS: "An observer, optional: it is called on every plugin that has it.",
}
SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises", "Source")
# What a plugin is told of by the pages of hooks, or is no matter for plugins.
NOT_DECLARED = {"hookimpl", "hookspec", "PROJECT", "REQUIRED", "OPTIONAL", "OBSERVERS"}
GROUPS = {
    "declarations": "What is true of the provider",
    "oauth": "Signing in",
    "webhooks": "Webhooks",
    "writes": "Writing",
    "schema": "Schemas",
    "values": "What steps are handed, and hand back",
    "pages": "Ready-made steps",
    "reading": "Reading odd input",
    "jsontext": "JSON",
    "headers": "Headers",
    "shapes": "Canonical shapes",
    "alerts": "Alerts",
    "errors": "Errors",
    "hookspecs": "The contract itself",
}


def page_of_hook(name: str) -> Path:
    """Return where the page of a hook is."""
    return PAGES / f"{name}.md"


def parts_of(thing: Any) -> dict[str, str]:
    """Cut a docstring into its sections; what comes first is named by nothing."""
    parts: dict[str, str] = {"": ""}
    section = ""
    for line in (inspect.getdoc(thing) or "").splitlines():
        if line.endswith(":") and line[:-1] in SECTIONS:
            section = line[:-1]
            parts[section] = ""
        else:
            parts[section] += f"{line}\n"
    return {name: textwrap.dedent(text).strip() for name, text in parts.items()}


def named_in(section: str) -> Iterator[tuple[str, str]]:
    """Yield each ``name: words`` of a section of arguments."""
    for part in re.split(r"\n(?=\S)", section):
        name, _, words = part.partition(":")
        if words:
            yield name.lstrip("*"), plain(words)


def plain(text: str) -> str:
    """Write Markdown in place of what docstrings mark up, on one line."""
    text = re.sub(r":\w+:`~?([\w.]+)`", lambda found: f"``{found[1].rpartition('.')[2]}``", text)
    return re.sub(r"\s+", " ", text.replace("``", "`")).strip()


def prose(text: str) -> str:
    """Write paragraphs, each wrapped."""
    paragraphs = re.split(r"\n\s*\n", text)
    return "\n\n".join(
        textwrap.fill(plain(each), 120, break_long_words=False, break_on_hyphens=False)
        for each in paragraphs
    )


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def users_of(name: str) -> list[str]:
    """Name the plugins of the workspace that have a hook."""
    return sorted(
        path.parent.parent.name
        for path in ROOT.glob("plugins/*/tieline_*/__init__.py")
        if f"\ndef {name}(" in path.read_text()
    )


def head_of(name: str) -> str:
    """Write all of a hook's page that the code knows."""
    hook = getattr(hookspecs, name)
    parts = parts_of(hook)
    summary, _, when = parts[""].partition("\n\n")
    signature = inspect.signature(hook)
    arguments = ", ".join(_parameters(signature))
    needed = next(words for names, words in NEEDS.items() if name in names)
    users = ", ".join(f"[{each}](../../../plugins/{each})" for each in users_of(name))
    lines = [
        f"# `{name}`",
        prose(summary),
        f"{needed} In the workspace: {users or 'none so far'}.",
        "```text\n" + signature_of(name, arguments, signature.return_annotation) + "\n```",
        "## When it is called",
        prose(when),
        "## Arguments",
        _table(parts.get("Args", ""), "argument") or "None.",
        "## Returns",
        prose(parts.get("Returns", "")) or "Nothing.",
        "## Raises",
        _table(parts.get("Raises", ""), "error") or "None of its own; what any leads to is below.",
        END,
    ]
    return "\n\n".join(lines) + "\n"


def signature_of(name: str, arguments: str, returned: str) -> str:
    """Write a signature on one line, or an argument a line where that is too long."""
    line = f"{name}({arguments}) -> {returned}"
    if len(line) <= 100:
        return line
    each = ",\n".join(f"    {part}" for part in re.split(r", (?=\w+:|\*)", arguments))
    return f"{name}(\n{each},\n) -> {returned}"


def _table(section: str, title: str) -> str:
    rows = [f"| `{name}` | {cell(words)} |" for name, words in named_in(section)]
    return "\n".join([f"| {title} | |", "|---|---|", *rows]) if rows else ""


# --- declarations ---------------------------------------------------------------------------


@cache
def source_of(module: str) -> str:
    return (ROOT / f"core/tieline/contract/{module}.py").read_text()


@cache
def module_of(name: str) -> str:
    """Return the module of the contract that a public name is from."""
    for module in GROUPS:
        found = inspect.getmodule(getattr(contract, name))
        if found is not None and found.__name__ == f"tieline.contract.{module}":
            return module
        if f"\n{name} = " in source_of(module) or f"\n{name}: " in source_of(module):
            return module
    raise LookupError(f"no module of the contract has {name}")


def documentation_of(name: str) -> tuple[str, str]:
    """Return how an alias or a constant is written, and the text below it."""
    found = re.search(
        rf'^{name}(?:: \w+)? = (.*?)\n(?:"""(.*?)"""\n)?(?=\n|[A-Z@]|\Z)',
        source_of(module_of(name)),
        re.MULTILINE | re.DOTALL,
    )
    assert found, name
    written = "…" if "\n" in found[1] else re.sub(r"  # noqa.*", "", found[1])
    return f"{name} = {written}", prose(found[2] or "")


def entry_of(name: str) -> str:
    """Write what a plugin's author may know of one public name."""
    thing = getattr(contract, name)
    if not (inspect.isclass(thing) or inspect.isfunction(thing)):
        written, words = documentation_of(name)
        return "\n\n".join(filter(None, [f"### `{name}`", f"```text\n{written}\n```", words]))
    parts = parts_of(thing)
    lines = [f"### `{name}`"]
    if inspect.isfunction(thing):
        signature = inspect.signature(thing)
        arguments = ", ".join(_parameters(signature))
        lines.append(f"```text\n{signature_of(name, arguments, signature.return_annotation)}\n```")
    lines.append(prose(parts[""]))
    lines.append(_fields(thing, parts) if dataclasses.is_dataclass(thing) else "")
    lines.append(_table(parts.get("Args", ""), "argument"))
    if inspect.isfunction(thing):
        lines.append("Returns: " + prose(parts["Returns"]) if "Returns" in parts else "")
    lines.append(_table(parts.get("Raises", ""), "raises"))
    return "\n\n".join(filter(None, lines))


def _parameters(signature: inspect.Signature) -> Iterator[str]:
    has_star = False
    for each in signature.parameters.values():
        if each.kind is each.KEYWORD_ONLY and not has_star:
            has_star = True
            yield "*"
        default = "" if each.default is each.empty else f" = {each.default!r}"
        yield f"{each.name}: {each.annotation}{default}"


def _fields(thing: Any, parts: dict[str, str]) -> str:
    said = dict(named_in(parts.get("Attributes", "")))
    rows = ["| field | type | default | |", "|---|---|---|---|"]
    for field in dataclasses.fields(thing):
        if field.name == "kind" and "kind" not in said:
            continue  # a constant of the class, that tells the ways to connect apart
        rows.append(
            f"| `{field.name}` | `{cell(str(field.type))}` | {_default(field)} |"
            f" {cell(said.pop(field.name))} |"
        )
    assert not said, f"{thing.__name__} has no {', '.join(said)}"
    return "\n".join(rows)


def _default(field: dataclasses.Field[Any]) -> str:
    if isinstance(field.default, frozenset):
        return f"`{sorted(field.default)}`"
    if isinstance(field.default, timedelta):
        return f"{field.default.total_seconds():g} s"
    if field.default is not dataclasses.MISSING:
        return f"`{cell(repr(field.default))}`" if field.default != "" else "empty"
    if field.default_factory is not dataclasses.MISSING:
        return "empty"
    return "needed"


BEGINNING = """
All of ``tieline.contract``, from the docstrings of the code: ``.venv/bin/python
tests/contract_pages.py`` writes this page. The hooks have [pages of their
own](contract.md#hooks), and [the contract](contract.md) says what the core makes of each
declaration. Fields are given by name alone.
"""


def declarations_page() -> str:
    """Write the page of every public name of the contract but the hooks."""
    parts = ["# Everything a plugin may import", prose(BEGINNING)]
    names = sorted(set(contract.__all__) - NOT_DECLARED)
    for module, title in GROUPS.items():
        of_it = [name for name in names if module_of(name) == module]
        parts += [f"## {title}", *map(entry_of, of_it)] if of_it else []
    return "\n\n".join(parts) + "\n"


# --- what stays as it is --------------------------------------------------------------------


def surface() -> dict[str, dict[str, str]]:
    """Return every public name with its arguments or fields, each with its default."""
    found: dict[str, dict[str, str]] = {}
    for name in sorted({*contract.__all__, *HOOKS}):
        thing = getattr(hookspecs if name in HOOKS else contract, name)
        if dataclasses.is_dataclass(thing):
            found[name] = {each.name: _default(each) for each in dataclasses.fields(thing)}
        elif inspect.isclass(thing) or inspect.isfunction(thing):
            found[name] = {
                each.name: f"{each.kind.description}, {_given(each)}"
                for each in _signature(thing).parameters.values()
            }
        else:
            found[name] = {}
        if code := vars(thing).get("code") if inspect.isclass(thing) else None:
            found[name]["code"] = str(code)
    return found


def lost(before: dict[str, dict[str, str]], now: dict[str, dict[str, str]]) -> list[str]:
    """Name what was there and is not any more, or is something else."""
    gone = [name for name in before if name not in now]
    return gone + [
        f"{name}.{part}"
        for name, parts in before.items()
        for part, words in parts.items()
        if name in now and now[name].get(part) != words
    ]


def _signature(thing: Any) -> inspect.Signature:
    try:
        return inspect.signature(thing)
    except ValueError:
        return inspect.Signature()


def _given(parameter: inspect.Parameter) -> str:
    return "needed" if parameter.default is parameter.empty else repr(parameter.default)


def write_all() -> None:
    """Write all pages anew; what is written by hand stays."""
    PAGES.mkdir(exist_ok=True)
    for name in HOOKS:
        page = page_of_hook(name)
        _, _, own = page.read_text().partition(END) if page.exists() else ("", "", "\n")
        page.write_text(head_of(name) + own.removeprefix("\n"))
    DECLARATIONS.write_text(declarations_page())
    now = surface()
    if gone := lost(json.loads(SURFACE.read_text()) if SURFACE.exists() else {}, now):
        raise SystemExit(f"this version of the contract may not lose {', '.join(gone)}")
    SURFACE.write_text(json.dumps(now, indent=1) + "\n")


if __name__ == "__main__":
    write_all()
