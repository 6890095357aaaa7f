"""Make the checks of a plugin, one after the other, and say which level it earns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tieline.checks.bound import bounded
from tieline.checks.case import Case
from tieline.checks.kinds import (
    CHECKS,
    LEVELS,
    Check,
    DoesNotApplyError,
    Finding,
    Level,
    WrongError,
    levels_up_to,
)
from tieline.checks.site import EndlessError
from tieline.checks.subject import Subject
from tieline.errors import InvalidInputError, nearest
from tieline.failpoints import set_failpoints
from tieline.services.sandbox_guide import SandboxError

__all__ = ["Report", "check_plugin", "chosen", "make_check"]

_IMPORTS = "import-is-quiet"
_LOADS = "it-loads"
_CONNECTS = "account-is-named"
_SANDBOX = "sandbox-has-it-all"
_LONGEST_S = 300.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What the checks of a plugin came to.

    Attributes:
        name: The provider's name.
        findings: In the order in which they were made.
        published: The level that the plugin shows; empty for none.
    """

    name: str
    findings: Sequence[Finding]
    published: str

    @property
    def failed(self) -> list[Finding]:
        """What failed and is not exempt."""
        return [each for each in self.findings if each.state == "failed"]

    @property
    def is_wanting(self) -> bool:
        """Whether a check failed, or could not be made."""
        return any(each.state in {"failed", "not made"} for each in self.findings)

    @property
    def earned(self) -> Level | None:
        """The highest level all of whose checks, and of those below, were made and did not fail."""
        made = {each.check.name: each.state for each in self.findings}
        best: Level | None = None
        for level in LEVELS:
            asked = [each.name for each in CHECKS.values() if each.level == level]
            if any(made.get(name, "not made") in {"failed", "not made"} for name in asked):
                break
            best = level
        return best

    @property
    def is_overstated(self) -> bool:
        """Whether less is earned than the level that is shown, or than bronze without one."""
        shown = self.published or LEVELS[0]
        earned = -1 if self.earned is None else LEVELS.index(self.earned)
        return shown not in LEVELS or LEVELS.index(shown) > earned

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "plugin": self.name,
            "level": self.earned,
            "published": self.published or None,
            "checks": [each.as_dict() for each in self.findings],
        }


def chosen(level: Level | None = None, only: Iterable[str] = ()) -> list[Check]:
    """Return the checks of a level and those below, or some by name.

    Raises:
        InvalidInputError: There is no check of that name.
    """
    names = list(only)
    for name in names:
        if name not in CHECKS:
            raise InvalidInputError(f"there is no check {name!r}", hint=nearest(name, CHECKS))
    asked = levels_up_to(level)
    return [
        each for each in CHECKS.values() if (each.name in names if names else each.level in asked)
    ]


def check_plugin(
    subject: Subject,
    *,
    level: Level | None = None,
    only: Iterable[str] = (),
    database_url: str = "",
    on_finding: Callable[[Finding], None] = lambda _finding: None,
) -> Report:
    """Make the checks of a plugin.

    Nothing is called but the plugin's own sandbox, on this machine; nothing is
    stored but in folders that are removed afterwards.

    Args:
        subject: As :func:`~tieline.checks.subject.find_subject` found it.
        level: Only those of this level and below; None: all.
        only: Only these, by name; empty: all of the level.
        database_url: A second, empty database for hostile data; empty: none.
        on_finding: Called after each check.

    Raises:
        InvalidInputError: There is no check of that name.
    """
    findings: list[Finding] = []
    with Case(subject, database_url=database_url) as case:
        for each in chosen(level, only):
            finding = make_check(case, each)
            findings.append(finding)
            on_finding(finding)
    return Report(name=subject.name, findings=findings, published=subject.published)


def make_check(case: Case, check: Check) -> Finding:
    """Make one check; whatever it meets is a finding."""
    began = time.monotonic()
    finding = _made(case, check)
    reason = case.subject.exemptions.get(check.name)
    if finding.state == "failed" and reason and check.name != "exemptions-have-reasons":
        finding = replace(finding, state="exempt", what=f"{reason} ({finding.what})", do="")
    return replace(finding, seconds=time.monotonic() - began)


def _made(case: Case, check: Check) -> Finding:
    try:
        if missing := _missing(case, check):
            return Finding(check=check, state="not made", what=f"{missing} has to pass first")
        with bounded(_LONGEST_S):
            check.run(case)
    except DoesNotApplyError as reason:
        return Finding(check=check, state="not applicable", what=str(reason))
    except EndlessError as wrong:
        case.endless = check.name
        where = case.place(case.plugin.entity(wrong.entity))
        return Finding(check=check, state="failed", what=wrong.what, where=where, do=wrong.do)
    except WrongError as wrong:
        return Finding(
            check=check, state="failed", what=wrong.what, where=wrong.where, do=wrong.do or check.do
        )
    except SandboxError as wrong:
        return Finding(check=check, state="failed", what=wrong.message, do=check.do)
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:  # noqa: BLE001 - a plugin may raise anything
        where = case.subject.place_in(error)
        return Finding(
            check=check,
            state="failed",
            what=f"it raised {type(error).__name__}: {error}",
            where=where,
            do=check.do,
        )
    finally:
        set_failpoints("")
    return Finding(check=check, state="passed")


def _missing(case: Case, check: Check) -> str:
    """Say which earlier check has to pass before this one can be made."""
    is_imported = check.needs in {"plugin", "sandbox"} or check.name == _LOADS
    if is_imported and case.has_probed and case.probed.error:
        return _IMPORTS  # it may end or hold up this process, too
    if check.needs in {"plugin", "sandbox"}:
        try:
            _ = case.plugin
        except Exception:  # noqa: BLE001 - its own check says what it is
            return _LOADS
    if check.needs == "sandbox" and check.name != _SANDBOX:
        try:
            _ = case.guide
        except (WrongError, SandboxError):
            return _SANDBOX
    if check.needs == "sandbox" and case.is_shut and check.name != _CONNECTS:
        return _CONNECTS
    if check.needs == "sandbox" and case.endless not in {"", check.name}:
        return case.endless  # each of them would be read without end
    return ""
