"""``tieline console``."""

from __future__ import annotations

import click

from tieline import services
from tieline.cli.commands.serve import DEFAULT_PORT
from tieline.cli.face import actor, installation, json_option, note, print_json, write_line

__all__ = ["console"]


@click.command()
@click.option("--as", "name", metavar="TOKEN", help="Sign in as this token of the HTTP API.")
@click.option(
    "--url",
    default=f"http://127.0.0.1:{DEFAULT_PORT}",
    show_default=True,
    help="Where tieline serve answers; an https TIELINE_PUBLIC_URL goes before it.",
)
@json_option
def console(name: str | None, url: str, as_json: bool) -> None:
    """Print a link that signs you in to the console, once, within ten minutes.

    Without --as you are the token named console, of scope admin, which is made
    if there is none. The console is shown beside `tieline up`, and by `tieline
    serve` where TIELINE_CONSOLE is true.
    """
    with installation() as opened:
        link = services.console.link_to(opened, url, name, actor=actor())
    if as_json:
        print_json({"url": link})
        return
    note("  open it in a browser; it is good once, for ten minutes")
    write_line(link.encode())
