"""One way to say what the API can do; from it come routing, checks, documents and tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tieline.services.installation import Installation
from tieline.services.tokens import SCOPES, Scope, TokenRow
from tieline.web.api.schemas import Answer, Given

__all__ = ["Call", "Operation", "Scope"]

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One call of an operation, after all checks.

    Attributes:
        installation: Where.
        token: Whose token was shown.
        path: What the parameters of the path are: see ``subjects``.
        query: The query, by its schema.
        body: The body, by its schema.
        seen: If the caller gave ``If-Match``: what it had seen, as the GET of
            the same path returned it just now; the service checks it again.
    """

    installation: Installation
    token: TokenRow
    path: Mapping[str, Any]
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    seen: Any = None

    @property
    def actor(self) -> str:
        """Who calls, for the sync log."""
        return f"api:{self.token.name}"

    @property
    def visible(self) -> frozenset[str] | None:
        """The ids of the connections that the caller may see; None: all."""
        ids = self.token.connection_ids
        return None if ids is None else frozenset(ids)

    def may_see(self, connection_id: str | None) -> bool:
        """Say whether the caller may see a connection, or what belongs to it.

        Args:
            connection_id: The connection; None for what belongs to none, which
                a token that is limited to some does not see.
        """
        return self.visible is None or connection_id in self.visible


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One thing that can be asked for.

    Attributes:
        name: Its ``operationId``: a verb and a noun.
        method: Of HTTP.
        path: Below ``/v1``; each ``{parameter}`` is one of ``subjects``.
        tag: The resource, for the document.
        summary: One line.
        scope: What a token needs at least.
        does: Called in a thread, after all checks; what it returns is written
            by ``answer``. It calls one service.
        answer: Schema of what it returns; None: there is no body.
        query: Schema of the query; None: it takes none.
        body: Schema of the body; None: it takes none.
        status: Of the answer.
        other_status: That ``does`` may choose in its place, by returning a pair.
        is_secret: The answer tells a secret: kept for a repeated request, it is sealed.
        is_for_all: A token that is limited to some connections may not.
        asks_provider: It calls the provider, which may refuse (424) or be away (503).
        version: Of a GET: what tells two states of the value apart, for ``ETag``; None: all of it.
        example: An example of the body.
        answers: An example of the answer.
        command: The command of the CLI that does the same; empty: ``why_no_command``.
        why_no_command: Why there is none.
    """

    name: str
    method: Method
    path: str
    tag: str
    summary: str
    scope: Scope
    does: Callable[[Call], Any]
    answer: type[Answer] | None = None
    query: type[Given] | None = None
    body: type[Given] | None = None
    status: int = 200
    other_status: int | None = None
    is_secret: bool = False
    is_for_all: bool = False
    asks_provider: bool = False
    version: Callable[[Any], str] | None = None
    example: Mapping[str, Any] | None = None
    answers: Any = None
    command: str = ""
    why_no_command: str = ""

    def is_allowed(self, scope: Scope) -> bool:
        """Say whether a token of a scope may."""
        return SCOPES.index(scope) >= SCOPES.index(self.scope)
