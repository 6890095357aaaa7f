"""The environment's schema."""

from tieline.settings.applications import Application
from tieline.settings.example import ApplicationExample, env_example
from tieline.settings.load import PREFIX, Settings, load_settings, unknown_names

__all__ = [
    "PREFIX",
    "Application",
    "ApplicationExample",
    "Settings",
    "env_example",
    "load_settings",
    "unknown_names",
]
