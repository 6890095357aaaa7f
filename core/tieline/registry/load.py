"""Load one plugin and check what it declares, so that it fails alone."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pluggy

from tieline.contract import (
    CONTRACT_VERSION,
    PROJECT,
    REQUIRED,
    ApiKey,
    Auth,
    Basic,
    Connection,
    Entity,
    OAuth2,
    Observation,
    Provider,
    ProviderError,
    RateLimitPolicy,
    Reply,
    SettingsError,
    Webhooks,
    hookspecs,
)
from tieline.errors import (
    ContractVersionError,
    DeclarationError,
    NotFoundError,
    PluginError,
    PluginLoadError,
    nearest,
)
from tieline.registry.found import Found
from tieline.registry.guard import guarded, place_of

__all__ = ["LOAD_S", "Plugin", "load_plugin"]

LOAD_S = 30.0
"""Seconds that a plugin may take to load, if nothing else is said."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plugin:
    """A provider's plugin, loaded and found to make sense."""

    found: Found
    provider: Provider
    auth: Sequence[Auth]
    entities: Mapping[str, Entity]
    webhooks: Webhooks | None
    hook: Any

    @property
    def name(self) -> str:
        """The provider's name."""
        return self.provider.name

    def entity(self, name: str) -> Entity:
        """Return a declared entity.

        Raises:
            NotFoundError: There is none of that name.
        """
        if name in self.entities:
            return self.entities[name]
        raise NotFoundError(
            f"{self.provider.title} has no entity {name!r}",
            hint=nearest(name, self.entities),
            code="entity-unknown",
        )

    def classify(self, error: Exception) -> ProviderError | None:
        """Ask what an error of the SDK means."""
        known: ProviderError | None = self._call("tieline_classify", ProviderError, error=error)
        return known

    def new_client(self, **given: Any) -> Any:
        """Make the SDK client: ``connection``, ``credential``, ``transport``."""
        client = self._call("tieline_client", object, **given)
        if client is None:
            raise DeclarationError(f"{self._where('tieline_client')} returned None, not a client")
        return client

    def rate_limits(self, connection: Connection) -> RateLimitPolicy | None:
        """Ask how fast a connection may call; None if the plugin does not say."""
        policy: RateLimitPolicy | None = self._call(
            "tieline_rate_limits", RateLimitPolicy, connection=connection
        )
        return policy

    @property
    def has_observe(self) -> bool:
        """Whether the plugin reads its provider's answers for what they tell of limits."""
        return bool(self.hook.tieline_observe.get_hookimpls())

    def observe(self, reply: Reply) -> Observation | None:
        """Ask what an answer tells of the provider's limits; None for nothing."""
        seen: Observation | None = self._call("tieline_observe", Observation, reply=reply)
        return seen

    def _call(self, hook: str, kind: type, **given: Any) -> Any:
        try:
            result = getattr(self.hook, hook)(**given)
        except (ProviderError, SettingsError):
            raise
        except (Exception, SystemExit) as error:
            raise PluginError(f"{self._where(hook)} raised {_last_line(error)}") from error
        if result is not None and not isinstance(result, kind):
            raise DeclarationError(
                f"{self._where(hook)} returned {type(result).__name__}, not {kind.__name__}"
            )
        return result

    def _where(self, hook: str) -> str:
        return f"{self.found.distribution}: {hook}"


def load_plugin(found: Found, *, within_s: float = LOAD_S) -> Plugin:
    """Import a plugin and check its declarations.

    Args:
        found: As :func:`~tieline.registry.found.find_plugins` lists it.
        within_s: Seconds that it may take; one that hangs is left behind.

    Raises:
        PluginLoadError: It does not import, a hook of it raises, it hangs, or it
            ends the process, starts a thread or moves the working directory.
        ContractVersionError: It was made for another version of the contract.
        DeclarationError: A hook is missing, misspelt, or returns nonsense.
    """
    if found.holder:
        raise DeclarationError(
            f"the name {found.name!r} is taken: {', '.join(found.holder)} has it too",
            hint=f"uninstall one of them, or set TIELINE_PROVIDER_PINS={found.name}=DISTRIBUTION",
            code="plugin-name-taken",
        )
    return guarded(found, partial(_load, found), within_s=within_s)


