"""The one way to a provider: bounded, timed, redacted, without redirects."""

from __future__ import annotations

import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Protocol
from urllib.parse import SplitResult, quote, urlsplit

import httpcore
import httpx

from tieline.contract import (
    ANSWER_TOO_SLOW,
    ProviderUnavailableError,
    Reply,
    RequestRejectedError,
    as_of,
)
from tieline.telemetry import get_logger, redact, span
from tieline.transport.sockets import DeadlineBackend, deadline

__all__ = ["Call", "Gate", "HttpTransport", "Limits", "trusted_certificates"]

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

    @property
    def is_full(self) -> bool:
        """Whether calls have to wait."""
        ...

    def may_retry(self) -> bool:
        """Take one of the retries of the run at hand; False if they are used up."""
        ...


class HttpTransport:
    """Sends the requests of one connection. Threads may share it.

    Args:
        connection_id: Whose requests they are.
        origins: Scheme, host and port of every address that may be called.
        owns: Says of any other origin whether it may be called too.
        limits: What one call may cost.
        gates: What every call must pass, outermost first.
        allows_private: Whether addresses inside this network may be called.
    """

    def __init__(
        self,
        *,
        connection_id: str,
        origins: Iterable[str],
        owns: Callable[[str], bool] = lambda _origin: False,
        limits: Limits | None = None,
        gates: Sequence[Gate] = (),
        allows_private: bool = False,
    ) -> None:
        self._connection_id = connection_id
        self._origins = frozenset(_origin(url) for url in origins)
        self._owns = owns
        self._limits = limits or Limits()
        self._gates = gates
        self._here = threading.local()
        # httpx's own pool without its client: cookies, redirects, proxies and
        # sign-in are not wanted here, and cost a third of a call.
        self._pool = httpcore.ConnectionPool(
            ssl_context=trusted_certificates(),
            max_connections=self._limits.connections,
            max_keepalive_connections=self._limits.connections,
            keepalive_expiry=20.0,
            network_backend=DeadlineBackend(allows_private=allows_private),
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
        if _origin(url) not in self._origins and not self._owns(f"{parts.scheme}://{parts.netloc}"):
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
        reply = self._pass(call, url, dict(headers), content)
        if (tell := getattr(self._here, "tell", None)) is not None:
            tell(call.method, url, content, reply)
        return reply

    @property
    def calls_here(self) -> int:
        """How many requests this thread has sent so far."""
        calls: int = getattr(self._here, "calls", 0)
        return calls

    @property
    def sent_here(self) -> float | None:
        """When this thread last sent a request, past all gates, monotonic; None: never."""
        sent: float | None = getattr(self._here, "sent", None)
        return sent

    @property
    def as_of_here(self) -> datetime | None:
        """From when the last answer to this thread is, by the provider's clock; None: not told.

        As :func:`tieline.contract.as_of` says it.
        """
        told: Reply | None = getattr(self._here, "told", None)
        return None if told is None else as_of(told)

    @property
    def is_full(self) -> bool:
        """Whether calls have to wait at one of the gates."""
        return any(gate.is_full for gate in self._gates)

    def may_retry(self) -> bool:
        """Take one of the retries of the run at hand; False if they are used up."""
        return all(gate.may_retry() for gate in self._gates)

    @contextmanager
    def guarded(self, check: Callable[[], None]) -> Iterator[None]:
        """Have something looked at just before each request of this thread leaves.

        A call may wait long for its turn; what held when it began to need not
        hold any more. What ``check`` raises is raised, and nothing is sent.
        """
        self._here.check = check
        try:
            yield
        finally:
            self._here.check = None

    @contextmanager
    def heard(self, tell: Callable[[str, str, bytes | None, Reply], None]) -> Iterator[None]:
        """Have each exchange of this thread told: method, address, body and answer."""
        self._here.tell = tell
        try:
            yield
        finally:
            self._here.tell = None

    def close(self) -> None:
        """Close all sockets."""
        self._pool.close()

    def _pass(self, call: Call, url: str, headers: dict[str, str], content: bytes | None) -> Reply:
        with _all_passing(self._gates, call):
            if (check := getattr(self._here, "check", None)) is not None:
                check()
            reply: Reply | None = None
            try:
                with span("call", kind="client", method=call.method, host=call.host) as seen:
                    reply = self._exchange(call, url, headers, content)
                    seen.note(status=reply.status)
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
        began = time.monotonic()
        self._here.calls, self._here.sent, self._here.told = self.calls_here + 1, began, None
        try:
            request = _request(call.method, url, headers, content)
            with deadline(self._limits.deadline_s):
                answer = self._pool.handle_request(request)
                try:
                    found = _names(answer.headers)
                    body = _read(answer, found, self._limits.body_bytes)
                finally:
                    answer.close()
        except (*_HTTP_ERRORS, UnicodeError, ValueError) as error:
            seconds = time.monotonic() - began
            _log.info("call", **_described(call), error=type(error).__name__, seconds=seconds)
            is_slow = isinstance(error, httpcore.ReadTimeout)
            raise ProviderUnavailableError(
                f"{call.host} gave no answer: {_words(error)}",
                hint="tieline doctor",
                code=ANSWER_TOO_SLOW if is_slow else None,
            ) from None
        seconds = time.monotonic() - began
        _log.debug("call", **_described(call), status=answer.status, seconds=seconds)
        self._here.told = Reply(status=answer.status, headers=found, content=b"", seconds=seconds)
        return Reply(status=answer.status, headers=found, content=body, seconds=seconds)


_HTTP_ERRORS = (
    httpcore.NetworkError,
    httpcore.PoolTimeout,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
)


class _UnreadableError(ValueError):
    """A body that cannot be used."""


def _request(
    method: str, url: str, headers: Mapping[str, str], content: bytes | None
) -> httpcore.Request:
    """Build a request; names and values that HTTP does not allow are refused below."""
    parts = urlsplit(url)
    sent = [("Host", _netloc(parts)), ("Accept-Encoding", "gzip")]
    sent += [(name, text) for name, text in headers.items() if name.lower() not in _OURS]
    if content is not None or method in {"POST", "PUT", "PATCH"}:
        sent.append(("Content-Length", str(len(content or b""))))
    target = quote(f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}", safe=_SAFE)
    return httpcore.Request(
        method=method,
        url=httpcore.URL(
            scheme=parts.scheme,
            host=(parts.hostname or "").encode("idna"),
            port=parts.port,
            target=target,
        ),
        headers=[(name.encode("ascii"), text.encode("latin-1")) for name, text in sent],
        content=content,
    )


_OURS = frozenset({"host", "accept-encoding", "connection", "content-length"})
_SAFE = "/?#[]@!$&'()*+,;=:%-._~"


def _netloc(parts: SplitResult) -> str:
    host = (parts.hostname or "").encode("idna").decode()
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{parts.port}" if parts.port else host


def _names(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Decode an answer's headers; of several of one name all are kept."""
    found: dict[str, str] = {}
    for raw_name, raw_text in headers:
        name, text = raw_name.decode("latin-1").lower(), raw_text.decode("latin-1")
        found[name] = f"{found[name]}, {text}" if name in found else text
    return found


def _all_passing(gates: Sequence[Gate], call: Call) -> AbstractContextManager[object]:
    if not gates:
        return nullcontext()
    stack = ExitStack()
    for gate in gates:
        stack.enter_context(gate.passing(call))
    return stack


def _read(answer: httpcore.Response, headers: Mapping[str, str], cap: int) -> bytes:
    """Read a body to its end, decompressing no more than the cap allows."""
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"gzip", "x-gzip", "identity", ""}:
        raise _UnreadableError(f"the answer is encoded as {encoding[:20]!r}")
    chunks = iter(answer.iter_stream())
    parts = []
    size = 0
    for part in chunks if encoding in {"identity", ""} else _gunzip(chunks, cap):
        size += len(part)
        if size > cap:
            raise _UnreadableError(f"the answer is larger than {cap:,} bytes")
        parts.append(part)
    return b"".join(parts)


def _gunzip(chunks: Iterator[bytes], cap: int) -> Iterator[bytes]:
    stream = zlib.decompressobj(wbits=31)
    try:
        for chunk in chunks:
            yield stream.decompress(chunk, cap + 1)
            if stream.unconsumed_tail:
                raise _UnreadableError(f"the answer is larger than {cap:,} bytes")
        yield stream.flush()
    except zlib.error:
        raise _UnreadableError("the answer's gzip is broken") from None
    if not stream.eof:
        raise _UnreadableError("the answer's gzip is cut off")


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return parts.scheme, (parts.hostname or "").lower(), port


def _described(call: Call) -> dict[str, str]:
    return {"method": call.method, "host": call.host, "path": call.path}


def _words(error: Exception) -> str:
    words = redact(str(error))  # before it is cut: a piece of a secret is not known
    return words[:200] or type(error).__name__


@cache
def trusted_certificates() -> ssl.SSLContext:
    """Return whom a provider's address may be vouched for by, read once in a process.

    It takes 25 ms, and a run needs a transport of its own: whoever forks calls this before.
    """
    return httpx.create_ssl_context(trust_env=False)
