"""Envelope encryption: a fresh data key per secret, wrapped by a key ring."""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tieline.contract.values import Secret
from tieline.errors import SealBrokenError, VaultError

__all__ = ["Context", "KeyProvider", "Vault"]

_NONCE_BYTES = 12
_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """What a secret belongs to; sealed text opens nowhere else.

    Attributes:
        connection_id: The connection.
        field: The field of its credential.
    """

    connection_id: str
    field: str

    def as_mapping(self) -> dict[str, str]:
        """Return the context as key providers want it."""
        return {
            "application": "tieline",
            "connection": self.connection_id,
            "field": self.field,
        }

    def as_bytes(self) -> bytes:
        """Return the context as associated data, always the same bytes."""
        return orjson.dumps(self.as_mapping(), option=orjson.OPT_SORT_KEYS)


class KeyProvider(Protocol):
    """Makes and unwraps data keys of 32 bytes."""

    kind: str

    def new_data_key(self, context: Context) -> tuple[str, bytes, bytes]:
        """Return the wrapping key's id, the data key and the wrapped data key."""
        ...

    def unwrap(self, key_id: str, wrapped: bytes, context: Context) -> bytes:
        """Return the data key.

        Raises:
            KeyUnavailableError: The wrapping key is not to be had now.
            SealBrokenError: The wrapped key is not of that key and context.
        """
        ...


class Vault:
    """Seals and opens secrets.

    Args:
        keys: Where data keys come from.
    """

    def __init__(self, keys: KeyProvider) -> None:
        self._keys = keys

    def seal(self, secret: Secret, context: Context) -> tuple[str, str]:
        """Encrypt a secret for one context.

        Returns:
            The sealed text, and the id of the key that wraps its data key.
        """
        key_id, data_key, wrapped = self._keys.new_data_key(context)
        nonce = os.urandom(_NONCE_BYTES)
        sealed = AESGCM(data_key).encrypt(nonce, _bytes_of(secret), context.as_bytes())
        envelope = {
            "v": _VERSION,
            "kp": self._keys.kind,
            "kid": key_id,
            "dek": b64encode(wrapped).decode(),
            "n": b64encode(nonce).decode(),
            "ct": b64encode(sealed).decode(),
        }
        return orjson.dumps(envelope).decode(), key_id

    def open(self, sealed: str, context: Context) -> Secret:
        """Decrypt a sealed secret.

        Raises:
            KeyUnavailableError: Its key is not to be had now.
            SealBrokenError: It was changed, moved, or sealed under a lost key.
        """
        envelope = _read(sealed, self._keys.kind)
        data_key = self._keys.unwrap(envelope["kid"], _bytes(envelope, "dek"), context)
        try:
            plain = AESGCM(data_key).decrypt(
                _bytes(envelope, "n"), _bytes(envelope, "ct"), context.as_bytes()
            )
        except (InvalidTag, ValueError):
            raise _broken(context) from None
        return Secret(plain.decode())


def _broken(context: Context) -> SealBrokenError:
    return SealBrokenError(
        f"the sealed {context.field!r} of {context.connection_id} was changed or belongs elsewhere",
        hint="connect the account again",
    )


def _read(sealed: str, kind: str) -> Mapping[str, str]:
    try:
        envelope = orjson.loads(sealed)
    except orjson.JSONDecodeError:
        envelope = None
    is_whole = isinstance(envelope, dict) and all(
        isinstance(envelope.get(name), str) for name in ("kp", "kid", "dek", "n", "ct")
    )
    if not is_whole or envelope.get("v") != _VERSION:
        raise SealBrokenError("a sealed credential is not readable")
    if envelope["kp"] != kind:
        raise SealBrokenError(f"a credential was not sealed by the key provider {kind!r} in use")
    return dict(envelope)


def _bytes(envelope: Mapping[str, str], name: str) -> bytes:
    try:
        return b64decode(envelope[name], validate=True)
    except ValueError:
        raise SealBrokenError("a sealed credential is not readable") from None


def _bytes_of(secret: Secret) -> bytes:
    try:
        return secret.reveal().encode()
    except UnicodeEncodeError:
        raise VaultError(
            "the secret has characters that are no text", hint="paste it again, as UTF-8"
        ) from None
