"""The main job, shown from end to end on this machine, with nothing left running."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tieline.errors import RefusedError
from tieline.services import demo_sandbox, records, syncs
from tieline.services.installation import Installation
from tieline.services.sandbox_guide import connect_sandbox
from tieline.services.setup import initialise
from tieline.settings import PREFIX, load_settings
from tieline.store.records import StoredRecord
from tieline.store.rows import RunRow

__all__ = ["SHOWN", "Demo", "DemoResult", "prepare_home"]

SHOWN = "stripe"
"""The provider that is shown unless another is named."""

_MARK = "made-by-tieline-demo"

Follow = Callable[[Installation, RunRow], RunRow]


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoResult:
    """What the demo did and where it can be looked at.

    Attributes:
        run: The run, over.
        home: The installation that the demo left behind.
        database: The SQLite file.
        server: Address of the sandbox while it ran.
        redis: What the jobs went over.
        worker: Name of the worker that did them.
        sample: A few of the records.
        live: How many records the database has.
        log: The run's entries in the sync log.
    """

    run: RunRow
    home: Path
    database: str
    server: str
    redis: str
    worker: str
    sample: list[StoredRecord]
    live: int
    log: list[dict[str, object]]


def prepare_home(home: Path) -> Path:
    """Make an empty folder for a demo; one that an earlier demo made is emptied.

    Raises:
        RefusedError: There is a folder that no demo made.
    """
    if home.exists():
        if not (home / _MARK).is_file():
            raise RefusedError(
                f"{home} is there and was not made by the demo", hint="set TIELINE_HOME elsewhere"
            )
        shutil.rmtree(home)
    home.mkdir(mode=0o700, parents=True)
    (home / _MARK).touch()
    return home


class Demo:
    """Runs sandbox, embedded Valkey and worker, and syncs once.

    Args:
        home: An empty folder.
        customers: How many customers the sandbox has.
    """

    def __init__(self, home: Path, *, customers: int) -> None:
        self._home = home
        self._customers = customers
        clean = {name: text for name, text in os.environ.items() if not name.startswith(PREFIX)}
        self._environ = clean | {f"{PREFIX}HOME": str(home), f"{PREFIX}SWEEP_S": "1"}

    def run(self, *, say: Callable[[str], None], follow: Follow) -> DemoResult:
        """Do it all.

        Args:
            say: Called with one line per step.
            follow: Waits for the run and shows it.
        """
        settings = load_settings(self._environ, folder=self._home)
        installation = Installation(settings)
        try:
            made = initialise(installation)
            say(f"made       {made.home}: SQLite database, local key")
            version = installation.redis.info("server").get("redis_version", "")
            say("started    embedded Valkey, on a unix socket")
            with self._sandbox() as url, self._worker():
                say(f"serving    Stripe sandbox with {self._customers:,} customers at {url}")
                plugin = installation.registry.get(SHOWN)
                row = connect_sandbox(installation, plugin, url, name="shop", actor="demo")
                say(f"connected  {row.name}: {row.account_name or row.account_id}")
                asked = syncs.start_sync(installation, "shop", "customers", actor="demo")
                run = follow(installation, asked.run)
                alive = installation.presence.alive()
            return DemoResult(
                run=run,
                home=self._home,
                database=made.database,
                server=url,
                redis=f"embedded Valkey {version}".strip(),
                worker=alive[0].name if alive else "",
                sample=records.list_records(installation, "shop", "customers", limit=3),
                live=syncs.count_records(installation, run),
                log=syncs.run_log(installation, run.id),
            )
        finally:
            installation.close()
            installation.embedded.stop()

    @contextmanager
    def _sandbox(self) -> Iterator[str]:
        options = {"customers": str(self._customers)}
        started = demo_sandbox.start_sandbox(self._home, SHOWN, options=options)
        try:
            yield started.sandbox.url
        finally:
            demo_sandbox.stop_sandbox(self._home)

    @contextmanager
    def _worker(self) -> Iterator[None]:
        with (self._home / "worker.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tieline", "worker"],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
