"""Seal and open credentials."""

from tieline.vault.envelope import Context, KeyProvider, Vault
from tieline.vault.local import LocalKeyRing, create_key_file, read_keys

__all__ = ["Context", "KeyProvider", "LocalKeyRing", "Vault", "create_key_file", "read_keys"]
