"""The environment's schema."""

from tieline.settings.applications import Application
from tieline.settings.example import env_example
from tieline.settings.load import PREFIX, Settings, load_settings, unknown_names

__all__ = ["PREFIX", "Application", "Settings", "env_example", "load_settings", "unknown_names"]
