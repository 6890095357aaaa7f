"""Endpoints: make them, look at them, rotate their secrets, take them away."""

from __future__ import annotations

import secrets as random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tieline.contract import EndpointOwner, PathSecret, Secret, Webhooks
from tieline.engine.timetable import read_duration_s
from tieline.errors import DependencyError, InvalidInputError, NotFoundError, RefusedError, nearest
from tieline.inbox import (
    SPREAD_S,
    context_of,
    digest_of,
    fingerprint_of,
    read_counts,
    settings_secrets,
)
from tieline.registry import Plugin
from tieline.services.addresses import safe_address
from tieline.services.connect import check_environment
from tieline.services.connections import get_connection
from tieline.services.installation import Installation
from tieline.store import connections as connection_store
from tieline.store import endpoints as store
from tieline.store import log
from tieline.store.connections import ConnectionRow
from tieline.store.database import Connection as Transaction
from tieline.store.endpoints import EndpointRow, SecretRow
from tieline.store.ids import new_id
from tieline.telemetry import remember
from tieline.vault import Context

__all__ = [
    "Listed",
    "Made",
    "add_endpoint",
    "count_deliveries",
    "declared_webhooks",
    "finish_rotation",
    "get_endpoint",
    "list_endpoints",
    "new_path_secret",
    "note",
    "remove_endpoint",
    "reveal_secrets",
    "rotate_secret",
    "seal_secret",
    "set_state",
]

