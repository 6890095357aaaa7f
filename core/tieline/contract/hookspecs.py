"""The hooks of contract version 1.

A plugin is a module (or object) with functions of these names, marked by
``hookimpl``; an entry point of the group ``tieline.providers`` names it, and
the entry point's name is the provider's name. Every function may leave out
arguments that it does not need. Arguments and fields of declarations may only
be added within a version.

Hooks are called when something is opened, never once per record or request.
Observers are another kind: each is called on every plugin, whatever its
provider, and none can harm another or the core.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pluggy

from tieline.contract.alerts import Alert
from tieline.contract.declarations import Entity, Observation, Provider, RateLimitPolicy
from tieline.contract.errors import ProviderError
from tieline.contract.oauth import Auth
from tieline.contract.values import Connection, Credential, Reply, Transport
from tieline.contract.webhooks import Webhooks

__all__ = [
    "CONTRACT_VERSION",
    "OBSERVERS",
    "OPTIONAL",
    "PROJECT",
    "REQUIRED",
    "hookimpl",
    "hookspec",
]

CONTRACT_VERSION = 1
PROJECT = "tieline"
REQUIRED = ("tieline_provider", "tieline_auth", "tieline_client", "tieline_entities")
OPTIONAL = ("tieline_webhooks", "tieline_rate_limits", "tieline_observe", "tieline_classify")
OBSERVERS = ("tieline_alert",)

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec(firstresult=True)
def tieline_provider() -> Provider:  # type: ignore[empty-body]
    """Say what the provider is.

    Called once, when the plugin is loaded, before any other hook. Must not
    use the network, start a thread or read the environment.

    Returns:
        The declaration. Its ``name`` must be the entry point's name and its
        ``contract`` the version that the plugin was written for.
    """


@hookspec(firstresult=True)
def tieline_auth() -> Auth | Sequence[Auth]:  # type: ignore[empty-body]
    """Say how an account is connected.

    Called once, when the plugin is loaded.

    Returns:
        One way, or several of different kinds, the recommended one first.
    """


@hookspec(firstresult=True)
def tieline_client(connection: Connection, credential: Credential, transport: Transport) -> Any:
    """Make the provider's SDK client for one connection, on our transport.

    Called each time a worker opens a connection, and by ``tieline connect``
    for a credential that is not stored yet. The client is used by several
    threads at once and thrown away afterwards. The SDK's own retries are
    switched off, nothing of it is kept in module-wide state, and its base
    address is ``connection.base_url``.

    What an SDK imports at its first use, import at the top of a module: a
    worker imports the plugin once, and forks a work-horse for each job.

    Args:
        connection: The connection that is being opened.
        credential: Its secrets, by the names that the auth declaration gave.
            Read them at each call: tokens are renewed while the client lives.
        transport: The only way to the network.

    Returns:
        Whatever the entities' steps want to be handed.

    Raises:
        SettingsError: A setting of this connection is missing or out of range.
    """


@hookspec(firstresult=True)
def tieline_entities() -> Sequence[Entity]:  # type: ignore[empty-body]
    """Say what can be kept in step.

    Called once, when the plugin is loaded.

    Returns:
        The entities, their names unique; none for a provider that can be
        connected and has nothing to sync yet.
    """


@hookspec(firstresult=True)
def tieline_webhooks() -> Webhooks | None:
    """Say what the provider sends by itself, and how it proves that it does.

    Called once, when the plugin is loaded. Leave it out for a provider
    without webhooks.

    Returns:
        The declaration, or None for none.
    """


@hookspec(firstresult=True)
def tieline_rate_limits(connection: Connection) -> RateLimitPolicy:  # type: ignore[empty-body]
    """Say how fast one connection may call its provider.

    Called when a worker opens the connection and again after its settings
    change; never once per request. Must not use the network. Leave it out for
    a provider that publishes no limit.

    Args:
        connection: The connection that is being opened. Its credential cannot
            be read from here.

    Returns:
        The policy. Rates are requests per stated time, such as ``25/second``;
        concurrency is requests in flight at once, over all workers.

    Raises:
        SettingsError: A setting of this connection that the policy needs is
            missing or out of range. Only this connection stops.
    """


@hookspec(firstresult=True)
def tieline_observe(reply: Reply) -> Observation | None:
    """Read what an answer tells about the provider's limits.

    Called for every answer, so it must be cheap; ``Retry-After`` is read by
    the core already. Leave it out for a provider that tells nothing more.

    Args:
        reply: The answer as it came.

    Returns:
        What it told, or None for nothing.
    """


@hookspec(firstresult=True)
def tieline_classify(error: Exception) -> ProviderError | None:
    """Say what an error of the provider's SDK means for us.

    Called with each exception that leaves a step and is not a
    :class:`ProviderError` already. Leave it out for a plugin whose steps raise
    those themselves.

    Args:
        error: What the SDK raised.

    Returns:
        An instance of the class that says what happens next, with a message
        that holds no secret; None if the error is not of the SDK, which then
        counts as a bug of the plugin.
    """


@hookspec
def tieline_alert(alert: Alert) -> None:
    """Tell people, or software, of an alert.

    Called on every plugin that has it, whatever the alert's provider, by a
    scheduler or a worker, soon after the alert was raised: once, and once more
    if a process died meanwhile, with the same ``alert.id``. It runs in a thread
    of its own and has five seconds; what takes longer is not waited for. What
    it raises is logged and harms nobody; it is not called again for it.

    Args:
        alert: What happened. It is not told again while it lasts.
    """
