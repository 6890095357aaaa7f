"""For authors of plugins: every check as a test of its own.

``tests/test_contract.py`` of a plugin begins with two lines:

    from tieline.testing import contract_tests

    test_contract = contract_tests("acme", level="silver")

The checks hold a declared signature to what the plugin's own sandbox signs;
:func:`why_refused` holds it to the provider's own example. :func:`client_of` and
:func:`pages_of` call single steps against the sandbox, without a server; against answers that were
recorded of the provider with :func:`read_recording`.

It needs pytest, which no other part of Tieline does.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import cast

import pytest

from tieline.checks import CHECKS, Case, Level, chosen, find_subject, make_check
from tieline.contract import Scheme, Secret
from tieline.errors import NotFoundError
from tieline.inbox.verify import Keys, verify
from tieline.recording import Recording, read_recording
from tieline.testing.direct import Asked, SandboxTransport, client_of, pages_of

__all__ = [
    "Asked",
    "Recording",
    "SandboxTransport",
    "client_of",
    "contract_tests",
    "pages_of",
    "read_recording",
    "why_refused",
]


def contract_tests(
    named: str | Path, *, level: Level = "silver", database_url: str = ""
) -> Callable[[str], None]:
    """Make one test that runs once for every check of a level and those below.

    Args:
        named: The provider of an installed plugin, or the folder of its
            pyproject.toml.
        level: ``bronze``, ``silver`` or ``gold``.
        database_url: A scratch PostgreSQL for hostile data; empty: SQLite alone.

    Returns:
        A parametrised test: a check that fails is a failed test, whose message
        says what is wrong, where and what to do; one that has nothing to look
        at, or has a written exemption, is skipped.

        If no plugin of that name is installed, they fail and say so.
    """
    names = [each.name for each in chosen(level)]

    @pytest.mark.parametrize("check", names)
    def test_contract(check: str) -> None:
        finding = make_check(_case(str(named), database_url), CHECKS[check])
        if finding.state in {"failed", "not made"}:
            pytest.fail(
                f"{finding.what}\n  at {finding.where or '-'}\n  do {finding.do}", pytrace=False
            )
        if finding.state != "passed":
            pytest.skip(finding.what)

    return cast("Callable[[str], None]", test_contract)


def why_refused(
    scheme: Scheme,
    *,
    secret: str,
    headers: Mapping[str, str],
    body: bytes,
    address: str,
    at: float,
) -> str | None:
    """Say why a delivery would be refused for its signature.

    Args:
        scheme: As the plugin declares it, ``Webhooks.scheme``.
        secret: What the provider signs with.
        headers: Of the delivery; names in any case.
        body: As it is sent.
        address: As the provider was told it; for schemes that sign it.
        at: When it arrives, in seconds since 1970.

    Returns:
        None if it is accepted, else a slug such as ``signature-wrong`` or
        ``time-off``.
    """
    keys = Keys(secrets=[Secret(secret)])
    lowered = {name.lower(): text for name, text in headers.items()}
    return verify(scheme, keys, headers=lowered, body=body, address=address, now=at)


@cache
def _case(named: str, database_url: str) -> Case:
    """Open a plugin once per process, and close it at the process's end."""
    try:
        subject = find_subject(named)
    except NotFoundError as error:
        pytest.fail(
            f"{error.message}\n  do install it where the tests run: pip install --editable .",
            pytrace=False,
        )
    case = Case(subject, database_url=database_url)
    case.__enter__()
    atexit.register(case.__exit__)
    return case
