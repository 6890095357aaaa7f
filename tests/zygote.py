"""Starts of the command line that need not import it again.

Importing takes most of a command's time, and the tests start commands by the
thousand. The *zygote*, one for each test process, has everything imported; for
each command it forks, and the fork becomes the command: with environment, folder,
arguments and streams of its own, up to the interpreter's usual end.

Where that would not be the same as ``python -m tieline``, because Python itself is
told something by the environment, or the system has no pidfd, a real one is started.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import random
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

__all__ = ["address_for", "run", "start", "stop"]

_ROUND_S = 0.005
_TELLING = ("PYTHON", "LD_", "DYLD_", "COVERAGE")
_ZYGOTES: list[_Zygote] = []
"""This process's, once it was needed."""


class Forked:
    """A command that was forked, as :class:`subprocess.Popen` shows one.

    Attributes:
        args: What was started.
        pid: Its process.
        returncode: Its exit code, negative for a signal; None while it is not known.
    """

    def __init__(self, args: list[str], wire: socket.socket) -> None:
        self.args = args
        self._wire = wire
        self._words = wire.makefile("r")
        self.pid = int(self._words.readline())
        self.returncode: int | None = None

    def __del__(self) -> None:
        self._words.close()
        self._wire.close()

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end.

        Raises:
            subprocess.TimeoutExpired: It runs on.
        """
        found = self._look(timeout)
        if found is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return found

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is not None:
            return self.returncode
        with selectors.DefaultSelector() as selector:
            selector.register(self._wire, selectors.EVENT_READ)
            if not selector.select(timeout):
                return None
        told = self._words.readline()
        self.returncode = int(told) if told else -signal.SIGKILL  # the zygote is gone
        self._words.close()
        self._wire.close()
        return self.returncode


class _Zygote:
    """The process that forks, seen from the tests'."""

    def __init__(self, environ: dict[str, str]) -> None:
        self.environ = environ
        self._folder = tempfile.TemporaryDirectory(prefix="tieline-zygote-")
        self.address = str(Path(self._folder.name) / "socket")
        self._process = subprocess.Popen(
            [sys.executable, __file__, self.address], env=environ, stdin=subprocess.PIPE
        )
        until = time.monotonic() + 120
        while not Path(self.address).exists():
            assert self._process.poll() is None, "the zygote does not start"
            assert time.monotonic() < until, "the zygote takes too long"
            time.sleep(_ROUND_S)

    def fork(self, asked: dict[str, Any], streams: Iterable[int]) -> socket.socket:
        wire = socket.socket(socket.AF_UNIX)
        wire.connect(self.address)
        text = json.dumps(asked).encode()
        socket.send_fds(wire, [len(text).to_bytes(4, "big")], list(streams))
        wire.sendall(text)
        return wire

    def stop(self) -> None:
        self._process.communicate(timeout=10)  # it ends with its input, so with us too
        self._folder.cleanup()


def start(
    args: list[str],
    *,
    env: dict[str, str],
    cwd: Path,
    stdin: IO[bytes] | int,
    stdout: IO[bytes] | int,
    stderr: IO[bytes] | int,
    is_leader: bool,
    may_fork: bool = True,
) -> Forked | subprocess.Popen[bytes]:
    """Start a command of Tieline's.

    Args:
        args: What comes after ``tieline``.
        env: The whole environment.
        cwd: Where it runs.
        stdin: Its input.
        stdout: Its output.
        stderr: Where it complains.
        is_leader: It gets a session of its own.
        may_fork: False: a real one is started.
    """
    zygote = _the_zygote(env) if may_fork else None
    if zygote is None:
        return subprocess.Popen(
            [sys.executable, "-m", "tieline", *args],
            env=env,
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=is_leader,
        )
    with Path(os.devnull).open("r+b") as null:
        streams = [
            null.fileno()
            if one == subprocess.DEVNULL
            else one
            if isinstance(one, int)
            else one.fileno()
            for one in (stdin, stdout, stderr)
        ]
        asked = {"args": args, "env": env, "cwd": str(cwd), "is_leader": is_leader}
        return Forked(["tieline", *args], zygote.fork(asked, streams))


