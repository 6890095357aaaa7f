"""A key ring on this machine, for development and small installations."""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tieline.contract.errors import SettingsError
from tieline.contract.values import Secret
from tieline.errors import KeyUnavailableError, SealBrokenError
from tieline.vault.envelope import Context

__all__ = ["LocalKeyRing", "create_key_file", "read_keys"]

_KEY_BYTES = 32
_NONCE_BYTES = 12


class LocalKeyRing:
    """Wraps data keys under 256-bit keys that this machine holds.

    Args:
        keys: The current key first; the others only unwrap.
    """

    kind = "local"

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = {_key_id(key): key for key in keys}
        self.current_id = _key_id(keys[0])

    def new_data_key(self, context: Context) -> tuple[str, bytes, bytes]:
        """Return the current key's id, a fresh data key and its wrapped form."""
        data_key = os.urandom(_KEY_BYTES)
        nonce = os.urandom(_NONCE_BYTES)
        wrapped = AESGCM(self._keys[self.current_id]).encrypt(nonce, data_key, context.as_bytes())
        return self.current_id, data_key, nonce + wrapped

    def unwrap(self, key_id: str, wrapped: bytes, context: Context) -> bytes:
        """Return the data key.

        Raises:
            KeyUnavailableError: The ring has no key of that id.
            SealBrokenError: The wrapped key is not of that key and context.
        """
        if key_id not in self._keys:
            raise KeyUnavailableError(
                f"a credential is sealed under {key_id}, which is not in the local key ring",
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
        lines = path.read_text("ascii").split()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the key file {path} cannot be read: {type(error).__name__}") from None
    return [_decode(line, f"the key file {path}") for line in lines]


def create_key_file(path: Path) -> bool:
    """Make a key file with a fresh key, for its owner's eyes; False if there is one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    whole = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(8).hex()}")
    handle = os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(b64encode(os.urandom(_KEY_BYTES)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(whole, path)  # unlike rename, this never replaces another's key
    except FileExistsError:
        return False
    finally:
        whole.unlink()
    return True


def _decode(text: str, where: str) -> bytes:
    try:
        key = b64decode(text.strip(), validate=True)
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise SettingsError(
            f"{where} does not hold a key of {_KEY_BYTES} bytes in base64",
            hint="make one: openssl rand -base64 32",
        )
    return key


def _key_id(key: bytes) -> str:
    return f"local-{blake2b(key, digest_size=6).hexdigest()}"
