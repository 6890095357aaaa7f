"""The local keys: where they stand, and how their file is changed without losing one."""

from __future__ import annotations

import fcntl
import os
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path

from tieline.contract.errors import SettingsError
from tieline.contract.values import Secret

__all__ = [
    "KEY_BYTES",
    "add_key",
    "create_key_file",
    "drop_key",
    "key_id_of",
    "read_key_file",
    "read_keys",
    "sealing_since",
]

KEY_BYTES = 32


def read_keys(text: Secret, path: Path) -> list[bytes]:
    """Find the local keys: the setting's, else the key file's, current one first.

    Args:
        text: ``TIELINE_KEY``; several keys are separated by commas.
        path: The key file, one key a line.

    Returns:
        The keys; empty if there is neither.

    Raises:
        SettingsError: A key is not 32 bytes in base64, or the file cannot be read.
    """
    if text:
        return [_decode(part, "TIELINE_KEY") for part in text.reveal().split(",")]
    try:
        return read_key_file(path)
    except FileNotFoundError:
        return []


def read_key_file(path: Path) -> list[bytes]:
    """Read a key file, the current key first.

    Raises:
        FileNotFoundError: There is none.
        SettingsError: A key is not 32 bytes in base64, or the file cannot be read.
    """
    try:
        lines = path.read_text("ascii").split()
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the key file {path} cannot be read: {type(error).__name__}") from None
    return [_decode(line, f"the key file {path}") for line in lines]


def create_key_file(path: Path) -> bool:
    """Make a key file with a fresh key, for its owner's eyes; False if there is one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    whole = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(8).hex()}")
    handle = os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        _write(handle, [os.urandom(KEY_BYTES)])
        os.link(whole, path)  # unlike rename, this never replaces another's key
    except FileExistsError:
        return False
    finally:
        whole.unlink()
    _settle(path.parent)
    return True


def add_key(path: Path) -> str:
    """Put a fresh key in front of a key file: it seals from now on, the others open.

    A kill at any moment leaves the old file or the new one, whole.

    Returns:
        The new key's id.

    Raises:
        SettingsError: There is no such file, or it cannot be read or replaced.
    """
    path = path.resolve()
    with _editing(path):
        keys = [os.urandom(KEY_BYTES), *read_key_file(path)]
        _replace(path, keys)
    return key_id_of(keys[0])


def drop_key(path: Path, key_id: str) -> bool:
    """Take a key out of a key file; the file goes with its last key.

    What was sealed under the key never opens again, here or from a backup.

    Returns:
        False if the file has no such key.

    Raises:
        SettingsError: There is no such file, or it cannot be read or replaced.
    """
    path = path.resolve()
    with _editing(path):
        keys = read_key_file(path)
        kept = [key for key in keys if key_id_of(key) != key_id]
        if len(kept) == len(keys):
            return False
        if kept:
            _replace(path, kept, is_same_front=kept[0] == keys[0])
        else:
            path.unlink()
    return True


def sealing_since(path: Path) -> datetime:
    """Say since when a key file's first key seals, aware UTC; never too early.

    Raises:
        FileNotFoundError: There is no such file.
    """
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def key_id_of(key: bytes) -> str:
    """Name a local key; the name tells nothing of it."""
    return f"local-{blake2b(key, digest_size=6).hexdigest()}"


@contextmanager
def _editing(path: Path) -> Iterator[None]:
    """Let one process at a time change a key file."""
    try:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)
    except OSError as error:
        raise SettingsError(
            f"the key file {path} cannot be changed: {error.strerror or type(error).__name__}",
            hint="run this as the user who owns it, where its folder may be written to",
        ) from None


def _replace(path: Path, keys: Sequence[bytes], *, is_same_front: bool = False) -> None:
    """Write a key file anew, for the same owner; with the same first key it stays as old."""
    before = path.stat()
    whole = path.with_name(f".{path.name}.new")  # a killed one's is overwritten: we hold the lock
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    handle = os.open(whole, flags, 0o600)
    os.fchmod(handle, 0o600)
    if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(handle, before.st_uid, before.st_gid)  # root rotates for a service's user
    _write(handle, keys)
    if is_same_front:
        os.utime(whole, ns=(before.st_atime_ns, before.st_mtime_ns))
    whole.replace(path)
    _settle(path.parent)


def _write(handle: int, keys: Sequence[bytes]) -> None:
    with os.fdopen(handle, "wb") as file:
        file.write(b"".join(b64encode(key) + b"\n" for key in keys))
        file.flush()
        os.fsync(file.fileno())


def _settle(folder: Path) -> None:
    """Have a name outlast a power cut before anything is sealed under its key."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _decode(text: str, where: str) -> bytes:
    try:
        key = b64decode(text.strip(), validate=True)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise SettingsError(
            f"{where} does not hold a key of {KEY_BYTES} bytes in base64",
            hint="make one: openssl rand -base64 32",
        )
    return key
