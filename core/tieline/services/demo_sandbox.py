"""A sandbox that goes on in the background, for one installation, and goes wrong on order."""

from __future__ import annotations

import fcntl
import inspect
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tieline.contract import SettingsError
from tieline.coordination import is_locked
from tieline.errors import DependencyError, InvalidInputError, RefusedError, nearest
from tieline.registry import Plugin
from tieline.services.installation import Installation
from tieline.services.sandbox import load_sandbox
from tieline.services.sandbox_guide import Control, Guide, connect_sandbox, read_guide
from tieline.settings import PREFIX
from tieline.store.connections import ConnectionRow

__all__ = [
    "FAULTS",
    "Broken",
    "Standing",
    "Started",
    "break_sandbox",
    "connect_to_sandbox",
    "find_sandbox",
    "mend_sandbox",
    "start_sandbox",
    "stop_sandbox",
]

_CUSTOMERS = 5000
_PATIENCE_S = 30.0
_LEAVE_WITHIN_S = 10.0
_POLL_S = 0.02
_SLOW_S = 2.0
_COME_AGAIN_S = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """A sandbox that answers.

    Attributes:
        provider: Whose it is.
        url: Where.
        port: Of that address; the next one that is started takes it, too.
        pid: Its process.
        log: What it says of trouble.
    """

    provider: str
    url: str
    port: int
    pid: int
    log: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """What became of starting one.

    Attributes:
        sandbox: The one that answers.
        is_new: It was not there before.
        auth: How an account of it is connected: ``api_key``, ``basic`` or ``oauth2``.
    """

    sandbox: Standing
    is_new: bool
    auth: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Broken:
    """What was ordered to go wrong.

    Attributes:
        fault: Which of :data:`FAULTS`.
        times: How many requests in a row; 0: all, until it is mended.
    """

    fault: str
    times: int


@dataclass(frozen=True, slots=True)
class _Fault:
    does: str
    make: Callable[[Guide], Mapping[str, Any] | None]
    times: int = 0


def _refusal(name: str, **headers: str) -> Callable[[Guide], Mapping[str, Any] | None]:
    """Return what makes a refusal in the provider's own words; None where it has none."""

    def make(guide: Guide) -> Mapping[str, Any] | None:
        given = guide.refusals.get(name)
        if given is None:
            return None
        return {"kind": "status", **given, "headers": {**given.get("headers", {}), **headers}}

    return make


_FAULTS = {
    "throttle": _Fault(
        f"requests are refused for the rate, with a Retry-After of {_COME_AGAIN_S} seconds",
        _refusal("throttled", **{"Retry-After": str(_COME_AGAIN_S)}),
        times=3,
    ),
    "slow": _Fault(
        f"each answer takes {_SLOW_S:g} seconds",
        lambda _: {"kind": "delay", "seconds": _SLOW_S},
    ),
    "down": _Fault("503 is all that is answered", lambda _: {"kind": "status", "status": 503}),
    "cut": _Fault("connections are closed without an answer", lambda _: {"kind": "drop"}),
    "garbage": _Fault("a page of HTML comes in place of JSON", lambda _: {"kind": "html200"}),
    "denied": _Fault("the credential lacks a right", _refusal("denied")),
    "revoked": _Fault("the credential was taken back", _refusal("revoked")),
}
FAULTS: Mapping[str, str] = {name: fault.does for name, fault in _FAULTS.items()}
"""What can go wrong, and what that is."""


def start_sandbox(
    home: Path,
    provider: str,
    *,
    port: int | None = None,
    options: Mapping[str, str] | None = None,
) -> Started:
    """Start a provider's sandbox, which goes on when this process ends; find it if it is there.

    Args:
        home: The installation's folder; made if missing.
        provider: Whose.
        port: Where; 0: any that is free; None: where it was last time, else any.
        options: Its own, by name, as `sandbox serve` has them. It has thousands
            of customers unless they say otherwise, where it takes so many.

    Raises:
        NotFoundError: No installed plugin ships such a sandbox.
        InvalidInputError: It has no such option.
        RefusedError: Another provider's runs here.
        DependencyError: It does not start.
    """
    given = _checked(provider, options or {})
    folder = _folder(home)
    with _starting(folder):
        found = find_sandbox(home)
        is_new = found is None
        if found is None:
            stop_sandbox(home)  # one whose starter died before it wrote where it is
        if found is None:
            where = _last_port(folder, provider) if port is None else port
            found = _launch(folder, provider, where, given)
        elif found.provider != provider:
            raise _other(found)
    with _control(found) as control:
        auth = str(read_guide(control.get("guide")).auth.get("kind", ""))
    return Started(sandbox=found, is_new=is_new, auth=auth)


