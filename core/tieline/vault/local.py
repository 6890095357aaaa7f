"""A key ring on this machine, for development and small installations."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tieline.contract.errors import SettingsError
from tieline.errors import KeyUnavailableError, SealBrokenError
from tieline.vault.envelope import Context
from tieline.vault.keyfile import KEY_BYTES, key_id_of, read_key_file

__all__ = ["LocalKeyRing"]

_NONCE_BYTES = 12
_Stamp = tuple[int, int, int, int]


class LocalKeyRing:
    """Wraps data keys under 256-bit keys that this machine holds.

    A ring of a file follows it: the file's first key seals at once, and a key
    that came since is found when it is needed. A key that was taken out of the
    file still opens in the processes that knew it, as long as they live.

    Args:
        keys: The current key first; the others only unwrap.
    """

    kind = "local"

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = {key_id_of(key): key for key in keys}
        self._path: Path | None = None
        self._stamp: _Stamp | None = None
        self.current_id = key_id_of(keys[0])

    @classmethod
    def of_file(cls, path: Path) -> Self:
        """Make the ring of a key file.

        Raises:
            FileNotFoundError: There is none.
            SettingsError: It cannot be read, or holds no key or a bad one.
        """
        stamp, keys = _read(path)
        ring = cls(keys)
        ring._path, ring._stamp = path, stamp
        return ring

    def new_data_key(self, context: Context) -> tuple[str, bytes, bytes]:
        """Return the current key's id, a fresh data key and its wrapped form.

        Raises:
            KeyUnavailableError: The key file is gone or damaged. Sealed under a
                key that only this process has left, nothing would open again.
        """
        try:
            self._catch_up()
        except (OSError, SettingsError):
            raise KeyUnavailableError(
                f"nothing is sealed while the key file {self._path} is missing or cannot be read",
                hint="put the file back from your copy",
            ) from None
        key_id = self.current_id
        data_key = os.urandom(KEY_BYTES)
        nonce = os.urandom(_NONCE_BYTES)
        wrapped = AESGCM(self._keys[key_id]).encrypt(nonce, data_key, context.as_bytes())
        return key_id, data_key, nonce + wrapped

    def unwrap(self, key_id: str, wrapped: bytes, context: Context) -> bytes:
        """Return the data key.

        Raises:
            KeyUnavailableError: The ring has no key of that id.
            SealBrokenError: The wrapped key is not of that key and context.
        """
        if key_id not in self._keys:
            try:
                self._catch_up()
            except (OSError, SettingsError):
                pass  # the file does not have it either
        if key_id not in self._keys:
            raise KeyUnavailableError(
                f"a credential is sealed under {key_id[:80]}, which is not in the local key ring",
                hint="give TIELINE_KEY (or the key file) the key that was in use then",
            )
        nonce, sealed = wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:]
        try:
            return AESGCM(self._keys[key_id]).decrypt(nonce, sealed, context.as_bytes())
        except (InvalidTag, ValueError):
            raise SealBrokenError(
                f"the sealed {context.field!r} of {context.connection_id} belongs elsewhere",
                hint="connect the account again",
            ) from None

    def _catch_up(self) -> None:
        """Read the key file again if it is another one by now."""
        if self._path is None or _stamp(self._path) == self._stamp:
            return
        stamp, keys = _read(self._path)
        # What was read from the database a moment ago may need a key that left since.
        self._keys = self._keys | {key_id_of(key): key for key in keys}
        self.current_id = key_id_of(keys[0])
        self._stamp = stamp


def _read(path: Path) -> tuple[_Stamp, list[bytes]]:
    try:
        stamp = _stamp(path)  # before the keys: a change between the two is noticed
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SettingsError(f"the key file {path} cannot be read: {type(error).__name__}") from None
    if not (keys := read_key_file(path)):
        raise SettingsError(
            f"the key file {path} holds no key",
            hint="put the key back from your copy; remove the file only if no credential"
            " is to be opened again",
            code="key-missing",
        )
    return stamp, keys


def _stamp(path: Path) -> _Stamp:
    """Tell one state of a file from the next."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size
