"""The pages for whoever reads them by machine: a list of them, and all of them in one file.

``.venv/bin/python tests/llms_pages.py`` writes ``llms.txt`` (as llmstxt.org has it) and
``llms-full.txt`` anew, from ``docs/README.md`` and the pages that it lists, in its order.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["MEND", "ROOT", "all_files"]

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MEND = "mend: .venv/bin/python tests/llms_pages.py"
_LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^( *```.*?^ *```)$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->\n*", re.DOTALL)
_PLAIN = re.compile(r"[A-Za-z`*(\[]")


def all_files() -> dict[Path, str]:
    """Return what both files are to hold."""
    return {ROOT / "llms.txt": _list(), ROOT / "llms-full.txt": _whole()}


def _kinds() -> Iterator[tuple[str, list[Path]]]:
    """Read the table of the pages: each kind with its pages."""
    for line in (DOCS / "README.md").read_text().splitlines():
        kind, _, cell = line.strip("|").partition("|")
        targets = [DOCS / target for _, target in _LINK.findall(cell)]
        pages = [page for target in targets for page in _pages_at(target)]
        if pages:
            yield kind.strip(), pages


def _pages_at(target: Path) -> list[Path]:
    if target.is_dir():
        return sorted(target.glob("*.md"))
    return [target] if target.suffix == ".md" else []


def _list() -> str:
    parts = [f"# Tieline\n\n> {_lead(ROOT / 'README.md')}\n"]
    parts.append("Every page in one file: [llms-full.txt](llms-full.txt)\n")
    for kind, pages in _kinds():
        lines = [f"- [{_title(page)}]({_name(page)}): {_lead(page)}" for page in pages]
        parts.append("\n".join([f"## {kind.capitalize()}\n", *lines]) + "\n")
    return "\n".join(parts)


def _whole() -> str:
    pages = [ROOT / "README.md"]
    for _, listed in _kinds():
        pages += [page for page in listed if page not in pages]
    return "\n".join(f"<!-- {_name(page)} -->\n\n{_moved(page)}" for page in pages)


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _title(page: Path) -> str:
    return page.read_text().partition("\n")[0].removeprefix("# ")


def _lead(page: Path) -> str:
    """Return the first sentence of a page's first paragraph, without links."""
    text = _COMMENT.sub("", _FENCE.sub("", page.read_text()))
    paragraphs = (each.strip() for each in text.split("\n\n")[1:])
    first = next(each for each in paragraphs if _PLAIN.match(each))
    words = _LINK.sub(r"\1", " ".join(first.split()))
    return re.split(r"(?<=[.!?])\s", words)[0].rstrip(":")


def _moved(page: Path) -> str:
    """Return a page whose links lead from the top, where it is copied to."""

    def moved(found: re.Match[str]) -> str:
        words, target = found.groups()
        path, hash_, anchor = target.partition("#")
        if "://" in target:
            return found[0]
        place = os.path.relpath((page.parent / path) if path else page, ROOT)
        return f"[{words}]({place}{hash_}{anchor})"

    pieces = _FENCE.split(page.read_text())
    pieces[::2] = [_LINK.sub(moved, piece) for piece in pieces[::2]]
    return "".join(pieces)


def write_all() -> None:
    """Write both anew."""
    for path, text in all_files().items():
        path.write_text(text)


if __name__ == "__main__":
    write_all()