def find_sandbox(home: Path) -> Standing | None:
    """Return the sandbox that runs for an installation; None if none does."""
    folder = home / "sandbox"
    if not _is_held(folder):
        return None
    try:
        return Standing(**json.loads((folder / "standing.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def stop_sandbox(home: Path) -> bool:
    """Stop it; False if none was running.

    Raises:
        DependencyError: It does not leave.
    """
    folder = home / "sandbox"
    if not _is_held(folder):
        return False
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(OSError, ValueError):
            os.kill(_pid(folder), number)  # it is this one: it has the lock
        until = time.monotonic() + _LEAVE_WITHIN_S
        while time.monotonic() < until:
            if not _is_held(folder):
                return True
            time.sleep(_POLL_S)
    raise DependencyError(
        f"the sandbox of {folder} does not leave",
        hint=f"see who has {folder / 'sandbox.lock'} open",
        code="sandbox-down",
    )


def connect_to_sandbox(
    installation: Installation,
    plugin: Plugin,
    *,
    name: str,
    actor: str,
    is_replacing: bool = False,
) -> ConnectionRow:
    """Connect an account of the sandbox that runs for an installation.

    Raises:
        RefusedError: None runs, or another provider's.
        SandboxError: It does not answer as it should.
        ProviderError: As the plugin says it.
    """
    found = _running(installation.settings.home)
    if found.provider != plugin.name:
        raise _other(found)
    return connect_sandbox(
        installation, plugin, found.url, name=name, actor=actor, is_replacing=is_replacing
    )


def break_sandbox(home: Path, fault: str, *, times: int | None = None) -> Broken:
    """Have a sandbox go wrong; what went wrong before is mended.

    Args:
        home: The installation's folder.
        fault: One of :data:`FAULTS`.
        times: How many requests in a row; 0: all until it is mended; None: what
            is usual for this fault.

    Raises:
        NotFoundError: There is no such fault.
        RefusedError: No sandbox runs, or its provider knows no such refusal.
        SandboxError: It does not do as it is told.
    """
    if fault not in _FAULTS:
        raise InvalidInputError(f"there is no fault {fault!r}", hint=nearest(fault, _FAULTS))
    kind = _FAULTS[fault]
    many = kind.times if times is None else times
    with _control(_running(home)) as control:
        guide = read_guide(control.get("guide"))
        if fault == "revoked" and guide.auth.get("kind") == "oauth2":
            _revoke_all(control)
            return Broken(fault=fault, times=0)
        given = kind.make(guide)
        if given is None:
            raise RefusedError(
                f"the guide of this sandbox knows no refusal for {fault!r}",
                hint=f"another: {', '.join(FAULTS)}",
                code="fault-unknown",
            )
        control.fail({**given, "nth": 1, "times": many})
    return Broken(fault=fault, times=many)


def _revoke_all(control: Control) -> None:
    """Take back every token: the token endpoint has refusals of its own."""
    control.fail()
    for grant in control.get("oauth")["grants"]:
        control.post("oauth", {"revoke": grant["id"]})


def mend_sandbox(home: Path) -> None:
    """Have a sandbox answer as it should again. Tokens that were taken back stay so.

    Raises:
        RefusedError: No sandbox runs.
        SandboxError: It does not do as it is told.
    """
    with _control(_running(home)) as control:
        control.fail()


def _running(home: Path) -> Standing:
    found = find_sandbox(home)
    if found is None:
        raise RefusedError(
            "no sandbox runs here", hint="tieline demo start", code="sandbox-missing"
        )
    return found


def _other(found: Standing) -> RefusedError:
    return RefusedError(
        f"it is the sandbox of {found.provider} that runs here, at {found.url}",
        hint="tieline demo stop",
        code="sandbox-runs",
    )


@contextmanager
def _control(found: Standing) -> Iterator[Control]:
    control = Control(found.url)
    try:
        yield control
    finally:
        control.close()


def _checked(provider: str, options: Mapping[str, str]) -> dict[str, str]:
    known = inspect.signature(load_sandbox(provider)).parameters
    given = {name.replace("-", "_"): text for name, text in options.items()}
    for name in given:
        if name not in known:
            raise InvalidInputError(
                f"the sandbox of {provider} has no option {name!r}", hint=nearest(name, known)
            )
    return ({"customers": str(_CUSTOMERS)} if "customers" in known else {}) | given


def _folder(home: Path) -> Path:
    folder = home / "sandbox"
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"the folder {folder} cannot be made: {error.strerror}",
            hint="set TIELINE_HOME to a folder that you may write to",
        ) from None
    return folder


@contextmanager
def _starting(folder: Path) -> Iterator[None]:
    """Let one process start one at a time."""
    lock = os.open(folder / "start.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _is_held(folder: Path) -> bool:
    """Say whether a sandbox lives: it has the lock for as long as it does, however it ends."""
    return is_locked(folder / "sandbox.lock")


def _pid(folder: Path) -> int:
    return int((folder / "pid").read_text())


def _last_port(folder: Path, provider: str) -> int:
    """Return where it was last time: connections to it look for it there."""
    try:
        return int((folder / f"{provider}.port").read_text())
    except (OSError, ValueError):
        return 0


def _launch(folder: Path, provider: str, port: int, options: Mapping[str, str]) -> Standing:
    """Start one; note where it is and which process."""
    said, log = folder / "said", folder / "sandbox.log"
    words = ["sandbox", "serve", provider, "--port", str(port)]
    for name, text in options.items():
        words += _words_of(name, text)
    _spawn(folder, words)
    url = _wait_for_address(folder, said, log)
    standing = Standing(
        provider=provider,
        url=url,
        port=int(url.rpartition(":")[2]),
        pid=_pid(folder),
        log=str(log),
    )
    part = folder / "standing.part"
    part.write_text(json.dumps(asdict(standing)))
    part.replace(folder / "standing.json")
    (folder / f"{provider}.port").write_text(str(standing.port))
    return standing


def _spawn(folder: Path, words: Sequence[str]) -> None:
    """Start a sandbox that is nobody's child, and has the lock for as long as it lives."""
    lock = os.open(folder / "sandbox.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # nobody holds it but, for an instant, who looks
        for each in ("said", "pid", "standing.json"):
            (folder / each).unlink(missing_ok=True)  # of the one before: nobody shall read it now
        subprocess.run(  # noqa: S603 - our own words
            ["/bin/sh", "-c", 'umask 077; "$@" >said 2>sandbox.log & echo $! >pid',
             "sh", sys.executable, "-m", "tieline", *words],
            check=True,
            cwd=folder,
            env={name: text for name, text in os.environ.items() if not name.startswith(PREFIX)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=(lock,),
        )  # fmt: skip
    finally:
        os.close(lock)


def _words_of(name: str, text: str) -> list[str]:
    flag = name.replace("_", "-")
    if text in {"true", "false"}:
        return [f"--{flag}" if text == "true" else f"--no-{flag}"]
    return [f"--{flag}", text]


def _wait_for_address(folder: Path, said: Path, log: Path) -> str:
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        with suppress(FileNotFoundError):
            line = said.read_text()
            if " at http" in line and line.endswith("\n"):
                return line.rpartition(" at ")[2].strip()
        if not _is_held(folder):
            break
        time.sleep(_POLL_S)
    words = [each for each in log.read_text(errors="replace").splitlines() if each.strip()]
    raise DependencyError(
        f"the sandbox does not start: {words[-1] if words else 'it says nothing'}",
        hint=f"see {log}",
        code="sandbox-down",
    )
