"""The console: one page for people, of the facts of ``tieline status`` and the API's operations.

Rendered here, in the process of the API; it shows nothing and does nothing that
a token of the API could not. No front-end build, no second API, no outside file.
"""

from __future__ import annotations

from tieline.web.console.console import ACTIONS, PATH, Console

__all__ = ["ACTIONS", "PATH", "Console"]
