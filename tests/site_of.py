"""A whole installation of real processes: CLI, workers, database, Valkey, sandbox."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import json_output
import servers
import zygote
from tieline.contract import Secret
from tieline.services import records, setup, syncs
from tieline.services.connect import connect_api_key
from tieline.services.installation import Installation
from tieline.settings import load_settings
from tieline.store.rows import RunRow

KEY = "sk_test_CANARY0f3b9d7c51e2a864"


@dataclass(eq=False)
class Site:
    """Runs the command line as a person does, in an environment of its own.

    Attributes:
        may_fork: Commands are forked, not started anew; see :mod:`zygote`.
    """

    environ: dict[str, str]
    cwd: Path
    may_fork: bool = True
    processes: list[subprocess.Popen] = field(default_factory=list)

    def run(self, *arguments: str, stdin: str = "", timeout: float = 60, **extra: str):
        """Run one command to its end; what it prints as JSON is as the reference says."""
        done = zygote.run(
            list(arguments),
            env=self.environ | extra,
            cwd=self.cwd,
            given=stdin,
            timeout=timeout,
            may_fork=self.may_fork,
        )
        json_output.require_known(arguments, done.returncode, done.stdout)
        return done

    def ok(self, *arguments: str, **options) -> str:
        """Run one command that has to succeed; return its stdout."""
        done = self.run(*arguments, **options)
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stderr}{done.stdout}"
        return done.stdout

    def json(self, *arguments: str, **options):
        """Run one command that has to succeed; return its document."""
        return json.loads(self.ok(*arguments, "--json", **options))

    def start(self, *arguments: str, **extra: str) -> subprocess.Popen:
        """Start a command that goes on; it is killed at the end of the test."""
        log = (self.cwd / f"process{len(self.processes)}.log").open("wb")
        process = zygote.start(
            list(arguments),
            env=self.environ | extra,
            cwd=self.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            is_leader=True,
            may_fork=self.may_fork,
        )
        log.close()
        self.processes.append(process)
        return process

    @cached_property
    def installation(self) -> Installation:
        """The same installation, opened in this process: commands take a second each."""
        return Installation(load_settings(self.environ, self.cwd))

    def connect(self, url: str, *, name: str = "shop", key: str = KEY) -> None:
        connect_api_key(
            self.installation, "stripe", name=name, key=Secret(key), base_url=url, actor="test"
        )

    def ask(self, connection: str = "shop", entity: str = "customers", **options) -> str:
        """Ask for a run; return its id."""
        asked = syncs.start_sync(self.installation, connection, entity, actor="test", **options)
        return asked.run.id

    def state_of(self, run_id: str) -> RunRow:
        return syncs.get_run(self.installation, run_id)

    def exported(self, connection: str = "shop", entity: str = "customers") -> dict[str, object]:
        """Return the live records: id to payload."""
        found = map(json.loads, records.export_records(self.installation, connection, entity))
        return {line["id"]: line["payload"] for line in found if line["deleted_at"] is None}

    def logs(self) -> str:
        return "".join(path.read_text() for path in self.cwd.glob("process*.log"))

    def close(self) -> None:
        self.installation.close()
        for process in self.processes:
            if process.poll() is None:
                kill_group(process)
            process.wait(10)


def kill_group(process: subprocess.Popen) -> None:
    """Kill a process and, in their own groups, its children: a worker's work-horses."""
    for pid in [*children_of(process.pid), process.pid]:
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            continue


def children_of(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True)
    pairs = [tuple(map(int, line.split())) for line in found.stdout.splitlines()]
    return [child for child, parent in pairs if parent == pid]


def wait_until(is_so: Callable[[], object], *, seconds: float = 30) -> object:
    """Poll until something is so; fail after a while."""
    until = time.monotonic() + seconds
    while not (value := is_so()):
        assert time.monotonic() < until, "it did not come to be"
        time.sleep(0.05)
    return value


def make_site(home: Path, database_url: str, redis_url: str, **settings: str) -> Site:
    home.mkdir(parents=True, exist_ok=True)
    environ = servers.plain_environ() | {
        "TIELINE_HOME": str(home),
        "TIELINE_DATABASE_URL": database_url,
        "TIELINE_REDIS_URL": redis_url,
        **{f"TIELINE_{name.upper()}": text for name, text in settings.items()},
    }
    site = Site({name: text for name, text in environ.items() if text}, home)
    setup.initialise(site.installation)
    return site
