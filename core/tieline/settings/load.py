"""Read the settings: the environment first, then ``.env``; in each a value, then its ``_FILE``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marshmallow import ValidationError

from tieline.contract.errors import SettingsError
from tieline.contract.values import Secret
from tieline.errors import nearest
from tieline.settings.applications import (
    Application,
    application_settings,
    is_application_setting,
    read_applications,
)
from tieline.settings.dotenv import PREFIX, read_dotenv
from tieline.settings.schema import SettingsSchema, is_secret

__all__ = ["PREFIX", "Settings", "is_rate_limits", "load_settings", "unknown_names"]

_SCHEMA = SettingsSchema()
_RATE_LIMITS = re.compile(f"{PREFIX}([A-Z][A-Z0-9_]*)_RATE_LIMITS")
# Read by the test-suite and by ./tie, not by Tieline itself.
_OUTSIDE = {"TIELINE_TEST_PG_URL"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The settings of this process; secrets do not print."""

    env: str
    home: Path
    database_url: Secret
    redis_url: Secret
    valkey_binary: str
    key: Secret
    kms_key_id: str
    kms_region: str
    kms_endpoint_url: str
    allow_local_key: bool
    allowed_base_urls: tuple[str, ...]
    providers_disabled: frozenset[str]
    provider_pins: Mapping[str, str]
    plugin_load_s: float
    lease_s: float
    sweep_s: float
    page_deadline_s: float
    http_deadline_s: float
    token_deadline_s: float
    http_body_bytes: int
    webhook_body_bytes: int
    webhook_keep_days: float
    read_ahead: int
    worker_memory_mb: int
    hands: int
    rate_limits: Mapping[str, str]
    applications: Mapping[str, Application]
    public_url: str
    return_urls: tuple[str, ...]
    run_attempts: int
    run_retries: int
    max_delete_share: float
    max_quarantine_share: float
    alert_webhook_url: Secret
    alert_webhook_secret: Secret
    metrics_token: Secret
    api_calls_per_minute: int
    api_deadline_s: float
    api_threads: int
    console: bool | None
    log_level: str
    log_format: str
    tracing: bool
    failpoints: str

    @property
    def is_production(self) -> bool:
        """Whether mistakes are refused that development lets pass."""
        return self.env == "production"

    @property
    def is_embedded_redis(self) -> bool:
        """Whether Tieline starts its own Valkey."""
        return not self.redis_url


def load_settings(environ: Mapping[str, str] | None = None, folder: Path | None = None) -> Settings:
    """Read and check all settings.

    Args:
        environ: The environment; the process's own if None.
        folder: Where ``.env`` is looked for; the working folder if None.

    Raises:
        SettingsError: A value is wrong; the message names the variable, never
            the value of a secret one.
    """
    environ = os.environ if environ is None else environ
    sources = (environ, read_dotenv((folder or Path.cwd()) / ".env"))
    values = {
        name: text
        for name in _SCHEMA.fields
        if (text := _first_value(sources, f"{PREFIX}{name.upper()}")) is not None
    }
    try:
        loaded = _SCHEMA.load(values)
    except ValidationError as error:
        raise _wrong(error) from None
    loaded["rate_limits"] = _rate_limits(sources)
    ours = {f"{PREFIX}{name.upper()}" for name in _SCHEMA.fields}  # one of alerts looks like it
    names = [n for source in sources for n in source if n.removesuffix("_FILE") not in ours]
    loaded["applications"] = read_applications(names, lambda name: _first_value(sources, name))
    return _settings(loaded, environ)


def unknown_names(
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
    *,
    providers: Iterable[str] | None = None,
) -> dict[str, str]:
    """Find ``TIELINE_*`` variables that mean nothing, in the environment and in ``.env``.

    Args:
        environ: The environment; the process's own if None.
        folder: Where ``.env`` is looked for; the working folder if None.
        providers: Names of those that are installed; None: any may be.

    Returns:
        Variable name to a suggestion, for each that no setting has.
    """
    environ = os.environ if environ is None else environ
    given = {*environ, *read_dotenv((folder or Path.cwd()) / ".env")}
    known = {f"{PREFIX}{name.upper()}" for name in _SCHEMA.fields}
    for provider in providers or ():
        known |= {f"{PREFIX}{provider.upper()}_RATE_LIMITS", *application_settings(provider)}
    accepted = known | {f"{name}_FILE" for name in known} | _OUTSIDE
    is_any = providers is None
    return {
        name: _suggested(name, known)
        for name in sorted(given)
        if name.startswith(PREFIX)
        and name not in accepted
        and not (is_any and _is_of_a_provider(name))
    }


