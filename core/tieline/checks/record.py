"""Ask for answers on behalf of a plugin: of its own sandbox, the provider, a stored connection."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tieline.auth import OpenConnection, auth_of
from tieline.checks.case import Case
from tieline.clock import SystemClock
from tieline.contract import ApiKey, Basic, Entity, OAuth2, Page, PageParams, Secret
from tieline.engine import blamed
from tieline.engine.work import checked_page
from tieline.errors import InvalidInputError, RefusedError
from tieline.recording import Bounds, Taken, take
from tieline.registry import Plugin
from tieline.services.connect import connect_api_key, connect_basic
from tieline.services.installation import Installation
from tieline.services.sandbox_guide import Guide

__all__ = ["Account", "Recorder", "at_provider", "at_sandbox", "at_stored", "store"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """Whose answers are recorded.

    Attributes:
        secret: The key or the password.
        username: Where the provider takes a user name and a password.
        base_url: Where the API is; empty for the provider's own address.
        environment: One of the provider's; empty for its first.
        settings: What a connection sets.
    """

    secret: Secret
    username: str = ""
    base_url: str = ""
    environment: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorder:
    """A connection that is open, and what its credential holds.

    Attributes:
        opened: The connection.
        secrets: What must not be stored of it.
        kept: What says whose account it is, and is no secret.
        source: ``live`` or ``sandbox``.
    """

    opened: OpenConnection
    secrets: list[str]
    kept: Mapping[str, str]
    source: Literal["live", "sandbox"]

    @property
    def plugin(self) -> Plugin:
        """Whose steps are called."""
        return self.opened.plugin

    def first_page(self, entity: Entity) -> Page:
        """Read the first page of an entity's list, as a run would.

        Raises:
            ProviderError: As the plugin says it.
            PluginError: A bug of the plugin.
        """
        with blamed(self.plugin, entity):
            page = entity.page(self.opened.client, PageParams(), None)
        found: Page = checked_page(page, Page, self.plugin.found.distribution, entity.name)
        return found

    def take(self, entity: Entity, bounds: Bounds, keep: Sequence[str] = ()) -> Taken:
        """Record one entity; see :func:`tieline.recording.take`."""
        return take(
            self.opened,
            entity,
            bounds=bounds,
            secrets=self.secrets,
            kept=self.kept,
            keep=tuple(keep),
            now=SystemClock().now(),
            source=self.source,
        )


@contextmanager
def at_sandbox(case: Case) -> Iterator[Recorder]:
    """Open the account of the plugin's own sandbox, as its guide says."""
    with case.site() as site, at_stored(site.made, site.row.id, source="sandbox") as recorder:
        yield recorder


@contextmanager
def at_provider(case: Case, account: Account) -> Iterator[Recorder]:
    """Open an account with a credential that is at hand, and is forgotten afterwards.

    Raises:
        InvalidInputError: The provider takes no key: an account is connected by signing in.
        ProviderError: As the plugin says it.
    """
    nothing = Guide(auth={}, entities={})
    made = case.grounds.install(case.registry, nothing, case.plugin.name, clock=SystemClock())
    given = {
        "name": "recording",
        "base_url": account.base_url,
        "environment": account.environment,
        "settings": account.settings,
        "actor": "record",
    }
    if any(isinstance(auth, ApiKey) for auth in case.plugin.auth):
        row = connect_api_key(made, case.plugin.name, key=account.secret, **given)  # type: ignore[arg-type]
    elif any(isinstance(auth, Basic) for auth in case.plugin.auth):
        row = connect_basic(
            made,
            case.plugin.name,
            username=account.username,
            password=account.secret,
            **given,  # type: ignore[arg-type]
        )
    else:
        raise InvalidInputError(
            f"{case.plugin.provider.title} takes no key: people sign in there",
            hint="connect one with tieline connect, and name it: --live --connection NAME",
            code="auth-kind",
        )
    with at_stored(made, row.id) as recorder:
        yield recorder


@contextmanager
def at_stored(
    made: Installation, connection_id: str, *, source: Literal["live", "sandbox"] = "live"
) -> Iterator[Recorder]:
    """Open a connection of an installation.

    Raises:
        NotFoundError: There is no such connection.
        ProviderError: It cannot be opened.
    """
    opener = made.engine.opener
    held = opener.refresher.hold(connection_id)
    auth = auth_of(made.registry.get(held.row.provider), held.row.auth_kind)
    names = {*(auth.kept if isinstance(auth, OAuth2) else ()), "username"}
    kept = {name: text for name, text in held.fields.items() if name in names}
    secrets = [text for name, text in held.fields.items() if name not in names]
    if user := kept.pop("username", ""):
        secrets += [f"{user}:{text}" for text in secrets]
    opened = opener.open(connection_id)
    try:
        yield Recorder(opened=opened, secrets=secrets, kept=kept, source=source)
    finally:
        opened.transport.close()


def store(taken: Taken, folder: Path) -> Path:
    """Write what was taken of an entity, in place of what was there.

    Raises:
        RefusedError: It cannot be written.
    """
    path = folder / f"{taken.document['entity']}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(taken.document, indent=1, ensure_ascii=False) + "\n", "utf-8")
    except OSError as error:
        raise RefusedError(f"{path} cannot be written: {error.strerror}") from error
    return path
