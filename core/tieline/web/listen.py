"""A development loop: ``tieline serve`` that shows what comes, and hands it on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from tieline.inbox import signed_by
from tieline.services.development import development_secret
from tieline.services.installation import Installation
from tieline.services.webhook_forward import Forwarded, Forwarder, Parcel
from tieline.services.webhooks import declared_webhooks
from tieline.web.app import create_app
from tieline.web.serve import serve
from tieline.web.served import ServedSign
from tieline.web.webhooks import Seen

__all__ = ["listen"]


def listen(
    installation: Installation,
    *,
    host: str,
    port: int,
    provider: str | None,
    to: str,
    on_ready: Callable[[str], None],
    on_seen: Callable[[Seen], None],
    on_forwarded: Callable[[Forwarded], None],
) -> None:
    """Serve until SIGINT or SIGTERM; what is taken is handed on once it is safe.

    Args:
        installation: Where.
        host: Address to bind.
        port: Port to bind; 0 takes a free one.
        provider: Only its deliveries are shown and handed on; None: all.
        to: Where to hand deliveries on to; empty: nowhere.
        on_ready: Called with the address once connections are accepted.
        on_seen: Called with each delivery, refused ones too.
        on_forwarded: Called with what became of each that was handed on, in
            another thread.

    Raises:
        NotFoundError: There is no such provider.
        RefusedError: It sends nothing by itself.
        InvalidInputError: The address cannot be bound, or not be handed on to.
    """
    if provider is not None:
        declared_webhooks(installation.registry.get(provider))
    with ExitStack() as stack:
        forwarder: Forwarder | None = None
        if to:
            secret = development_secret(installation)
            forwarder = Forwarder(to, secret, installation.clock, on_forwarded)
            stack.enter_context(forwarder)

        def watch(seen: Seen) -> None:
            if provider not in {None, seen.provider}:
                return
            on_seen(seen)
            if forwarder is not None and (delivery := seen.taken.delivery) is not None:
                webhooks = declared_webhooks(installation.registry.get(seen.provider))
                scheme = signed_by(webhooks.scheme)
                forwarder.put(Parcel(delivery=delivery, headers=seen.headers, scheme=scheme))

        stack.enter_context(ServedSign(installation))
        serve(create_app(installation, watch=watch), host=host, port=port, on_ready=on_ready)
