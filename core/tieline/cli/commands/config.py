"""``tieline config``."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from tieline.cli.face import json_option, note, print_json, print_table, write_line

__all__ = ["config"]


@click.group()
def config() -> None:
    """Show settings and where they come from, check them, make .env.example."""


@config.command()
@click.option("--origin", is_flag=True, help="Say where each came from.")
@click.option("--all", "with_defaults", is_flag=True, help="Those too that have their default.")
@json_option
def show(origin: bool, with_defaults: bool, as_json: bool) -> None:
    """Show the settings that are set; of secrets only that they are.

    The environment goes before .env in the working folder, and a variable
    before the file that its _FILE names.
    """
    from tieline.settings import given_settings

    found = [each for each in given_settings() if with_defaults or each.origin != "default"]
    if as_json:
        print_json({"settings": [asdict(each) for each in found]})
        return
    if not found:
        note("  nothing is set: every setting has its default (tieline config show --all)")
        return
    columns = ("SETTING", "VALUE", *(("FROM",) if origin else ()))
    rows = ((each.name, each.value, *((each.origin,) if origin else ())) for each in found)
    print_table(columns, rows)


@config.command()
@click.argument("name")
@json_option
def get(name: str, as_json: bool) -> None:
    """Print the value of the setting NAME that holds here; of a secret only that it is set.

    With or without TIELINE_, in any case. Nothing is printed for one that is empty.

    Example: `tieline config get home`
    """
    from tieline.errors import NotFoundError, nearest
    from tieline.settings import PREFIX, given_settings

    wanted = name.upper().replace("-", "_")
    known = {each.name: each for each in given_settings()}
    found = known.get(wanted) or known.get(f"{PREFIX}{wanted}")
    if found is None:
        raise NotFoundError(
            f"there is no setting {name[:80]!r}",
            hint=nearest(f"{PREFIX}{wanted.removeprefix(PREFIX)}", known),
            code="setting-unknown",
        )
    if as_json:
        print_json({"setting": asdict(found)})
    elif found.value:
        write_line(found.value.encode())


@config.command()
@json_option
def path(as_json: bool) -> None:
    """Show where settings, key and data are looked for."""
    from pathlib import Path

    from tieline.services.installation import Installation
    from tieline.settings import load_settings

    opened = Installation(load_settings())
    dotenv = Path.cwd() / ".env"
    found = {"dotenv": dotenv, "home": opened.settings.home, "key": opened.key_path}
    if as_json:
        print_json(
            {name: {"path": str(each), "is_there": each.exists()} for name, each in found.items()}
        )
        return
    print_table(
        ("WHAT", "PATH", "THERE"),
        ((name, each, "yes" if each.exists() else "no") for name, each in found.items()),
    )


@config.command()
@json_option
@click.pass_context
def validate(ctx: click.Context, as_json: bool) -> None:
    """Check the settings, and nothing else; exit 7 if one is wrong.

    For a deployment, before processes start: it asks neither database nor Redis.
    """
    from tieline.services.doctor.configuration import look_at_config
    from tieline.services.installation import Installation
    from tieline.settings import load_settings

    found = [each for each in look_at_config(Installation(load_settings())) if each.level != "ok"]
    is_bad = any(each.level == "fail" for each in found)
    if as_json:
        names = ("level", "code", "message", "fix")
        print_json({"findings": [{name: getattr(each, name) for name in names} for each in found]})
    for each in found if not as_json else ():
        note(f"  {each.level}  {each.message} [{each.code}] (next: {each.fix})", is_error=True)
    if not found and not as_json:
        note("  the settings are good")
    ctx.exit(7 if is_bad else 0)


@config.command("env-example")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print a page of the docs instead.")
def env_example_(as_markdown: bool) -> None:
    """Print .env.example: every setting, explained, those of installed providers too."""
    from tieline.registry import Registry
    from tieline.services import settings

    write = settings.write_configuration_page if as_markdown else settings.write_env_example
    sys.stdout.write(write(Registry()))
