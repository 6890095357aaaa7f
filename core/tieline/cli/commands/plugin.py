"""``tieline plugin``: make a plugin, and check one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import click

from tieline.cli.commands.plugin_account import AskedAccount, account_options
from tieline.cli.commands.plugin_live import check_live, plain
from tieline.cli.commands.plugin_record import record
from tieline.cli.face import flush, json_option, note, print_json, write_line
from tieline.scaffold import KINDS, Wanted, make_plugin

if TYPE_CHECKING:
    from tieline.checks import Finding, Level, Report

__all__ = ["plugin"]

_LEVELS = ("bronze", "silver", "gold")
_MARKS = {
    "passed": "ok",
    "failed": "FAILED",
    "exempt": "exempt",
    "not applicable": "-",
    "not made": "",
}


@click.group()
def plugin() -> None:
    """Make a plugin for another provider, and check what it promises."""


@plugin.command()
@click.argument("name")
@click.option("--title", help="The provider as it writes itself.")
@click.option("--auth", type=click.Choice(KINDS), help="How accounts are connected.")
@click.option("--base-url", help="Where its API is: https://api.example.com.")
@click.option("--entity", help="What is kept in step first, in the plural: orders.")
@click.option(
    "--to", "folder", type=click.Path(path_type=Path), help="Where; a new folder tieline-NAME."
)
def new(
    name: str,
    title: str | None,
    auth: str | None,
    base_url: str | None,
    entity: str | None,
    folder: Path | None,
) -> None:
    """Make a package for the provider NAME: plugin, sandbox, tests, page, CI.

    What no option says is asked for in a terminal, and has a default elsewhere.
    Its tests and checks are green before anything is changed.
    """
    plain = Wanted(name=name)
    given = Wanted(
        name=name,
        title=_asked(title, "Title", name.replace("_", " ").title()),
        auth=_asked(auth, f"How accounts are connected ({', '.join(KINDS)})", plain.auth),
        base_url=_asked(base_url, "Address of the API", ""),
        entity=_asked(entity, "First entity, in the plural", plain.entity),
    )
    where = folder or Path(f"tieline-{name.replace('_', '-')}")
    for path in make_plugin(given, where):
        write_line(str(path).encode())
    note(f"  next      pip install --editable {where} && tieline plugin check {where}")


def _asked(given: str | None, what: str, default: str) -> str:
    if given is not None or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return default if given is None else given
    answer: str = click.prompt(what, default=default, err=True)
    return answer


@plugin.command("check")
@click.argument("named", metavar="NAME|PATH")
@click.option(
    "--tier", "--level", "tier", type=click.Choice(_LEVELS), help="Only what this level asks for."
)
@click.option("--only", multiple=True, metavar="CHECK", help="Only this check; may be repeated.")
@click.option(
    "--database-url",
    default="",
    help="A scratch PostgreSQL, tried beside SQLite with hostile data.",
)
@click.option("--live", "is_live", is_flag=True, help="Ask the provider, in place of all checks.")
@click.option("--entity", "entities", multiple=True, help="With --live: only this one; repeat it.")
@account_options
@json_option
def check(
    named: str,
    tier: str | None,
    only: tuple[str, ...],
    database_url: str,
    account: AskedAccount,
    entities: tuple[str, ...],
    as_json: bool,
) -> int:
    """Try what a plugin promises: an installed one by NAME, one by its folder's PATH.

    Each check drives the real engine against the plugin's own sandbox, on this
    machine and without an account. A failure says what is wrong, where, and what
    to do. Exit 1 if one of the tier failed; without a tier all are made, and exit
    is 1 if the level that the plugin shows, bronze if it shows none, is not earned.

    With --live the provider itself is asked for the first page of each entity, and
    what it sends stands beside the schema as a difference, without a value. Nothing
    is stored, nothing is written there. A key is asked for, or read from stdin or a
    file. Exit 1 if a record would be quarantined, 4 if the key is refused, 5 if the
    provider is away.

    Example: `tieline plugin check . --live --key-stdin < key`
    """
    from tieline.checks import check_plugin, find_subject
    from tieline.telemetry import configure_logging

    configure_logging("error", "auto")
    if account.is_live:
        if tier or only or database_url:
            raise click.UsageError("--live makes no checks: leave --tier, --only, --database-url")
        return check_live(named, account, entities, as_json=as_json)
    if entities:
        raise click.UsageError("the checks take all entities: --entity goes with --live")
    report = check_plugin(
        find_subject(named),
        level=cast("Level | None", tier),
        only=only,
        database_url=database_url,
        on_finding=(lambda _finding: None) if as_json else _show,
    )
    is_whole = not (tier or only)
    if as_json:
        print_json(report.as_dict())
    else:
        _sum_up(report, is_whole=is_whole)
    return int(report.is_overstated if is_whole else report.is_wanting)


plugin.add_command(record)


@plugin.group()
def schema() -> None:
    """Make schemas to begin with."""


@schema.command("from-openapi")
@click.argument("file", type=click.File("rb"))
@click.option("--path", default="", help="Path of a list, as the document writes it: /v1/orders.")
@click.option("--component", default="", help="A schema among its components, in place of --path.")
@click.option("--items", default="", help="Field of the answer with the records: data.orders.")
def from_openapi(file: IO[bytes], path: str, component: str, items: str) -> None:
    """Write a schema from an OpenAPI 3 document, JSON or YAML, to be looked through.

    YAML needs `tieline[yaml]`. A document says more than a provider keeps: leave
    out what nobody may rely on.
    """
    from tieline.scaffold.document import read_document
    from tieline.scaffold.openapi import write_schema

    if bool(path) == bool(component):
        raise click.UsageError("one of --path and --component is needed")
    written = write_schema(read_document(file.read()), path=path, component=component, items=items)
    write_line(written.rstrip().encode())


@plugin.command()
@click.argument("named", metavar="NAME|PATH")
def badge(named: str) -> None:
    """Write the picture of the level that a plugin shows, as SVG: `> badge.svg`.

    Nothing is run. That the level is earned is for `tieline plugin check` to say.
    """
    from tieline.checks import draw_badge, find_subject

    write_line(draw_badge(find_subject(named).published).rstrip().encode())


def _show(finding: Finding) -> None:
    if finding.state == "not made":
        return
    mark = _MARKS[finding.state]
    write_line(f"{mark:<7} {finding.check.level:<7} {finding.check.name}".encode())
    if finding.state != "passed":
        write_line(f"        {plain(finding.what)}".encode())
    if finding.state == "failed":
        write_line(f"        at    {plain(finding.where) or '-'}".encode())
        write_line(f"        do    {plain(finding.do)}".encode())
    flush()


def _sum_up(report: Report, *, is_whole: bool) -> None:
    count = {mark: sum(one.state == mark for one in report.findings) for mark in _MARKS}
    said = ", ".join(f"{number} {mark}" for mark, number in count.items() if number)
    note(f"  {report.name}: {said}")
    note(f"  level     {report.earned or 'none'}" + ("" if is_whole else " (of what was checked)"))
    if report.is_overstated and is_whole:
        note(
            f"  shown     {report.published or 'no level'}: less is earned"
            " (next: mend what failed, or write what is earned into pyproject.toml)"
        )
