"""All installed plugins: the good ones by name, the broken ones with their cause."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any

from tieline.errors import NotFoundError, PluginError, nearest
from tieline.registry.found import Found, find_plugins
from tieline.registry.load import LOAD_S, Plugin, load_plugin
from tieline.registry.observe import Observers

__all__ = ["Listed", "Registry"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """One installed plugin and how it is.

    Attributes:
        found: What the metadata says.
        plugin: The plugin if it works.
        error: Why it does not, otherwise.
        is_disabled: It was switched off by a setting and not looked at.
    """

    found: Found
    plugin: Plugin | None = None
    error: PluginError | None = None
    is_disabled: bool = False


class Registry:
    """Finds plugins by metadata and imports each only when it is asked for.

    Args:
        disabled: Names of providers to leave out.
        pins: Provider name to the distribution that may have it.
        given: Entry points to take instead of the installed ones.
        load_s: Seconds that each may take to load.
    """

    def __init__(
        self,
        disabled: Iterable[str] = (),
        pins: Mapping[str, str] | None = None,
        given: Iterable[EntryPoint] | None = None,
        *,
        load_s: float = LOAD_S,
    ) -> None:
        self._load_s = load_s
        self._disabled = frozenset(disabled)
        self._found = find_plugins(given, pins)
        self._listed: dict[tuple[str, str], Listed] = {}
        self._observers = Observers()

    def names(self) -> list[str]:
        """Return the names that are installed and not disabled, importing nothing."""
        return sorted({found.name for found in self._found} - self._disabled)

    def installed(self) -> list[str]:
        """Return all names that are installed, the disabled ones too, importing nothing."""
        return sorted({found.name for found in self._found})

    def get(self, name: str) -> Plugin:
        """Return the plugin of a provider, imported at the first call.

        Raises:
            NotFoundError: No such provider is installed, or it is disabled.
            PluginError: It is installed, but broken; the message has the cause.
        """
        if name in self._disabled:
            raise NotFoundError(
                f"the provider {name!r} is disabled",
                hint="take it out of TIELINE_PROVIDERS_DISABLED",
            )
        claims = [found for found in self._found if found.name == name]
        for found in sorted(claims, key=lambda found: bool(found.holder)):
            return _plugin(self._look(found))
        raise NotFoundError(
            f"there is no provider {name!r}",
            hint=nearest(name, self.names()) or "pip install tieline-stripe",
            code="provider-unknown",
        )

    def title_of(self, name: str) -> str:
        """Return how a provider writes itself; its name if its plugin is gone or broken."""
        try:
            return self.get(name).provider.title
        except (NotFoundError, PluginError):
            return name

    def list(self) -> list[Listed]:
        """Import every plugin and say how each one is."""
        return [_with_remedy(self._look(found)) for found in self._found]

    def observe(self, hook: str, *, within_s: float, **given: Any) -> Sequence[str]:
        """Call an observer hook on every plugin that works, each in its own guard.

        Args:
            hook: Its name, such as ``tieline_alert``.
            within_s: Seconds to wait for all of them; who takes longer is left behind.
            **given: Its arguments.

        Returns:
            Names of the plugins that hang, in this call or in an earlier one.
        """
        plugins = [listed.plugin for listed in self.list() if listed.plugin is not None]
        return self._observers.call(plugins, hook, given, within_s=within_s)

    def _look(self, found: Found) -> Listed:
        key = (found.name, found.distribution)
        if key not in self._listed:
            self._listed[key] = self._load(found)
        return self._listed[key]

    def _load(self, found: Found) -> Listed:
        if found.name in self._disabled:
            return Listed(found=found, is_disabled=True)
        try:
            return Listed(found=found, plugin=load_plugin(found, within_s=self._load_s))
        except PluginError as error:
            return Listed(found=found, error=error)


def _with_remedy(listed: Listed) -> Listed:
    """Say of whatever is broken what can be done, be it yours or somebody else's."""
    if listed.error is not None and not listed.error.hint:
        name = listed.found.name
        listed.error.hint = (
            f"what to mend: tieline plugin check {name}; or leave it out:"
            f" TIELINE_PROVIDERS_DISABLED={name}"
        )
    return listed


def _plugin(listed: Listed) -> Plugin:
    if listed.plugin is not None:
        return listed.plugin
    assert listed.error is not None  # a plugin that was looked at works or says why not
    raise listed.error
