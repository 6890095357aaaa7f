"""The keys that seal credentials: which there are, what they open, which can go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from tieline.contract import SettingsError, TielineError
from tieline.errors import KeyUnavailableError, NotFoundError, RefusedError, VaultError, nearest
from tieline.services.installation import Installation
from tieline.store import log, sealed
from tieline.store.database import Connection as Transaction
from tieline.store.sealed import SealedField
from tieline.vault import Context, drop_key, key_id_of, read_keys, sealing_since

__all__ = [
    "KeyUse",
    "KeysCheck",
    "KeysState",
    "Unopened",
    "check",
    "context_of",
    "forget",
    "present_key",
    "read_batches",
    "ring_ids",
    "state",
    "unopened_of",
]

_BATCH = 100
_SAMPLES = 3
_LEAST_REST = timedelta(minutes=10)
_NOBODY = Context(connection_id="none", field="none")


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyUse:
    """One key, and what is sealed under it.

    Attributes:
        key_id: Its id.
        fields: How many fields of credentials say to be sealed under it.
        is_present: Whether new credentials are sealed under it.
        can_open: Whether a field under it was opened; None if there is none.
        reason: Why not.
    """

    key_id: str
    fields: int
    is_present: bool
    can_open: bool | None
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class KeysState:
    """Which key seals, and which ones are needed.

    Attributes:
        provider: ``local`` or ``kms``.
        source: Where the sealing key is: a file, a variable, or its name in KMS.
        key_id: The key that seals now; None if it is not to be had.
        reason: Why it is not.
        keys: All keys of the local ring and all that something is sealed under.
    """

    provider: str
    source: str
    key_id: str | None
    reason: str
    keys: Sequence[KeyUse]


@dataclass(frozen=True, kw_only=True, slots=True)
class Unopened:
    """A field of a credential that cannot be opened.

    Attributes:
        code: Slug of the error.
        reason: One sentence.
        is_for_now: The key service may give the key later; False: somebody has
            to connect the account again, or to bring the key back.
    """

    connection_id: str
    connection_name: str
    field: str
    key_id: str
    code: str
    reason: str
    is_for_now: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class KeysCheck:
    """What opening every field found.

    Attributes:
        opened: How many fields opened.
        unopened: Those that did not.
        is_whole: Whether there was nothing more to look at.
    """

    opened: int
    unopened: Sequence[Unopened]
    is_whole: bool


def state(installation: Installation) -> KeysState:
    """Say which key seals now, what is under each key, and which keys open.

    Opens up to three fields of each key, no more; :func:`check` opens all.
    """
    vault = installation.vault
    reason, present = "", None
    try:
        present = present_key(installation)
    except (KeyUnavailableError, SettingsError) as error:
        reason = error.message
    with installation.database.read() as transaction:
        counts = sealed.count_by_key(transaction)
        samples = {
            key_id: sealed.read_fields(transaction, under=key_id, limit=_SAMPLES)
            for key_id in counts
        }
    listed = dict.fromkeys([*([present] if present else []), *ring_ids(installation), *counts])
    return KeysState(
        provider=vault.kind,
        source=_source(installation),
        key_id=present,
        reason=reason,
        keys=[
            _use(installation, key_id, counts.get(key_id, 0), samples.get(key_id, ()), present)
            for key_id in listed
        ],
    )


def check(installation: Installation, *, most: int | None = None) -> KeysCheck:
    """Open every field of every credential; one that is broken hides no other.

    Args:
        installation: Where.
        most: Stop after about so many fields; None: after all.

    Raises:
        SettingsError: There is no key at all, or it may not be used here.
    """
    _ = installation.vault
    opened, unopened = 0, []
    for batch in read_batches(installation):
        for field in batch:
            if (found := _try(installation, field)) is None:
                opened += 1
            else:
                unopened.append(found)
        if most is not None and opened + len(unopened) >= most and len(batch) == _BATCH:
            return KeysCheck(opened=opened, unopened=unopened, is_whole=False)
    return KeysCheck(opened=opened, unopened=unopened, is_whole=True)


def forget(installation: Installation, key_id: str, *, actor: str) -> None:
    """Take an old key out of the local key file, for good.

    Raises:
        NotFoundError: The file has no such key.
        RefusedError: It seals now, or did until a moment ago, or is needed still.
    """
    path = installation.key_path
    if installation.settings.key:
        raise RefusedError(
            "the local keys come from TIELINE_KEY, not from a file",
            hint="take the key out of TIELINE_KEY, and restart what runs",
        )
    ring = ring_ids(installation)
    if key_id not in ring:
        raise NotFoundError(
            f"the key file {path} has no key {key_id[:80]!r}", hint=nearest(key_id, ring)
        )
    if installation.vault.kind == "local":
        _refuse_if_lately_used(installation, ring, key_id)

    def work(transaction: Transaction) -> None:
        if count := sealed.count_under(transaction, key_id):
            raise RefusedError(
                f"{count} fields of credentials are sealed under {key_id}",
                hint="tieline keys rotate",
            )
        drop_key(path, key_id)
        log.add_entry(
            transaction,
            at=installation.clock.now(),
            actor=actor,
            event="keys.forgotten",
            detail=key_id,
        )

    installation.database.transact(work)


def read_batches(
    installation: Installation, *, not_under: str | None = None
) -> Iterator[Sequence[SealedField]]:
    """Read the sealed fields in batches, each in a transaction that is over by then."""
    after = None
    while True:
        with installation.database.read() as transaction:
            batch = sealed.read_fields(transaction, limit=_BATCH, after=after, not_under=not_under)
        if batch:
            yield batch
        if len(batch) < _BATCH:
            return
        after = batch[-1].place


def present_key(installation: Installation) -> str:
    """Find out under which key is sealed now; KMS is asked for that."""
    return installation.vault.prepare(_NOBODY).key_id


def ring_ids(installation: Installation) -> list[str]:
    """Name the local keys, the first one first; empty if there is none."""
    return [key_id_of(key) for key in read_keys(installation.settings.key, installation.key_path)]


def _source(installation: Installation) -> str:
    settings = installation.settings
    if installation.vault.kind == "kms":
        return settings.kms_key_id
    return "TIELINE_KEY" if settings.key else str(installation.key_path)


def _use(
    installation: Installation,
    key_id: str,
    count: int,
    samples: Sequence[SealedField],
    present: str | None,
) -> KeyUse:
    found = [_try(installation, field) for field in samples]
    broken = [each for each in found if each is not None]
    can_open = len(broken) < len(found) if found else None
    return KeyUse(
        key_id=key_id,
        fields=count,
        is_present=key_id == present,
        can_open=can_open,
        reason=broken[0].reason if can_open is False else "",
    )


def _try(installation: Installation, field: SealedField) -> Unopened | None:
    """Open a field; if it does not, look whether it is another by now."""
    try:
        installation.vault.open(field.sealed, context_of(field))
    except (VaultError, SettingsError) as error:
        with installation.database.read() as transaction:
            again = sealed.read_field(transaction, field.place)
        if again is None:
            return None
        if again.sealed == field.sealed:
            return unopened_of(field, error)
        return _try(installation, again)
    return None


def context_of(field: SealedField) -> Context:
    """Say what a field's secret belongs to."""
    return Context(connection_id=field.connection_id, field=field.field)


def unopened_of(field: SealedField, error: TielineError) -> Unopened:
    """Say why a field does not open."""
    is_local = field.key_id.startswith("local-")
    return Unopened(
        connection_id=field.connection_id,
        connection_name=field.connection_name,
        field=field.field,
        key_id=field.key_id,
        code=error.slug,
        reason=error.message,
        is_for_now=isinstance(error, KeyUnavailableError) and not is_local,
    )


def _refuse_if_lately_used(installation: Installation, ring: Sequence[str], key_id: str) -> None:
    if key_id == ring[0]:
        raise RefusedError(
            f"{key_id} seals now", hint="make another first: tieline keys rotate --new"
        )
    # Who takes a data key, then calls a provider, stores what he got some calls later.
    longest = max(_LEAST_REST, timedelta(seconds=5 * installation.settings.http_deadline_s))
    ready_at = sealing_since(installation.key_path) + longest
    if installation.clock.now() < ready_at:
        raise RefusedError(
            f"{key_id} sealed until a moment ago: a token that is being renewed may yet be stored"
            " under it",
            hint=f"try again after {ready_at:%H:%M:%S} UTC",
            code="key-lately-used",
        )
