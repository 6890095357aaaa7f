"""What the checks of one plugin share: the plugin, its sandbox, sites to try things at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any, Self

from tieline.auth import OpenConnection
from tieline.checks.kinds import DoesNotApplyError, WrongError
from tieline.checks.probe import Probed, probe
from tieline.checks.site import Grounds, Site, open_site
from tieline.checks.subject import Subject
from tieline.contract import Entity, Page, PageParams, ProviderError, Window
from tieline.errors import PluginError
from tieline.registry import Plugin, Registry
from tieline.services.installation import Installation
from tieline.services.sandbox_guide import Control, Guide, read_guide

__all__ = ["Case", "Difference", "compare"]

_MOST_PAGES = 20


@dataclass
class Case:
    """One plugin under test. Use it as a context.

    Attributes:
        subject: Where it is.
        database_url: A second database, beside SQLite, for hostile data; empty: none.
        grounds: What it stands on; opened and closed by this case unless it is open.
        endless: The check that found pages without end; empty: none did.
        here: The site that is open; None: none is.
        is_shut: The account of the sandbox cannot be connected.
    """

    subject: Subject
    database_url: str = ""
    grounds: Grounds = field(default_factory=Grounds)
    endless: str = ""
    here: Site | None = None
    is_shut: bool = False
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        self._stack.enter_context(self.subject.importable())
        if not hasattr(self.grounds, "home"):
            self._stack.enter_context(self.grounds)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # --- the plugin -------------------------------------------------------------------------------

    @cached_property
    def registry(self) -> Registry:
        """What holds this plugin alone."""
        return Registry(given=[self.subject.entry_point])

    @cached_property
    def plugin(self) -> Plugin:
        """The plugin, loaded.

        Raises:
            PluginError: It does not load.
        """
        return self.registry.get(self.subject.name)

    @property
    def entities(self) -> Sequence[Entity]:
        """Those that both the plugin and its sandbox have."""
        known = self.guide.entities
        found = [each for each in self.plugin.entities.values() if each.name in known]
        if not found:
            raise DoesNotApplyError("nothing is kept in step")
        return found

    def place(self, entity: Entity, what: str = "page") -> str:
        """Return where a part of an entity is written: its function, else its declaration."""
        thing = getattr(entity, what, None)
        found = self.subject.place_of(thing) if callable(thing) else ""
        if found:
            return found
        if what != "page":
            return self.subject.find(rf"\b{what}\s*[=:]")
        return self.subject.find(rf'["\']{entity.name}["\']')

    @cached_property
    def probed(self) -> Probed:
        """What importing it does, in a process of its own."""
        return probe(self.subject)

    @property
    def has_probed(self) -> bool:
        """Whether that was tried already."""
        return "probed" in self.__dict__

    # --- the sandbox ------------------------------------------------------------------------------

    def new_sandbox(self, **options: Any) -> Any:
        """Make a sandbox.

        Raises:
            WrongError: There is none, or it cannot be made.
        """
        if self.subject.sandbox is None:
            raise WrongError(
                "there is no sandbox",
                do="write one, and announce it: "
                f'[project.entry-points."tieline.sandboxes"] {self.subject.name} = "…:create_app"',
            )
        try:
            return self.subject.sandbox.load()(**options)
        except Exception as error:
            raise WrongError(
                f"the sandbox cannot be made: {type(error).__name__}: {error}"
            ) from error

    @cached_property
    def guide(self) -> Guide:
        """What the sandbox says of itself."""
        self.grounds.stand.clear(self.new_sandbox())
        control = Control(self.grounds.url)
        try:
            return read_guide(control.get("guide"))
        finally:
            control.close()

    @cached_property
    def _made(self) -> Installation:
        return self.grounds.install(self.registry, self.guide, self.plugin.name)

    @contextmanager
    def site(self, **given: Any) -> Iterator[Site]:
        """Open a site: a new sandbox, and a new connection to it.

        Args:
            **given: For an installation of its own: see :meth:`Grounds.install`.
        """
        guide, plugin = self.guide, self.plugin
        self.grounds.stand.clear(self.new_sandbox(**guide.options))
        with ExitStack() as stack:
            made = self._made
            if given:
                made = self.grounds.install(self.registry, guide, plugin.name, **given)
                stack.callback(
                    made.redis.close if "redis_url" in given else made.raw_database.close
                )
            self.is_shut = True  # until it opens
            self.here = stack.enter_context(open_site(plugin, guide, self.grounds, made))
            self.is_shut = False
            try:
                yield self.here
            finally:
                self.here = None

    def bug_in(self, entity: Entity) -> tuple[str, str] | None:
        """Read an entity once more without the engine, for what a bug says and where it is.

        Runs keep no words of an exception, as those may hold anything of anybody.
        """
        if self.here is None:
            return None
        steps: list[tuple[Any, PageParams]] = [(entity.page, PageParams())]
        if entity.feed is not None:
            since = self.here.clock.now() - timedelta(days=1)
            steps.append((entity.feed.page, PageParams(window=Window(start=since))))
        with self.here.opened() as opened:
            for step, params in steps:
                try:
                    self._read_on(opened, step, params)
                except ProviderError:
                    continue
                except Exception as error:  # noqa: BLE001 - that is what is looked for
                    return f"{type(error).__name__}: {error}", self.subject.place_in(error)
        return None

    def _read_on(self, opened: OpenConnection, step: Any, params: PageParams) -> None:
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            cursor = self.called(opened, step, params, cursor).next
            if cursor is None:
                return

    def each(self, *verbs: str) -> Iterator[tuple[Site, Entity]]:
        """Open a site, and hand it out with every entity that the sandbox can change so."""
        chosen = [
            entity
            for entity in self.entities
            if all(getattr(self.guide.entities[entity.name], verb) for verb in verbs)
        ]
        if not chosen:
            raise DoesNotApplyError(f"the sandbox has no order to {' or '.join(verbs)}")
        with self.site() as site:
            for entity in chosen:
                yield site, entity

    # --- steps ------------------------------------------------------------------------------------

    def steps(self, opened: Any) -> Iterator[tuple[str, Any, str]]:
        """Yield every step that reads, as ``(what, call, where)``."""
        for entity in self.entities:
            yield (
                f"reading {entity.name}",
                lambda entity=entity: self.read(opened, entity, None),
                self.place(entity),
            )
            if entity.get is not None:
                yield (
                    f"reading one of {entity.name}",
                    lambda entity=entity: self.called(opened, entity.get, self.some_key(entity)),
                    self.place(entity, "get"),
                )

    def some_key(self, entity: Entity) -> str:
        """Return the key of a record that the sandbox has."""
        control = Control(self.grounds.url)
        try:
            return next(iter(control.truth(self.guide.entities[entity.name])), "1")
        finally:
            control.close()

    def read(self, opened: Any, entity: Entity, cursor: str | None) -> Page:
        """Read one page."""
        page: Page = self.called(opened, entity.page, PageParams(), cursor)
        return page

    def called(self, opened: Any, step: Any, *given: Any) -> Any:
        """Call a step; what it raises is translated as the engine does it.

        Raises:
            ProviderError: As the plugin says.
            Exception: Whatever else it raised.
        """
        try:
            return step(opened.client, *given)
        except PluginError:
            raise
        except Exception as error:
            if (known := self.plugin.classify(error)) is not None:
                raise known from error
            raise


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """How what is stored differs from what there is.

    Attributes:
        missing: Keys that are there and not here.
        extra: Keys that are here and not there.
        changed: Key to the names of promised fields that differ.
    """

    missing: list[str]
    extra: list[str]
    changed: Mapping[str, list[str]]

    def __bool__(self) -> bool:
        return bool(self.missing or self.extra or self.changed)

    def __str__(self) -> str:
        said = []
        if self.missing:
            said.append(f"{len(self.missing)} are missing, such as {self.missing[0]}")
        if self.extra:
            said.append(f"{len(self.extra)} are there no longer, such as {self.extra[0]}")
        if self.changed:
            key, names = next(iter(self.changed.items()))
            said.append(f"{len(self.changed)} are not as they are there, such as {key}"
                        f" in {', '.join(names)}")  # fmt: skip
        return "; ".join(said)


def compare(site: Site, entity: Entity) -> Difference:
    """Compare what is stored with what the sandbox has, in the fields that are promised."""
    ours, theirs = site.stored(entity), site.truth(entity)
    left_out = {path.partition(".")[0] for path in entity.volatile}
    promised = [name for name in entity.schema.fields if name not in left_out]
    changed = {}
    for key in ours.keys() & theirs.keys():
        names = [
            name
            for name in promised
            if name in theirs[key] and _text(ours[key].get(name)) != _text(theirs[key][name])
        ]
        if names:
            changed[key] = names
    return Difference(
        missing=sorted(theirs.keys() - ours.keys()),
        extra=sorted(ours.keys() - theirs.keys()),
        changed=changed,
    )


def _text(value: Any) -> str:
    """Write a value so that 1 and 1.0 differ."""
    import json  # noqa: PLC0415 - here alone

    return json.dumps(value, sort_keys=True)
