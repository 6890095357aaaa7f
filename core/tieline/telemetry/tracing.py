"""Spans: what took how long, and within what. Off unless asked for, and then they cost nothing.

OpenTelemetry is an extra: :mod:`tieline.telemetry.spans`, its home, is imported
where spans are asked for and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, Protocol

from tieline.contract import SettingsError

# ruff: noqa: PLC0415 - see above

__all__ = [
    "Seen",
    "flush_traces",
    "span",
    "start_tracing",
    "stop_tracing",
    "trace_ids",
    "traceparent",
]

Kind = Literal["internal", "client", "server"]
Attribute = str | int | float | bool | None


class Seen(Protocol):
    """A span that is open."""

    def note(self, **attributes: Attribute) -> None:
        """Add what is known by now; see :func:`span`."""
        ...

    def failed(self, error: BaseException) -> None:
        """Mark it as failed, by the error's code: words may quote anything, and are left out."""
        ...


class _Unseen:
    """What stands for a span where nobody asked for any."""

    def note(self, **_attributes: Attribute) -> None:
        pass

    def failed(self, _error: BaseException) -> None:
        pass


_OFF: AbstractContextManager[Seen] = nullcontext(_Unseen())
_spans: Any = None


def span(
    name: str, *, kind: Kind = "internal", parent: str = "", **attributes: Attribute
) -> AbstractContextManager[Seen]:
    """Open a span for what is done in this context.

    What an ``Exception`` ends counts as failed; a signal of ours (``StopRequested``,
    ``LeaseLost``) is noted, and is no failure.

    Args:
        name: Of a kind of work, never of one piece of it.
        kind: ``client`` for a call to somebody else, ``server`` for one that came in.
        parent: A ``traceparent`` from another process; empty, or not one: the span
            that is open in this context, if there is one.
        attributes: Ids, names, counts and codes; nothing that a provider or a person
            wrote. None is left out.
    """
    if _spans is None:
        return _OFF
    opened: AbstractContextManager[Seen] = _spans.open_span(name, kind, parent, attributes)
    return opened


def start_tracing(*, is_on: bool, new_exporter: Callable[[], Any] | None = None) -> None:
    """Have spans made in this process and in its forks, if they are asked for.

    Nothing is started yet: a process that forks others has no thread, and makes none
    until its first span.

    Args:
        is_on: Whether they are asked for.
        new_exporter: Makes what takes the spans of one process; None: one that sends
            OTLP over HTTP, as the variables ``OTEL_EXPORTER_OTLP_*`` say.

    Raises:
        SettingsError: OpenTelemetry is not installed.
    """
    global _spans  # noqa: PLW0603 - one per process, like the root logger
    if not is_on:
        return
    try:
        from tieline.telemetry import spans
    except ImportError:
        raise SettingsError(
            "TIELINE_TRACING is set, and OpenTelemetry is not installed",
            hint="pip install 'tieline[opentelemetry]'",
        ) from None
    spans.begin(new_exporter)
    _spans = spans


def flush_traces(within_s: float = 1.0) -> None:
    """Send what is left, before a process leaves; a collector that is away holds nobody up."""
    if _spans is not None:
        _spans.flush(within_s)


def stop_tracing() -> None:
    """Send what is left, and make no more spans."""
    global _spans  # noqa: PLW0603 - see above
    if _spans is not None:
        _spans.end()
        _spans = None


def traceparent() -> str:
    """Name the span that is open here to another process, after W3C Trace Context; or empty."""
    told: str = "" if _spans is None else _spans.traceparent()
    return told


def trace_ids() -> dict[str, str]:
    """Return ``trace_id`` and ``span_id`` of the span that is open here; empty if none is."""
    found: dict[str, str] = {} if _spans is None else _spans.ids()
    return found
