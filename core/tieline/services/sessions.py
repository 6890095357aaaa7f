"""Sign in to the console, stay signed in, sign out.

A session belongs to a token of the HTTP API, may what that may, and ends with
it. The browser keeps 256 bits of chance, the database their SHA-256: whoever
reads the database can sign in as nobody, every `tieline serve` knows every
session, and none needs Redis or a key, so the console shows that those are away.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from datetime import timedelta

from tieline.contract import Secret
from tieline.errors import AccessError, NotFoundError, RefusedError, nearest
from tieline.services import tokens
from tieline.services.installation import Installation
from tieline.services.tokens import TokenRow
from tieline.store import log
from tieline.store import sessions as store
from tieline.store import tokens as token_store
from tieline.store.database import Connection as Transaction
from tieline.telemetry import remember

__all__ = [
    "LINK_LASTS",
    "OWN_TOKEN",
    "SESSION_LASTS",
    "follow_link",
    "form_token",
    "make_link",
    "sign_in",
    "sign_out",
    "who_follows",
    "who_is",
]

LINK_LASTS = timedelta(minutes=10)
SESSION_LASTS = timedelta(hours=12)
OWN_TOKEN = "console"  # noqa: S105 - its name
"""The token that links are of unless another is named; nobody is ever told its text."""

_CHANCE_BYTES = 32
_SHOWN = re.compile(r"[A-Za-z0-9_-]{43}")


def sign_in(installation: Installation, text: str) -> Secret:
    """Begin a session of the token that somebody shows; return what their browser keeps.

    Raises:
        AccessError: There is no such token, or it is over.
        DependencyError: The database does not answer.
    """
    return _begin(installation, tokens.authenticate(installation, text.strip()))


def make_link(installation: Installation, name: str | None, *, actor: str) -> Secret:
    """Make what signs in once, within ten minutes, as a token.

    Args:
        installation: Where.
        name: The token; None for the console's own, of scope admin, which is
            made if there is none.
        actor: Who makes it, for the sync log.

    Raises:
        NotFoundError: There is no such token.
        RefusedError: It is over.
        DependencyError: The database does not answer.
    """
    row = _token_of(installation, name, actor)
    now = installation.clock.now()
    if not row.is_good(now):
        raise RefusedError(
            f"the token {row.name} is over: nobody signs in as it",
            hint="tieline tokens create NAME --scope admin, then: tieline console --as NAME",
            code="token-over",
        )
    code = _new_secret()

    def work(transaction: Transaction) -> None:
        store.add_session(
            transaction,
            digest=_digest(code.reveal()),
            kind="link",
            token_id=row.id,
            now=now,
            expires_at=now + LINK_LASTS,
        )
        log.add_entry(transaction, at=now, actor=actor, event="console.link_made", detail=row.name)

    installation.database.transact(work)
    return code


def who_follows(installation: Installation, code: str) -> TokenRow:
    """Return the token that a link signs in as; the link stays good.

    Raises:
        AccessError: It was used, its time is over, or there never was one.
        DependencyError: The database does not answer.
    """
    return _found(installation, code, "link")


def follow_link(installation: Installation, code: str) -> Secret:
    """Begin a session by a link, once; return what the browser keeps.

    Raises:
        AccessError: It was used, its time is over, or there never was one.
        DependencyError: The database does not answer.
    """
    row = _found(installation, code, "link")
    with installation.database.write() as transaction:
        was_there = store.drop_session(transaction, _digest(code), kind="link")
    if not was_there:  # somebody was faster
        raise _no_link()
    return _begin(installation, row)


def who_is(installation: Installation, shown: str) -> TokenRow:
    """Return the token of a session, as it is now.

    Raises:
        AccessError: There is no such session, or it or its token is over.
        DependencyError: The database does not answer.
    """
    row = _found(installation, shown, "session")
    tokens.note_use(installation, row)
    return row


def sign_out(installation: Installation, shown: str) -> None:
    """End a session; what the browser keeps is worth nothing any more.

    Raises:
        DependencyError: The database does not answer.
    """
    with installation.database.write() as transaction:
        store.drop_session(transaction, _digest(shown), kind="session")


def form_token(shown: str) -> str:
    """Return what a form of a session carries: no other site can know it, nor read it."""
    return hmac.new(shown.encode(), b"tieline console form", hashlib.sha256).hexdigest()


def _begin(installation: Installation, row: TokenRow) -> Secret:
    now = installation.clock.now()
    secret = _new_secret()
    ends = now + SESSION_LASTS

    def work(transaction: Transaction) -> None:
        store.add_session(
            transaction,
            digest=_digest(secret.reveal()),
            kind="session",
            token_id=row.id,
            now=now,
            expires_at=min(ends, row.expires_at) if row.expires_at else ends,
        )
        log.add_entry(
            transaction, at=now, actor=f"api:{row.name}", event="console.signed_in", detail=""
        )

    installation.database.transact(work)
    return secret


def _found(installation: Installation, shown: str, kind: store.Kind) -> TokenRow:
    refused = _no_link() if kind == "link" else _no_session()
    if not _SHOWN.fullmatch(shown):
        raise refused
    now = installation.clock.now()
    with installation.database.read() as transaction:
        token_id = store.find_session(transaction, _digest(shown), kind=kind, now=now)
        row = token_store.find_token(transaction, token_id) if token_id else None
    if row is None or not row.is_good(now):
        raise refused
    remember(shown)
    return row


def _token_of(installation: Installation, name: str | None, actor: str) -> TokenRow:
    every = {row.name: row for row in tokens.list_tokens(installation)}
    if row := every.get(name or OWN_TOKEN):
        return row
    if name is not None:
        raise NotFoundError(
            f"there is no token {name[:80]!r}",
            hint=nearest(name, list(every)) or "tieline tokens list",
            code="token-unknown",
        )
    made = tokens.create_token(installation, OWN_TOKEN, scope="admin", actor=actor)
    return made.row


def _new_secret() -> Secret:
    text = secrets.token_urlsafe(_CHANCE_BYTES)
    remember(text)
    return Secret(text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _no_session() -> AccessError:
    return AccessError(
        "nobody is signed in here, or not any more", hint="sign in again", code="session-over"
    )


def _no_link() -> AccessError:
    return AccessError(
        "this link was used, or its time is over", hint="tieline console", code="console-link-over"
    )
