"""Worker processes: started with a fault each, watched, killed, frozen, counted."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from site_of import Site
from tieline.jobs.messengers import NAME as MESSENGER

__all__ = ["Blow", "Hand", "Workforce", "is_stopped"]

_DIED = '"a work-horse died"'


@dataclass(eq=False)
class Blow:
    """Something died.

    Attributes:
        at: When it was noticed, monotonic.
        what: ``failpoint`` or a kind of timed kill, and what died.
        pid: The work-horse's; 0 if there was none.
        run_id: The run that it worked on; empty if that is not known.
        pages: How far that run was.
        recovered_s: Seconds until somebody had brought the run on; None: not yet.
    """

    at: float
    what: str
    pid: int = 0
    run_id: str = ""
    pages: int = -1
    recovered_s: float | None = None


@dataclass(eq=False)
class Hand:
    """A worker.

    Attributes:
        process: RQ's worker; its work-horses are its children.
        log: What it writes.
        fault: Its failpoints.
        horses: Every child it was seen with.
        deaths: Work-horses of it that died.
        is_frozen: It and its work-horse are stopped.
    """

    process: subprocess.Popen
    log: Path
    fault: str = ""
    horses: set[int] = field(default_factory=set)
    deaths: int = 0
    is_frozen: bool = False
    is_gone: bool = False
    _told: int = 0

    @property
    def horse(self) -> int:
        """Number of its present work-horse; 0: it is idle."""
        pid = self.process.pid
        with contextlib.suppress(OSError):
            for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                if Path(f"/proc/{child}/comm").read_text().strip() != MESSENGER:
                    self.horses.add(int(child))
                    return int(child)
        return 0

    def new_deaths(self) -> Iterator[tuple[int, str]]:
        """Yield work-horse and run of each death that it has told of since."""
        with self.log.open("rb") as file:
            file.seek(self._told)
            text = file.read()
        whole = text.rpartition(b"\n")[0]
        self._told += len(whole)
        for line in whole.decode(errors="replace").splitlines():
            if _DIED in line:
                told = json.loads(line)
                self.deaths += 1
                yield told["pid"], told["job"].rpartition("-")[0]

    def kill(self, *, horse: bool, worker: bool) -> int:
        """SIGKILL the worker, its work-horse, or both together; return the work-horse."""
        found = self.horse
        if worker and horse:
            _signal(self.process.pid, signal.SIGSTOP)  # it must not mourn in between
            found = self.horse
        if horse and found:
            _signal(found, signal.SIGKILL)
        if worker:
            _signal(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
        return found

    def freeze(self) -> None:
        self.is_frozen = True
        _signal(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in (self.process.pid, *self.horses):
            _signal(pid, signal.SIGCONT)
        self.is_frozen = False


@dataclass(eq=False)
class Workforce:
    """All workers of a site.

    Attributes:
        site: The installation.
        settings: What every worker is started with.
        hands: Those that were not noticed to be dead.
        blows: What died so far.
    """

    site: Site
    settings: dict[str, str]
    hands: list[Hand] = field(default_factory=list)
    blows: list[Blow] = field(default_factory=list)

    def hire(self, fault: str = "", **extra: str) -> Hand:
        """Start a worker."""
        number = len(self.site.processes)
        given = {"TIELINE_FAILPOINTS": fault, "TIELINE_ALLOW_FAILPOINTS": "true"} if fault else {}
        process = self.site.start("worker", **self.settings, **given, **extra)
        hand = Hand(process, self.site.cwd / f"process{number}.log", fault)
        self.hands.append(hand)
        return hand

    def look(self) -> list[Blow]:
        """Note who died since the last look."""
        new = []
        for hand in list(self.hands):
            horse = hand.horse
            for pid, run_id in hand.new_deaths():
                if not any(blow.pid == pid for blow in self.blows):
                    new.append(Blow(time.monotonic(), "failpoint, horse", pid, run_id))
            if hand.process.poll() is not None:
                self.hands.remove(hand)
                if hand.process.returncode == -signal.SIGKILL and not hand.is_gone:
                    last = horse or max(hand.horses, default=0)
                    new.append(Blow(time.monotonic(), "failpoint, both", last))
        self.blows += new
        return new

    def strike(self, hand: Hand, what: str, *, horse: bool, worker: bool) -> Blow | None:
        """Kill; returns what was noted, None if nothing died."""
        hand.is_gone = hand.is_gone or worker
        found = hand.kill(horse=horse, worker=worker)
        if not worker and not found:
            return None
        blow = Blow(time.monotonic(), what, found if horse else 0)
        self.blows.append(blow)
        return blow

    def dismiss(self) -> None:
        """Kill everybody; for the end, so it is not counted."""
        for hand in self.hands:
            hand.is_gone = True
            hand.thaw()
            hand.kill(horse=True, worker=True)
        self.hands.clear()
        end_all_of(self.site.environ["TIELINE_HOME"])


def end_all_of(home: str) -> None:
    """Kill every process of an installation, orphaned work-horses too; servers have no home."""
    mark = os.fsencode(f"TIELINE_HOME={home}") + b"\0"
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if mark in (folder / "environ").read_bytes() + b"\0":
                _signal(int(folder.name), signal.SIGKILL)


def is_stopped(pid: int) -> bool:
    """Say whether a process is stopped by a signal."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
