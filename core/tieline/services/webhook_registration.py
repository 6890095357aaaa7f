"""Register endpoints at providers that let software do it, and take them back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from tieline.contract import PathSecret, ProviderError, Registration, Secret
from tieline.errors import PluginError, RefusedError
from tieline.inbox import digest_of
from tieline.registry import Plugin
from tieline.services.connections import get_connection
from tieline.services.installation import Installation
from tieline.services.webhooks import (
    Listed,
    declared_webhooks,
    get_endpoint,
    new_path_secret,
    note,
    seal_secret,
)
from tieline.store import endpoints as store
from tieline.store.database import Connection as Transaction

__all__ = ["register_endpoint", "unregister_endpoint"]

T = TypeVar("T")


def register_endpoint(
    installation: Installation, endpoint_id: str, *, by: str | None = None, actor: str
) -> Listed:
    """Make an endpoint known at the provider, and keep the secret that it gives.

    Args:
        installation: Where.
        endpoint_id: The endpoint.
        by: Name or id of the connection whose credential is used; None for the
            endpoint's own.
        actor: Who does it, for the sync log.

    Raises:
        NotFoundError: There is no such endpoint or connection.
        RefusedError: It is registered already, or the provider has no way but by hand.
        ProviderError: The provider refused, or did not answer.
    """
    found = get_endpoint(installation, endpoint_id)
    row = found.endpoint
    plugin = installation.registry.get(row.provider)
    webhooks = declared_webhooks(plugin)
    owner = "connection" if row.connection_id else "application"
    if (register := webhooks.register) is None or owner not in webhooks.registers:
        raise RefusedError(
            f"{plugin.provider.title} lets only people do it: {webhooks.instructions}",
            hint=f"the address is {row.address}",
            code="register-by-hand",
        )
    if row.remote_id:
        raise RefusedError(
            "it is registered already", hint=f"tieline webhooks unregister {endpoint_id}"
        )
    path_secret = new_path_secret() if isinstance(webhooks.scheme, PathSecret) else None
    end = f"/{path_secret.reveal()}" if path_secret else ""
    if path_secret:  # the provider may look at the address, or deliver, before it answers
        _keep(installation, endpoint_id, path=path_secret)

    def call(client: Any) -> Registration:
        made = register(client, f"{row.address}{end}")
        if isinstance(made, Registration):
            return made
        raise PluginError(f"{plugin.found.distribution}: register returned no Registration")

    made = _with_client(installation, plugin, by or row.connection_id, call)
    try:
        _keep(installation, endpoint_id, made=made, by_path=path_secret is not None, actor=actor)
    except BaseException:
        if (unregister := webhooks.unregister) is not None:  # or it would deliver for ever
            with suppress(ProviderError):
                _with_client(
                    installation,
                    plugin,
                    by or row.connection_id,
                    lambda client: unregister(client, made.id),
                )
        raise
    return get_endpoint(installation, endpoint_id)


def unregister_endpoint(
    installation: Installation, endpoint_id: str, *, by: str | None = None, actor: str
) -> Listed:
    """Take an endpoint back at the provider; here it stays.

    Raises:
        NotFoundError: There is no such endpoint or connection.
        RefusedError: It was not registered, or the provider has no way but by hand.
        ProviderError: The provider refused, or did not answer.
    """
    row = get_endpoint(installation, endpoint_id).endpoint
    plugin = installation.registry.get(row.provider)
    unregister = declared_webhooks(plugin).unregister
    remote_id = row.remote_id
    if remote_id is None or unregister is None:
        raise RefusedError(
            "it was not registered by Tieline: take it away in the provider's pages",
            hint=f"tieline webhooks remove {endpoint_id}",
            code="endpoint-not-registered",
        )
    _with_client(
        installation,
        plugin,
        by or row.connection_id,
        lambda client: unregister(client, remote_id),
    )

    def work(transaction: Transaction) -> None:
        now = installation.clock.now()
        store.change_endpoint(transaction, endpoint_id, now=now, remote_id=None)
        of = row.connection_id
        note(transaction, installation, endpoint_id, of, actor, "unregistered", remote_id)

    installation.database.transact(work)
    return get_endpoint(installation, endpoint_id)


def _with_client(
    installation: Installation,
    plugin: Plugin,
    connection: str | None,
    call: Callable[[Any], T],
) -> T:
    """Call the provider with a connection's client; errors are as the plugin reads them."""
    if connection is None:
        raise RefusedError(
            "it is the application's: whose credential may do it?",
            hint="name a connection: --by CONNECTION",
            code="register-by-whom",
        )
    row = get_connection(installation, connection)
    if row.provider != plugin.name:
        raise RefusedError(f"{row.name} is a connection to {row.provider}, not to {plugin.name}")
    stop = threading.Event()
    opened = installation.engine.opener.open(row.id, stop=stop)
    try:
        return call(opened.client)
    except ProviderError:
        raise
    except Exception as error:
        if (known := plugin.classify(error)) is not None:
            raise known from error
        raise
    finally:
        stop.set()
        opened.transport.close()


def _keep(
    installation: Installation,
    endpoint_id: str,
    *,
    path: Secret | None = None,
    made: Registration | None = None,
    by_path: bool = False,
    actor: str = "",
) -> None:
    """Store a new secret of the address, or those that the provider gave, beside what there is."""
    given = (made.secret, *made.secrets) if made else ()
    sealed = [seal_secret(installation, endpoint_id, secret) for secret in given if secret]

    def work(transaction: Transaction) -> None:
        now = installation.clock.now()
        changed: dict[str, Any] = {}
        store.lock_endpoint(transaction, endpoint_id)
        if path is not None:
            digest = digest_of(path.reveal())
            store.add_secret(transaction, endpoint_id, kind="path", digest=digest, now=now)
        if sealed or by_path:  # one that was known before is of no use any more
            store.retire_secrets(transaction, endpoint_id, kind="signature", retires_at=now)
            changed["scheme_level"] = "signature" if sealed else "path-secret"
        for each in sealed:
            store.add_secret(transaction, endpoint_id, kind="signature", now=now, **each)
        if made is not None:
            changed["remote_id"] = made.id
            row = store.find_endpoint(transaction, endpoint_id)
            of = row.connection_id if row else None
            note(transaction, installation, endpoint_id, of, actor, "registered", made.id)
        store.change_endpoint(transaction, endpoint_id, now=now, **changed)

    installation.database.transact(work)
