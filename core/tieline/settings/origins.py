"""Say which settings hold, and where each came from."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tieline.settings.applications import is_application_setting
from tieline.settings.dotenv import PREFIX, DotEnv, look_at_dotenv, read_dotenv
from tieline.settings.load import is_rate_limits
from tieline.settings.schema import SettingsSchema, is_secret

__all__ = ["Given", "dotenv_of", "given_settings"]

_SECRET_ENDS = ("_SECRET", "_KEY", "_TOKEN")
_FILE = "_FILE"


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """One setting as it holds in this process.

    Attributes:
        name: Of the variable.
        value: As text; of a secret that is set ``(set)``, of one that is not empty.
        origin: ``environment``, ``.env``, ``environment, file``, ``.env, file``
            or ``default``.
        is_secret: Its value must not be shown.
    """

    name: str
    value: str
    origin: str
    is_secret: bool


def given_settings(
    environ: Mapping[str, str] | None = None, folder: Path | None = None
) -> list[Given]:
    """List every setting of the core, and those of providers that are set.

    A file that a ``_FILE`` variable names is not read.
    """
    environ = os.environ if environ is None else environ
    sources = {"environment": environ, ".env": read_dotenv((folder or Path.cwd()) / ".env")}
    found = []
    for field_name, field in SettingsSchema().fields.items():
        name = f"{PREFIX}{field_name.upper()}"
        default = field.load_default
        shown = str(default).lower() if isinstance(default, bool) else str(default)
        found.append(_given(name, sources, default=shown, secret=is_secret(field)))
    known = {each.name for each in found}
    return found + [
        _given(name, sources, default="", secret=name.endswith(_SECRET_ENDS))
        for name in sorted(set(_of_providers(sources)) - known)
    ]


def dotenv_of(
    environ: Mapping[str, str] | None = None, folder: Path | None = None
) -> DotEnv | None:
    """Look at the ``.env`` of a folder, the working one if None; None if there is none."""
    environ = os.environ if environ is None else environ
    path = (folder or Path.cwd()) / ".env"
    secrets = {
        f"{PREFIX}{name.upper()}" for name, f in SettingsSchema().fields.items() if is_secret(f)
    }
    secrets |= {name for name in read_dotenv(path) if name.endswith(_SECRET_ENDS)}
    return look_at_dotenv(path, environ, secrets=secrets)


def _given(
    name: str, sources: Mapping[str, Mapping[str, str]], *, default: str, secret: bool
) -> Given:
    value, origin = default, "default"
    for source, given in sources.items():
        if text := given.get(name):
            value, origin = text, source
            break
        if path := given.get(name + _FILE):
            value, origin = path, f"{source}, file"
            break
    is_hidden = secret and bool(value) and not origin.endswith("file")
    return Given(name=name, value="(set)" if is_hidden else value, origin=origin, is_secret=secret)


def _of_providers(sources: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for given in sources.values():
        for name in given:
            plain = name.removesuffix(_FILE)
            if is_application_setting(plain) or is_rate_limits(plain):
                yield plain
