"""Command lines of which most make no sense, run in this process.

Each is drawn from the tree itself: a command, its own options, some of another, values of
the right kind and of none. What must never come: a traceback, an exit code that is not
documented, or, with ``--json``, a stdout that is no JSON.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click
import pytest

from cli_kit import Done, run_cli, use_environment
from json_output import tree
from tieline.contract import Secret
from tieline.coordination import EmbeddedServer
from tieline.services.connect import connect_api_key
from tieline.services.installation import Installation
from tieline.services.setup import initialise

ROOT = Path(__file__).parents[2]
# They go on until they are stopped, or take the installation away: with these only
# what is refused while it is read may be tried.
LASTING = {
    "worker", "scheduler", "serve", "up", "down", "demo", "sandbox serve", "verify", "listen",
    "queue drain", "records follow", "--watch", "--follow", "--wait", "--patience", "-f",
}  # fmt: skip
LONGEST_S = 20.0
GLOBALS = ("--json", "--quiet", "-v", "--no-color", "--no-input", "--yes", "-q", "-vv")
WORDS = (
    "", " ", "shop", "shop ", "SHOP", "stripe", "customers", "orders", "nothing", "run_x", "evt_1",
    "con_", "dead_1", "bad_1", "op_1", "whe_aaaaaaaaaaaaaaaa", "0", "-1", "1", "5", "1e9", "NaN",
    "inf", "99999999999999999999", "0x10", "2026-02-30", "2026-03-01", "9999-12-31T23:59:59Z",
    "0001-01-01", "2026-03-01T00:00:00+14:00", "15m", "0s", "1d", "* * * * *", "Europe/Berlin",
    "a b", "ä", "🎈", "\u202e", "x" * 5000, "../../etc/passwd", "/dev/null", "/", "-", "--", "---",
    "-x", "--no-such", "{}", "[]", "{", '{"id": 1}', "null", "\udc80", "\x1b[31m", "\n", "%s",
    "${HOME}", "'; DROP TABLE runs; --", "http://", "https://example.com/x", "redis://", "true",
)  # fmt: skip


@dataclass
class Found:
    """What a lane found.

    Attributes:
        bad: What must not be, each with its call.
        codes: How often each exit code came.
    """

    bad: list[str] = field(default_factory=list)
    codes: Counter[int] = field(default_factory=Counter)


def documented_codes() -> set[int]:
    page = (ROOT / "docs/reference/exit-codes.md").read_text()
    rows = re.findall(r"^\| ([0-9, ]+) \|", page, re.MULTILINE)
    return {int(code) for row in rows for code in row.split(",")}


def draw(chance: random.Random, tree: dict[str, click.Command]) -> list[str]:
    """Draw one call."""
    name = chance.choice(sorted(tree))
    words = name.split()
    if chance.random() < 0.05:
        words[-1] = words[-1][:-1] + chance.choice("xyz")
    arguments = [chance.choice(GLOBALS) for _ in range(chance.choice((0, 0, 0, 1, 2)))] + words
    command = tree[name]
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            if chance.random() < 0.85:
                arguments.append(value(chance, parameter))
        elif chance.random() < 0.3:
            arguments += option(chance, parameter)
    if chance.random() < 0.15:
        other = tree[chance.choice(sorted(tree))]
        options = [each for each in other.params if isinstance(each, click.Option)]
        arguments += option(chance, chance.choice(options)) if options else []
    if chance.random() < 0.2:
        arguments.append(chance.choice(WORDS))
    if chance.random() < 0.1:
        chance.shuffle(arguments)
    if name in LASTING or is_lasting(arguments):
        arguments.append("--no-such-option")
    return arguments


def is_lasting(arguments: list[str]) -> bool:
    """Say whether a shuffled or misspelt call may start what does not end by itself."""
    joined = f" {' '.join(arguments)} ".replace("=", " ")
    return any(f" {each} " in joined for each in LASTING)


def option(chance: random.Random, parameter: click.Parameter) -> list[str]:
    name = chance.choice([*parameter.opts, *parameter.secondary_opts])
    if getattr(parameter, "is_flag", False) or getattr(parameter, "count", False):
        return [name]
    if chance.random() < 0.2:
        return [f"{name}={value(chance, parameter)}"]
    return [name, value(chance, parameter)]


def value(chance: random.Random, parameter: click.Parameter) -> str:
    """Draw a value: one that fits in half of the cases."""
    kind = parameter.type
    if chance.random() < 0.5:
        return chance.choice(WORDS)
    if isinstance(kind, click.Choice):
        return str(chance.choice(list(kind.choices)))
    if isinstance(kind, (click.IntRange, click.FloatRange)):
        return str(chance.choice([kind.min or 0, kind.max or 10, 1, 5]))
    fitting = {"connection": "shop", "name": "shop", "entity": "customers", "provider": "stripe"}
    return fitting.get(parameter.name or "", chance.choice(WORDS))


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Press Ctrl-C after a while, and again if that did not help."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds, 5.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def judge(arguments: list[str], done: Done, documented: set[int]) -> str | None:
    """Say what is wrong with how a call ended; None if nothing is."""
    said = f"{arguments}: exit {done.code}\n{done.stderr[-2000:]}"
    if done.code == 130:
        return f"hangs: {said}"
    if done.has_traceback:
        return f"traceback: {said}"
    if done.code not in documented:
        return f"undocumented: {said}"
    if done.code not in {0, 8, 141} and not (done.stderr or done.stdout or done.is_unread):
        return f"silent: {said}"
    if done.code == 2 and "--json" in arguments and done.stdout:
        try:
            json.loads(done.stdout.splitlines()[-1])
        except ValueError:
            return f"no JSON: {said}{done.stdout[:500]}"
    return None


def fuzz(
    folder: Path, *, seed: int, calls: int, redis_url: str = "", database_url: str = ""
) -> Found:
    """Run so many calls on an installation in a folder, with a connection that leads nowhere."""
    found, chance = Found(), random.Random(seed)
    documented = documented_codes()
    home = folder / "home"
    server = None
    if not redis_url:
        server = EmbeddedServer(folder)
        redis_url = server.ensure()
    before = Path.cwd()
    try:
        with pytest.MonkeyPatch.context() as patch:
            url = database_url or f"sqlite:///{home}/tieline.db"
            use_environment(patch, home, url, redis_url)
            patch.setenv("BROWSER", "true")
            opened = Installation()
            initialise(opened)
            connect_api_key(
                opened, "stripe", name="shop", key=Secret("sk_test_0f3b9d7c51e2a864"),
                base_url="http://127.0.0.1:9", is_checked=False, actor="fuzz",
            )  # fmt: skip
            opened.close()
            for _ in range(calls):
                arguments = draw(chance, tree())
                stdin = chance.choice(WORDS).encode(errors="surrogateescape")
                with at_most(LONGEST_S):
                    try:
                        done = run_cli(*arguments, stdin=stdin, has_reader=chance.random() < 0.95)
                    except KeyboardInterrupt:
                        done = Done(code=130, stdout="", stderr="")
                    except AssertionError as unknown:  # its JSON is none that is documented
                        found.bad.append(str(unknown))
                        continue
                found.codes[done.code] += 1
                if bad := judge(arguments, done, documented):
                    found.bad.append(bad)
            os.chdir(before)
    finally:
        if server is not None:
            server.stop()
    return found
