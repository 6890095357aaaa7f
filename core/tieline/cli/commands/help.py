"""``tieline help``."""

from __future__ import annotations

import sys

import click

from tieline.cli.codes import Explained, explain, explained, reference
from tieline.cli.face import json_option, print_json, print_table
from tieline.errors import NotFoundError, nearest

__all__ = ["help"]


@click.command("help")
@click.argument("code", required=False, metavar="[CODE]")
@click.option(
    "--markdown", "as_markdown", is_flag=True, help="Print all, as docs/reference has it."
)
@json_option
def help(code: str | None, as_markdown: bool, as_json: bool) -> None:  # noqa: A001 - its name
    """Explain an error code: why it comes, its effect, what to do; or list all.

    Of a command, `tieline COMMAND --help` tells more.
    """
    if as_markdown and (as_json or code is not None):
        raise click.UsageError("--markdown prints all codes as a page: without CODE and --json")
    if as_markdown:
        sys.stdout.write(reference())
        return
    if code is None:
        listed = explained().values()
        if as_json:
            print_json({"codes": [_facts(each) for each in listed]})
        else:
            print_table(("CODE", "WHY"), ((each.code, each.because) for each in listed))
        return
    found = explain(_plain(code))
    if found is None:
        close = nearest(_plain(code), explained())
        raise NotFoundError(
            f"there is no error code {code[:60]!r}",
            hint=close if close.startswith("did you mean") else "tieline help lists all",
            code="code-unknown",
        )
    if as_json:
        print_json({"code": _facts(found)})
        return
    sys.stdout.write(
        f"  {found.code}\n"
        f"  because  {found.because}\n"
        f"  effect   {found.effect}\n"
        f"  next     {found.next}\n"
    )


def _plain(code: str) -> str:
    """Take a code as people copy it: ``error[needs-reauth]``."""
    return code.strip().removeprefix("error").strip("[]:").lower()


def _facts(each: Explained) -> dict[str, str]:
    return {
        "code": each.code,
        "about": each.section,
        "because": each.because,
        "effect": each.effect,
        "next": each.next,
    }
