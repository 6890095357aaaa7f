"""What a provider knows this installation by: client id and secret, redirect address."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from tieline.contract.errors import SettingsError
from tieline.contract.values import Secret

__all__ = [
    "Application",
    "application_settings",
    "is_application_setting",
    "read_applications",
]

_FIELDS = (
    "CLIENT_ID",
    "CLIENT_SECRET",
    "REDIRECT_URI",
    "ENVIRONMENT",
    "SCOPES",
    "WEBHOOK_SECRET",
)
_NAME = re.compile(f"TIELINE_([A-Z][A-Z0-9_]*?)_({'|'.join(_FIELDS)})(_FILE)?")
_REDIRECT = re.compile(r"https?://[^\s?#@]+/[^\s?#@]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Application:
    """An application registered at a provider.

    Attributes:
        client_id: The application's id; empty if none is set.
        client_secret: Its secret; empty for a public client.
        redirect_uri: Where the provider sends the browser back to, exactly as
            registered; empty for the default.
        environment: Which of the provider's environments it belongs to; empty
            for the provider's first.
        scopes: Asked for in place of the plugin's; empty for those.
        webhook_secrets: What the deliveries to the application's endpoints are
            signed with, beside what the endpoints hold themselves.
    """

    client_id: str = ""
    client_secret: Secret = Secret("")  # noqa: RUF009 - it never changes
    redirect_uri: str = ""
    environment: str = ""
    scopes: tuple[str, ...] = ()
    webhook_secrets: tuple[Secret, ...] = ()


def is_application_setting(name: str) -> bool:
    """Say whether a variable is of the form ``TIELINE_<PROVIDER>_CLIENT_ID``."""
    return _NAME.fullmatch(name) is not None


def application_settings(provider: str) -> list[str]:
    """Name the variables that describe a provider's application, without ``_FILE``."""
    return [f"TIELINE_{provider.upper()}_{field}" for field in _FIELDS]


def read_applications(
    names: Iterable[str], value: Callable[[str], str | None]
) -> Mapping[str, Application]:
    """Read every application that is set.

    Args:
        names: Names of the variables that there are.
        value: Reads a variable, or the file that its ``_FILE`` names.

    Returns:
        Provider to its application.

    Raises:
        SettingsError: A redirect address makes no sense.
    """
    found: dict[str, dict[str, str]] = {}
    for name in names:
        if (match := _NAME.fullmatch(name)) is None:
            continue
        provider, field = match[1], match[2]
        text = (value(f"TIELINE_{provider}_{field}") or "").strip()
        if text:
            found.setdefault(provider.lower(), {})[field] = text
    return MappingProxyType({name: _application(name, given) for name, given in found.items()})


def _application(provider: str, given: Mapping[str, str]) -> Application:
    redirect_uri = given.get("REDIRECT_URI", "")
    if redirect_uri and not _REDIRECT.fullmatch(redirect_uri):
        raise SettingsError(
            f"TIELINE_{provider.upper()}_REDIRECT_URI is no address with a path",
            hint=f"for example: https://tieline.example.com/oauth/callback/{provider}",
        )
    return Application(
        client_id=given.get("CLIENT_ID", ""),
        client_secret=Secret(given.get("CLIENT_SECRET", "")),
        redirect_uri=redirect_uri,
        environment=given.get("ENVIRONMENT", ""),
        scopes=tuple(_split(given.get("SCOPES", ""))),
        webhook_secrets=tuple(map(Secret, _split(given.get("WEBHOOK_SECRET", "")))),
    )


def _split(text: str) -> Sequence[str]:
    return text.replace(",", " ").split()
