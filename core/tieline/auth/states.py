"""What is remembered while somebody is at a provider's consent page.

All of it is in Redis and vanishes by itself. A state is known by its digest
alone, is good once, and only together with the secret that the browser (a
cookie) or the process that began it holds. A link may be opened more than
once until the account is connected: mail scanners open links too.

What is remembered says where an application's secret is sent to, so it is
sealed, bound to its own key in Redis: who can merely write there can neither
make nor change nor move one.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import orjson

from tieline.contract import Secret
from tieline.coordination import Redis, redis_errors
from tieline.errors import RefusedError, SealBrokenError
from tieline.vault import Context, Vault

__all__ = ["CONNECTED_S", "LINK_S", "STATE_S", "Intent", "Pending", "States", "new_secret"]

STATE_S = 600
"""How long a person has at the consent page, in seconds."""
LINK_S = 7 * 24 * 3600
"""How long a link may be opened, in seconds."""
CONNECTED_S = 600
"""How long it is told what became of a link, in seconds."""

_SECRET_BYTES = 32
_LONGEST = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Intent:
    """What is to become of an account that somebody consents to.

    Attributes:
        provider: Name of the provider.
        name: What to call the connection.
        environment: One of the provider's.
        base_url: Where its API is.
        connection_id: The connection that gets the grant; empty for a new one.
        actor: Who began it, for the sync log.
        scopes: Asked for.
        settings: What a new connection sets.
    """

    provider: str
    name: str
    environment: str
    base_url: str
    connection_id: str
    actor: str
    scopes: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pending:
    """A state that was taken.

    Attributes:
        intent: What it was begun for.
        redirect_uri: The address that the provider was told.
        verifier: Of PKCE; None where it is not used.
        link: Digest of the link that began it; empty if none did.
        next_url: Where to send the browser afterwards; empty for our own page.
    """

    intent: Intent
    redirect_uri: str
    verifier: Secret | None
    link: str
    next_url: str


def new_secret() -> str:
    """Make 256 random bits, as text for addresses and cookies."""
    return secrets.token_urlsafe(_SECRET_BYTES)


class States:
    """Remembers, for a while, who went to which consent page for what.

    Args:
        client: Redis, or Valkey.
        vault: Seals what is remembered.
    """

    def __init__(self, client: Redis, vault: Vault) -> None:
        self._client = client
        self._vault = vault

    def put(self, pending: Pending, *, bound_to: str) -> str:
        """Remember a state; return it.

        Args:
            pending: What it stands for.
            bound_to: The secret that has to come back with it.

        Raises:
            KeyUnavailableError: It cannot be sealed now.
            DependencyError: Redis does not answer.
        """
        state = new_secret()
        value = {
            "intent": _plain(pending.intent),
            "redirect_uri": pending.redirect_uri,
            "verifier": pending.verifier.reveal() if pending.verifier else None,
            "link": pending.link,
            "next_url": pending.next_url,
            "bound_to": _digest(bound_to),
        }
        key = _state_key(state)
        sealed = self._sealed(value, key)
        with redis_errors():
            self._client.set(key, sealed, ex=STATE_S, nx=True)
        return state

    def take(self, state: str, *, provider: str, bound_to: str) -> Pending:
        """Take a state: it is gone afterwards, whatever comes of it.

        Args:
            state: As it came back.
            provider: At whose callback.
            bound_to: The secret that came with it; empty if none did.

        Raises:
            RefusedError: It is unknown, expired, used, of another provider or
                another browser, or not put by us; the message does not say which.
            KeyUnavailableError: It cannot be opened now.
            DependencyError: Redis does not answer.
        """
        if not 1 <= len(state) <= _LONGEST:
            raise _refused()
        key = _state_key(state)
        with redis_errors():
            raw: Any = self._client.getdel(key)
        value = self._opened(raw, key)
        if value is None:
            raise _refused()
        intent = _intent(value["intent"])
        is_bound = hmac.compare_digest(value["bound_to"], _digest(bound_to))
        if not is_bound or intent.provider != provider:
            raise _refused()
        return Pending(
            intent=intent,
            redirect_uri=value["redirect_uri"],
            verifier=Secret(value["verifier"]) if value["verifier"] else None,
            link=value["link"],
            next_url=value["next_url"],
        )

    def put_link(self, intent: Intent) -> tuple[str, str]:
        """Make a link's secret and its digest; whoever has the secret may connect the account.

        Raises:
            KeyUnavailableError: It cannot be sealed now.
            DependencyError: Redis does not answer.
        """
        link = new_secret()
        digest = _digest(link)
        key = _link_key(digest)
        sealed = self._sealed(_plain(intent), key)
        with redis_errors():
            self._client.set(key, sealed, ex=LINK_S)
        return link, digest

    def find_link(self, link: str) -> tuple[Intent, str]:
        """Return what a link is for, and its digest.

        Raises:
            RefusedError: It is unknown, expired, was used, or not put by us.
            KeyUnavailableError: It cannot be opened now.
            DependencyError: Redis does not answer.
        """
        digest = _digest(link)
        key = _link_key(digest)
        with redis_errors():
            raw: Any = self._client.get(key) if len(link) <= _LONGEST else None
        value = self._opened(raw, key)
        if value is None:
            raise RefusedError(
                "this link is over or was used already",
                hint="ask for a new one",
                code="link-over",
            )
        return _intent(value), digest

    def end_link(self, digest: str, *, connection_id: str = "") -> None:
        """End a link.

        Args:
            digest: The link's.
            connection_id: What it led to, for whoever asks; empty: nothing.

        Raises:
            DependencyError: Redis does not answer.
        """
        with redis_errors():
            if connection_id:
                self._client.set(_connected_key(digest), connection_id, ex=CONNECTED_S)
            self._client.delete(_link_key(digest))

    def find_connected(self, digest: str) -> str | None:
        """Return the id of the connection that a link led to; None while it is open.

        Raises:
            RefusedError: It is over, and led nowhere: Redis was emptied.
            DependencyError: Redis does not answer.
        """
        with redis_errors():
            found: Any = self._client.mget(_connected_key(digest), _link_key(digest))
        connected, link = found
        if connected is None and link is None:
            raise _refused()
        return None if connected is None else connected.decode()

    def _sealed(self, value: Mapping[str, Any], key: str) -> str:
        sealed, _ = self._vault.seal(Secret(orjson.dumps(value).decode()), _context(key))
        return sealed

    def _opened(self, raw: bytes | None, key: str) -> dict[str, Any] | None:
        """Open what Redis has; None if that is nothing, or nothing that was sealed for this key."""
        if raw is None:
            return None
        try:
            opened = self._vault.open(raw.decode("utf-8", "replace"), _context(key))
        except SealBrokenError:
            return None
        return dict(orjson.loads(opened.reveal()))


def _refused() -> RefusedError:
    return RefusedError(
        "this sign-in is over: it took too long, was finished before, or began in another browser",
        hint="start again from the link, or with tieline connect",
        code="oauth-state",
    )


_TEXTS = ("provider", "name", "environment", "base_url", "connection_id", "actor")


def _plain(intent: Intent) -> dict[str, Any]:
    texts = {name: getattr(intent, name) for name in _TEXTS}
    return texts | {"scopes": list(intent.scopes), "settings": dict(intent.settings)}


def _intent(value: dict[str, Any]) -> Intent:
    """Read an intent; what a later version added to it is left out."""
    texts = {name: value[name] for name in _TEXTS}
    # An earlier version remembered none.
    return Intent(**texts, scopes=tuple(value["scopes"]), settings=value.get("settings", {}))


def _context(key: str) -> Context:
    return Context(connection_id=key, field="sign-in")


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _state_key(state: str) -> str:
    return f"tieline:oauth:state:{_digest(state)}"


def _link_key(digest: str) -> str:
    return f"tieline:oauth:link:{digest}"


def _connected_key(digest: str) -> str:
    return f"tieline:oauth:connected:{digest}"
