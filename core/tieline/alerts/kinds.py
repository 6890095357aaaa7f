"""What people are alerted to. The table is in docs/how-to/be-alerted.md."""

from __future__ import annotations

from dataclasses import dataclass

from tieline.contract import Severity

__all__ = ["KINDS", "Kind"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of crossing.

    Attributes:
        severity: How bad it is.
        is_once: A subject of it crosses once and never again: a run dies once.
    """

    severity: Severity
    is_once: bool = False


KINDS = {
    "limit-near": Kind("warning"),
    "limit-refused": Kind("error"),
    "breaker-open": Kind("error"),
    "needs-reauth": Kind("error"),
    "consent-ends": Kind("warning"),
    "run-dead": Kind("error", is_once=True),
    "quarantine-share": Kind("error"),
    "operations-wait": Kind("warning"),
    "events-dead": Kind("error"),
    "webhooks-silent": Kind("warning"),
}
"""Name to kind. Subjects: a limit's name; the id of a connection, run, dead letter or endpoint;
``connection/entity``."""
