"""The secret with which deliveries are signed that a development loop hands on.

It belongs to one folder of one installation, and is sealed there: no
endpoint takes what is signed with it.
"""

from __future__ import annotations

import os
from pathlib import Path

from tieline.contract import Hmac, Secret, SettingsError
from tieline.errors import VaultError
from tieline.inbox import new_signing_secret
from tieline.services.installation import Installation
from tieline.telemetry import remember
from tieline.vault import Context

__all__ = ["DEVELOPMENT", "development_secret", "in_form_of", "renew_development_secret"]

DEVELOPMENT = "dev"
"""What stands for it where commands want an endpoint."""

_CONTEXT = Context(connection_id="development", field="webhooks")
_PREFIX = "whsec_"


def development_secret(installation: Installation) -> Secret:
    """Return it; it is made when it is first asked for.

    One that no longer opens, since the key is gone that it was sealed under,
    is replaced.

    Raises:
        SettingsError: The installation's folder cannot be written.
        KeyUnavailableError: The key is not to be had now.
    """
    path = _path(installation)
    try:
        found = _opened(installation, path.read_text())
    except FileNotFoundError:
        found = None
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(path, error) from None
    return found or renew_development_secret(installation)


def renew_development_secret(installation: Installation) -> Secret:
    """Make a new one in the place of the one there is.

    Raises:
        SettingsError: The installation's folder cannot be written.
        KeyUnavailableError: The key is not to be had now.
    """
    secret = new_signing_secret()
    sealed, _ = installation.vault.seal(secret, _CONTEXT)
    path = _path(installation)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(sealed)
        part.replace(path)
    except OSError as error:
        raise _unusable(path, error) from None
    remember(secret.reveal())
    return secret


def in_form_of(scheme: Hmac, secret: Secret) -> Secret:
    """Return the development secret in the form that a scheme wants."""
    if scheme.secret_prefix is None:
        return secret
    return Secret(scheme.secret_prefix + secret.reveal().removeprefix(_PREFIX))


def _path(installation: Installation) -> Path:
    return installation.settings.home / "webhooks-dev.sealed"


def _opened(installation: Installation, sealed: str) -> Secret | None:
    try:
        secret = installation.vault.open(sealed, _CONTEXT)
    except VaultError as error:
        if error.slug == "key-unavailable" and installation.settings.kms_key_id:
            raise  # KMS may be back in a moment
        return None
    remember(secret.reveal())
    return secret


def _unusable(path: Path, error: Exception) -> SettingsError:
    words = error.strerror if isinstance(error, OSError) else "it is no text"
    return SettingsError(f"{path} cannot be used: {words}", hint="look at its owner and its mode")
