"""A plugin as the scaffold makes it, and its provider at an address: its sandbox stands in."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tieline.scaffold import Wanted, make_plugin
from tieline.services.sandbox import serving

__all__ = ["Acme", "made", "served_acme"]


@dataclass(frozen=True)
class Acme:
    """The plugin's folder, and where its provider is; people's names are in what it holds."""

    folder: Path
    url: str
    key: str
    app: Any


def made(folder: Path, auth: str = "api_key") -> tuple[Path, dict[str, Any]]:
    """Make a plugin and return its folder and what its sandbox's module has."""
    make_plugin(Wanted(name="acme", auth=auth), folder)
    return folder, runpy.run_path(str(folder / "tieline_acme_sandbox" / "__init__.py"))


@contextmanager
def served_acme(folder: Path) -> Iterator[Acme]:
    """Make a plugin and serve its sandbox."""
    _, names = made(folder)
    app = names["create_app"](things=25, most_per_page=10)
    for each in app.stock.values():
        each["name"] = f"Ada Lovelace {each['id'][-4:]}"
    with serving(app) as url:
        yield Acme(folder, url, names["KEY"], app)
