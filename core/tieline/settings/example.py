"""Write ``.env.example`` from the schema and the plugins, so that it cannot go stale."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tieline.settings.load import PREFIX
from tieline.settings.schema import SettingsSchema, is_secret

__all__ = ["ApplicationExample", "configuration_page", "env_example"]

_HEAD = """\
# Settings of Tieline. Copy to .env and set what you need: every line is optional.
# Made by: ./tie config env-example > .env.example
# A secret may also be read from a file: TIELINE_KEY_FILE=/run/secrets/tieline-key
# The environment goes before .env. `tieline config show --origin` says what holds and where
# it comes from, `tieline config validate` checks it, `tieline doctor` names misspelt ones.
#
# Development needs none of them: `tieline init` makes a SQLite database, a key file and an
# embedded Valkey in one folder. Production sets at least TIELINE_ENV=production, a
# PostgreSQL in TIELINE_DATABASE_URL, a server of its own in TIELINE_REDIS_URL, and a key in
# AWS KMS in TIELINE_KMS_KEY_ID; with webhooks or sign-ins TIELINE_PUBLIC_URL, too. Keep
# this file readable by its user alone.
"""
_LIMITS = """\
# A provider's limits, in place of those that its plugin declares, are in
# TIELINE_<PROVIDER>_RATE_LIMITS, with each provider below. They hold over all workers:
# rates per account (or "endpoint", "application"), requests in flight. none: no limit. What
# follows [NAME] is for the connection of that name alone, and all that holds for it:
# 80/second; 20/second endpoint; concurrency=8; [shop] 20/second
"""
_PAGE = """\
# Settings

Made by `./tie config env-example --markdown > docs/reference/configuration.md`; a test compares
the two. The same as a file to fill in is [.env.example](../../.env.example).

Every setting is a variable of the environment, or a line of `.env` in the folder where the
command is started. The environment goes before `.env`, and in each of them a value goes before
the file that the same name with `_FILE` names: `TIELINE_KEY_FILE=/run/secrets/tieline-key`.
`tieline config show --origin` prints what holds and where it comes from, `tieline config
validate` checks it, and a misspelt name is told with the nearest that there is.

| setting | default | what it does |
|---|---|---|
"""
_PROVIDERS = """\

## Of each provider

Limits in place of those that a plugin declares are rates per account (or `endpoint`,
`application`), and requests in flight: `80/second; 20/second endpoint; concurrency=8`. They hold
over all workers; `none` is no limit. What follows `[NAME]` is for the connection of that name
alone, and all that holds for it.

