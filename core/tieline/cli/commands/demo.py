"""``tieline demo``."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson

from tieline import services
from tieline.cli.choices import FAULTS
from tieline.cli.commands.runs import run_facts
from tieline.cli.commands.sync import follow
from tieline.cli.face import json_option, note, print_json, print_table
from tieline.cli.failures import run_exit_code
from tieline.cli.pairs import pairs_of
from tieline.telemetry import configure_logging

if TYPE_CHECKING:
    from tieline.services.demo import DemoResult
    from tieline.settings import Settings

__all__ = ["demo"]

_PATIENCE_S = 30.0


@click.group(invoke_without_command=True)
@click.option(
    "--customers",
    default=5200,
    show_default=True,
    type=click.IntRange(1, 1_000_000),
    help="How many customers the sandbox has.",
)
@json_option
@click.pass_context
def demo(ctx: click.Context, customers: int, as_json: bool) -> None:
    """Sync thousands of customers from a Stripe sandbox, and show it.

    Starts a sandbox that behaves as Stripe does, an embedded Valkey and a
    worker; connects an account, runs a sync through the queue, shows what
    stands in the database, and stops all it started. The data stays to be
    looked at, in `.tieline-demo` here, or in `demo` under TIELINE_HOME. No
    account, no network, no container.

    With a command, a sandbox that goes on in the background, to connect to and
    to break: `tieline demo start`.
    """
    if ctx.invoked_subcommand is None:
        _show_all(ctx, customers, as_json=as_json)


def _show_all(ctx: click.Context, customers: int, *, as_json: bool) -> None:
    configure_logging("warning", "text")
    began = time.monotonic()
    home = services.demo.prepare_home(_home())
    result = services.demo.Demo(home, customers=customers).run(
        say=(lambda _: None) if as_json else (lambda line: note(f"  {line}")),
        follow=lambda opened, run: follow(
            opened, run, patience_s=_PATIENCE_S, total=customers, is_quiet=as_json
        ),
    )
    seconds = round(time.monotonic() - began, 2)
    if as_json:
        print_json(_facts(result, customers, seconds))
    else:
        _show(result, seconds)
    ctx.exit(run_exit_code(result.run.state, result.run.error_code))


@demo.command()
@click.argument("provider", default="")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port to bind; 0: a free one. The one it had last time, unless said.",
)
@click.option(
    "--set",
    "given",
    metavar="NAME=VALUE",
    multiple=True,
    help="An option of `tieline sandbox serve PROVIDER`, such as customers=200.",
)
@json_option
def start(provider: str, port: int | None, given: tuple[str, ...], as_json: bool) -> None:
    """Start a sandbox that goes on in the background, with 5,000 customers.

    It behaves as PROVIDER does: Stripe, unless another is named. `tieline
    connect PROVIDER --sandbox` connects to it, `tieline demo break` has it go
    wrong, `tieline demo stop` ends it. What it holds is made anew each time,
    and the same each time.
    """
    started = services.demo_sandbox.start_sandbox(
        _settings().home,
        provider or services.demo.SHOWN,
        port=port,
        options=pairs_of(given),
    )
    found = started.sandbox
    if as_json:
        print_json({"sandbox": asdict(found), "is_new": started.is_new})
        return
    note(f"  {'started' if started.is_new else 'runs':<9} {found.provider} sandbox at {found.url}")
    if started.auth == "oauth2":
        prefix = f"TIELINE_{found.provider.upper()}"
        note(f"  first     set {prefix}_CLIENT_ID and {prefix}_CLIENT_SECRET to its own:")
        note(f"            tieline sandbox serve {found.provider} --help")
    note(f"  next      tieline connect {found.provider} --sandbox --name shop")


@demo.command()
@json_option
def stop(as_json: bool) -> None:
    """Stop the sandbox that `tieline demo start` started."""
    was_running = services.demo_sandbox.stop_sandbox(_settings().home)
    if as_json:
        print_json({"stopped": was_running})
    else:
        note("  stopped" if was_running else "  nothing was running")


@demo.command("break")
@click.argument("fault", type=click.Choice(FAULTS))
@click.option(
    "--times",
    type=click.IntRange(0, 1_000_000),
    help="How many requests in a row; 0: all. Throttle: 3 unless said, others: all.",
)
@json_option
def break_(fault: str, times: int | None, as_json: bool) -> None:
    """Have the sandbox go wrong, to see what becomes of it.

    throttle: refused for the rate, with a time to come again. slow: answers
    take seconds. down: 503. cut: connections are closed. garbage: HTML in place
    of JSON. denied: the credential lacks a right. revoked: it was taken back.
    One at a time; `tieline demo mend` ends it.
    """
    broken = services.demo_sandbox.break_sandbox(_settings().home, fault, times=times)
    if as_json:
        print_json({"fault": broken.fault, "times": broken.times})
        return
    many = f"the next {broken.times} requests" if broken.times else "until: tieline demo mend"
    note(f"  broken    {fault}: {services.demo_sandbox.FAULTS[fault]} ({many})")


@demo.command()
@json_option
def mend(as_json: bool) -> None:
    """Have the sandbox answer as it should again.

    Tokens that were taken back stay so: connect the account again.
    """
    services.demo_sandbox.mend_sandbox(_settings().home)
    if as_json:
        print_json({"mended": True})
    else:
        note("  mended")


def _settings() -> Settings:
    from tieline.settings import load_settings

    return load_settings()


def _home() -> Path:
    from tieline.settings import PREFIX

    is_chosen = f"{PREFIX}HOME" in os.environ
    return _settings().home / "demo" if is_chosen else Path.cwd() / ".tieline-demo"


def _facts(result: DemoResult, customers: int, seconds: float) -> dict[str, object]:
    return {
        "run": run_facts(result.run),
        "customers": customers,
        "records": result.live,
        "home": str(result.home),
        "database": result.database,
        "redis": result.redis,
        "worker": result.worker,
        "sandbox": result.server,
        "sample": [
            {"id": record.record_id, "payload": orjson.Fragment(record.payload)}
            for record in result.sample
        ],
        "log": result.log,
        "seconds": seconds,
    }


def _show(result: DemoResult, seconds: float) -> None:
    run = run_facts(result.run)
    counts = run["counts"]
    print_table(
        ("WHAT", "FIGURE"),
        [
            ("run", f"{run['id']} {run['state']}, {run['mode']}"),
            ("records", f"{result.live:,} in the database"),
            ("seen", f"{counts['seen']:,} in {run['requests']} requests"),
            ("created", f"{counts['created']:,}"),
            ("updated", f"{counts['updated']:,}"),
            ("quarantined", f"{counts['quarantined']:,}"),
            ("sync", f"{run['seconds']:.1f} s by worker {result.worker}"),
            ("in all", f"{seconds:.1f} s"),
            ("database", result.database),
        ],
    )
    print_table(
        ("RECORD", "NAME", "EMAIL"),
        [
            (record.record_id, payload.get("name"), payload.get("email"))
            for record in result.sample
            for payload in [orjson.loads(record.payload)]
        ],
    )
    print_table(("AUDIT TRAIL", "WHO"), [(entry["event"], entry["actor"]) for entry in result.log])
    note(f"  look       TIELINE_HOME={result.home} ./tie records list shop customers")
    note("  stopped    worker, sandbox and Valkey; nothing is left running")
