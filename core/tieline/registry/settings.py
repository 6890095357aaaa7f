"""What a connection may set, by the schema that its provider's plugin declares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal

from marshmallow import Schema, ValidationError

from tieline.contract import SettingsError
from tieline.errors import InvalidInputError, PluginError, nearest
from tieline.registry.load import Plugin
from tieline.telemetry import tellable

__all__ = ["check_settings", "setting_names", "stored_settings"]

_LONGEST = 2048
_Unknown = Literal["raise", "exclude"]
_PLAIN = (str, int, float, bool, type(None))


def setting_names(plugin: Plugin) -> Mapping[str, str]:
    """Return what a connection may set, and what each does."""
    schema = plugin.provider.settings
    fields = schema.fields if schema else {}
    return {
        field.data_key or name: str(field.metadata.get("description", ""))
        for name, field in fields.items()
    }


def check_settings(plugin: Plugin, given: Mapping[str, Any]) -> dict[str, Any]:
    """Hold what somebody wants to set to the plugin's schema.

    Args:
        plugin: The provider's.
        given: All settings of the connection, by name: texts, numbers, booleans.

    Returns:
        What to store: the settings as they were given.

    Raises:
        InvalidInputError: A name is unknown, one is missing, or a value does not fit.
        PluginError: The schema itself fails.
    """
    known = setting_names(plugin)
    title = plugin.provider.title
    for name, value in given.items():
        if name not in known:
            which = f"has no setting {name[:40]!r}" if known else "has no settings of connections"
            raise InvalidInputError(
                f"{title} {which}",
                hint=nearest(name, known) if known else "",
                code="connection-setting-unknown",
            )
        is_plain = isinstance(value, _PLAIN) and len(str(value)) <= _LONGEST
        if not is_plain:
            raise InvalidInputError(
                f"{name} wants one text, number or boolean of at most {_LONGEST} characters",
                code="connection-setting-invalid",
                fields=[(name, "one text, number or boolean is wanted")],
            )
    if plugin.provider.settings is None:
        return {}
    try:
        _load(plugin, plugin.provider.settings, given, unknown="raise")
    except ValidationError as error:
        told = list(_told(error))
        name = told[0][0]
        raise InvalidInputError(
            f"{title}: " + "; ".join(f"{name}: {what}" for name, what in told),
            hint=f"{name}: {known[name]}" if known.get(name) else "",
            code="connection-setting-invalid",
            fields=told,
        ) from None
    return dict(given)


def stored_settings(plugin: Plugin, name: str, stored: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a connection's settings as plugins are handed them: loaded by the schema.

    Args:
        plugin: The provider's.
        name: Of the connection.
        stored: As they were given; names that the plugin no longer has are left out.

    Raises:
        SettingsError: They do not fit the plugin that is installed now.
        PluginError: The schema itself fails.
    """
    schema = plugin.provider.settings
    if schema is None:
        return MappingProxyType({})
    try:
        return MappingProxyType(_load(plugin, schema, stored, unknown="exclude"))
    except ValidationError as error:
        told = list(_told(error))
        raise SettingsError(
            f"{name}: " + "; ".join(f"{setting}: {what}" for setting, what in told),
            hint=f"tieline connections set {name} {told[0][0]}=VALUE",
        ) from None


def _load(
    plugin: Plugin, schema: Schema, given: Mapping[str, Any], *, unknown: _Unknown
) -> dict[str, Any]:
    try:
        loaded = schema.load(dict(given), unknown=unknown)
    except ValidationError:
        raise
    except Exception as error:
        raise PluginError(
            f"{plugin.found.distribution}: Provider.settings raised {type(error).__name__}"
        ) from error
    if not isinstance(loaded, Mapping):
        raise PluginError(
            f"{plugin.found.distribution}: Provider.settings made {type(loaded).__name__},"
            " not a mapping"
        )
    return dict(loaded)


def _told(error: ValidationError) -> Iterator[tuple[str, str]]:
    messages = error.normalized_messages()  # type: ignore[no-untyped-call]
    for name, found in messages.items():
        words = found if isinstance(found, list) else [found]
        text = " ".join(str(each) for each in words).rstrip(".")
        yield str(name), tellable(text[:1].lower() + text[1:])
