"""The environment's schema."""

from tieline.settings.applications import Application
from tieline.settings.dotenv import DotEnv, read_dotenv
from tieline.settings.example import ApplicationExample, configuration_page, env_example
from tieline.settings.load import PREFIX, Settings, load_settings, unknown_names
from tieline.settings.origins import Given, dotenv_of, given_settings

__all__ = [
    "PREFIX",
    "Application",
    "ApplicationExample",
    "DotEnv",
    "Given",
    "Settings",
    "configuration_page",
    "dotenv_of",
    "env_example",
    "given_settings",
    "load_settings",
    "read_dotenv",
    "unknown_names",
]