| setting | what it does |
|---|---|
"""
_WIDTH = 90


@dataclass(frozen=True, kw_only=True, slots=True)
class ApplicationExample:
    """What there is to say of a provider where people sign in.

    Attributes:
        provider: Its name.
        title: As it writes itself.
        where: Address of the page where applications are registered; empty if
            the plugin names none.
        environments: Name to base address, the default one first.
        scopes: Asked for by default.
        needs_secret: An application without a secret is none.
        has_webhooks: The provider delivers events of all accounts to one address.
        keys_where: Address of the page where people find a key; None: no key is taken.
        webhooks: What to do at the provider for its webhooks; empty: it has none.
        limits: What its plugin declares, as the setting is written; empty: none.
    """

    provider: str
    title: str
    where: str
    environments: Mapping[str, str]
    scopes: Sequence[str]
    needs_secret: bool
    has_webhooks: bool = False
    keys_where: str | None = None
    webhooks: str = ""
    limits: str = ""


def env_example(applications: Sequence[ApplicationExample] = ()) -> str:
    """Return the text of ``.env.example``: every setting, explained, commented out.

    Args:
        applications: Of the installed plugins, in the order in which they are shown.
    """
    parts = [_HEAD]
    for name, field in SettingsSchema().fields.items():
        doc = field.metadata["doc"] + (" Secret." if is_secret(field) else "")
        default = field.load_default
        said = f"Default: {str(default).lower() if isinstance(default, bool) else default}."
        text = f"{doc} {said if default not in {'', None} else ''}".strip()
        parts.append(_setting(name.upper(), text, field.metadata["example"]))
    parts.append(_LIMITS)
    for application in applications:
        parts.append(_comment(_introduced(application)))
        if said := _said_of_keys(application):
            parts.append(_comment(said))
        parts += [_setting(*each) for each in _settings_of(application)]
    return "\n".join(parts)


def configuration_page(applications: Sequence[ApplicationExample] = ()) -> str:
    """Return the reference of all settings as a page in Markdown.

    Args:
        applications: As for :func:`env_example`.
    """
    rows = []
    for name, field in SettingsSchema().fields.items():
        default = field.load_default
        told = str(default).lower() if isinstance(default, bool) else str(default)
        doc = field.metadata["doc"] + (" Secret." if is_secret(field) else "")
        shown = f"`{told}`" if default not in {"", None} else ""
        rows.append(f"| `{PREFIX}{name.upper()}` | {shown} | {_cell(doc)} |\n")
    for_providers = [
        f"| `{PREFIX}{name}` | {_cell(doc)} |\n"
        for application in applications
        for name, doc, _ in _settings_of(application)
    ]
    return "".join([_PAGE, *rows, _PROVIDERS, *for_providers])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _introduced(of: ApplicationExample) -> str:
    first, *others = of.environments
    registered = f", registered at {of.where}" if of.where else ""
    both = " and ".join([first, *others])
    apart = (
        f"Its environments {both} have ids and secrets of their own: develop with"
        f" {' or '.join(others)}, run with {first}."
        if others
        else f"It has one environment, {first}: for development register a second application."
    )
    return (
        f"{of.title}: the application by which it knows this installation{registered}. Needed"
        f" where people connect accounts by signing in (OAuth 2). {apart}"
    )


def _said_of_keys(of: ApplicationExample) -> str:
    """Say of what is no setting where it is kept instead."""
    _, *others = of.environments
    said = ""
    if of.keys_where is not None:
        where = f", from {of.keys_where}" if of.keys_where else ""
        which = f", one of {' or '.join(others)} in development" if others else ""
        said = (
            f"A key of an account{where}{which}, is no setting: `tieline connect {of.provider}"
            " --name NAME` asks for it or takes it by --key-stdin, and keeps it sealed."
        )
    if of.webhooks and not of.has_webhooks:
        said += (
            " Its webhooks are of one connection each; `tieline webhooks add` makes their secrets,"
            f" and keeps them sealed. {of.webhooks}"
        )
    return said.strip()


def _settings_of(of: ApplicationExample) -> Iterator[tuple[str, str, str]]:
    """Yield name, explanation and example of each setting."""
    name, path = of.provider.upper(), f"/oauth/callback/{of.provider}"
    first, *others = of.environments
    yield f"{name}_CLIENT_ID", "Id of the application.", "id-of-your-application"
    without = "" if of.needs_secret else " Empty: a public application, which has none."
    secret = f"Secret of the application.{without} Secret."
    yield f"{name}_CLIENT_SECRET", secret, "secret-of-your-application"
    redirect = (
        "Where the provider sends people back to, exactly as it is registered there. In"
        " production an https address that leads to `tieline serve`. Empty:"
        f" TIELINE_PUBLIC_URL followed by {path}; without that, for development,"
        f" http://127.0.0.1:8377{path}"
    )
    yield f"{name}_REDIRECT_URI", redirect, f"https://tieline.example.com{path}"
    known = ", ".join(f"{each} ({url})" for each, url in of.environments.items())
    environment = f"Environment of the application: {known}. Default: {first}."
    yield f"{name}_ENVIRONMENT", environment, others[0] if others else first
    asked = f"Empty: {', '.join(of.scopes)}." if of.scopes else "Empty: none are asked for."
    scopes = f"Rights to ask for, separated by commas. {asked}"
    yield f"{name}_SCOPES", scopes, ",".join(of.scopes)
    if of.has_webhooks:
        signed = (
            "What the provider signs deliveries to the application's address with, beside what"
            " `tieline webhooks` keeps; several are separated by commas, as while one is"
            f" changed. {f'{of.webhooks} ' if of.webhooks else ''}Each environment has one of its"
            " own. Secret."
        )
        yield f"{name}_WEBHOOK_SECRET", signed, "secret-of-your-webhooks"
    if of.limits:
        slower = (
            "Limits in place of those that the plugin declares, as above. Default in the"
            f" environment {first}: {of.limits}."
        )
        yield f"{name}_RATE_LIMITS", slower, of.limits


def _setting(name: str, text: str, example: str) -> str:
    return f"{_comment(text)}#{PREFIX}{name}={example}\n"


def _comment(text: str) -> str:
    lines = textwrap.wrap(text, _WIDTH, break_long_words=False)
    return "".join(f"# {line}\n" for line in lines)
