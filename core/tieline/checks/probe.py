"""Import a plugin in a process of its own, and see what that does to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

from tieline.checks.subject import Subject

__all__ = ["LOAD_S", "Probed", "probe"]

LOAD_S = 0.3
"""The processor time that importing a plugin may take."""

_WAIT_S = 60.0
# The contract comes first: what it costs is not the plugin's.
_SCRIPT = """
import json, os, signal, sys, threading, time
folders, module, package = json.loads(sys.argv[1])
sys.path[:0] = folders
unit = time.process_time()
import marshmallow, tieline.contract.hookspecs, tieline.contract.schema
unit = time.process_time() - unit
met = []
names = {"socket.connect": "opens a connection", "socket.getaddrinfo": "looks a host up",
         "subprocess.Popen": "starts a program", "os.system": "starts a program",
         "os.chdir": "changes the working directory",
         "os.fork": "forks", "os.putenv": "changes the environment"}
def hook(event, args):
    if event in names:
        frame, where = sys._getframe(1), ""
        while frame is not None:
            if package in frame.f_code.co_filename.replace("\\\\", "/").split("/"):
                where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                break
            if frame.f_code.co_filename.endswith("/" + package + ".py"):
                where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                break
            frame = frame.f_back
        met.append([names[event], where])
sys.addaudithook(hook)
before = {thread.ident for thread in threading.enumerate()}
caught = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
began, cpu = time.perf_counter(), time.process_time()
error = ""
try:
    __import__(module)
except BaseException as failure:
    error = f"{type(failure).__name__}: {failure}"
spent = [time.perf_counter() - began, time.process_time() - cpu]
for thread in threading.enumerate():
    if thread.ident not in before:
        met.append([f"starts a thread ({thread.name})", ""])
for number, handler in caught.items():
    if signal.getsignal(number) != handler:
        met.append([f"takes the signal {number}", ""])
if folders:  # one of these files that is changed within a second would be taken from it
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        try:
            os.unlink(sys.modules[name].__cached__)
        except (AttributeError, TypeError, OSError):
            pass
said = {"error": error, "seconds": spent[0], "cpu_s": spent[1], "unit": unit, "met": met}
print("PROBED" + json.dumps(said), flush=True)
os._exit(0)
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Probed:
    """What importing a plugin did.

    Attributes:
        error: Why it failed; empty if it did not.
        seconds: Wall time of the import, without the contract's own.
        cpu_s: Processor time of it.
        contract_s: What the contract's own import takes on this machine.
        met: What it should not have done: ``(what, file:line)``.
    """

    error: str = ""
    seconds: float = 0.0
    cpu_s: float = 0.0
    contract_s: float = 0.0
    met: list[tuple[str, str]] = field(default_factory=list)


def probe(subject: Subject) -> Probed:
    """Import a plugin in a new process; if it is slow, once more with the bytecode that was kept.

    That of what it imports is kept, as it is wherever a plugin is installed;
    that of a folder which somebody works in is not.
    """
    first = _look(subject)
    if first.error or first.cpu_s <= LOAD_S:
        return first
    return min(first, _look(subject), key=lambda probed: probed.cpu_s)


def _look(subject: Subject) -> Probed:
    folders = []
    if subject.is_path and subject.folder is not None:
        folders = [str(subject.folder), str(subject.folder / "src")]
    command = [
        sys.executable,
        "-c",
        _SCRIPT,
        json.dumps([folders, subject.entry_point.module, subject.package]),
    ]
    environ = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith("TIELINE_") and name != "PYTHONDONTWRITEBYTECODE"
    }
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and script
            command,
            capture_output=True,
            text=True,
            timeout=_WAIT_S,
            check=False,
            env=environ,
        )
    except subprocess.TimeoutExpired:
        return Probed(error=f"importing it did not end within {_WAIT_S:.0f} s")
    _, mark, text = done.stdout.rpartition("PROBED")
    if not mark:
        return Probed(error=f"importing it ended the process with code {done.returncode}")
    said: dict[str, Any] = json.loads(text)
    return Probed(
        error=said["error"],
        seconds=said["seconds"],
        cpu_s=said["cpu_s"],
        contract_s=said["unit"],
        met=[(what, where) for what, where in said["met"]],
    )
