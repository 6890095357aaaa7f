"""Envelope encryption: a fresh data key per secret, wrapped by a key provider."""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tieline.contract.values import Secret
from tieline.errors import KeyUnavailableError, SealBrokenError, VaultError

__all__ = ["Context", "KeyProvider", "Sealer", "Vault"]

_NONCE_BYTES = 12
_VERSION = 1
_TRIES = 3
_KEY_ID_LENGTH = 80


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
    """Makes and unwraps data keys of 32 bytes.

    Attributes:
        kind: Names it in sealed texts; only this kind unwraps them.
    """

    kind: str

    def new_data_key(self, context: Context) -> tuple[str, bytes, bytes]:
        """Return the wrapping key's id, the data key and the wrapped data key.

        Raises:
            KeyUnavailableError: The wrapping key is not to be had now.
        """
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
        keys: Where data keys come from: everything is sealed under it.
        others: Open what was sealed before, each of a kind of its own, so that
            an installation can move from one to another and back.
    """

    def __init__(self, keys: KeyProvider, others: Iterable[KeyProvider] = ()) -> None:
        self._keys = keys
        self._by_kind = {provider.kind: provider for provider in (*others, keys)}

    @property
    def kind(self) -> str:
        """The kind of the key provider that seals."""
        return self._keys.kind

    def seal(self, secret: Secret, context: Context) -> tuple[str, str]:
        """Encrypt a secret for one context.

        Returns:
            The sealed text, and the id of the key that wraps its data key.

        Raises:
            KeyUnavailableError: The key is not to be had now.
            VaultError: The secret is no text.
        """
        sealer = self.prepare(context)
        return sealer.seal(secret, context), sealer.key_id

    def prepare(self, *contexts: Context) -> Sealer:
        """Take a data key for each context now, so that sealing later asks nobody.

        Whoever is about to receive what cannot be had twice, as new tokens are,
        does this first: it is the only step that may need the network.

        Args:
            contexts: Of all that will be sealed; at least one.

        Raises:
            KeyUnavailableError: The key is not to be had now.
        """
        if not contexts:
            raise ValueError("nothing to prepare for")
        for _ in range(_TRIES):
            taken = {context: self._keys.new_data_key(context) for context in contexts}
            key_ids = {key_id for key_id, _, _ in taken.values()}
            if len(key_ids) == 1:
                data_keys = {context: pair for context, (_, *pair) in taken.items()}
                return Sealer(self._keys.kind, key_ids.pop(), data_keys)
        raise KeyUnavailableError("the key that seals is changed again and again")

    def open(self, sealed: str, context: Context) -> Secret:
        """Decrypt a sealed secret.

        Raises:
            KeyUnavailableError: Its key is not to be had now.
            SealBrokenError: It was changed, moved, or sealed under a lost key.
        """
        envelope = _read(sealed)
        if (keys := self._by_kind.get(envelope["kp"])) is None:
            known = " or ".join(sorted(self._by_kind))
            raise SealBrokenError(f"a credential was not sealed by a key provider {known}")
        data_key = keys.unwrap(envelope["kid"], _bytes(envelope, "dek"), context)
        try:
            plain = AESGCM(data_key).decrypt(
                _bytes(envelope, "n"), _bytes(envelope, "ct"), context.as_bytes()
            )
        except (InvalidTag, ValueError):
            raise _broken(context) from None
        return Secret(plain.decode())


class Sealer:
    """Seals for the contexts that it was prepared for, without asking anybody.

    Made by :meth:`Vault.prepare`. Keep it for one piece of work, for minutes at
    most: an old key may be forgotten some time after it seals no more.

    Attributes:
        key_id: The id of the key that wraps the data keys, as it is stored
            beside what was sealed: the last 80 characters of it. Ids of KMS in
            China and GovCloud are longer, and their ends name the key.
    """

    def __init__(
        self, kind: str, key_id: str, data_keys: Mapping[Context, Sequence[bytes]]
    ) -> None:
        self.key_id = key_id[-_KEY_ID_LENGTH:]
        self._kind = kind
        self._full_id = key_id
        self._data_keys = data_keys

    def seal(self, secret: Secret, context: Context) -> str:
        """Encrypt a secret for one of the contexts; return the sealed text.

        A transaction that is run again may seal again: nonces are never reused.

        Raises:
            VaultError: The secret is no text, or the context is none of those.
        """
        if context not in self._data_keys:
            raise VaultError(f"no data key was prepared for {context.field!r}")
        data_key, wrapped = self._data_keys[context]
        nonce = os.urandom(_NONCE_BYTES)
        sealed = AESGCM(data_key).encrypt(nonce, _bytes_of(secret), context.as_bytes())
        envelope = {
            "v": _VERSION,
            "kp": self._kind,
            "kid": self._full_id,
            "dek": b64encode(wrapped).decode(),
            "n": b64encode(nonce).decode(),
            "ct": b64encode(sealed).decode(),
        }
        return orjson.dumps(envelope).decode()


def _broken(context: Context) -> SealBrokenError:
    return SealBrokenError(
        f"the sealed {context.field!r} of {context.connection_id} was changed or belongs elsewhere",
        hint="connect the account again",
    )


def _read(sealed: str) -> Mapping[str, str]:
    try:
        envelope = orjson.loads(sealed)
    except orjson.JSONDecodeError:
        envelope = None
    is_whole = isinstance(envelope, dict) and all(
        isinstance(envelope.get(name), str) for name in ("kp", "kid", "dek", "n", "ct")
    )
    if not is_whole or envelope.get("v") != _VERSION:
        raise SealBrokenError("a sealed credential is not readable")
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
