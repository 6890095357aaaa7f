"""The ``tieline`` command: its tree, and what becomes of errors."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any, NoReturn

import click

from tieline.cli.late import LateGroup
from tieline.cli.pages import shows_colours

__all__ = ["cli", "main"]

_TERMINATED = 128 + signal.SIGTERM
_SWALLOWED_S = 0.5

# Command to (module, what it is for): the help of the tree imports no command.
_TREE = {
    "init": ("setup", "Make an installation: folder, key, database."),
    "up": ("worker", "Run all that one box needs, in this terminal."),
    "down": ("worker", "Stop the embedded Valkey of this installation."),
    "doctor": ("doctor", "Check everything; say what is wrong and what to do."),
    "status": ("status", "Show on one screen how everything is."),
    "console": ("console", "Print a link that signs you in to the console."),
    "demo": ("demo", "Sync thousands of customers from a sandbox, and show it."),
    "connect": ("connect", "Connect an account at a provider."),
    "connections": ("connections", "List connections; test, renew, pause, remove them."),
    "providers": ("providers", "List providers: what they can do, or what is wrong."),
    "plugin": ("plugin", "Make a plugin for another provider; check what one promises."),
    "sync": ("sync", "Run syncs, say what one would do, cancel them."),
    "state": ("state", "Show how far entities are synced; set one back, and undo that."),
    "push": ("push", "Change records at a provider: create, update, delete."),
    "outbox": ("outbox", "List changes that are not sent yet; settle those that wait for you."),
    "runs": ("runs", "List runs, show one with its log."),
    "records": ("records", "List, show, export and explain records; follow their changes."),
    "verify": ("verify", "Compare records with the provider; name what differs, or mend it."),
    "views": ("views", "Make, list and drop SQL views of records."),
    "schedules": ("schedules", "Say when to sync: set, list, pause, resume, remove."),
    "webhooks": ("webhooks", "List endpoints that providers deliver to; make them, try them out."),
    "dead": ("dead", "List what was given up; try it again, or drop it."),
    "limits": ("limits", "Show who uses which limit, and what waits; set one for a time."),
    "alerts": ("alerts", "List what somebody should look at."),
    "audit": ("audit", "Say who asked for what, and what happened."),
    "keys": ("keys", "Show, rotate and check the keys that seal credentials."),
    "tokens": ("tokens", "List, make and revoke the tokens of the HTTP API."),
    "worker": ("worker", "Do the jobs; any number may run, on any machine."),
    "scheduler": ("scheduler", "Ask for runs by schedule; any number may run."),
    "queue": ("queue", "Show what waits for workers; hold it, let it go on."),
    "health": ("health", "Say whether a worker or scheduler of this machine is alive."),
    "serve": ("serve", "Serve the HTTP API; take webhooks in; answer browsers."),
    "sandbox": ("sandbox", "Serve a provider's sandbox on this machine."),
    "db": ("db", "Migrate, check, measure and back up the database; move it."),
    "config": ("config", "Show and check settings, make .env.example."),
    "logs": ("logs", "Read the sync log."),
    "bundle": ("bundle", "Write an archive that says how all is, for who helps."),
    "completion": ("completion", "Print what makes a shell complete commands."),
    "man": ("man", "Print the manual page of all commands."),
    "help": ("help", "Explain an error code."),
    "version": ("version", "Show versions."),
}


_WIDEST = 100


class _Tree(LateGroup):
    def known(self) -> Mapping[str, str]:
        return {name: line for name, (_, line) in _TREE.items()}

    def load(self, name: str) -> click.Command:
        found: click.Command = getattr(
            import_module(f"tieline.cli.commands.{_TREE[name][0]}"), name
        )
        return found


def _go_without_colours(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    """Note it before help is printed, which comes at once."""
    if value:
        ctx.color = False
        os.environ["NO_COLOR"] = "1"


@click.group(
    cls=_Tree,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": _WIDEST},
)
@click.option("--json", "as_json", is_flag=True, help="Print data as JSON, where there is any.")
@click.option("--quiet", "-q", is_flag=True, help="Tell nothing but data and errors.")
@click.option("--verbose", "-v", count=True, help="Log what is done; twice: everything.")
@click.option(
    "--no-color",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_go_without_colours,
    help="No colours (as NO_COLOR and TERM=dumb do).",
)
@click.option("--no-input", is_flag=True, help="Ask nothing (implied without a terminal).")
@click.option("--yes", is_flag=True, help="Say yes where a command would ask.")
def cli(**_: object) -> None:
    """Keep SaaS data in step: connect an account, run a sync, read the records.

    New here? `tieline demo` shows the whole way. Then: `tieline init`,
    `tieline connect stripe --name shop`, `tieline up` in another terminal, and
    `tieline sync run shop customers --wait`.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 needs
    authorisation, 5 the provider refuses for now, 6 conflict, 7 configuration
    or schema wrong, 8 finished with quarantined records or with changes that
    wait for a person, 9 database, Redis or worker away. An error names its
    code: `tieline help CODE` explains it.
    """


def _prepare_streams() -> None:
    """Give closed streams an end, and let odd terminals show what they can."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, PTH123 - it stays open
        elif mode == "w" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _leave(_number: int, _frame: object) -> NoReturn:
    signal.signal(signal.SIGALRM, _leave_all_the_same)
    signal.setitimer(signal.ITIMER_REAL, _SWALLOWED_S, _SWALLOWED_S)
    raise SystemExit(_TERMINATED)


def _leave_all_the_same(_number: int, _frame: object) -> None:
    """Leave once more, unless that is under way: a pool of connections swallows what it meets."""
    error = sys.exception()
    while error is not None:
        if isinstance(error, SystemExit):
            return
        error = error.__context__
    raise SystemExit(_TERMINATED)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with a documented code."""
    given: list[str] = sys.argv[1:] if arguments is None else arguments
    _prepare_streams()
    signal.signal(signal.SIGTERM, _leave)
    wants_json = "--json" in given
    try:
        for word in given:
            word.encode()  # what the terminal sent must be text
        result: Any = cli.main(
            args=given, prog_name="tieline", standalone_mode=False, color=shows_colours()
        )
    except BaseException as error:  # noqa: BLE001 - every way out has its code
        signal.setitimer(signal.ITIMER_REAL, 0)
        from tieline.cli.failures import exit_code_of

        sys.exit(exit_code_of(error, wants_json=wants_json))
    sys.exit(_flushed(result if isinstance(result, int) else 0))


def _flushed(code: int) -> int:
    """Find out before the end whether anybody still reads."""
    try:
        sys.stdout.flush()
    except OSError as error:
        from tieline.cli.failures import exit_code_of

        return exit_code_of(error, wants_json=False)
    return code
