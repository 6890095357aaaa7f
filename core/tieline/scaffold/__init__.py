"""A new plugin from nothing: eight files that are green before anybody types.

The template is a whole plugin of an imaginary provider; making one is copying
it under another name. Lines between ``#:begin KIND`` and ``#:end`` are for that
kind of credential alone.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

from tieline.errors import InvalidInputError, RefusedError

__all__ = ["KINDS", "Wanted", "make_plugin"]

KINDS = ("api_key", "oauth2", "basic")
"""Kinds of credentials that a template is there for."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TAKEN = frozenset({"tieline", "migrations", "new", "self", "sandbox", "test"})
# Of the template to where it goes in the new folder.
_FILES = {
    "pyproject.toml.txt": "pyproject.toml",
    "README.md.txt": "README.md",
    "github/check.yml.txt": ".github/workflows/check.yml",
    "plugin/__init__.py.txt": "tieline_acme/__init__.py",
    "plugin/schema.py.txt": "tieline_acme/schema.py",
    "plugin/deliveries/thing.changed.json": "tieline_acme/deliveries/thing.changed.json",
    "sandbox/__init__.py.txt": "tieline_acme_sandbox/__init__.py",
    "tests/test_contract.py.txt": "tests/test_contract.py",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What a new plugin is to be.

    Attributes:
        name: The provider's name: lower case letters, digits and ``_``.
        title: As the provider writes itself; empty: made from the name.
        auth: One of :data:`KINDS`.
        base_url: Where its API is, without a trailing slash.
        entity: Plural of the first thing that is kept in step.
    """

    name: str
    title: str = ""
    auth: str = "api_key"
    base_url: str = ""
    entity: str = "things"


def make_plugin(wanted: Wanted, folder: Path) -> list[Path]:
    """Write a new plugin.

    Args:
        wanted: What it is to be.
        folder: Where; it must not be there yet, or be empty.

    Returns:
        The files, at most eight.

    Raises:
        InvalidInputError: A name or the address makes no sense.
        RefusedError: There is something in the folder.
    """
    _require_good(wanted)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RefusedError(
            f"{folder} is there and not empty", hint="choose another folder, with --to"
        )
    is_new = not folder.exists()
    made = []
    try:
        for source, text in _read():
            path = folder / _named(_FILES[source], wanted)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_named("".join(_of_kind(text, wanted.auth)), wanted), encoding="utf-8")
            made.append(path)
    except OSError as error:
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)
        raise RefusedError(f"{folder} cannot be written: {error.strerror}") from error
    return made


def _require_good(wanted: Wanted) -> None:
    for word, what in ((wanted.name, "the provider's name"), (wanted.entity, "the first entity")):
        if not _NAME.fullmatch(word) or word in _TAKEN:
            raise InvalidInputError(
                f"{word[:80]!r} cannot be {what}: lower case letters, digits and _ only,"
                " at most 40, and no word that is in use",
                code="name-invalid",
            )
    if not wanted.entity.endswith("s") or len(wanted.entity) < 3:
        raise InvalidInputError(
            f"{wanted.entity!r} is no plural: name the first entity as in `orders`",
            code="name-invalid",
        )
    if wanted.auth not in KINDS:
        raise InvalidInputError(
            f"{wanted.auth!r} is no kind of credential: {', '.join(KINDS)}", code="auth-kind"
        )
    if any(not each.isprintable() or each in "\"'\\<>{}[]|`" for each in wanted.title):
        raise InvalidInputError(
            f"{wanted.title[:80]!r} cannot be a title: quotes, brackets or line breaks",
            code="name-invalid",
        )
    parts = urlsplit(wanted.base_url)
    odd = set(wanted.base_url) & set("\"'\\<> #?")
    if wanted.base_url and (parts.scheme != "https" or not parts.hostname or odd):
        raise InvalidInputError(
            f"{wanted.base_url[:200]!r} is no address of an API: https://api.example.com",
            code="base-url-invalid",
        )


def _read() -> Iterator[tuple[str, str]]:
    top = files("tieline.scaffold") / "template"
    for source in _FILES:
        yield source, top.joinpath(source).read_text(encoding="utf-8")


def _of_kind(text: str, kind: str) -> Iterator[str]:
    is_on = True
    for line in text.splitlines(keepends=True):
        word = line.strip()
        if word.startswith("#:begin "):
            is_on = kind in word.removeprefix("#:begin ").split(",")
        elif word == "#:end":
            is_on = True
        elif is_on:
            yield line


def _named(text: str, wanted: Wanted) -> str:
    """Put the names in place of the template's; its own words hold none of them by chance."""
    title = wanted.title or wanted.name.replace("_", " ").title()
    one = _singular(wanted.entity)
    base_url = wanted.base_url.rstrip("/") or f"https://api.{wanted.name}.example".replace("_", "-")
    new = {
        "https://api.acme.example": base_url,
        "tieline-acme": f"tieline-{wanted.name.replace('_', '-')}",
        "ACME": wanted.name.upper(),
        "Acme": title,
        "acme-": f"{wanted.name.replace('_', '-')}-",
        "acme": wanted.name,
        "ThingToWrite": f"{_camel(one)}ToWrite",
        "THINGS": wanted.entity.upper(),
        "THING": one.upper(),
        "Things": wanted.entity.capitalize(),
        "ThingRecord": f"{_camel(one)}Record",
        "things": wanted.entity,
        "thing": one,
    }
    pattern = re.compile("|".join(map(re.escape, new)))
    return pattern.sub(lambda match: new[match[0]], text)


def _singular(plural: str) -> str:
    for ending, one in (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("shes", "sh")):
        if plural.endswith(ending):
            return plural.removesuffix(ending) + one
    return plural.removesuffix("s")


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
