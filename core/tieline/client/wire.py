"""Make calls: with the token, within a time, again where that is safe."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from tieline.client.errors import ApiError, UnavailableError, UnreachableError, error_of

__all__ = ["IDLE_S", "Wire"]

IDLE_S = 3.0
"""How long a connection is kept between calls."""

_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 20.0
# Done twice they are as done once; a POST is, by its Idempotency-Key.
_SAFE = {"GET", "PUT", "POST"}


class Wire:
    """Calls one server.

    Args:
        url: Where ``tieline serve`` is, without ``/v1``.
        token: ``tln_…``.
        timeout_s: Seconds that one try may take.
        tries: How often a call that is safe to repeat is tried in all.
        transport: In place of the network, for tests.
        sleep: Waits; injectable for tests.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout_s: float,
        tries: int,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = httpx.Client(
            base_url=f"{url.rstrip('/')}/v1",
            headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
            timeout=timeout_s,
            transport=transport,
            follow_redirects=False,  # a token is for one server
            # sooner than a server lets go of it: a call must not meet that half-way
            limits=httpx.Limits(keepalive_expiry=IDLE_S),
        )
        self._tries = max(1, tries)
        self._sleep = sleep

    def close(self) -> None:
        """Give the sockets back."""
        self._client.close()

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        key: str | None = None,
        if_match: str | None = None,
    ) -> tuple[Any, str | None]:
        """Make a call; return the answer and its tag.

        Args:
            method: Of HTTP.
            path: Below ``/v1``, its parts percent-encoded.
            query: Parameters; those that are None are left out.
            body: Sent as JSON.
            key: The Idempotency-Key of a POST; a new one if None.
            if_match: Tag of what was read: refused if it was changed since.

        Raises:
            ApiError: Of the class that says what to do.
        """
        headers = {}
        if method == "POST":
            headers["Idempotency-Key"] = key or str(uuid.uuid4())
        if if_match is not None:
            headers["If-Match"] = if_match
        params = {name: value for name, value in (query or {}).items() if value is not None}
        for attempt in range(1, self._tries + 1):
            try:
                return self._once(method, path, params, body, headers)
            except ApiError as error:
                if attempt == self._tries or not _may_repeat(method, error):
                    raise
                self._sleep(_pause_s(attempt, error.retry_after))
        raise AssertionError  # not reached

    def _once(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any],
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str],
    ) -> tuple[Any, str | None]:
        content = {} if body is None else {"json": dict(body)}
        try:
            reply = self._client.request(
                method,
                path,
                params=_written(params),
                headers=headers,
                **content,  # type: ignore[arg-type]
            )
        except httpx.ConnectError as error:
            raise UnreachableError(f"nobody answers: {error}", code="not-connected") from None
        except httpx.HTTPError as error:
            raise UnreachableError(f"no answer came: {type(error).__name__}") from None
        if reply.is_success:
            return (reply.json() if reply.content else None), reply.headers.get("etag")
        raise error_of(reply.status_code, _problem(reply), _seconds(reply))


def _may_repeat(method: str, error: ApiError) -> bool:
    if error.code == "not-connected" or error.status == 429:
        return True  # nothing was done
    is_passing = isinstance(error, (UnavailableError, UnreachableError)) and error.status != 500
    is_busy = error.code == "idempotency-busy"
    return method in _SAFE and (is_passing or is_busy)


def _pause_s(attempt: int, retry_after: float | None) -> float:
    if retry_after is not None:
        return min(retry_after, _LONGEST_PAUSE_S)
    return random.uniform(0, min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**attempt))  # noqa: S311


def _written(params: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in params.items()
    }


def _problem(reply: httpx.Response) -> Mapping[str, object]:
    try:
        said = reply.json()
    except ValueError:
        return {}  # a proxy's, not ours
    return said if isinstance(said, dict) else {}


def _seconds(reply: httpx.Response) -> float | None:
    text = reply.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else None