def _load(found: Found) -> Plugin:
    hook = _register(found)
    provider = _ask(found, hook, "tieline_provider", Provider)
    _check_provider(found, provider)
    auth = _some(found, "tieline_auth", _ask(found, hook, "tieline_auth", object), _AUTH)
    listed = _ask(found, hook, "tieline_entities", object)
    entities = [] if listed == [] else _some(found, "tieline_entities", listed, (Entity,))
    return Plugin(
        found=found,
        provider=provider,
        auth=_unique(found, "tieline_auth", auth, "kind"),
        entities={
            entity.name: entity for entity in _unique(found, "tieline_entities", entities, "name")
        },
        webhooks=_ask(found, hook, "tieline_webhooks", Webhooks, is_required=False),
        hook=hook,
    )


_AUTH = (ApiKey, Basic, OAuth2)


def _register(found: Found) -> Any:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    try:
        module = found.entry_point.load()
    except BaseException as error:
        raise PluginLoadError(
            f"{found.distribution} does not import: {_last_line(error)} at"
            f" {place_of(error, found)}",
            hint=f"pip install --upgrade {found.distribution}, with what it needs"
            if isinstance(error, ModuleNotFoundError)
            else "",
        ) from error
    try:
        manager.register(module, found.name)
    except (pluggy.PluginValidationError, ValueError) as error:
        raise DeclarationError(f"{found.distribution}: {_last_line(error)}") from error
    callers = manager.get_hookcallers(module) or []
    unknown = [caller.name for caller in callers if not caller.has_spec()]
    if unknown:
        raise DeclarationError(_misspelt(found, unknown[0]))
    missing = [name for name in REQUIRED if name not in {caller.name for caller in callers}]
    if missing:
        raise DeclarationError(
            f"{found.distribution} lacks the hook {missing[0]}",
            hint=f"write it in {found.entry_point.value} and mark it with @hookimpl",
        )
    return manager.hook


def _misspelt(found: Found, name: str) -> str:
    known = [hook for hook in vars(hookspecs) if hook.startswith("tieline_")]
    return f"{found.distribution} has an unknown hook {name}: {nearest(name, known)}"


def _ask(found: Found, hook: Any, name: str, kind: type, *, is_required: bool = True) -> Any:
    try:
        result = getattr(hook, name)()
    except BaseException as error:
        raise PluginLoadError(
            f"{found.distribution}: {name} raised {_last_line(error)} at {place_of(error, found)}"
        ) from error
    if result is None and not is_required:
        return None
    if result is None or not isinstance(result, kind):
        if inspect.iscoroutine(result):
            result.close()  # else it warns, much later, that nobody awaited it
        raise DeclarationError(
            f"{found.distribution}: {name} returned {type(result).__name__}, not {kind.__name__}"
        )
    return result


def _check_provider(found: Found, provider: Provider) -> None:
    if provider.contract != CONTRACT_VERSION:
        raise ContractVersionError(
            f"{found.distribution} was made for contract {provider.contract};"
            f" this Tieline has contract {CONTRACT_VERSION}",
            hint=f"install a version of {found.distribution} for contract {CONTRACT_VERSION}",
        )
    if provider.name != found.name:
        raise DeclarationError(
            f"{found.distribution}: tieline_provider names {provider.name!r}, but its entry point"
            f" is {found.name!r}",
            hint="give both the same name",
        )


def _some(found: Found, hook: str, value: Any, kinds: tuple[type, ...]) -> list[Any]:
    items = [value] if isinstance(value, kinds) else value
    names = " or ".join(kind.__name__ for kind in kinds)
    if not isinstance(items, Sequence) or not items or isinstance(items, str):
        raise DeclarationError(
            f"{found.distribution}: {hook} returned {type(value).__name__}, not {names}"
        )
    for item in items:
        if not isinstance(item, kinds):
            raise DeclarationError(
                f"{found.distribution}: {hook} holds {type(item).__name__}, not {names}"
            )
    return list(items)


def _unique(found: Found, hook: str, items: list[Any], attribute: str) -> list[Any]:
    names = [getattr(item, attribute) for item in items]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DeclarationError(f"{found.distribution}: {hook} declares {twice[0]!r} twice")
    return items


def _last_line(error: BaseException) -> str:
    """Return the exception's own last line, which names its type and text."""
    return traceback.format_exception_only(error)[-1].strip()
