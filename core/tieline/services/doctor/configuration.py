"""Settings: misspelt ones, the file they come from, addresses that cannot work."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from tieline.auth import callback_path
from tieline.services.alerts import messenger_of
from tieline.services.doctor.finding import Finding, listed
from tieline.services.installation import Installation
from tieline.settings import dotenv_of, unknown_names
from tieline.settings.applications import Application

__all__ = ["look_at_config"]

_NEAR = frozenset({"localhost", "127.0.0.1", "::1"})


def look_at_config(installation: Installation) -> Iterator[Finding]:
    """Look at the settings; that they can be read at all is known by now."""
    settings = installation.settings
    found = [
        *_unknown(installation),
        *_dotenv(),
        *(_failpoints() if settings.failpoints else ()),
        *_addresses(installation),
    ]
    if settings.alert_webhook_url:
        messenger_of(installation)  # says what is wrong with how alerts are told
    yield from found
    if not found:
        yield Finding.ok("config", f"{settings.env}, home {settings.home}")


def _unknown(installation: Installation) -> Iterator[Finding]:
    disabled = installation.settings.providers_disabled
    unknown = unknown_names(providers={*installation.registry.names(), *disabled})
    for name, suggestion in unknown.items():
        yield Finding(
            subject="config",
            level="warn",
            message=f"{name} means nothing",
            fix=suggestion,
            code="setting-unknown",
        )
    absent = sorted(disabled - set(installation.registry.installed()))
    if absent:
        yield Finding(
            subject="config",
            level="warn",
            message=f"TIELINE_PROVIDERS_DISABLED names what is not installed: {listed(absent)}",
            fix="tieline providers list",
            code="setting-useless",
        )


def _dotenv() -> Iterator[Finding]:
    looked = dotenv_of()
    if looked is None:
        return
    path = looked.path
    if looked.trouble:
        yield Finding(
            subject="config",
            level="fail",
            message=f"{path} cannot be read, and is passed over: {looked.trouble}",
            fix="give this user the right to read it, or take it away",
            code="dotenv-unreadable",
        )
    if looked.unreadable:
        lines = listed([str(number) for number in looked.unreadable])
        yield Finding(
            subject="config",
            level="warn",
            message=f"{path} has lines that are no NAME=value: {lines}",
            fix="write each as NAME=value, or put a # before it",
            code="dotenv-unreadable",
        )
    if looked.twice:
        yield Finding(
            subject="config",
            level="warn",
            message=f"{path} has {listed(looked.twice)} more than once; the last one holds",
            fix="keep one of them",
            code="dotenv-twice",
        )
    if looked.shadowed:
        yield Finding(
            subject="config",
            level="warn",
            message=f"{path} is out of date: the environment has another {listed(looked.shadowed)}",
            fix="tieline config show --origin, then keep one of the two",
            code="dotenv-stale",
        )
    if looked.is_open:
        yield Finding(
            subject="config",
            level="warn",
            message=f"{path} holds secrets and can be read by others",
            fix=f"chmod 600 {path}",
            code="dotenv-open",
            repair=lambda: path.chmod(0o600),
        )


def _failpoints() -> Iterator[Finding]:
    yield Finding(
        subject="config",
        level="fail",
        message="failpoints are armed: this installation breaks on purpose",
        fix="unset TIELINE_FAILPOINTS",
        code="failpoints-armed",
    )


def _addresses(installation: Installation) -> Iterator[Finding]:
    settings = installation.settings
    for provider, application in sorted(settings.applications.items()):
        if application.client_id:
            yield from _redirect(installation, provider, application)


def _redirect(
    installation: Installation, provider: str, application: Application
) -> Iterator[Finding]:
    settings = installation.settings
    name, path = f"TIELINE_{provider.upper()}_REDIRECT_URI", callback_path(provider)
    wanted = f"{settings.public_url}{path}" if settings.public_url else ""
    given = urlsplit(application.redirect_uri)
    if not application.redirect_uri:
        if settings.is_production and not settings.public_url:
            yield Finding(
                subject="config",
                level="fail",
                message=f"people who connect {provider} are sent back to this machine itself:"
                f" neither {name} nor TIELINE_PUBLIC_URL is set",
                fix="set TIELINE_PUBLIC_URL to where `tieline serve` is reached",
                code="redirect-wrong",
            )
    elif given.scheme == "http" and given.hostname not in _NEAR:
        yield Finding(
            subject="config",
            level="fail" if settings.is_production else "warn",
            message=f"{name} is not https: whoever listens on the way gets the code",
            fix=f"{name}={wanted}" if wanted.startswith("https") else f"write {name} with https",
            code="redirect-wrong",
        )
    elif wanted and given.hostname not in _NEAR and not _is_at(application, settings.public_url):
        yield Finding(
            subject="config",
            level="warn",
            message=f"{name} is at {given.netloc}, and TIELINE_PUBLIC_URL at"
            f" {urlsplit(wanted).netloc}: nobody may be there to take people back",
            fix=f"register {wanted} at {provider}, and set {name} to it or not at all",
            code="redirect-wrong",
        )


def _is_at(application: Application, public_url: str) -> bool:
    given, public = urlsplit(application.redirect_uri), urlsplit(public_url)
    return (given.scheme, given.netloc) == (public.scheme, public.netloc)
