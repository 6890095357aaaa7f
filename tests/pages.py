"""Pages of the docs whose commands are typed as they are written.

A page's fenced blocks of shell, one after the other, are one session of bash, in an
environment in which there is nothing else. What a page cannot know is put in its
place: ids, addresses, ports, what somebody answers at a prompt.

``tieline`` is there a program of a few lines that has the command forked off the
:mod:`zygote`, with the streams, the folder and the environment that bash gave it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import zygote

__all__ = ["SHELL", "Block", "Session", "Step", "blocks_of", "commands_of", "run_page"]

ROOT = Path(__file__).parents[1]
SHELL = {"sh", "console"}
"""Languages of blocks that are run; in a ``console`` only what stands behind ``$``."""

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\S*)$")
_NOT_RUN = re.compile(r"^ *<!-- not run: (?P<reason>.+) -->$")
_CTRL_C_S = 1.5
"""After so long somebody presses Ctrl-C who has seen enough."""
_PATIENCE_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of a page.

    Attributes:
        line: Where it begins.
        reason: Why it is not run here, as the comment above it says; empty: it is.
    """

    line: int
    language: str
    text: str
    reason: str = ""


def blocks_of(page: Path) -> list[Block]:
    """Read the fenced blocks of a page."""
    return list(_blocks(page.read_text().splitlines()))


def _blocks(lines: list[str]) -> Iterator[Block]:
    number = 0
    while number < len(lines):
        fence = _FENCE.match(lines[number])
        number += 1
        if fence is None:
            continue
        begin, indent = number, len(fence["indent"])
        while lines[number].strip() != "```":
            number += 1
        above = next((line for line in reversed(lines[: begin - 1]) if line.strip()), "")
        told = _NOT_RUN.match(above)
        text = "\n".join(line[indent:] for line in lines[begin:number])
        yield Block(
            line=begin, language=fence["language"], text=text, reason=told["reason"] if told else ""
        )
        number += 1


def commands_of(block: Block) -> list[str]:
    """Return what is typed, a command each; those that go on in a further line are whole."""
    lines = block.text.split("\n")
    if block.language == "console":
        kept, goes_on = [], False
        for line in lines:
            if goes_on or line.startswith("$ "):
                kept.append(line if goes_on else line[2:])
                goes_on = line.endswith("\\")
        lines = kept
    found: list[str] = []
    goes_on = False
    for line in lines:
        if goes_on:
            found[-1] += f"\n{line}"
        elif line.strip() and not line.startswith("#"):
            found.append(line)
        goes_on = line.endswith("\\")
    return found


@dataclass(kw_only=True)
class Session:
    """What stands for what a page cannot know.

    Attributes:
        cwd: Where it is typed.
        environ: What is set before.
        texts: What the page writes, and what it is here; of a list each command that
            has the text takes the next, and the last one stays.
        typed: What somebody answers to a command that asks, by its beginning.
        codes: Exit codes other than 0, by the command's beginning.
        lasting: What goes on until Ctrl-C, by its beginning, and its exit code then.
        has_zygote: ``tieline`` is forked; False: a process of its own each time.
    """

    cwd: Path
    environ: dict[str, str]
    texts: dict[str, str | list[str]] = field(default_factory=dict)
    typed: dict[str, str] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    lasting: dict[str, int] = field(default_factory=dict)
    has_zygote: bool = True

    def replace(self, command: str) -> str:
        """Put what is here in the place of what is written."""
        for written, here in self.texts.items():
            if written in command:
                command = command.replace(written, here if isinstance(here, str) else _next(here))
        return command


