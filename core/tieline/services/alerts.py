"""Look at alerts, and tell those that are due."""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import TYPE_CHECKING

from tieline.contract import SettingsError
from tieline.services.connections import get_connection
from tieline.services.installation import Installation
from tieline.services.limit_alerts import is_any_event, watch_limits
from tieline.store import alerts as store
from tieline.store.alerts import AlertRow
from tieline.store.choosing import Mark

if TYPE_CHECKING:  # httpx takes its time, and listing does without
    from tieline.alerts.deliver import Messenger

__all__ = ["Lookout", "is_anything_to_tell", "list_alerts", "messenger_of", "new_lookout"]

_TIDY_S = 60.0


def list_alerts(
    installation: Installation,
    *,
    connection: str | None = None,
    visible: Collection[str] | None = None,
    with_closed: bool = False,
    before: Mark | None = None,
    limit: int = 100,
) -> list[AlertRow]:
    """Return the newest alerts first: those that are open, or all.

    What was mended since, by whatever way, is closed before.

    Args:
        installation: Where.
        connection: Name or id; None for all.
        visible: Ids of the connections that whoever asks may see; None: all.
        with_closed: Those that are over too.
        before: Time and id of the last one of the page before.
        limit: The most to return.

    Raises:
        NotFoundError: There is no such connection.
    """
    row = get_connection(installation, connection) if connection is not None else None
    with installation.database.write() as transaction:
        store.close_over(transaction, installation.clock.now())
    with installation.database.read() as transaction:
        return store.list_alerts(
            transaction,
            connection_id=row.id if row else None,
            connection_ids=visible,
            with_closed=with_closed,
            before=before,
            limit=limit,
        )


def messenger_of(installation: Installation) -> Messenger:
    """Make the messenger of an installation: log, plugins, and a webhook where one is set.

    Raises:
        SettingsError: An address is set without a secret, or with one that is none.
    """
    from tieline.alerts.deliver import Messenger  # noqa: PLC0415 - see above
    from tieline.alerts.sinks import HookSink, LogSink, Sink, WebhookSink  # noqa: PLC0415

    settings = installation.settings
    sinks: list[Sink] = [LogSink(), HookSink(installation.registry)]
    if settings.alert_webhook_url:
        if not settings.alert_webhook_secret:
            raise SettingsError(
                "TIELINE_ALERT_WEBHOOK_URL is set, and TIELINE_ALERT_WEBHOOK_SECRET is not",
                hint='make one: echo "whsec_$(openssl rand -base64 32)"',
            )
        sinks.append(
            WebhookSink(
                settings.alert_webhook_url, settings.alert_webhook_secret, installation.clock
            )
        )
    return Messenger(installation.database, installation.clock, sinks)


def is_anything_to_tell(installation: Installation) -> bool:
    """Say whether an alert is due, or a throttle has met something.

    Raises:
        DependencyError: Database or Redis does not answer.
    """
    with installation.database.read() as transaction:
        is_due = store.is_any_due(transaction, installation.clock.now())
    return is_due or is_any_event(installation)


class Lookout:
    """Turns what the throttles met into alerts, and tells what is due. Any number may look.

    Args:
        installation: Where.
        messenger: Tells.
    """

    def __init__(self, installation: Installation, messenger: Messenger) -> None:
        self._installation = installation
        self._messenger = messenger
        self._tidied_at = float("-inf")

    def look(self, stop: threading.Event | None = None) -> None:
        """Look once. What is due is told even while Redis is away.

        Raises:
            DependencyError: Database or Redis does not answer.
        """
        now = self._installation.clock.monotonic()
        is_time = now - self._tidied_at >= _TIDY_S
        try:
            watch_limits(self._installation, with_quiet_ones=is_time)
        finally:
            if is_time:
                self._messenger.tidy()
                self._tidied_at = now
            self._messenger.deliver_due(stop)


def new_lookout(installation: Installation) -> Lookout:
    """Make the lookout of an installation; see :func:`messenger_of`."""
    return Lookout(installation, messenger_of(installation))
