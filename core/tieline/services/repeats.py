"""Give a request that is repeated with its key the answer that it had before.

The key belongs to the token that used it. A request whose answer is not known,
because its process died or a dependency went away in the middle, is not done
again under the same key: it may have been done. Whoever asked looks, and
decides.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from tieline.contract import Secret
from tieline.errors import InvalidInputError, RefusedError, VaultError
from tieline.services.installation import Installation
from tieline.store import answers as store
from tieline.vault import Context, Sealer

__all__ = ["KEPT", "Claim", "Repeated", "claim"]

KEPT = timedelta(hours=24)
"""For how long an answer is kept."""

_UNDER_WAY = timedelta(minutes=6)  # no call may take longer, see TIELINE_API_DEADLINE_S


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeated:
    """The answer that a request had before.

    Attributes:
        status: Its HTTP status.
        body: Its body.
    """

    status: int
    body: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A key that was taken for one request; :meth:`settle`, :meth:`release` or :meth:`give_up` it.

    Attributes:
        installation: Where.
        token_id: Whose it is.
        key: The key.
        sealer: Seals the answer if it will tell a secret; had before anything
            is done, for a key service may be away.
    """

    installation: Installation
    token_id: str
    key: str
    sealer: Sealer | None

    def settle(self, status: int, body: bytes) -> None:
        """Keep the answer."""
        text = body.decode()
        if self.sealer is not None:
            text = self.sealer.seal(Secret(text), _context(self.token_id))
        with self.installation.database.write() as transaction:
            store.settle_key(
                transaction,
                self.token_id,
                self.key,
                state="done",
                status=status,
                answer=text,
                is_sealed=self.sealer is not None,
            )

    def release(self) -> None:
        """Let the key be used again: nothing was done."""
        with self.installation.database.write() as transaction:
            store.release_key(transaction, self.token_id, self.key)

    def give_up(self) -> None:
        """Note that nobody knows what was done."""
        with self.installation.database.write() as transaction:
            store.settle_key(transaction, self.token_id, self.key, state="unknown")


def claim(
    installation: Installation,
    token_id: str,
    token: Secret,
    key: str,
    *,
    request: bytes,
    is_secret: bool,
) -> Claim | Repeated:
    """Take a key for a request, or find the answer that it had.

    Args:
        installation: Where.
        token_id: Who asks.
        token: The token itself. The hash of the request is keyed with it, so
            that nobody who reads the database can try passwords against it.
        key: The key, of at most 255 characters.
        request: All that makes two requests the same.
        is_secret: Whether the answer will tell a secret; it is kept sealed then.

    Raises:
        RefusedError: The first request of this key is under way
            (``idempotency-busy``), or its answer is not known (``idempotency-unknown``).
        InvalidInputError: The key was used for another request (``idempotency-reused``).
        VaultError: Answers cannot be sealed now; nothing was done.
    """
    now = installation.clock.now()
    digest = hashlib.blake2b(request, key=token.reveal().encode()[:64], digest_size=32).hexdigest()
    sealer = installation.vault.prepare(_context(token_id)) if is_secret else None

    # Not repeated by itself: a claim that was committed would find itself.
    with installation.database.write() as transaction:
        store.drop_expired(transaction, now)
        found = store.claim_key(
            transaction, token_id, key, request_hash=digest, now=now, expires_at=now + KEPT
        )
    if found is None:
        return Claim(installation=installation, token_id=token_id, key=key, sealer=sealer)
    if found.request_hash != digest:
        raise InvalidInputError(
            "this Idempotency-Key was used for another request",
            hint="use a new key for each thing that you want done",
            code="idempotency-reused",
        )
    if found.state == "done":
        return _repeated(installation, token_id, found)
    raise _not_known(found, now)


def _repeated(installation: Installation, token_id: str, found: store.AnswerRow) -> Repeated:
    assert found.status is not None
    assert found.answer is not None
    text = found.answer
    if found.is_sealed:
        try:
            text = installation.vault.open(text, _context(token_id)).reveal()
        except VaultError:
            raise RefusedError(
                "the answer to this Idempotency-Key cannot be opened any more",
                hint="look whether the thing is there, and use a new key",
                code="idempotency-unknown",
            ) from None
    return Repeated(status=found.status, body=text.encode())


def _not_known(found: store.AnswerRow, now: datetime) -> RefusedError:
    if found.state == "open" and now - found.created_at < _UNDER_WAY:
        return RefusedError(
            "the first request with this Idempotency-Key is still under way",
            hint="ask again in a moment",
            code="idempotency-busy",
        )
    return RefusedError(
        "the first request with this Idempotency-Key broke off, and may have been done",
        hint="look whether it was, and use a new key",
        code="idempotency-unknown",
    )


def _context(token_id: str) -> Context:
    return Context(connection_id=token_id, field="api answer")
