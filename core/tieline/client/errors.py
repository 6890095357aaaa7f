"""What a call can end in, by what to do next.

```
ApiError                  status, code, hint, errors
├── AccessRefusedError    401, 403: another token is needed
├── NotFoundError         404: there is none, or the token may not see it
├── InvalidRequestError   400, 406, 413, 415, 422: the call makes no sense; ``errors`` says where
├── ConflictError         409: the present state forbids it
│   └── ChangedError      412: somebody changed it since it was read
├── ProviderRefusedError  424: the provider said no
├── TooManyCallsError     429: wait for ``retry_after`` seconds
├── UnavailableError      5xx: a dependency is away, or a bug; a write may have happened
└── UnreachableError      no answer came: a write may have happened
```
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = [
    "AccessRefusedError",
    "ApiError",
    "ChangedError",
    "ConflictError",
    "InvalidRequestError",
    "NotFoundError",
    "ProviderRefusedError",
    "TooManyCallsError",
    "UnavailableError",
    "UnreachableError",
    "error_of",
]


class ApiError(Exception):
    """A call that was not done.

    Args:
        detail: One sentence: what was wrong.
        status: HTTP status; 0 if no answer came.
        code: Stable slug; programs compare this.
        hint: What to do; may be empty.
        errors: Each bad field: ``pointer``, ``parameter`` or ``header``, and ``detail``.
        retry_after: Seconds that the server asked us to wait; None if it named none.
    """

    def __init__(
        self,
        detail: str,
        *,
        status: int = 0,
        code: str = "",
        hint: str = "",
        errors: Sequence[Mapping[str, str]] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail}" if code else detail)
        self.detail = detail
        self.status = status
        self.code = code
        self.hint = hint
        self.errors = errors
        self.retry_after = retry_after


class AccessRefusedError(ApiError):
    """The token is none, or not for this."""


class NotFoundError(ApiError):
    """There is no such thing, or the token may not see it."""


class InvalidRequestError(ApiError):
    """The call makes no sense; ``errors`` says where."""


class ConflictError(ApiError):
    """The present state forbids it."""


class ChangedError(ConflictError):
    """Somebody changed it since it was read."""


class ProviderRefusedError(ApiError):
    """The provider said no."""


class TooManyCallsError(ApiError):
    """The token makes too many calls; wait for ``retry_after``."""


class UnavailableError(ApiError):
    """The server cannot do it now; a write may have happened."""


class UnreachableError(ApiError):
    """No answer came; a write may have happened."""


_KINDS: dict[int, type[ApiError]] = {
    401: AccessRefusedError,
    403: AccessRefusedError,
    404: NotFoundError,
    409: ConflictError,
    412: ChangedError,
    424: ProviderRefusedError,
    429: TooManyCallsError,
}


def error_of(status: int, problem: Mapping[str, object], retry_after: float | None) -> ApiError:
    """Make the error of an answer."""
    kind = _KINDS.get(status, UnavailableError if status >= 500 else InvalidRequestError)
    errors = problem.get("errors")
    return kind(
        str(problem.get("detail") or problem.get("title") or f"HTTP {status}"),
        status=status,
        code=str(problem.get("code") or ""),
        hint=str(problem.get("hint") or ""),
        errors=errors if isinstance(errors, list) else (),
        retry_after=retry_after,
    )
