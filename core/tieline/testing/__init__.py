"""For authors of plugins: every check as a test of its own.

``tests/test_contract.py`` of a plugin is two lines:

    from tieline.testing import contract_tests

    test_contract = contract_tests("acme", level="silver")

It needs pytest, which no other part of Tieline does.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import cast

import pytest

from tieline.checks import CHECKS, Case, Level, chosen, find_subject, make_check

__all__ = ["contract_tests"]


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

    Raises:
        NotFoundError: While tests run: no plugin of that name is installed.
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


@cache
def _case(named: str, database_url: str) -> Case:
    """Open a plugin once per process, and close it at the process's end."""
    case = Case(find_subject(named), database_url=database_url)
    case.__enter__()
    atexit.register(case.__exit__)
    return case
