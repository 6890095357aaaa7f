"""Read a secret: from a prompt, stdin or a file, never from an argument."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO

import click

from tieline.cli.habits import can_ask
from tieline.contract import Secret
from tieline.errors import InvalidInputError

__all__ = ["read_pair", "read_secret"]

_LONGEST = 65_536


def read_secret(what: str, *, from_stdin: bool, file: Path | None) -> Secret:
    """Read one secret.

    Args:
        what: What it is, for the prompt.
        from_stdin: It comes on stdin.
        file: It is in this file; None for the prompt.

    Raises:
        InvalidInputError: It cannot be read, is no text, or nobody can be asked.
    """
    text = _read(from_stdin=from_stdin, file=file)
    if text is None:
        text = click.prompt(what, hide_input=True, err=True)
    return Secret(text)


def read_pair(title: str, *, from_stdin: bool, file: Path | None) -> tuple[str, Secret]:
    """Read a user name and a password; on stdin or in a file they are ``user:password``.

    Raises:
        InvalidInputError: As :func:`read_secret`, or there is no colon.
    """
    text = _read(from_stdin=from_stdin, file=file)
    if text is None:
        username = click.prompt(f"{title} user name", err=True)
        return username, Secret(click.prompt(f"{title} password", hide_input=True, err=True))
    username, colon, password = text.strip("\r\n").partition(":")
    if not colon:
        raise InvalidInputError("write it as user:password, in one line", code="key-invalid")
    return username, Secret(password)


def _read(*, from_stdin: bool, file: Path | None) -> str | None:
    if from_stdin and file:
        raise InvalidInputError("--key-stdin and --key-file cannot both be given")
    if from_stdin:
        return _decode(sys.stdin.buffer, "stdin")
    if file:
        try:
            with file.open("rb") as opened:
                return _decode(opened, str(file))
        except OSError as error:
            raise InvalidInputError(
                f"the key file {file} cannot be read: {error.strerror}"
            ) from None
    if not can_ask():
        raise InvalidInputError(
            "there is no terminal to ask for the key",
            hint="pipe it in with --key-stdin, or name a file with --key-file",
            code="interactive-needed",
        )
    return None


def _decode(file: IO[bytes], where: str) -> str:
    try:
        return file.read(_LONGEST).decode()
    except UnicodeDecodeError:
        raise InvalidInputError(f"the key from {where} is no text", code="key-invalid") from None
