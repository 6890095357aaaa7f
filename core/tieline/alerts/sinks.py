"""Where alerts go: the log, the plugins' hooks, a signed webhook."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from datetime import UTC
from typing import Any, Protocol

import orjson

from tieline.clock import Clock
from tieline.contract import Alert, RetryLaterError, Secret, SettingsError, retry_after
from tieline.registry import Registry
from tieline.telemetry import get_logger
from tieline.transport import HttpTransport, Limits

__all__ = ["HookSink", "LogSink", "Sink", "WebhookSink", "alert_facts", "read_secret", "sign"]

_log = get_logger("tieline.alerts")
_HOOKS_S = 5.0
_WEBHOOK_S = 10.0
_ANSWER_BYTES = 65_536
_LEAST_SECRET, _MOST_SECRET = 24, 64
_PREFIX = "whsec_"


class Sink(Protocol):
    """One place to which every alert goes."""

    name: str

    def tell(self, alert: Alert) -> None:
        """Hand over an alert.

        Raises:
            RetryLaterError: It did not get there; it is told again later.
        """
        ...


class LogSink:
    """The log of the process that tells: a warning or an error, its event ``alert``."""

    name = "log"

    def tell(self, alert: Alert) -> None:
        """Write one line."""
        write = _log.error if alert.severity == "error" else _log.warning
        facts = alert_facts(alert)
        write("alert", **{name: facts[name] for name in facts if facts[name] not in ("", {})})


class HookSink:
    """The ``tieline_alert`` hooks of the plugins.

    Args:
        registry: The plugins.
    """

    name = "hooks"

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def tell(self, alert: Alert) -> None:
        """Call each; one that raises or hangs has been told all the same."""
        self._registry.observe("tieline_alert", within_s=_HOOKS_S, alert=alert)


class WebhookSink:
    """A POST to an address of the operator's, signed after Standard Webhooks.

    Any address may be given, inside this network or not. Redirects are not
    followed, and an answer is waited for no longer than ten seconds.

    Args:
        url: Where to.
        secret: ``whsec_`` and 24 to 64 bytes in base64.
        clock: For the time of an attempt.

    Raises:
        SettingsError: The secret is none.

    Source:
        https://www.standardwebhooks.com, "Webhook metadata" and "Signature scheme".
    """

    name = "webhook"

    def __init__(self, url: Secret, secret: Secret, clock: Clock) -> None:
        self._url = url.reveal()
        self._key = read_secret(secret)
        self._clock = clock

    def tell(self, alert: Alert) -> None:
        """Send one request; only an answer of 2xx means that it got there."""
        body = orjson.dumps(
            {"type": "alert.raised", "timestamp": alert.since, "data": alert_facts(alert)},
            option=orjson.OPT_UTC_Z,
        )
        at = int(self._clock.now().timestamp())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "tieline-alerts",
            "webhook-id": alert.id,
            "webhook-timestamp": str(at),
            "webhook-signature": sign(self._key, alert.id, at, body),
        }
        transport = HttpTransport(
            connection_id="alerts",
            origins=[self._url],
            limits=Limits(deadline_s=_WEBHOOK_S, body_bytes=_ANSWER_BYTES, connections=1),
            allows_private=True,
        )
        try:
            reply = transport.send("POST", self._url, headers=headers, content=body)
        finally:
            transport.close()
        if not 200 <= reply.status < 300:
            raise RetryLaterError(
                f"the alert webhook answered {reply.status}",
                retry_after=retry_after(reply.headers),
            )


def sign(key: bytes, message_id: str, at: int, body: bytes) -> str:
    """Sign a message after Standard Webhooks: ``v1,`` and HMAC-SHA256 in base64."""
    signed = b".".join((message_id.encode(), str(at).encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def read_secret(secret: Secret) -> bytes:
    """Return the bytes of a secret that is written as Standard Webhooks has it.

    Raises:
        SettingsError: It is not.
    """
    text = secret.reveal()
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(_PREFIX) or not _LEAST_SECRET <= len(key) <= _MOST_SECRET:
        raise SettingsError(
            f"TIELINE_ALERT_WEBHOOK_SECRET must be {_PREFIX} and {_LEAST_SECRET} to {_MOST_SECRET}"
            " bytes in base64",
            hint=f'make one: echo "{_PREFIX}$(openssl rand -base64 32)"',
        )
    return key


def alert_facts(alert: Alert) -> dict[str, Any]:
    """Return an alert as JSON has it."""
    return {
        "id": alert.id,
        "kind": alert.kind,
        "severity": alert.severity,
        "subject": alert.subject,
        "message": alert.message,
        "hint": alert.hint,
        "provider": alert.provider,
        "connection": alert.connection,
        "connection_id": alert.connection_id,
        "since": alert.since.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
        "facts": dict(alert.facts),
    }
