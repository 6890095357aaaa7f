"""Tokens of the HTTP API: make one, look who shows one, end one.

A token is ``tln_``, 32 letters and digits of chance (190 bits), and six of
checksum, by which a piece of one, or one with a slip of the pen, is refused
without asking the database. Only its SHA-256 is stored: with so much chance a
slow hash adds nothing.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from tieline.contract import Secret
from tieline.engine.timetable import read_duration_s
from tieline.errors import AccessError, InvalidInputError, NotFoundError, RefusedError, nearest
from tieline.services.connections import get_connection, list_connections
from tieline.services.installation import Installation
from tieline.store import log
from tieline.store import tokens as store
from tieline.store.database import Connection as Transaction
from tieline.store.ids import new_id
from tieline.store.tokens import Scope, TokenRow
from tieline.telemetry import remember

__all__ = [
    "SCOPES",
    "MadeToken",
    "Scope",
    "TokenRow",
    "authenticate",
    "create_token",
    "is_token",
    "list_tokens",
    "names_of",
    "note_use",
    "revoke_token",
]

SCOPES: tuple[Scope, ...] = ("read", "operate", "admin")
"""Each may what those before it may."""

_LETTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_TOKEN = re.compile(r"tln_([0-9A-Za-z]{32})([0-9A-Za-z]{6})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
_CHANCE = 32
_CHECKED = 6
_NOTED_EVERY = timedelta(minutes=5)


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeToken:
    """A token that was just made; it is told now and never again."""

    row: TokenRow
    token: Secret


def create_token(
    installation: Installation,
    name: str,
    *,
    scope: Scope,
    connections: Sequence[str] = (),
    expires_in: str | None = None,
    actor: str,
) -> MadeToken:
    """Make a token.

    Args:
        installation: Where.
        name: What the sync log calls who shows it.
        scope: ``read``, ``operate`` (ask, cancel, retry) or ``admin`` (make,
            change and remove what there is).
        connections: Names or ids of all that it may see; empty: everything.
        expires_in: Until when it is good, such as ``90d``; None: until it is revoked.
        actor: Who makes it, for the sync log.

    Raises:
        InvalidInputError: Name or time make no sense.
        NotFoundError: There is no such connection.
        RefusedError: There is, or was, a token of that name.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInputError(
            f"{name[:80]!r} is no name for a token: letters, digits and ._- only, 60 at most",
            code="name-invalid",
        )
    now = installation.clock.now()
    ends_s = read_duration_s(expires_in, field="expires", least_s=60) if expires_in else None
    ids = sorted({get_connection(installation, each).id for each in connections}) or None
    text = _new_token()
    remember(text)
    token_id = new_id("tok")

    def work(transaction: Transaction) -> TokenRow:
        found = store.find_token(transaction, name)
        if found is not None and found.id != token_id:
            raise RefusedError(
                f"there is a token {name!r} already",
                hint="choose another name: the sync log tells tokens apart by it",
                code="name-taken",
            )
        if found is None:
            store.add_token(
                transaction,
                token_id=token_id,
                name=name,
                digest=_digest(text),
                scope=scope,
                connection_ids=ids,
                created_by=actor,
                expires_at=now + timedelta(seconds=ends_s) if ends_s else None,
                now=now,
            )
            seen = f"{len(ids)} connections" if ids else "all connections"
            log.add_entry(
                transaction,
                at=now,
                actor=actor,
                event="token.created",
                detail=f"{name}: {scope}, {seen}",
            )
        made = store.find_token(transaction, token_id)
        assert made is not None
        return made

    return MadeToken(row=installation.database.transact(work), token=Secret(text))


def list_tokens(installation: Installation) -> list[TokenRow]:
    """Return all tokens by name, those that are over too."""
    with installation.database.read() as transaction:
        return store.list_tokens(transaction)


def names_of(installation: Installation, row: TokenRow) -> list[str] | None:
    """Return the names of the connections that a token may see; None: all."""
    if row.connection_ids is None:
        return None
    known = {each.id: each.name for each in list_connections(installation)}
    return sorted(known[each] for each in row.connection_ids if each in known)


def revoke_token(installation: Installation, name_or_id: str, *, actor: str) -> TokenRow:
    """End a token; whoever shows it is refused from this moment on.

    Raises:
        NotFoundError: There is none of that name or id.
        RefusedError: It was revoked before.
    """
    now = installation.clock.now()

    def work(transaction: Transaction) -> TokenRow:
        row = store.find_token(transaction, name_or_id)
        if row is None:
            known = [each.name for each in store.list_tokens(transaction)]
            raise NotFoundError(
                f"there is no token {name_or_id!r}",
                hint=nearest(name_or_id, known),
                code="token-unknown",
            )
        if not store.revoke_token(transaction, row.id, now):
            raise RefusedError(f"the token {row.name} is revoked already", code="token-revoked")
        log.add_entry(transaction, at=now, actor=actor, event="token.revoked", detail=row.name)
        left = store.find_token(transaction, row.id)
        assert left is not None
        return left

    return installation.database.transact(work)


def is_token(text: str) -> bool:
    """Say whether a text may be a token at all, without asking anybody."""
    found = _TOKEN.fullmatch(text)
    return found is not None and secrets.compare_digest(found[2], _checksum(found[1]))


def authenticate(installation: Installation, text: str) -> TokenRow:
    """Return whose token that is, and note now and then that it was used.

    It is looked for by its hash, so how long that takes tells nothing of how
    much of a token somebody has guessed.

    Raises:
        AccessError: It is unknown, revoked, or over. All three read alike.
        DependencyError: The database does not answer.
    """
    if not is_token(text):
        raise _refused()
    now = installation.clock.now()
    with installation.database.read() as transaction:
        row = store.find_by_digest(transaction, _digest(text))
    if row is None or not row.is_good(now):
        raise _refused()
    remember(text)
    note_use(installation, row)
    return row


def note_use(installation: Installation, row: TokenRow) -> None:
    """Note that a token was used, unless that was noted a moment ago.

    Raises:
        DependencyError: The database does not answer.
    """
    now = installation.clock.now()
    if row.last_used_at is None or now - row.last_used_at > _NOTED_EVERY:
        with installation.database.write() as transaction:
            store.note_used(transaction, row.id, now=now, every=_NOTED_EVERY)


def _refused() -> AccessError:
    return AccessError(
        "there is no such token, or it is over",
        hint="tieline tokens create NAME --scope read",
        code="token-invalid",
    )


def _new_token() -> str:
    chance = "".join(secrets.choice(_LETTERS) for _ in range(_CHANCE))
    return f"tln_{chance}{_checksum(chance)}"


def _checksum(chance: str) -> str:
    number, digits = zlib.crc32(chance.encode()), ""
    for _ in range(_CHECKED):
        number, digit = divmod(number, len(_LETTERS))
        digits = _LETTERS[digit] + digits
    return digits


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
