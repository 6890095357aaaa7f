"""What people are told when something needs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal

__all__ = ["Alert", "Severity"]

Severity = Literal["warning", "error"]
"""How bad it is: it will be if nobody looks, or it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    """One crossing from all is well to somebody should look.

    As long as it is open the same ``kind`` and ``subject`` make no other one.

    Attributes:
        id: Ours, such as ``alr_4k2m…``; the same at every attempt to tell.
        kind: What it is about, such as ``needs-reauth`` or ``limit-near``.
            Further kinds come with later versions: pass over what you do not
            know.
        severity: ``warning`` or ``error``.
        subject: Which one of its kind: a connection's id, a run's, a limit.
        message: One sentence, without secrets.
        hint: What to do, as a command where there is one; may be empty.
        since: When it began, aware UTC.
        provider: Name of the provider; empty if it is about none.
        connection: The connection's name; empty if it is about none.
        connection_id: Its id; empty likewise.
        facts: Numbers and ids for software, as JSON has them; their keys
            depend on the kind.
    """

    id: str
    kind: str
    severity: Severity
    subject: str
    message: str
    since: datetime
    hint: str = ""
    provider: str = ""
    connection: str = ""
    connection_id: str = ""
    facts: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
