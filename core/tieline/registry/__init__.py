"""Find plugins, load them one by one, refuse the broken ones."""

from tieline.registry.fixtures import Fixture, list_fixtures
from tieline.registry.found import Found, find_plugins, find_sandboxes
from tieline.registry.guard import place_of
from tieline.registry.load import Plugin, load_plugin
from tieline.registry.registry import Listed, Registry

__all__ = [
    "Fixture",
    "Found",
    "Listed",
    "Plugin",
    "Registry",
    "find_plugins",
    "find_sandboxes",
    "list_fixtures",
    "load_plugin",
    "place_of",
]
