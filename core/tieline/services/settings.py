"""What can be set here: by the core's own schema, and by the plugins that are installed."""

from __future__ import annotations

from tieline.contract import OAuth2
from tieline.registry import Plugin, Registry
from tieline.settings import ApplicationExample, env_example

__all__ = ["write_env_example"]


def write_env_example(registry: Registry) -> str:
    """Return the text of ``.env.example``, with the applications of every plugin that works."""
    plugins = [listed.plugin for listed in registry.list() if listed.plugin is not None]
    found = (_application(plugin) for plugin in sorted(plugins, key=lambda each: each.name))
    return env_example([application for application in found if application is not None])


def _application(plugin: Plugin) -> ApplicationExample | None:
    """Return what there is to say of a plugin's application; None where nobody signs in."""
    for auth in plugin.auth:
        if isinstance(auth, OAuth2):
            return ApplicationExample(
                provider=plugin.name,
                title=plugin.provider.title,
                where=auth.where,
                environments=plugin.provider.environments,
                scopes=tuple(auth.scopes),
                needs_secret=auth.pkce != "public",
                has_webhooks=plugin.webhooks is not None
                and "application" in plugin.webhooks.owners,
            )
    return None
