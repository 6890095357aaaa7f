"""What a span is made of; the home of OpenTelemetry, imported where spans are asked for.

The tracer is our own and no global one: what a plugin's SDK may tell
OpenTelemetry by itself, with addresses and bodies, is not sent.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tieline import __version__
from tieline.contract import TielineError
from tieline.telemetry.redact import redact, remember

__all__ = ["begin", "end", "flush", "ids", "open_span", "traceparent"]

_KINDS = {
    "internal": trace.SpanKind.INTERNAL,
    "client": trace.SpanKind.CLIENT,
    "server": trace.SpanKind.SERVER,
}
# What OpenTelemetry's semantic conventions have a name for; all else is ours.
_CONVENTIONS = {
    "error": "error.type",
    "host": "server.address",
    "method": "http.request.method",
    "status": "http.response.status_code",
}
_HEADERS = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
# From which status on it failed, by the conventions: to a server the caller is at fault before.
_FAILED_FROM = {"client": 400, "server": 500}
_LEAVE_S = 1.0
_context = TraceContextTextMapPropagator()


@dataclass(slots=True)
class _Process:
    """What belongs to one process: an exporter has a thread, which no fork inherits."""

    new_exporter: Callable[[], SpanExporter] = OTLPSpanExporter
    lock: threading.Lock = field(default_factory=threading.Lock)
    provider: TracerProvider | None = None

    def tracer(self) -> trace.Tracer:
        """Return the tracer of this process, made with its first span."""
        with self.lock:
            if self.provider is None:
                # Our own goodbye is bounded: theirs waits for as long as a collector is away.
                self.provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
                self.provider.add_span_processor(BatchSpanProcessor(self.new_exporter()))
            return self.provider.get_tracer("tieline", __version__)


_process = _Process()


def begin(new_exporter: Callable[[], SpanExporter] | None) -> None:
    """Make spans from now on, with an exporter of each process's own."""
    global _process  # noqa: PLW0603 - one per process
    for name in _HEADERS:
        for pair in os.environ.get(name, "").split(","):
            secret = pair.partition("=")[2].strip()
            remember(secret)
            remember(unquote(secret))
    for name in _ENDPOINTS:
        remember(urlsplit(os.environ.get(name, "")).password or "")
    _process = _Process(new_exporter=new_exporter or OTLPSpanExporter)


def _begin_in_child() -> None:
    """Let a fork have its own: locks may be held, and threads are gone."""
    global _process  # noqa: PLW0603 - one per process
    _process = _Process(new_exporter=_process.new_exporter)


os.register_at_fork(after_in_child=_begin_in_child)


def flush(within_s: float) -> None:
    """Send what is left; wait for no longer than some seconds, which the SDK does not promise."""
    if (provider := _process.provider) is None:
        return
    sending = threading.Thread(target=provider.force_flush, name="flush", daemon=True)
    sending.start()
    sending.join(within_s)


def end() -> None:
    """Send what is left, and let go of the exporter; as bounded as :func:`flush`."""
    if (provider := _process.provider) is not None:
        _process.provider = None
        leaving = threading.Thread(target=provider.shutdown, name="flush", daemon=True)
        leaving.start()
        leaving.join(_LEAVE_S)


@contextmanager
def open_span(name: str, kind: str, parent: str, attributes: Mapping[str, Any]) -> Iterator[_Seen]:
    """Open a span; see :func:`tieline.telemetry.span`."""
    with _process.tracer().start_as_current_span(
        name,
        context=_parent(parent),
        kind=_KINDS[kind],
        record_exception=False,  # its words and its traceback may quote anything
        set_status_on_exception=False,
    ) as opened:
        seen = _Seen(opened, failed_from=_FAILED_FROM.get(kind))
        seen.note(**attributes)
        try:
            yield seen
        except Exception as error:
            seen.failed(error)
            raise
        except BaseException as signal:
            seen.note(ended_by=type(signal).__name__)
            raise


class _Seen:
    """An open span.

    Args:
        opened: OpenTelemetry's.
        failed_from: The least HTTP status that says it failed; None: no status does.
    """

    def __init__(self, opened: trace.Span, *, failed_from: int | None) -> None:
        self._opened = opened
        self._failed_from = failed_from

    def note(self, **attributes: Any) -> None:
        for name, value in attributes.items():
            if value is not None:
                shown = redact(value) if isinstance(value, str) else value
                self._opened.set_attribute(_CONVENTIONS.get(name, f"tieline.{name}"), shown)

        status, least = attributes.get("status"), self._failed_from
        if isinstance(status, int) and least is not None and status >= least:
            self._fail(str(status))

    def failed(self, error: BaseException) -> None:
        self._fail(error.slug if isinstance(error, TielineError) else type(error).__name__)

    def _fail(self, code: str) -> None:
        self.note(error=code)
        self._opened.set_status(trace.StatusCode.ERROR)


def traceparent() -> str:
    """Name the open span, after W3C Trace Context; empty if there is none."""
    carrier: dict[str, str] = {}
    _context.inject(carrier)
    return carrier.get("traceparent", "")


def ids() -> dict[str, str]:
    """Return the ids of the open span, as they are shown elsewhere; empty if there is none."""
    found = trace.get_current_span().get_span_context()
    if not found.is_valid:
        return {}
    return {
        "trace_id": trace.format_trace_id(found.trace_id),
        "span_id": trace.format_span_id(found.span_id),
    }


def _parent(told: str) -> Context | None:
    """Return the context that another process told of; None: this one's own."""
    return _context.extract({"traceparent": told}) if told else None


def _resource() -> Resource:
    """Say who sends. ``OTEL_SERVICE_NAME`` and ``OTEL_RESOURCE_ATTRIBUTES`` go before us."""
    ours: dict[str, Any] = {
        "service.name": "tieline",
        "service.version": __version__,
        "process.pid": os.getpid(),
    }
    return Resource.create().merge(Resource(ours)).merge(OTELResourceDetector().detect())
