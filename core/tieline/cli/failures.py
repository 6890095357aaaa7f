"""From an error to one line and an exit code. The table is docs/reference/exit-codes.md."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import click

from tieline.contract.errors import (
    ANSWER_TOO_SLOW,
    NeedsReauthError,
    PermissionDeniedError,
    RetryLaterError,
    SettingsError,
    TielineError,
)
from tieline.errors import (
    AccessError,
    DependencyError,
    InvalidInputError,
    KeyUnavailableError,
    NotFoundError,
    PluginError,
    RefusedError,
    VaultError,
)
from tieline.telemetry.redact import redact

__all__ = [
    "EXIT_CODES",
    "RUN_EXIT_CODES",
    "code_of",
    "exit_code_of",
    "exit_code_of_runs",
    "run_exit_code",
]

# The first class that fits decides.
EXIT_CODES: tuple[tuple[type[TielineError], int], ...] = (
    (NotFoundError, 3),
    (InvalidInputError, 2),
    (NeedsReauthError, 4),
    (PermissionDeniedError, 4),
    (AccessError, 4),
    (RetryLaterError, 5),
    (RefusedError, 6),
    (KeyUnavailableError, 9),
    (SettingsError, 7),
    (PluginError, 7),
    (VaultError, 7),
    (DependencyError, 9),
    (TielineError, 1),
)
RUN_EXIT_CODES = {
    "succeeded": 0,
    "succeeded_with_quarantine": 8,
    "waiting": 5,
    "retrying": 5,
    "needs_reauth": 4,
}
_FAILED_RUN = {
    NeedsReauthError.code: 4,
    PermissionDeniedError.code: 4,
    "rate-limited": 5,
    "provider-unavailable": 5,
    "retry-later": 5,
    "answer-malformed": 5,
    ANSWER_TOO_SLOW: 5,
    "deletes-held": 6,
    "plugin-broken": 7,
    "seal-broken": 7,
    "key-unavailable": 9,
}


_EXTRA = re.compile(r"(unexpected extra arguments?) \(.*\)")


def run_exit_code(state: str, error_code: str | None) -> int:
    """Say how a command ends that waited for a run."""
    if state in RUN_EXIT_CODES:
        return RUN_EXIT_CODES[state]
    return _FAILED_RUN.get(error_code or "", 1)


def exit_code_of_runs(codes: Sequence[int]) -> int:
    """Say how a command ends that waited for several: as the first that did not end well."""
    return next((code for code in codes if code not in {0, 8}), max(codes, default=0))


def exit_code_of(error: BaseException, *, wants_json: bool) -> int:
    """Tell people what went wrong, on stderr, and return the exit code."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, SystemExit):
        # click turns a reader that went away into SystemExit(1), and nothing else.
        return _nobody_reads() if error.code == 1 else int(error.code or 0)
    if isinstance(error, UnicodeEncodeError) and error.encoding == "utf-8":
        _say("error[usage]: an argument is no text (next: tieline --help)")
        return 2
    if isinstance(error, TielineError):
        return _known(error, wants_json=wants_json)
    if isinstance(error, click.exceptions.NoArgsIsHelpError) and error.ctx:
        click.echo(error.ctx.get_help(), color=error.ctx.color)
        return 2
    if isinstance(error, click.ClickException):
        return _usage(error, wants_json=wants_json)
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        _say("interrupted")
        return 130
    if isinstance(error, BrokenPipeError):
        return _nobody_reads()
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        _nobody_reads()
        _say("error[output]: stdout cannot be written: no space is left")
        return 1
    return _bug(error)


def code_of(error: TielineError) -> int:
    """Say how a command ends that met an error."""
    return next(code for kind, code in EXIT_CODES if isinstance(error, kind))


def _nobody_reads() -> int:
    """Give stdout an end: Python would complain once more when it flushes at exit."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        pass  # it is closed already
    return 141


def _known(error: TielineError, *, wants_json: bool) -> int:
    code = code_of(error)
    message = " ".join(redact(error.message).split())
    hint = " ".join(redact(error.hint).split())
    _say(f"error[{error.slug}]: {message}{f' (next: {hint})' if hint else ''}")
    if wants_json:
        _json(code=error.slug, message=message, hint=hint, exit_code=code)
    return code


def _usage(error: click.ClickException, *, wants_json: bool) -> int:
    # Somebody may have given a key where none is taken.
    message = _EXTRA.sub(r"\1", " ".join(redact(error.format_message()).split()))
    context = getattr(error, "ctx", None)
    if isinstance(context, click.Context) and message.startswith("Missing command"):
        known = getattr(context.command, "commands", {})
        message = f"say what to do: {', '.join(sorted(known))}"
    hint = f"{context.command_path} --help" if context else "tieline --help"
    _say(f"error[usage]: {message} (next: {hint})")
    if wants_json:
        _json(code="usage", message=message, hint=hint, exit_code=2)
    return 2


def _bug(error: BaseException) -> int:
    """Say that it is ours, without locals, arguments or values of the error's text."""
    report = secrets.token_hex(4)
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    _say(
        f"error[bug]: {type(error).__name__} at {place}; this is a fault of Tieline's, report"
        f" {report} (next: run again with TIELINE_LOG_LEVEL=debug and report it)"
    )
    if os.environ.get("TIELINE_LOG_LEVEL", "").lower() == "debug":
        lines = traceback.format_exception(error)
        _say(redact("".join(lines)))
    return 1


def _json(**told: object) -> None:
    try:
        sys.stdout.write(json.dumps({"error": told}) + "\n")
        sys.stdout.flush()
    except (OSError, ValueError):
        _nobody_reads()  # the exit code still tells


def _say(text: str) -> None:
    try:
        sys.stderr.write(text + "\n")
    except (OSError, ValueError):
        pass  # nobody listens any more
