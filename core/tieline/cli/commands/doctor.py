"""``tieline doctor``."""

from __future__ import annotations

import sys
from collections import Counter

import rich_click as click

from tieline.cli.face import installation, json_option, print_json
from tieline.services.doctor import examine
from tieline.telemetry import redact

__all__ = ["doctor"]


@click.command()
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check settings, database, keys, Redis, plugins, connections and workers.

    Exit 7 if anything fails; warnings alone exit 0.
    """
    with installation() as opened:
        findings = examine(opened)
    levels = Counter(finding.level for finding in findings)
    if as_json:
        print_json(
            {
                "findings": [
                    {
                        "subject": finding.subject,
                        "level": finding.level,
                        "message": finding.message,
                        "fix": finding.fix,
                    }
                    for finding in findings
                ],
                "ok": levels["ok"],
                "warnings": levels["warn"],
                "failures": levels["fail"],
            }
        )
    else:
        for finding in findings:
            word = "FAIL" if finding.level == "fail" else finding.level
            sys.stdout.write(f"  {word:<5} {finding.subject:<12}{redact(finding.message)}\n")
            if finding.fix:
                sys.stdout.write(f"        {'fix':<12}{redact(finding.fix)}\n")
        sys.stdout.write(
            f"  {levels['ok']} ok, {levels['warn']} warnings, {levels['fail']} failures\n"
        )
    ctx.exit(7 if levels["fail"] else 0)
