"""Read ``.env``, and say what is odd about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PREFIX", "DotEnv", "look_at_dotenv", "read_dotenv"]

PREFIX = "TIELINE_"
_OPEN_TO_OTHERS = 0o077


@dataclass(frozen=True, kw_only=True, slots=True)
class DotEnv:
    """What is to be said of the file ``.env`` of a folder.

    Attributes:
        path: Where it is.
        trouble: Why it cannot be read, in the system's words; empty: it can.
        shadowed: Names whose value the environment replaces by another.
        twice: Names that stand in it more than once; the last one holds.
        unreadable: Numbers of lines that are no ``NAME=value``.
        is_open: Others may read it, and a secret is in it.
    """

    path: Path
    trouble: str = ""
    shadowed: tuple[str, ...] = ()
    twice: tuple[str, ...] = ()
    unreadable: tuple[int, ...] = ()
    is_open: bool = False


def read_dotenv(path: Path) -> dict[str, str]:
    """Read the variables of ours that a file has; none from one that cannot be read."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    return {name: text for _, name, text in _pairs(lines) if name.startswith(PREFIX)}


def look_at_dotenv(
    path: Path, environ: Mapping[str, str], *, secrets: Iterable[str]
) -> DotEnv | None:
    """Look at a file; None if there is none.

    Args:
        path: The file.
        environ: The environment, which goes before it.
        secrets: Names of variables whose values must not be read by others.
    """
    try:
        text = path.read_text("utf-8")
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    except OSError as error:
        return DotEnv(path=path, trouble=error.strerror or type(error).__name__)
    except UnicodeDecodeError:
        return DotEnv(path=path, trouble="it is not UTF-8")
    lines = text.splitlines()
    pairs = [(name, value) for _, name, value in _pairs(lines) if name.startswith(PREFIX)]
    names = [name for name, _ in pairs]
    given = dict(pairs)
    read = {number for number, _, _ in _pairs(lines)}
    odd = [number for number, line in enumerate(lines, 1) if number not in read and _is_odd(line)]
    return DotEnv(
        path=path,
        shadowed=tuple(sorted(n for n in given if n in environ and environ[n] != given[n])),
        twice=tuple(sorted({name for name in names if names.count(name) > 1})),
        unreadable=tuple(odd),
        is_open=bool(mode & _OPEN_TO_OTHERS) and any(given.get(name) for name in secrets),
    )


def _pairs(lines: Iterable[str]) -> Iterable[tuple[int, str, str]]:
    for number, line in enumerate(lines, 1):
        if "=" not in line or line.lstrip().startswith("#"):
            continue
        name, text = line.split("=", 1)
        name = name.strip().removeprefix("export ").strip()  # as a shell that sources it has it
        if name.isidentifier():
            yield number, name, text.strip().strip("\"'")


def _is_odd(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")
