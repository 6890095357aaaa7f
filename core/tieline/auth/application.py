"""The application that this installation is known by at a provider, and where it is called back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import SplitResult, unquote, urlsplit

from tieline.contract import OAuth2, SettingsError
from tieline.registry import Plugin
from tieline.settings import Application, Settings

__all__ = [
    "application_of",
    "callback_path",
    "callback_paths",
    "redirect_uri_of",
    "start_address",
]

_LOOPBACK = "http://127.0.0.1:8377"
_CALLBACKS = "/oauth/callback/"
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9/._~-]*")
_OURS = re.compile(rf"/healthz|/oauth/start/.*|{_CALLBACKS}[^/]*")


def application_of(settings: Settings, plugin: Plugin, oauth: OAuth2) -> Application:
    """Return the application that is set for a provider.

    Raises:
        SettingsError: None is, or its secret is missing where one is needed.
    """
    found = settings.applications.get(plugin.name, Application())
    name = f"TIELINE_{plugin.name.upper()}"
    hint = f"register an application at {oauth.where}" if oauth.where else ""
    if not found.client_id:
        raise SettingsError(
            f"{name}_CLIENT_ID is not set: {plugin.provider.title} has to know who asks",
            hint=hint,
            code="application-missing",
        )
    if not found.client_secret and oauth.pkce != "public":
        raise SettingsError(
            f"{name}_CLIENT_SECRET is not set, and {plugin.provider.title} wants one",
            hint=hint,
            code="application-missing",
        )
    if found.environment and found.environment not in plugin.provider.environments:
        raise SettingsError(
            f"{name}_ENVIRONMENT={found.environment}: {plugin.provider.title} has"
            f" {', '.join(plugin.provider.environments)}"
        )
    return found


def callback_path(provider: str) -> str:
    """Return where browsers come back to; each provider has a path of its own."""
    return f"{_CALLBACKS}{provider}"


def redirect_uri_of(settings: Settings, provider: str) -> str:
    """Return the redirect address that a provider is told, exactly as it is registered.

    Raises:
        SettingsError: It is no address.
    """
    found = settings.applications.get(provider)
    if found is not None and found.redirect_uri:
        _parts(provider, found.redirect_uri)
        return found.redirect_uri
    return f"{settings.public_url or _LOOPBACK}{callback_path(provider)}"


def start_address(settings: Settings, provider: str, link: str) -> str:
    """Return where a link is opened.

    It is at the origin that the provider sends the browser back to: to no
    other would the browser bring the cookie that it is given there. Even
    ``localhost`` and ``127.0.0.1`` are two.

    Raises:
        SettingsError: The redirect address is none.
    """
    redirect_uri = redirect_uri_of(settings, provider)
    base = redirect_uri.removesuffix(callback_path(provider))
    if base == redirect_uri:  # a path of their own choice: our own pages are beside it
        base = _origin(redirect_uri)
        if settings.public_url and _origin(settings.public_url) == base:
            base = settings.public_url
    return f"{base}/oauth/start/{link}"


def callback_paths(settings: Settings) -> Mapping[str, str]:
    """Return the paths of registered redirect addresses that are not as we would choose them.

    Returns:
        Path to the provider that sends browsers there. No two providers have
        the same: by the path alone a callback knows who answers.

    Raises:
        SettingsError: A path cannot be served, or is another's.
    """
    found: dict[str, str] = {}
    for provider, application in settings.applications.items():
        if not application.redirect_uri:
            continue
        path = unquote(_parts(provider, application.redirect_uri).path)
        if path == callback_path(provider):
            continue
        if not _PLAIN_PATH.fullmatch(path) or _OURS.fullmatch(path) or path in found:
            raise SettingsError(
                f"{_variable(provider)}: {path[:100]} cannot be answered at, or is another's",
                hint=f"for example: https://tieline.example.com{callback_path(provider)}",
            )
        found[path] = provider
    return found


def _origin(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"


def _parts(provider: str, address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        if parts.port != 0 and parts.hostname:
            return parts
    except ValueError:
        pass
    raise SettingsError(f"{_variable(provider)} is no address: {address[:200]}")


def _variable(provider: str) -> str:
    return f"TIELINE_{provider.upper()}_REDIRECT_URI"
