"""The plugin that is looked at: where its code, its metadata and its papers are."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from tieline.errors import InvalidInputError, NotFoundError, nearest
from tieline.registry.found import LEVELS as PUBLISHED
from tieline.registry.found import PROVIDERS, SANDBOXES, find_plugins, find_sandboxes

__all__ = ["Subject", "find_subject"]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A plugin, its code not imported yet.

    Attributes:
        name: The provider's name.
        entry_point: Of the plugin.
        sandbox: Entry point of its sandbox; None: it has none.
        folder: What holds its pyproject.toml; None where only a wheel is here.
        project: The pyproject.toml; empty without one.
        is_path: It was named by its folder, and is imported from there.
        published: The level that it shows; empty for none.
    """

    name: str
    entry_point: EntryPoint
    sandbox: EntryPoint | None
    folder: Path | None = None
    project: Mapping[str, Any] = field(default_factory=dict)
    is_path: bool = False
    published: str = ""

    @property
    def package(self) -> str:
        """The package of the plugin."""
        return self.entry_point.value.partition(":")[0].partition(".")[0]

    @property
    def sandbox_package(self) -> str:
        """The package of the sandbox; empty for none."""
        return self.sandbox.value.partition(":")[0].partition(".")[0] if self.sandbox else ""

    @property
    def exemptions(self) -> Mapping[str, str]:
        """Checks that the plugin says do not hold, with its reasons."""
        given = self.project.get("tool", {}).get("tieline", {}).get("exempt", {})
        return given if isinstance(given, dict) else {}

    @contextmanager
    def importable(self) -> Iterator[None]:
        """Let the plugin be imported from its folder, and forget it afterwards.

        A plugin that was named by its name is installed and stays as it is.
        """
        if not self.is_path or self.folder is None:
            yield
            return
        before, wrote = list(sys.path), sys.dont_write_bytecode
        known = self._forgotten()
        sys.path[:0] = [str(self.folder), str(self.folder / "src")]
        # A file that is changed within a second would be taken from its stale bytecode.
        sys.dont_write_bytecode = True
        importlib.invalidate_caches()
        try:
            yield
        finally:
            sys.path[:] = before
            sys.dont_write_bytecode = wrote
            self._forgotten()
            sys.modules.update(known)

    def _forgotten(self) -> dict[str, Any]:
        own = {self.package, self.sandbox_package} - {""}
        names = [name for name in sys.modules if name.partition(".")[0] in own]
        return {name: sys.modules.pop(name) for name in names}

    @cached_property
    def sources(self) -> Mapping[Path, str]:
        """The plugin's own Python files; to be asked for while it is importable."""
        return _sources(self.package)

    @cached_property
    def sandbox_sources(self) -> Mapping[Path, str]:
        """Those of its sandbox."""
        return _sources(self.sandbox_package) if self.sandbox else {}

    @cached_property
    def nodes(self) -> Mapping[Path, list[ast.AST]]:
        """Every node of the plugin's files; one that is no Python is left out."""
        found = {}
        for path, text in self.sources.items():
            try:
                found[path] = list(ast.walk(ast.parse(text)))
            except SyntaxError:
                continue
        return found

    @cached_property
    def papers(self) -> str:
        """README.md, and the page in docs/providers where the repository has one."""
        if self.folder is None:
            return ""
        near = [self.folder / "README.md", *(self.folder / "docs").glob("**/*.md")]
        near += [top / "docs" / "providers" / f"{self.name}.md" for top in self.folder.parents[:2]]
        return "\n".join(path.read_text(encoding="utf-8") for path in near if path.is_file())

    def find(self, pattern: str) -> str:
        """Return ``file:line`` of the first line that matches; the package's first if none."""
        for path, text in self.sources.items():
            for number, line in enumerate(text.splitlines(), 1):
                if re.search(pattern, line):
                    return self.place(path, number)
        first = next(iter(self.sources), None)
        return self.place(first, 1) if first else ""

    def place(self, path: Path, line: int) -> str:
        """Write a place as people click on it."""
        where = path
        if self.folder is not None and path.is_relative_to(self.folder):
            where = path.relative_to(self.folder)
        elif self.package in path.parts:
            where = Path(*path.parts[path.parts.index(self.package) :])
        return f"{where}:{line}"

    def place_of(self, thing: Any) -> str:
        """Return where a function or class of the plugin is written; empty if it is not its own."""
        while hasattr(thing, "func"):
            thing = thing.func
        try:
            code = inspect.unwrap(thing)
            path = Path(inspect.getsourcefile(code) or "")
            line = inspect.getsourcelines(code)[1]
        except (TypeError, OSError):
            return ""
        return self.place(path, max(line, 1)) if path in self.sources else ""

    def place_in(self, error: BaseException) -> str:
        """Return the deepest line of the plugin that an exception came through."""
        found = ""
        chain: BaseException | None = error
        while chain is not None:
            trace = chain.__traceback__
            while trace is not None:
                path = Path(trace.tb_frame.f_code.co_filename)
                if path in self.sources:
                    found = self.place(path, trace.tb_lineno)
                trace = trace.tb_next
            chain = chain.__cause__
        return found


