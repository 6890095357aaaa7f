"""The one way to a provider: bounded, timed, redacted, without redirects."""

from __future__ import annotations

import ssl
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Protocol
from urllib.parse import urlsplit

import httpcore
import httpx

from tieline.contract import ProviderUnavailableError, Reply, RequestRejectedError
from tieline.telemetry import get_logger
from tieline.transport.sockets import DeadlineBackend, deadline

__all__ = ["Call", "Gate", "HttpTransport", "Limits"]

_log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one call may cost.

    Attributes:
        deadline_s: Seconds in all, from the first byte sent to the last read.
        body_bytes: Size of the answer after decompression.
        connections: Sockets held open at once.
    """

    deadline_s: float = 30.0
    body_bytes: int = 32_000_000
    connections: int = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One request as the gates see it.

    Attributes:
        connection_id: Whose call it is.
        method: ``GET``, ``POST``, …
        host: Where it goes.
        path: Without its query.
    """

    connection_id: str
    method: str
    host: str
    path: str


class Gate(Protocol):
    """What a call must pass before it is sent: a throttle, a breaker."""

    def passing(self, call: Call) -> AbstractContextManager[None]:
        """Wait for a turn; hold it while the call is under way.

        Raises:
            RateLimitedError: There is no room in time.
            ProviderUnavailableError: The breaker is open.
        """
        ...

    def saw(self, call: Call, reply: Reply | None) -> None:
        """Learn from an answer; None if there was none."""
        ...


class HttpTransport:
    """Sends the requests of one connection. Threads may share it.

    Args:
        connection_id: Whose requests they are.
        origins: Scheme, host and port of every address that may be called.
        limits: What one call may cost.
        gates: What every call must pass, outermost first.
        allows_private: Whether addresses inside this network may be called.
    """

    def __init__(
        self,
        *,
        connection_id: str,
        origins: Iterable[str],
        limits: Limits | None = None,
        gates: Sequence[Gate] = (),
        allows_private: bool = False,
    ) -> None:
        self._connection_id = connection_id
        self._origins = frozenset(_origin(url) for url in origins)
        self._limits = limits or Limits()
        self._gates = gates
        self.calls = 0
        self._client = httpx.Client(
            transport=_HttpCore(self._limits, allows_private=allows_private),
            trust_env=False,
            follow_redirects=False,
        )

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes | None = None,
    ) -> Reply:
        """Send one request; see :class:`tieline.contract.Transport`."""
        parts = urlsplit(url)
        if _origin(url) not in self._origins:
            raise RequestRejectedError(
                f"a call to {parts.hostname} was stopped: it is none of the provider's addresses",
                code="address-refused",
            )
        call = Call(
            connection_id=self._connection_id,
            method=method.upper(),
            host=parts.hostname or "",
            path=parts.path,
        )
        return self._pass(call, url, dict(headers), content)

    def close(self) -> None:
        """Close all sockets."""
        self._client.close()

    def _pass(self, call: Call, url: str, headers: dict[str, str], content: bytes | None) -> Reply:
        with _all_passing(self._gates, call):
            reply: Reply | None = None
            try:
                reply = self._exchange(call, url, headers, content)
            finally:
                for gate in self._gates:
                    gate.saw(call, reply)
        if 300 <= reply.status < 400:
            target = urlsplit(reply.headers.get("location", "")).hostname or "nowhere"
            raise RequestRejectedError(
                f"{call.host} redirects to {target}; redirects are not followed",
                hint="check the connection's base address",
                code="redirect-refused",
            )
        return reply

    def _exchange(
        self, call: Call, url: str, headers: dict[str, str], content: bytes | None
    ) -> Reply:
        headers |= {"Accept-Encoding": "gzip"}
        began = time.monotonic()
        self.calls += 1
        try:
            with (
                deadline(self._limits.deadline_s),
                self._client.stream(call.method, url, headers=headers, content=content) as answer,
            ):
                body = _read(answer, self._limits.body_bytes)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            seconds = time.monotonic() - began
            _log.info("call", **_described(call), error=type(error).__name__, seconds=seconds)
            raise ProviderUnavailableError(
                f"{call.host} gave no answer: {_words(error)}", hint="tieline doctor"
            ) from None
        seconds = time.monotonic() - began
        _log.debug("call", **_described(call), status=answer.status_code, seconds=seconds)
        names = {name.lower(): text for name, text in answer.headers.items()}
        return Reply(status=answer.status_code, headers=names, content=body, seconds=seconds)


def _all_passing(gates: Sequence[Gate], call: Call) -> AbstractContextManager[object]:
    if not gates:
        return nullcontext()
    stack = ExitStack()
    for gate in gates:
        stack.enter_context(gate.passing(call))
    return stack


def _read(answer: httpx.Response, cap: int) -> bytes:
    """Read a body to its end, decompressing no more than the cap allows."""
    encoding = answer.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"gzip", "x-gzip", "identity", ""}:
        raise httpx.DecodingError(f"the answer is encoded as {encoding[:20]!r}")
    chunks = answer.iter_raw(65_536)
    parts = []
    size = 0
    for part in chunks if encoding in {"identity", ""} else _gunzip(chunks, cap):
        size += len(part)
        if size > cap:
            raise httpx.DecodingError(f"the answer is larger than {cap:,} bytes")
        parts.append(part)
    return b"".join(parts)


def _gunzip(chunks: Iterator[bytes], cap: int) -> Iterator[bytes]:
    stream = zlib.decompressobj(wbits=31)
    try:
        for chunk in chunks:
            yield stream.decompress(chunk, cap + 1)
            if stream.unconsumed_tail:
                raise httpx.DecodingError(f"the answer is larger than {cap:,} bytes")
        yield stream.flush()
    except zlib.error:
        raise httpx.DecodingError("the answer's gzip is broken") from None
    if not stream.eof:
        raise httpx.DecodingError("the answer's gzip is cut off")


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return parts.scheme, (parts.hostname or "").lower(), port


def _described(call: Call) -> dict[str, str]:
    return {"method": call.method, "host": call.host, "path": call.path}


def _words(error: Exception) -> str:
    return str(error)[:200] or type(error).__name__


@cache
def _trusted() -> ssl.SSLContext:
    """Load the certificates once: it takes 25 ms, and a run needs a transport of its own."""
    return httpx.create_ssl_context(trust_env=False)


class _HttpCore(httpx.BaseTransport):
    """httpx on our own sockets, which ``httpx.HTTPTransport`` does not let in."""

    def __init__(self, limits: Limits, *, allows_private: bool) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=_trusted(),
            max_connections=limits.connections,
            max_keepalive_connections=limits.connections,
            keepalive_expiry=20.0,
            network_backend=DeadlineBackend(allows_private=allows_private),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.SyncByteStream)
        core = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.stream,
        )
        with _translated():
            answer = self._pool.handle_request(core)
        assert isinstance(answer.stream, Iterable)
        return httpx.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=_Stream(answer.stream),
        )

    def close(self) -> None:
        self._pool.close()


class _Stream(httpx.SyncByteStream):
    def __init__(self, stream: Iterable[bytes]) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        with _translated():
            yield from self._stream

    def close(self) -> None:
        if hasattr(self._stream, "close"):
            self._stream.close()


class _translated(AbstractContextManager[None]):  # noqa: N801 - reads as a verb
    """Turn httpcore's errors into httpx's of the same name."""

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is None or not kind.__module__.startswith("httpcore"):
            return
        ours = getattr(httpx, kind.__name__, httpx.TransportError)
        raise ours(str(error) or kind.__name__) from None
