"""Say whose fault an exception is that came out of a plugin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tieline.contract import Entity, PermissionDeniedError, TielineError
from tieline.errors import PluginError
from tieline.registry import Plugin, place_of

__all__ = ["blamed"]


@contextmanager
def blamed(plugin: Plugin, entity: Entity, *, is_write: bool = False) -> Iterator[None]:
    """Run a plugin's step; translate what the SDK raises, and name bugs.

    Args:
        plugin: Whose step it is.
        entity: What is read.
        is_write: It is written.

    Raises:
        ProviderError: What the plugin's ``tieline_classify`` made of it; a
            denied permission names the right that is missing.
        PluginError: The step raised something that it did not explain; the
            message has file and line of the plugin.
    """
    what = "writing" if is_write else "reading"
    scope = entity.write.scope if is_write and entity.write else entity.scope
    try:
        with _classified(plugin):
            yield
    except PermissionDeniedError as error:
        if not scope:
            raise
        again = "push" if is_write else "run the sync"
        raise PermissionDeniedError(
            f"{error.message}; {what} {entity.name} needs the right {scope!r}",
            hint=f"give the credential the right {scope!r}, then {again} again",
        ) from error
    except TielineError:
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"{plugin.found.distribution}: {what} {entity.name} raised {type(error).__name__}"
            f" at {place_of(error, plugin.found)}",
            hint=f"a bug of the plugin: tell its authors, or pin {plugin.found.distribution}",
        ) from error


@contextmanager
def _classified(plugin: Plugin) -> Iterator[None]:
    try:
        yield
    except TielineError:
        raise
    except Exception as error:
        if (known := plugin.classify(error)) is not None:
            raise known from error
        raise