def _next(texts: list[str]) -> str:
    return texts.pop(0) if len(texts) > 1 else texts[0]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command of a page that was run.

    Attributes:
        command: As it is written there.
        code: Its exit code.
        said: What it printed, on both streams.
    """

    command: str
    code: int
    said: str


def run_page(page: Path, session: Session, *, timeout: float = 120) -> list[Step]:
    """Type a page's commands until one ends in another way than it should.

    Raises:
        AssertionError: One did, or left a traceback, or a text of the session is on no
            line of the page.
    """
    commands = [
        command
        for block in blocks_of(page)
        if block.language in SHELL and not block.reason
        for command in commands_of(block)
    ]
    _require_use(session, commands)
    folder = session.cwd / ".page"
    folder.mkdir()
    _write_programs(folder / "bin", session)
    script = "\n".join(_typed(n, command, session) for n, command in enumerate(commands))
    (folder / "script").write_text(script)
    code = _run_bash(folder, session, timeout)
    said = (folder / "said").read_text(errors="replace")
    parts = dict(re.findall(r"^== (\d+)\n(.*?)(?=^== \d+\n|\Z)", said, re.MULTILINE | re.DOTALL))
    codes = dict(line.split() for line in (folder / "codes").read_text().splitlines())
    steps = [
        Step(command=commands[int(n)], code=int(code), said=parts[n].strip("\n"))
        for n, code in codes.items()
    ]
    assert code == 0, f"{page.name}: {commands[len(codes) - 1]}\n{said[-3000:]}"
    assert len(steps) == len(commands), said[-3000:]
    assert "Traceback" not in said, said[-5000:]
    return steps


def _require_use(session: Session, commands: list[str]) -> None:
    """A text that nothing uses is left from a page that said something else."""
    whole = "\n".join(commands)
    kept = {*session.texts, *session.typed, *session.codes, *session.lasting}
    assert [each for each in kept if each not in whole] == []


def _typed(number: int, written: str, session: Session) -> str:
    def begins(beginnings) -> str | None:
        return next((each for each in beginnings if written.startswith(each)), None)

    command = session.replace(written)
    if (asked := begins(session.typed)) is not None:
        command = f"typist {shlex.quote(session.typed[asked])} {command}"
    expected = session.codes[found] if (found := begins(session.codes)) is not None else 0
    if (found := begins(session.lasting)) is not None:
        command = f"timeout --preserve-status --signal INT {_CTRL_C_S} {command}"
        expected = session.lasting[found]
    return (
        f"printf '\\n== {number}\\n'\n{{ {command}\n}}\ncode=$?\necho {number} $code >&9\n"
        f"[ $code = {expected} ] || exit 1"
    )


def _run_bash(folder: Path, session: Session, timeout: float) -> int:
    environ = session.environ | {"PATH": f"{folder / 'bin'}:{session.environ['PATH']}"}
    (folder / "codes").touch()
    with (folder / "said").open("wb") as said:
        shell = subprocess.Popen(
            ["bash", "--norc", "-c", f"set -u; exec 9>>{folder}/codes; . {folder}/script"],
            cwd=session.cwd,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return shell.wait(timeout)
        finally:
            _end_group(shell)


def _end_group(shell: subprocess.Popen[bytes]) -> None:
    """End what a session left behind, in peace if it takes that."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, number)
        until = time.monotonic() + _PATIENCE_S
        while _is_anybody(shell) and time.monotonic() < until:
            time.sleep(0.05)


def _is_anybody(shell: subprocess.Popen[bytes]) -> bool:
    """Say whether a session has a process that is no zombie."""
    shell.poll()
    try:
        os.killpg(shell.pid, 0)
    except ProcessLookupError:
        return False
    found = subprocess.run(["ps", "-A", "-o", "pgid=,stat="], capture_output=True, text=True)
    pairs = [line.split() for line in found.stdout.splitlines()]
    return any(int(pgid) == shell.pid and stat[0] != "Z" for pgid, stat in pairs)


def _write_programs(folder: Path, session: Session) -> None:
    """Write the programs that a session finds before all others."""
    folder.mkdir()
    address = zygote.address_for(session.environ) if session.has_zygote else None
    whole = f"exec {sys.executable} -m tieline"
    forked = f"exec {sys.executable} -I -S {ROOT}/tests/zygote_caller.py {address}"
    programs = {
        "tieline": whole if address is None else forked,
        "typist": f"exec {sys.executable} -I {ROOT}/tests/typist.py",
        "python3": f"exec {sys.executable}",
    }
    for name, start in programs.items():
        (folder / name).write_text(f'#!/bin/sh\n{start} "$@"\n')
        (folder / name).chmod(0o755)
    assert shutil.which("bash"), "the pages are typed into bash"
