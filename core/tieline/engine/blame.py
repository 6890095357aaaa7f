"""Say whose fault an exception is that came out of a plugin."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tieline.contract import TielineError
from tieline.errors import PluginError
from tieline.registry import Plugin

__all__ = ["blamed"]


@contextmanager
def blamed(plugin: Plugin, what: str) -> Iterator[None]:
    """Run a plugin's step; translate what the SDK raises, and name bugs.

    Args:
        plugin: Whose step it is.
        what: Which step, for the message.

    Raises:
        ProviderError: What the plugin's ``tieline_classify`` made of it.
        PluginError: The step raised something that it did not explain; the
            message has file and line of the plugin.
    """
    try:
        yield
    except TielineError:
        raise
    except Exception as error:
        if (known := plugin.classify(error)) is not None:
            raise known from error
        raise PluginError(
            f"{plugin.found.distribution}: {what} raised {type(error).__name__}"
            f" at {_place(error, plugin)}",
            hint=f"a bug of the plugin: tell its authors, or pin {plugin.found.distribution}",
        ) from error


def _place(error: Exception, plugin: Plugin) -> str:
    """Find the deepest line that is the plugin's own."""
    package = plugin.found.entry_point.value.partition(":")[0].partition(".")[0]
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if package in Path(frame.filename).parts] or frames[-1:]
    path = Path(own[-1].filename)
    return f"{path.parent.name}/{path.name}:{own[-1].lineno}"
