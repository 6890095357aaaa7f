"""Seal and open credentials."""

from tieline.vault.envelope import Context, KeyProvider, Sealer, Vault
from tieline.vault.keyfile import (
    add_key,
    create_key_file,
    drop_key,
    key_id_of,
    read_keys,
    sealing_since,
)
from tieline.vault.kms import KmsKeys
from tieline.vault.local import LocalKeyRing

__all__ = [
    "Context",
    "KeyProvider",
    "KmsKeys",
    "LocalKeyRing",
    "Sealer",
    "Vault",
    "add_key",
    "create_key_file",
    "drop_key",
    "key_id_of",
    "read_keys",
    "sealing_since",
]
