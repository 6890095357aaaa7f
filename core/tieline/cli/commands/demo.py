"""``tieline demo``."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson

from tieline import services
from tieline.cli.commands.runs import run_facts
from tieline.cli.commands.sync import follow
from tieline.cli.face import json_option, note, print_json, print_table
from tieline.cli.failures import run_exit_code
from tieline.telemetry import configure_logging

if TYPE_CHECKING:
    from tieline.services.demo import DemoResult

__all__ = ["demo"]

_PATIENCE_S = 30.0


@click.command()
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
    """
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


def _home() -> Path:
    from tieline.settings import PREFIX, load_settings

    is_chosen = f"{PREFIX}HOME" in os.environ
    return load_settings().home / "demo" if is_chosen else Path.cwd() / ".tieline-demo"


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