def _suggested(name: str, known: Iterable[str]) -> str:
    short = name.removeprefix(PREFIX)  # by what they all begin with, all are alike
    start = "did you mean "
    close = nearest(short, (each.removeprefix(PREFIX) for each in known))
    if close.startswith(start):
        return f"{start}{PREFIX}{close.removeprefix(start)}"
    return "tieline config env-example names all"


def _is_of_a_provider(name: str) -> bool:
    return is_rate_limits(name) or is_application_setting(name)


def is_rate_limits(name: str) -> bool:
    """Say whether a variable is of the form ``TIELINE_<PROVIDER>_RATE_LIMITS``."""
    return _RATE_LIMITS.fullmatch(name) is not None


def _rate_limits(sources: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Read the limits that are set for a provider: ``TIELINE_STRIPE_RATE_LIMITS``."""
    return {
        found[1].lower(): text
        for source in reversed(sources)
        for name, text in source.items()
        if (found := _RATE_LIMITS.fullmatch(name)) and text.strip()
    }


def _first_value(sources: Iterable[Mapping[str, str]], name: str) -> str | None:
    values = (_value(source, name) for source in sources)
    return next((text for text in values if text is not None), None)


def _value(given: Mapping[str, str], name: str) -> str | None:
    if text := given.get(name):
        return text
    if not (path := given.get(f"{name}_FILE")):
        return None
    try:
        return Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{name}_FILE names a file that cannot be read: {path} ({type(error).__name__})"
        ) from None


def _wrong(error: ValidationError) -> SettingsError:
    messages: dict[str, Any] = error.normalized_messages()  # type: ignore[no-untyped-call]
    name, reasons = next(iter(messages.items()))
    variable = f"{PREFIX}{name.upper()}"
    reason = " ".join(reasons) if isinstance(reasons, list) else str(reasons)
    example = _SCHEMA.fields[name].metadata.get("example", "")
    return SettingsError(f"{variable}: {reason}", hint=f"for example: {variable}={example}")


def _settings(loaded: dict[str, Any], environ: Mapping[str, str]) -> Settings:
    allow_failpoints = loaded.pop("allow_failpoints")
    if loaded["failpoints"] and not allow_failpoints:
        raise SettingsError(
            "TIELINE_FAILPOINTS is set, but failpoints are not allowed here",
            hint="unset it, or set TIELINE_ALLOW_FAILPOINTS=true on a test installation",
        )
    loaded["home"] = _home(loaded["home"], environ)
    loaded["http_body_bytes"] = int(loaded.pop("http_body_mb") * 1_000_000)
    loaded["webhook_body_bytes"] = int(loaded.pop("webhook_body_mb") * 1_000_000)
    loaded["allowed_base_urls"] = tuple(_words(loaded["allowed_base_urls"]))
    loaded["public_url"] = loaded["public_url"].rstrip("/")
    loaded["return_urls"] = tuple(_words(loaded["return_urls"]))
    loaded["providers_disabled"] = frozenset(_words(loaded["providers_disabled"]))
    loaded["provider_pins"] = {
        name: distribution
        for name, _, distribution in (
            word.partition("=") for word in _words(loaded["provider_pins"])
        )
    }
    for name, field in _SCHEMA.fields.items():
        if is_secret(field):
            loaded[name] = Secret(loaded[name])
    return Settings(**loaded)


def _home(text: str, environ: Mapping[str, str]) -> Path:
    if text:
        return Path(text).expanduser().absolute()
    if data := environ.get("XDG_DATA_HOME"):
        return Path(data) / "tieline"
    try:
        return Path.home() / ".local" / "share" / "tieline"
    except RuntimeError:
        return Path.cwd() / ".tieline"


def _words(text: str) -> list[str]:
    return [word.strip().rstrip("/") for word in text.split(",") if word.strip()]
