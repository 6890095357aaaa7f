"""Call single steps of a plugin against its sandbox, without a server, a database or an account."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from tieline.contract import (
    Connection,
    Credential,
    FeedPage,
    Page,
    PageParams,
    Provider,
    ProviderUnavailableError,
    Reply,
    RequestRejectedError,
    Transport,
)

__all__ = ["Asked", "SandboxTransport", "client_of", "pages_of"]

App = Callable[..., Awaitable[None]]
_P = TypeVar("_P", Page, FeedPage)
_MOST_PAGES = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One request that a plugin sent.

    Attributes:
        method: ``GET``, ``POST``, …
        path: Without the query, its escapes undone.
        query: Of a name that comes several times the last one counts.
        headers: As they were sent.
        content: Body bytes; empty for none.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    content: bytes


@dataclass(kw_only=True)
class SandboxTransport:
    """Calls a sandbox in this thread; for tests that no event loop runs.

    It is a :class:`~tieline.contract.Transport` without limits and repeats.

    Attributes:
        app: What the sandbox's ``create_app`` returned.
        provider: As the plugin declares it: other hosts than its own are refused,
            as in earnest.
        asked: Every request so far.
    """

    app: App
    provider: Provider
    asked: list[Asked] = field(default_factory=list)

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes | None = None,
    ) -> Reply:
        """Send one request and read the whole answer; see the contract's ``Transport``."""
        parts = urlsplit(url)
        if not self.provider.owns(f"{parts.scheme}://{parts.netloc}"):
            raise RequestRejectedError(f"{parts.netloc} is no host that the plugin declares")
        asked = Asked(
            method=method,
            path=unquote(parts.path),
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers=dict(headers),
            content=content or b"",
        )
        self.asked.append(asked)
        return asyncio.run(self._answer(asked, parts.netloc, parts.path, parts.query))

    async def _answer(self, asked: Asked, host: str, raw_path: str, query: str) -> Reply:
        told: list[Mapping[str, Any]] = []
        given = {"host": host, **{name.lower(): text for name, text in asked.headers.items()}}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "https",
            "method": asked.method,
            "path": asked.path,
            "raw_path": raw_path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(name.encode(), text.encode()) for name, text in given.items()],
        }

        async def receive() -> Mapping[str, Any]:
            return {"type": "http.request", "body": asked.content, "more_body": False}

        async def send(message: Mapping[str, Any]) -> None:
            told.append(message)

        await self.app(scope, receive, send)
        if not told or told[-1].get("more_body"):
            raise ProviderUnavailableError("the sandbox broke off")
        names = {name.decode().lower(): text.decode() for name, text in told[0]["headers"]}
        body = b"".join(each.get("body", b"") for each in told[1:])
        return Reply(status=told[0]["status"], headers=names, content=body, seconds=0.0)


def client_of(
    plugin: ModuleType,
    app: App | None,
    fields: Mapping[str, str],
    *,
    settings: Mapping[str, Any] | None = None,
    transport: Transport | None = None,
) -> Any:
    """Make a plugin's client of its own sandbox, or of a recording.

    Args:
        plugin: The module with the hooks.
        app: What the sandbox's ``create_app`` returned; None: nobody answers.
        fields: Of the credential: ``{"api_key": …}``, ``{"access_token": …}``.
        settings: What the connection sets, as people give it.
        transport: To look at what was asked, or a recording; made if None.

    Returns:
        What ``tieline_client`` returned, to be handed to steps.
    """
    provider: Provider = plugin.tieline_provider()
    schema = provider.settings
    environment, base_url = next(iter(provider.environments.items()))
    given = {
        "connection": Connection(
            id="con_test",
            name="test",
            provider=provider.name,
            environment=environment,
            base_url=base_url,
            settings=schema.load(dict(settings or {})) if schema else {},
        ),
        "credential": Credential(fields),
        "transport": transport or SandboxTransport(app=app or _nobody, provider=provider),
    }
    wanted = inspect.signature(plugin.tieline_client).parameters  # a hook may leave some out
    return plugin.tieline_client(**{name: given[name] for name in wanted})


async def _nobody(_scope: Any, _receive: Any, _send: Any) -> None:
    """Answer nothing."""


def pages_of(
    step: Callable[[Any, PageParams, str | None], _P], client: Any, params: PageParams | None = None
) -> Iterator[_P]:
    """Read page after page, as the engine does.

    Args:
        step: Of an entity: ``Entity.page`` or ``Feed.page``.
        client: As :func:`client_of` makes it.
        params: The window; all there is if None.

    Raises:
        AssertionError: A cursor comes twice, or the pages never end.
    """
    cursor: str | None = None
    seen: set[str] = set()
    for _ in range(_MOST_PAGES):
        page = step(client, params or PageParams(), cursor)
        yield page
        cursor = page.next
        if cursor is None:
            return
        assert cursor not in seen, "the same cursor twice"
        seen.add(cursor)
    raise AssertionError(f"more than {_MOST_PAGES} pages")
