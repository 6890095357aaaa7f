"""What can be set here: by the core's own schema, and by the plugins that are installed."""

from __future__ import annotations

from tieline.contract import (
    ApiKey,
    Basic,
    Connection,
    OAuth2,
    ProviderError,
    RateLimitPolicy,
    SettingsError,
)
from tieline.errors import PluginError
from tieline.registry import Plugin, Registry
from tieline.settings import ApplicationExample, configuration_page, env_example

__all__ = ["write_configuration_page", "write_env_example"]


def write_env_example(registry: Registry) -> str:
    """Return the text of ``.env.example``, with the applications of every plugin that works."""
    return env_example(_applications(registry))


def write_configuration_page(registry: Registry) -> str:
    """Return the text of ``docs/reference/configuration.md``, from the same."""
    return configuration_page(_applications(registry))


def _applications(registry: Registry) -> list[ApplicationExample]:
    plugins = [listed.plugin for listed in registry.list() if listed.plugin is not None]
    found = (_application(plugin) for plugin in sorted(plugins, key=lambda each: each.name))
    return [application for application in found if application is not None]


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
                keys_where=_keys_where(plugin),
                webhooks=plugin.webhooks.instructions if plugin.webhooks else "",
                limits=_limits(plugin),
            )
    return None


def _keys_where(plugin: Plugin) -> str | None:
    """Say where keys are found; empty: the plugin does not say; None: it takes none."""
    found = [auth.where for auth in plugin.auth if isinstance(auth, (ApiKey, Basic))]
    return next(filter(None, found), "") if found else None


def _limits(plugin: Plugin) -> str:
    """Write the limits of a connection to the provider's first environment as a setting has them.

    What holds for some paths alone cannot be written so, and is left out.
    """
    environment, base_url = next(iter(plugin.provider.environments.items()))
    example = Connection(
        id="con_example",
        name="example",
        provider=plugin.name,
        environment=environment,
        base_url=base_url,
    )
    try:
        policy = plugin.rate_limits(example) or RateLimitPolicy()
    except (ProviderError, PluginError, SettingsError):
        return ""
    scopes = {"account": "", "application": " application", "endpoint": " endpoint"}
    parts = [f"{rate.limit}{scopes[rate.scope]}" for rate in policy.rates if not rate.match]
    if policy.concurrency is not None:
        parts.append(f"concurrency={policy.concurrency}")
    return "; ".join(parts)
