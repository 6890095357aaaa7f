"""``tieline providers``."""

from __future__ import annotations

import click

from tieline import services
from tieline.cli.face import installation, json_option, note, print_json, print_table
from tieline.errors import NotFoundError, nearest

__all__ = ["providers"]


@click.group(invoke_without_command=True)
@click.pass_context
@json_option
def providers(ctx: click.Context, as_json: bool) -> None:
    """List the installed providers: what they can do, or why one is broken.

    A broken plugin stops nobody but itself.
    """
    if ctx.invoked_subcommand is None:
        _list(as_json=as_json)


@providers.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the installed providers."""
    _list(as_json=as_json)


@providers.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show one provider with its entities."""
    with installation() as opened:
        every = services.providers.list_providers(opened)
    found = [said for said in every if said["name"] == name]
    if not found:
        known = {said["name"] for said in every}
        raise NotFoundError(
            f"there is no provider {name!r}", hint=nearest(name, known), code="provider-unknown"
        )
    if as_json:
        print_json({"providers": found})
        return
    for said in found:
        print_table((said["name"], f"{said['distribution']} {said['version']}"), [])
        if said["cause"]:
            print_table(("broken", said["cause"]["message"]), [])
        for setting, help_text in said.get("settings", {}).items():
            print_table((f"set {setting}", help_text), [])
        print_table(
            ("ENTITY", "DIRECTIONS", "CHANGES BY", "DELETES", "HIDES", "MEANS", "SCOPE"),
            (
                (
                    entity["name"],
                    " and ".join(entity["directions"]),
                    entity["incremental"]["by"],
                    entity["deletes"],
                    entity["hides"] or None,
                    " or ".join(entity["canonical"]) or None,
                    entity["scope"] or None,
                )
                for entity in said["entities"]
            ),
        )


def _list(*, as_json: bool) -> None:
    with installation() as opened:
        said = services.providers.list_providers(opened)
    if as_json:
        print_json({"providers": said})
        return
    if not said:
        note("  no provider is installed (next: pip install tieline-stripe)")
        return
    print_table(
        ("NAME", "STATE", "LEVEL", "DISTRIBUTION", "CONTRACT", "AUTH", "ENTITIES"),
        (
            (
                one["name"],
                one["state"],
                one["level"],
                f"{one['distribution']} {one['version']}".strip(),
                one["contract"],
                ", ".join(one["auth"]) or None,
                ", ".join(entity["name"] for entity in one["entities"]) or None,
            )
            for one in said
        ),
    )
    for one in said:
        if one["cause"]:
            hint = f" (next: {one['cause']['hint']})" if one["cause"]["hint"] else ""
            note(f"  broken    {one['name']}: {one['cause']['message']}{hint}")