def find_subject(named: str) -> Subject:
    """Find a plugin by its provider's name, or by the folder of its pyproject.toml.

    Raises:
        NotFoundError: No plugin of that name is installed.
        InvalidInputError: The folder holds no plugin.
    """
    folder = Path(named)
    if (folder / "pyproject.toml").is_file() or "/" in named or named in {".", ".."}:
        return _of_folder(folder.resolve())
    installed = find_plugins()
    claims = [found for found in installed if found.name == named]
    if not claims:
        raise NotFoundError(
            f"there is no plugin {named!r}",
            hint=nearest(named, {found.name for found in installed})
            or "name a folder with a pyproject.toml",
            code="provider-unknown",
        )
    chosen = min(claims, key=lambda found: bool(found.holder))
    point = chosen.entry_point
    home = _editable_folder(point)
    return Subject(
        name=named,
        entry_point=point,
        sandbox=find_sandboxes().get(named),
        folder=home,
        project=_read_project(home) if home else {},
        published=chosen.level,
    )


def _of_folder(folder: Path) -> Subject:
    if not (folder / "pyproject.toml").is_file():
        raise InvalidInputError(
            f"{folder} has no pyproject.toml",
            hint="name the folder of a plugin, or the provider of an installed one",
            code="no-plugin",
        )
    project = _read_project(folder)
    groups = project.get("project", {}).get("entry-points", {})
    providers = groups.get(PROVIDERS) or {}
    if len(providers) != 1:
        raise InvalidInputError(
            f"the pyproject.toml in {folder} announces {len(providers)} providers, not one",
            hint=f'write [project.entry-points."{PROVIDERS}"] with one line: name = "package"',
            code="no-plugin",
        )
    [(name, value)] = providers.items()
    sandbox = (groups.get(SANDBOXES) or {}).get(name)
    return Subject(
        name=name,
        entry_point=EntryPoint(name=name, value=value, group=PROVIDERS),
        sandbox=EntryPoint(name=name, value=sandbox, group=SANDBOXES) if sandbox else None,
        folder=folder,
        project=project,
        is_path=True,
        published=str((groups.get(PUBLISHED) or {}).get(name, "")),
    )


def _read_project(folder: Path) -> Mapping[str, Any]:
    path = folder / "pyproject.toml"
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path} cannot be read: {error}", code="no-plugin") from None


def _editable_folder(point: EntryPoint) -> Path | None:
    text = point.dist.read_text("direct_url.json") if point.dist else None
    said = json.loads(text) if text else {}
    url = said.get("url", "")
    is_editable = said.get("dir_info", {}).get("editable")
    return Path(url.removeprefix("file://")) if is_editable and url.startswith("file://") else None


def _sources(package: str) -> Mapping[Path, str]:
    spec = importlib.util.find_spec(package)
    places = list(spec.submodule_search_locations or []) if spec else []
    paths = [path for place in places for path in sorted(Path(place).rglob("*.py"))]
    if spec and not places and spec.origin:
        paths = [Path(spec.origin)]
    return {path: path.read_text(encoding="utf-8", errors="replace") for path in paths}
