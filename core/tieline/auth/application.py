"""The application that this installation is known by at a provider."""

from __future__ import annotations

from tieline.contract import OAuth2, SettingsError
from tieline.registry import Plugin
from tieline.settings import Application, Settings

__all__ = ["application_of", "callback_path", "redirect_uri_of"]

_LOOPBACK = "http://127.0.0.1:8377"


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
    return f"/oauth/callback/{provider}"


def redirect_uri_of(settings: Settings, provider: str) -> str:
    """Return the redirect address that a provider is told, exactly as it is registered."""
    found = settings.applications.get(provider)
    if found is not None and found.redirect_uri:
        return found.redirect_uri
    return f"{settings.public_url or _LOOPBACK}{callback_path(provider)}"
