"""Whether somebody may do something, and with what: asked before every operation.

The API asks it for each request, the console for each button: what a token may
not do by the one it may not by the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tieline.errors import DependencyError
from tieline.services.installation import Installation
from tieline.services.tokens import TokenRow
from tieline.telemetry import get_logger
from tieline.web.api import inputs
from tieline.web.api.operation import Call, Operation
from tieline.web.api.problems import Problem
from tieline.web.api.subjects import find_named, find_path

__all__ = ["admit", "count_call"]

_log = get_logger(__name__)

Pairs = Sequence[tuple[str, str]]


def count_call(installation: Installation, row: TokenRow, *, only_reads: bool) -> dict[str, str]:
    """Hold a caller to its rate; what only reads goes on while nobody can count.

    Returns:
        Headers that tell the caller how it stands.

    Raises:
        Problem: It calls too often.
        DependencyError: Redis is away, and something would be changed.
    """
    try:
        turn = installation.caller_limit.take(row.id)
    except DependencyError as error:
        if not only_reads:
            raise
        _log.warning("calls to the API are not counted", reason=error.message)
        return {"Tieline-Notice": "calls are not counted: Redis is away"}
    wait_s = max(1, round(turn.resets_in_s))
    told = {
        "RateLimit-Limit": str(turn.limit),
        "RateLimit-Remaining": str(turn.left),
        "RateLimit-Reset": str(wait_s),
    }
    if not turn.is_allowed:
        raise Problem(
            429,
            "too-many-calls",
            f"this token may make {turn.limit} calls in a minute",
            hint="wait, or set TIELINE_API_CALLS_PER_MINUTE",
            headers={**told, "Retry-After": str(wait_s)},
        )
    return told


def admit(
    installation: Installation,
    operation: Operation,
    row: TokenRow,
    *,
    path: Mapping[str, str],
    query: Pairs = (),
    body: bytes | Pairs = b"",
) -> Call:
    """Check a call of an operation, and find what it names.

    Args:
        installation: Where.
        operation: What is asked for.
        row: Whose token was shown.
        path: The parameters of its path.
        query: As it came.
        body: JSON, or the pairs of a form.

    Raises:
        Problem: The token may not, something there is not, or a value is wrong.
    """
    _require_scope(operation, row)
    bare = Call(installation=installation, token=row, path={})
    found = find_path(bare, path)
    asks = inputs.instance_of(operation.query) if operation.query else None
    takes = inputs.instance_of(operation.body) if operation.body else None
    loaded = inputs.load_query(asks, query)
    given = (
        inputs.load_body(takes, body) if isinstance(body, bytes) else inputs.load_query(takes, body)
    )
    for schema, values in ((asks, loaded), (takes, given)):
        if schema is not None:
            find_named(bare, schema, values)
    return Call(installation=installation, token=row, path=found, query=loaded, body=given)


def _require_scope(operation: Operation, row: TokenRow) -> None:
    if not operation.is_allowed(row.scope):
        raise Problem(
            403,
            "scope",
            f"this takes a token of scope {operation.scope}; this one has {row.scope}",
            hint=f"tieline tokens create NAME --scope {operation.scope}",
            headers={"WWW-Authenticate": 'Bearer realm="tieline", error="insufficient_scope"'},
        )
    if operation.is_for_all and row.connection_ids is not None:
        raise Problem(
            403,
            "scope-connections",
            "this takes a token that may see all connections; this one is limited to some",
            hint=f"tieline tokens create NAME --scope {operation.scope}",
        )
