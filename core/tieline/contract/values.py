"""Small values that plugins are handed or hand back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import urlsplit

__all__ = [
    "Account",
    "Change",
    "Connection",
    "Credential",
    "FeedPage",
    "Money",
    "Page",
    "PageParams",
    "Record",
    "Reply",
    "Secret",
    "Transport",
    "Window",
]

Record = Mapping[str, Any]


class Secret:
    """A text that does not print.

    ``str``, ``repr``, formatting, pickling and JSON all refuse or hide it;
    :meth:`reveal` is the only way in, so that a search finds every place that
    looks.

    Args:
        text: The secret itself.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(("Secret", self._text))

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError("a Secret is not pickled")


class Credential(Mapping[str, Secret]):
    """The opened credential of one connection: field name to secret.

    Its fields are the ones that the provider's auth declaration names. It
    lives as long as the client that was made with it and prints as its field
    names alone. Where tokens end before the client does, the core renews
    them: read a field at each call, and keep no copy.

    Args:
        fields: Field name to text.
        renewed: Asked before each look: all fields as they were last renewed,
            the same object until they are again, or None while ``fields`` are
            good. It may take as long as a call to the provider, and raise
            what a call raises.
    """

    __slots__ = ("_known", "_renewed")

    def __init__(
        self,
        fields: Mapping[str, str],
        renewed: Callable[[], Mapping[str, str] | None] | None = None,
    ) -> None:
        # Both at once, for threads share it: whose fields, and they as secrets.
        self._known = fields, _secrets_of(fields)
        self._renewed = renewed

    def __getitem__(self, name: str) -> Secret:
        known = self._known
        fields = self._renewed() if self._renewed else None
        if fields is not None and fields is not known[0]:
            self._known = known = fields, _secrets_of(fields)
        return known[1][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known[1])

    def __len__(self) -> int:
        return len(self._known[1])

    def __repr__(self) -> str:
        return f"Credential({', '.join(self._known[1])})"


def _secrets_of(fields: Mapping[str, str]) -> Mapping[str, Secret]:
    return {name: Secret(text) for name, text in fields.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Money:
    """An amount in the smallest unit of its currency.

    Attributes:
        amount_minor: Whole number of minor units (cents, yen, fils).
        currency: ISO 4217 code in upper case.
    """

    amount_minor: int
    currency: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """Whose data a credential opens.

    Attributes:
        id: The provider's id of the account; None where the credential may
            not read it.
        name: What people call it; empty if unknown.
        base_url: Where the account's API is, if the provider has it at a host
            of its own; it must be one of the provider's. Empty: where it was
            asked.
        scopes: The rights that the credential has, as far as it can be asked.
    """

    id: str | None = None
    name: str = ""
    base_url: str = ""
    scopes: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """One authorised account at one provider, without its credential.

    Attributes:
        id: Ours, such as ``con_4k2m…``.
        name: The name that people gave it, unique.
        provider: Name of the provider.
        environment: One of the provider's declared environments.
        base_url: Where the provider's API is, without a trailing slash.
        account: Whose account it is, as found at connect time.
        settings: The connection's own settings, loaded by the provider's schema.
        auth: Kind of the auth declaration it was connected by.
        is_redirected: The base address is not the provider's own: a sandbox,
            or a proxy. All addresses are called there then.
    """

    id: str
    name: str
    provider: str
    environment: str
    base_url: str
    account: Account = field(default_factory=Account)
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    auth: str = ""
    is_redirected: bool = False

    def address(self, url: str) -> str:
        """Say where one of the provider's addresses is called.

        Args:
            url: An absolute address, or a path at the base address.

        Returns:
            The address itself; where the base address is not the provider's
            own, its path and query at the base address.
        """
        if url.startswith("/"):
            return f"{self.base_url}{url}"
        if not self.is_redirected:
            return url
        parts = urlsplit(url)
        return f"{self.base_url}{parts.path}{'?' if parts.query else ''}{parts.query}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A range of time: start included, end excluded, both aware UTC.

    Attributes:
        start: None reaches back to the beginning.
        end: None reaches up to now.
    """

    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PageParams:
    """What the engine wants of one page, beside where it begins.

    Attributes:
        window: The range to read; unbounded on both sides unless the entity
            declared :class:`~tieline.contract.Windows`.
    """

    window: Window = field(default_factory=Window)


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """What one request returned.

    Attributes:
        records: The records as received, in the provider's order.
        next: Cursor of the next page, at most 4,096 characters; None at the
            end. An empty page with a ``next`` is not the end.
        deleted: Keys of records that the provider said are gone.
        as_of: An instant in the provider's clock that this page is at least
            as new as, aware UTC. None: the engine takes the time at which the
            call began.
    """

    records: list[Record]
    next: str | None
    deleted: tuple[str, ...] = ()
    as_of: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One entry of a provider's log of changes.

    Attributes:
        key: Key of the record that changed.
        at: When, in the provider's clock, aware UTC.
        record: The whole record as it was then, in the API version that the
            plugin pins; None: it is read again.
        is_deleted: The record is gone.
    """

    key: str
    at: datetime
    record: Record | None = None
    is_deleted: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedPage:
    """What one request to a log of changes returned.

    Attributes:
        changes: In any order; their times decide.
        next: Cursor of the next page; None at the end.
        as_of: As for :class:`Page`.
    """

    changes: list[Change]
    next: str | None
    as_of: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """An HTTP answer, read to its end.

    Attributes:
        status: HTTP status code.
        headers: Header names in lower case.
        content: Body bytes, decompressed.
        seconds: Wall time of the call, waiting for its turn not included.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes
    seconds: float


class Transport(Protocol):
    """The one way to the provider: throttled, timed, bounded and redacted.

    Give it to the provider's SDK as its HTTP client. It follows no redirect
    and repeats nothing by itself.
    """

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes | None = None,
    ) -> Reply:
        """Send one request and read the whole answer.

        Args:
            method: ``GET``, ``POST``, …
            url: Absolute address; its origin must be the connection's own
                base address or one that the provider declared.
            headers: As they go out.
            content: Body bytes, or None.

        Returns:
            The answer, whatever its status.

        Raises:
            ProviderUnavailableError: Unreachable, too slow in all, cut off,
                or larger than the cap.
            RateLimitedError: Our own throttle has no room in time.
            RequestRejectedError: The address is not one of the provider's.
        """
        ...
