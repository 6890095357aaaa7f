"""``tieline doctor``."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence

import click

from tieline import services
from tieline.cli.face import installation, json_option, note, print_json
from tieline.contract import SettingsError
from tieline.telemetry import redact

__all__ = ["doctor"]

_COUNTED = (("ok", "ok", "ok"), ("warn", "warning", "warnings"), ("fail", "failure", "failures"))


@click.command()
@click.option("--fix", "is_fixing", is_flag=True, help="Do what is safe about it, then look again.")
@json_option
@click.pass_context
def doctor(ctx: click.Context, is_fixing: bool, as_json: bool) -> None:
    """Check settings, database, keys, Redis, plugins, connections, webhooks and workers.

    Each trouble comes with its cause and a command; `tieline help CODE` has
    more. --fix changes no record, no credential, and nothing at a provider.
    Exit 7 if anything fails; warnings alone exit 0.
    """
    findings, done = _look(is_fixing=is_fixing)
    levels: Counter[str] = Counter(finding.level for finding in findings)
    if as_json:
        print_json(
            {
                "findings": [_facts(finding) for finding in findings],
                "fixed": done,
                "ok": levels["ok"],
                "warnings": levels["warn"],
                "failures": levels["fail"],
            }
        )
    else:
        for line in done:
            note(f"  fixed {redact(line)}")
        _print(findings)
        counts = [
            f"{levels[level]} {one if levels[level] == 1 else many}"
            for level, one, many in _COUNTED
        ]
        sys.stdout.write(f"  {', '.join(counts)}\n")
    ctx.exit(7 if levels["fail"] else 0)


def _look(*, is_fixing: bool) -> tuple[list[services.doctor.Finding], list[str]]:
    """Look, and look again after what could be mended was."""
    try:
        with installation() as opened:
            findings = services.doctor.examine(opened)
            done = services.doctor.repair(findings) if is_fixing else []
        if done:  # what was opened before may not see what was mended
            with installation() as opened:
                findings = services.doctor.examine(opened)
    except SettingsError as error:  # no setting can be read, so there is nothing else to look at
        return [services.doctor.Finding.of("config", error)], []
    return findings, done


def _facts(finding: services.doctor.Finding) -> dict[str, object]:
    return {
        "subject": finding.subject,
        "level": finding.level,
        "code": finding.code or None,
        "message": redact(finding.message),
        "fix": redact(finding.fix),
        "is_fixable": finding.repair is not None,
    }


def _print(findings: Sequence[services.doctor.Finding]) -> None:
    for finding in findings:
        word = "FAIL" if finding.level == "fail" else finding.level
        code = f" [{finding.code}]" if finding.code else ""
        sys.stdout.write(f"  {word:<5} {finding.subject:<12}{redact(finding.message)}{code}\n")
        if finding.fix:
            sys.stdout.write(f"        {'fix':<12}{redact(finding.fix)}\n")