def run(
    args: list[str],
    *,
    env: dict[str, str],
    cwd: Path,
    given: str,
    timeout: float,
    may_fork: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run a command of Tieline's to its end.

    Raises:
        subprocess.TimeoutExpired: It took too long, and was killed.
    """
    with (
        tempfile.TemporaryFile() as stdin,
        tempfile.TemporaryFile() as stdout,
        tempfile.TemporaryFile() as stderr,
    ):
        stdin.write(given.encode())
        stdin.seek(0)
        process = start(
            args,
            env=env,
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            is_leader=False,
            may_fork=may_fork,
        )
        try:
            code = process.wait(timeout)
        except BaseException:
            process.kill()
            process.wait(10)
            raise
        texts = []
        for stream in (stdout, stderr):
            stream.seek(0)
            text = stream.read().decode()
            texts.append(text.replace("\r\n", "\n").replace("\r", "\n"))  # as subprocess does
    return subprocess.CompletedProcess(process.args, code, *texts)


def address_for(env: dict[str, str]) -> str | None:
    """Say where the zygote listens, for a caller in another process; None: it cannot serve it."""
    zygote = _the_zygote(env)
    return None if zygote is None else zygote.address


def stop() -> None:
    """End the zygote, if there is one."""
    while _ZYGOTES:
        _ZYGOTES.pop().stop()


def _the_zygote(env: dict[str, str]) -> _Zygote | None:
    if not hasattr(os, "pidfd_open"):
        return None
    if not _ZYGOTES:
        kept = {
            name: text
            for name, text in env.items()
            if not name.startswith("TIELINE_") and name != "PYTHONPATH"
        }
        _ZYGOTES.append(_Zygote(kept))
    is_same = _telling(env) == _telling(_ZYGOTES[0].environ)
    return _ZYGOTES[0] if is_same else None


def _telling(environ: dict[str, str]) -> dict[str, str]:
    """Return what tells the interpreter, or the loader, something that a fork cannot follow."""
    return {
        name: text
        for name, text in environ.items()
        if name.startswith(_TELLING) and name != "PYTHONPATH"
    }


def _import_all() -> None:
    """Import what commands import, the SDKs of the plugins too."""
    import tieline

    for found in pkgutil.walk_packages(tieline.__path__, "tieline."):
        if not found.name.endswith("__main__"):
            with contextlib.suppress(ImportError):  # an extra that is not installed
                importlib.import_module(found.name)
    from importlib.metadata import entry_points

    from tieline.transport import trusted_certificates

    trusted_certificates()
    for group in ("tieline.providers", "tieline.sandboxes"):
        for each in entry_points(group=group):
            each.load()
    for name in ("alembic.command", "tieline_migrations.env"):
        with contextlib.suppress(Exception):  # env.py wants to be run by Alembic
            importlib.import_module(name)


def _serve(address: str) -> dict[str, Any] | None:
    """Fork whenever asked; return what is asked of it in the fork, and None at the end."""
    running: dict[int, tuple[int, socket.socket]] = {}
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(f"{address}.part")
    listening.listen(64)
    Path(f"{address}.part").rename(address)
    with selectors.DefaultSelector() as selector:
        selector.register(listening, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is sys.stdin:
                    listening.close()
                    return None
                if key.fileobj is not listening:
                    selector.unregister(key.fd)
                    _tell_the_end(*running.pop(key.fd), key.fd)
                    continue
                wire, _ = listening.accept()
                asked, streams = _read(wire)
                pid = os.fork()
                if pid == 0:
                    for each in (listening, wire, *(pair[1] for pair in running.values())):
                        each.detach()  # closed with everything else
                    return asked | {"streams": streams}
                for each in streams:
                    os.close(each)
                wire.sendall(b"%d\n" % pid)
                ending = os.pidfd_open(pid)
                running[ending] = pid, wire
                selector.register(ending, selectors.EVENT_READ)


def _read(wire: socket.socket) -> tuple[dict[str, Any], list[int]]:
    head, streams, _, _ = socket.recv_fds(wire, 4, 3)
    left = int.from_bytes(head, "big")
    text = b""
    while len(text) < left:
        text += wire.recv(left - len(text))
    return json.loads(text), list(streams)


def _tell_the_end(pid: int, wire: socket.socket, ending: int) -> None:
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(ending)
    with contextlib.suppress(OSError):  # nobody asks any more
        wire.sendall(b"%d\n" % code)
    wire.close()


def _become(asked: dict[str, Any]) -> Callable[[], None]:
    """Take on the streams, the folder and the environment of a new process."""
    for number, each in enumerate(asked["streams"]):
        os.dup2(each, number)
    os.closerange(3, 4096)
    if asked["is_leader"]:
        os.setsid()
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    time.tzset()
    random.seed()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1)  # noqa: SIM115
    sys.argv = ["tieline", *asked["args"]]
    _extend_path(asked)
    return lambda: runpy.run_module("tieline", run_name="__main__", alter_sys=True)


def _end(command: Callable[[], None]) -> None:
    """Run it, and end as the interpreter does, but for taking every module apart.

    That would touch, and so copy, each page of what is shared: most of a command's time.
    """
    code: object = None
    try:
        command()
    except SystemExit as error:
        code = error.code
    except BaseException as error:  # noqa: BLE001 - as the interpreter does
        sys.excepthook(*sys.exc_info())
        code = 128 + signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    if not isinstance(code, int | None):
        sys.stderr.write(f"{code}\n")
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except OSError:
        code = 120  # Python's own, where its output is gone
    os._exit(code or 0)


def _extend_path(asked: dict[str, Any]) -> None:
    """Put the folders of PYTHONPATH in front, or start anew if they hide what is imported."""
    folders = [each for each in asked["env"].get("PYTHONPATH", "").split(os.pathsep) if each]
    fresh = [each for each in folders if each not in sys.path]
    names = {path.stem for each in fresh if Path(each).is_dir() for path in Path(each).iterdir()}
    if names & sys.modules.keys():
        command = [sys.executable, "-m", "tieline", *asked["args"]]
        os.execve(sys.executable, command, asked["env"])
    sys.path[1:1] = fresh


if __name__ == "__main__":
    sys.path[0] = ""  # as for ``python -m``: the tests' own modules are nobody's business
    _import_all()
    assert len(list(Path("/proc/self/task").iterdir())) == 1, (
        "a thread would be missing in the forks"
    )
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if (wanted := _serve(sys.argv[1])) is not None:
        _end(_become(wanted))
