"""Run the command line in this process: a process of its own takes a second each time."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import json_output
from tieline.cli.main import main


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a command did."""

    code: int
    stdout: str
    stderr: str
    is_unread: bool = False

    @property
    def json(self) -> Any:
        assert self.stdout, f"exit {self.code}: {self.stderr}"
        return json.loads(self.stdout)

    @property
    def has_traceback(self) -> bool:
        # Python's own words of a Ctrl-C that came while it tidied up; nothing ends by it.
        said = re.sub(r"Exception ignored in.*?KeyboardInterrupt", "", self.stderr, flags=re.DOTALL)
        return "Traceback" in said or "error[bug]" in said


class _Stream(io.TextIOWrapper):
    """Text over bytes, as a real stream is; its number leads to the null device."""

    def __init__(self, number: int, content: bytes = b"", *, is_terminal: bool = False) -> None:
        super().__init__(io.BytesIO(content), "utf-8", write_through=True)
        self._number = number
        self._is_terminal = is_terminal

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return self._is_terminal

    def text(self) -> str:
        return self.buffer.getvalue().decode("utf-8", "replace")


class _Closed(io.RawIOBase):
    """A pipe whose reader is gone."""

    def writable(self) -> bool:
        return True

    def write(self, _data: object) -> int:
        raise BrokenPipeError(32, "Broken pipe")


@contextmanager
def _streams(stdin: bytes, *, has_reader: bool):
    null = os.open(os.devnull, os.O_RDWR)
    kept = sys.stdin, sys.stdout, sys.stderr
    out = _Stream(null)
    sys.stdin, sys.stderr = _Stream(null, stdin), _Stream(null)
    sys.stdout = out if has_reader else io.TextIOWrapper(io.BufferedWriter(_Closed()))
    closed = sys.stdout
    try:
        yield out, sys.stderr
    finally:
        sys.stdin, sys.stdout, sys.stderr = kept
        if not has_reader:
            try:
                closed.detach().detach()
            except (OSError, ValueError):
                pass
        os.close(null)


def run_cli(*arguments: str, stdin: bytes | str = b"", has_reader: bool = True) -> Done:
    """Run a command to its end, as its own process would, in the environment that there is."""
    given = stdin.encode() if isinstance(stdin, str) else stdin
    before = signal.getsignal(signal.SIGTERM)
    with _streams(given, has_reader=has_reader) as (out, err):
        try:
            main(list(arguments))
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            signal.signal(signal.SIGTERM, before)
        if has_reader:
            json_output.require_known(arguments, code, out.text())
        return Done(code=code, stdout=out.text(), stderr=err.text(), is_unread=not has_reader)


def use_environment(
    patch: pytest.MonkeyPatch, folder: Path, database_url: str, redis_url: str, **more: str
) -> None:
    """Let this process be in an environment with settings, as a shell is."""
    for name in [name for name in os.environ if name.startswith("TIELINE_")]:
        patch.delenv(name)
    settings = {"home": str(folder), "database_url": database_url, "redis_url": redis_url, **more}
    for name, text in settings.items():
        patch.setenv(f"TIELINE_{name.upper()}", text)
    folder.mkdir(parents=True, exist_ok=True)
    patch.chdir(folder)