_LEAST_SECRET = 8
_PATH_SECRET_BYTES = 32
_LEAST_EXPECTED_S = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """An endpoint and what there is to know of it.

    Attributes:
        endpoint: As it is stored.
        secrets: Those that are stored, the newest first.
        from_settings: What those are called that the environment has.
        counts: What came in and what was refused, by reason; None if nobody
            asked Redis, or it does not answer.
        instructions: What to do by hand at the provider.
        is_registrable: Whether `tieline webhooks register` can do that instead.
    """

    endpoint: EndpointRow
    secrets: Sequence[SecretRow]
    from_settings: Sequence[str]
    counts: Mapping[str, int] | None
    instructions: str = ""
    is_registrable: bool = False

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be accepted, for want of a secret."""
        has_path = any(each.digest for each in self.secrets)
        has_signing = any(each.sealed for each in self.secrets) or bool(self.from_settings)
        return not (has_path if self.endpoint.scheme_level == "path-secret" else has_signing)


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """An endpoint that was made, or got a new secret.

    Attributes:
        listed: The endpoint.
        url: The address to tell the provider. If it ends in a secret, this is
            the only time that it is told.
    """

    listed: Listed
    url: Secret


def add_endpoint(
    installation: Installation,
    target: str,
    *,
    base: str = "",
    environment: str = "",
    secret: Secret | None = None,
    expects_every: str | None = None,
    actor: str,
) -> Made:
    """Make an endpoint for a connection, or for a provider's application.

    Args:
        installation: Where.
        target: Name or id of a connection; else the name of a provider.
        base: Where the provider reaches `tieline serve`; empty for the setting.
        environment: Of an application's endpoint; empty for the provider's first.
        secret: What the provider signs with, if that is known already.
        expects_every: After so long a silence people are told, such as ``1d``.
        actor: Who does it, for the sync log.

    Raises:
        NotFoundError: There is no such connection and no such provider.
        RefusedError: The provider has no webhooks, or none of that kind.
        InvalidInputError: The address, the secret or the duration makes no sense.
    """
    row, plugin = _target(installation, target)
    webhooks = declared_webhooks(plugin)
    _require_owner(plugin, webhooks, "connection" if row else "application")
    expects_s = None
    if expects_every is not None:
        expects_s = read_duration_s(
            expects_every.strip(), field="expects-every", least_s=_LEAST_EXPECTED_S
        )
    endpoint_id = new_id("whe")
    address = f"{_base(installation, base)}/webhooks/{plugin.name}/{endpoint_id}"
    has_path = isinstance(webhooks.scheme, PathSecret)
    if secret is not None:
        _check_secret(webhooks, secret)
    path_secret = new_path_secret() if has_path else None
    sealed = seal_secret(installation, endpoint_id, secret) if secret else None

    def work(transaction: Transaction) -> None:
        now = installation.clock.now()
        store.add_endpoint(
            transaction,
            endpoint_id=endpoint_id,
            provider=plugin.name,
            environment=row.environment if row else check_environment(plugin, environment),
            connection_id=row.id if row else None,
            address=address,
            scheme_level="path-secret" if has_path and secret is None else "signature",
            expects_every_s=expects_s,
            now=now,
        )
        if path_secret is not None:
            digest = digest_of(path_secret.reveal())
            store.add_secret(transaction, endpoint_id, kind="path", digest=digest, now=now)
        if sealed is not None:
            store.add_secret(transaction, endpoint_id, kind="signature", now=now, **sealed)
        of = row.id if row else None
        note(transaction, installation, endpoint_id, of, actor, "added")

    installation.database.transact(work)
    return _made(installation, endpoint_id, path_secret)


def list_endpoints(
    installation: Installation,
    *,
    target: str | None = None,
    owned_by: Collection[str | None] | None = None,
    is_counted: bool = True,
) -> list[Listed]:
    """Return endpoints, oldest first.

    Args:
        installation: Where.
        target: Those of one connection or provider; None: of all.
        owned_by: Ids of the connections whose they may be, None for those of an
            application; None: anybody's.
        is_counted: Whether deliveries are counted, for which Redis is asked.
    """
    connection_id = provider = None
    if target is not None:
        row, plugin = _target(installation, target)
        connection_id, provider = (row.id, None) if row else (None, plugin.name)
    counts = count_deliveries(installation) if is_counted else None
    with installation.database.read() as transaction:
        found = store.list_endpoints(transaction, connection_id=connection_id, provider=provider)
        rows = [row for row in found if owned_by is None or row.connection_id in owned_by]
        kept = {row.id: store.read_secrets(transaction, row.id) for row in rows}
    return [_listed(installation, row, kept[row.id], counts) for row in rows]


def get_endpoint(
    installation: Installation, endpoint_id: str, *, is_counted: bool = False
) -> Listed:
    """Return one endpoint.

    Raises:
        NotFoundError: There is none of that id.
    """
    with installation.database.read() as transaction:
        row = store.find_endpoint(transaction, endpoint_id)
        known = [] if row else [each.id for each in store.list_endpoints(transaction)]
        kept = store.read_secrets(transaction, endpoint_id) if row else []
    if row is None:
        raise NotFoundError(
            f"there is no endpoint {endpoint_id[:80]!r}",
            hint=nearest(endpoint_id, known) or "tieline webhooks add CONNECTION",
            code="endpoint-unknown",
        )
    counts = count_deliveries(installation) if is_counted else None
    return _listed(installation, row, kept, counts)


def rotate_secret(
    installation: Installation,
    endpoint_id: str,
    *,
    secret: Secret | None = None,
    overlap: str = "24h",
    ends_old: bool = False,
    actor: str,
) -> Made:
    """Add a new secret; those before are accepted for an overlap more, or not at all.

    It is told only once every process knows of it, so that whoever uses it at
    once is not refused.

    Args:
        installation: Where.
        endpoint_id: The endpoint.
        secret: What the provider signs with from now on; None makes a new
            secret at the end of the address.
        overlap: For how long the old ones are still accepted.
        ends_old: End them with the same step, whatever the overlap: one leaked.
        actor: Who does it, for the sync log.

    Raises:
        NotFoundError: There is none of that id.
        RefusedError: The provider decides on its secrets, and none was given.
        InvalidInputError: The secret or the overlap makes no sense.
    """
    found = get_endpoint(installation, endpoint_id)
    webhooks = declared_webhooks(installation.registry.get(found.endpoint.provider))
    overlap_s = read_duration_s(overlap.strip(), field="overlap", least_s=1)
    path_secret = None
    if secret is not None:
        _check_secret(webhooks, secret)
    elif isinstance(webhooks.scheme, PathSecret):
        path_secret = new_path_secret()
    else:
        raise RefusedError(
            f"{installation.registry.title_of(found.endpoint.provider)} makes the secret: take it"
            " from there",
            hint=f"tieline webhooks secret rotate {endpoint_id} --secret-stdin",
            code="secret-theirs",
        )
    sealed = seal_secret(installation, endpoint_id, secret) if secret else None

    def work(transaction: Transaction) -> None:
        now = installation.clock.now()
        if store.lock_endpoint(transaction, endpoint_id) is None:
            raise NotFoundError(f"the endpoint {endpoint_id!r} was removed meanwhile")
        kind = "path" if secret is None else "signature"
        ends_at = now + timedelta(seconds=overlap_s)
        store.retire_secrets(transaction, endpoint_id, kind=kind, retires_at=ends_at)
        if path_secret is not None:
            digest = digest_of(path_secret.reveal())
            store.add_secret(transaction, endpoint_id, kind="path", digest=digest, now=now)
            store.change_endpoint(transaction, endpoint_id, now=now)
        elif sealed is not None:
            store.add_secret(transaction, endpoint_id, kind="signature", now=now, **sealed)
            store.change_endpoint(transaction, endpoint_id, now=now, scheme_level="signature")
        said = f"the old ones until {ends_at:%Y-%m-%d %H:%M:%S} UTC"
        if ends_old:
            said = f"{store.drop_retired(transaction, endpoint_id)} old ones ended at once"
        note(
            transaction,
            installation,
            endpoint_id,
            found.endpoint.connection_id,
            actor,
            "rotated",
            f"a new {kind} secret, {said}",
        )

    installation.database.transact(work)
    installation.clock.sleep(SPREAD_S)
    return _made(installation, endpoint_id, path_secret)


def finish_rotation(installation: Installation, endpoint_id: str, *, actor: str) -> Listed:
    """End every secret but the present ones; once this returns none of them is accepted.

    Raises:
        NotFoundError: There is none of that id.
        RefusedError: There is none to end.
    """
    found = get_endpoint(installation, endpoint_id)

    def work(transaction: Transaction) -> None:
        now = installation.clock.now()
        store.lock_endpoint(transaction, endpoint_id)
        if not (count := store.drop_retired(transaction, endpoint_id)):
            raise RefusedError(
                "no secret of it is about to end",
                hint=f"tieline webhooks secret rotate {endpoint_id}",
                code="no-rotation",
            )
        store.change_endpoint(transaction, endpoint_id, now=now)
        note(
            transaction,
            installation,
            endpoint_id,
            found.endpoint.connection_id,
            actor,
            "finished",
            f"{count} old secrets",
        )

    installation.database.transact(work)
    return get_endpoint(installation, endpoint_id)


def set_state(
    installation: Installation, endpoint_id: str, *, is_active: bool, actor: str
) -> Listed:
    """Let an endpoint take deliveries, or none; the provider repeats those for a while.

    Raises:
        NotFoundError: There is none of that id.
    """
    found = get_endpoint(installation, endpoint_id)
    state = "active" if is_active else "disabled"

    def work(transaction: Transaction) -> None:
        now = installation.clock.now()
        store.change_endpoint(transaction, endpoint_id, now=now, state=state)
        of = found.endpoint.connection_id
        note(transaction, installation, endpoint_id, of, actor, state)

    installation.database.transact(work)
    return get_endpoint(installation, endpoint_id)


def remove_endpoint(installation: Installation, endpoint_id: str, *, actor: str) -> EndpointRow:
    """Remove an endpoint; what came in stays, and is handled.

    Raises:
        NotFoundError: There is none of that id.
        RefusedError: It is registered at the provider, which would go on delivering.
    """
    found = get_endpoint(installation, endpoint_id).endpoint
    if found.remote_id:
        raise RefusedError(
            "it is registered at the provider, which would go on delivering",
            hint=f"tieline webhooks unregister {endpoint_id}",
            code="endpoint-registered",
        )

    def work(transaction: Transaction) -> None:
        store.remove_endpoint(transaction, endpoint_id)
        note(transaction, installation, endpoint_id, found.connection_id, actor, "removed")

    installation.database.transact(work)
    return found


def reveal_secrets(installation: Installation, endpoint_id: str) -> list[tuple[SecretRow, Secret]]:
    """Open what can be opened: of a secret in an address only a hash is kept.

    Raises:
        NotFoundError: There is none of that id.
        VaultError: One does not open.
    """
    found = get_endpoint(installation, endpoint_id)
    return [
        (each, installation.vault.open(each.sealed, context_of(each)))
        for each in found.secrets
        if each.sealed is not None
    ]


def count_deliveries(installation: Installation) -> Mapping[str | None, Mapping[str, int]] | None:
    """Return what all processes counted, by endpoint; None if Redis does not answer.

    Under None is what was for no endpoint of ours.
    """
    found: dict[str | None, dict[str, int]] = {}
    try:
        for endpoint_id, what, count in read_counts(installation.redis):
            found.setdefault(endpoint_id, {})[what] = count
    except DependencyError:
        return None
    return found


def new_path_secret() -> Secret:
    """Make what stands at the end of an address."""
    text = random.token_urlsafe(_PATH_SECRET_BYTES)
    remember(text)
    return Secret(text)


def seal_secret(installation: Installation, endpoint_id: str, secret: Secret) -> dict[str, Any]:
    """Seal a signing secret for its endpoint, before the transaction that stores it: KMS may wait.

    Returns:
        What :func:`~tieline.store.endpoints.add_secret` wants of it.
    """
    secret_id = new_id("whs")
    context = Context(connection_id=endpoint_id, field=secret_id)
    sealed, key_id = installation.vault.seal(secret, context)
    return {"secret_id": secret_id, "sealed": sealed, "key_id": key_id}


def declared_webhooks(plugin: Plugin) -> Webhooks:
    """Return what a plugin declares.

    Raises:
        RefusedError: Nothing.
    """
    if plugin.webhooks is None:
        raise RefusedError(
            f"{plugin.provider.title} sends nothing by itself, as far as its plugin knows",
            code="no-webhooks",
        )
    return plugin.webhooks


def note(
    transaction: Transaction,
    installation: Installation,
    endpoint_id: str,
    connection_id: str | None,
    actor: str,
    event: str,
    detail: str = "",
) -> None:
    """Add an entry to the sync log."""
    log.add_entry(
        transaction,
        at=installation.clock.now(),
        actor=actor,
        event=f"webhooks.{event}",
        connection_id=connection_id,
        detail=f"{endpoint_id} {detail}".strip(),
    )


def _target(installation: Installation, target: str) -> tuple[ConnectionRow | None, Plugin]:
    with installation.database.read() as transaction:
        row = connection_store.find_connection(transaction, target)
    if row is not None:
        return row, installation.registry.get(row.provider)
    if target in installation.registry.names():
        return None, installation.registry.get(target)
    get_connection(installation, target)  # raises, with the nearest name
    raise AssertionError  # not reached


def _require_owner(plugin: Plugin, webhooks: Webhooks, owner: EndpointOwner) -> None:
    if owner in webhooks.owners:
        return
    if owner == "connection":
        raise RefusedError(
            f"{plugin.provider.title} has one address for an application, not one for an account",
            hint=f"tieline webhooks add {plugin.name}",
            code="endpoint-of-application",
        )
    raise RefusedError(
        f"{plugin.provider.title} has an address for each account",
        hint="tieline webhooks add CONNECTION",
        code="endpoint-of-connection",
    )


def _base(installation: Installation, given: str) -> str:
    base = (given or installation.settings.public_url).rstrip("/")
    if not base:
        raise InvalidInputError(
            "the provider must be told where `tieline serve` is reached",
            hint="set TIELINE_PUBLIC_URL, or give --url https://tieline.example.com",
            code="url-missing",
        )
    hint = "for example: https://tieline.example.com"
    purpose = "a provider could deliver to"
    if safe_address(base, purpose=purpose, hint=hint).query:
        raise InvalidInputError(f"{base[:200]!r} has a query", hint=hint, code="url-invalid")
    return base


def _check_secret(webhooks: Webhooks, secret: Secret) -> None:
    text = secret.reveal()
    if isinstance(webhooks.scheme, PathSecret) and webhooks.scheme.also is None:
        raise InvalidInputError("the provider signs nothing", code="secret-invalid")
    if len(text) < _LEAST_SECRET or not text.isprintable() or text != text.strip():
        raise InvalidInputError(
            f"a signing secret has at least {_LEAST_SECRET} characters, and no line breaks",
            hint="paste it again",
            code="secret-invalid",
        )
    remember(text)


def _made(installation: Installation, endpoint_id: str, path_secret: Secret | None) -> Made:
    listed = get_endpoint(installation, endpoint_id)
    end = f"/{path_secret.reveal()}" if path_secret else ""
    return Made(listed=listed, url=Secret(f"{listed.endpoint.address}{end}"))


def _listed(
    installation: Installation,
    row: EndpointRow,
    kept: Sequence[SecretRow],
    counts: Mapping[str | None, Mapping[str, int]] | None,
) -> Listed:
    now = installation.clock.now()
    webhooks = None
    if row.provider in installation.registry.names():
        webhooks = installation.registry.get(row.provider).webhooks
    owner = "connection" if row.connection_id else "application"
    return Listed(
        endpoint=row,
        secrets=[each for each in kept if each.retires_at is None or each.retires_at > now],
        from_settings=[fingerprint_of(s) for s in settings_secrets(installation.settings, row)],
        counts=None if counts is None else dict(counts.get(row.id, {})),
        instructions=webhooks.instructions if webhooks else "",
        is_registrable=bool(webhooks and webhooks.register and owner in webhooks.registers),
    )
