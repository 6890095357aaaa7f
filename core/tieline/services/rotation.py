"""Seal every credential again under the present key, while everything runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from tieline.contract import SettingsError
from tieline.errors import RefusedError, VaultError
from tieline.services.installation import Installation
from tieline.services.keys import (
    Unopened,
    context_of,
    present_key,
    read_batches,
    ring_ids,
    unopened_of,
)
from tieline.store import log, sealed
from tieline.store.database import Desk
from tieline.store.sealed import SealedField
from tieline.vault import add_key

__all__ = ["Progress", "Rotation", "rotate"]

_PASSES = 10

Progress = Callable[[int, int], None]
"""Told after each batch how many fields were sealed again, and of how many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rotation:
    """What a rotation did.

    Attributes:
        key_id: What everything is sealed under now, as far as it opens.
        has_new_key: Whether the key was made for it.
        resealed: How many fields were sealed again.
        unopened: Fields that stay as they are, since they do not open.
        left: Old key id to how many fields are still sealed under it.
        emptied: Old key ids that nothing is sealed under any more.
    """

    key_id: str
    has_new_key: bool
    resealed: int
    unopened: Sequence[Unopened]
    left: Mapping[str, int]
    emptied: Sequence[str]


def rotate(
    installation: Installation,
    *,
    makes_key: bool = False,
    actor: str,
    on_progress: Progress | None = None,
) -> Rotation:
    """Seal everything under the present key that is under another one.

    Workers go on meanwhile. Killed at any moment it leaves every field sealed
    under one key or the other; the next rotation does the rest. With nothing to
    do it changes nothing.

    Args:
        installation: Where.
        makes_key: Put a fresh key in front of the local key file first.
        actor: Who does it, for the sync log.
        on_progress: Told after each batch; None: nobody is.

    Raises:
        RefusedError: A key was to be made where keys come from elsewhere.
        KeyUnavailableError: The present key is not to be had; what was sealed
            again stays so.
    """
    if makes_key:
        _make_key(installation, actor)
    with installation.database.read() as transaction:
        before = sealed.count_by_key(transaction)
    work = _Rotating(installation, on_progress)
    try:
        work.run()
    finally:
        if work.resealed:
            _note(installation, actor, "keys.rotated", f"{work.resealed} fields to {work.key_id}")
    with installation.database.read() as transaction:
        after = sealed.count_by_key(transaction)
    old = dict.fromkeys([*before, *ring_ids(installation)])
    return Rotation(
        key_id=work.key_id,
        has_new_key=makes_key,
        resealed=work.resealed,
        unopened=[found for _, found in work.unopened.values()],
        left={key_id: count for key_id, count in after.items() if key_id != work.key_id},
        emptied=[key_id for key_id in old if key_id not in after and key_id != work.key_id],
    )


class _Rotating:
    """One rotation under way.

    Attributes:
        key_id: The present key.
        resealed: How many fields it sealed again.
        unopened: Place of each field that does not open, to its sealed text and why.
    """

    def __init__(self, installation: Installation, on_progress: Progress | None) -> None:
        self._installation = installation
        self._on_progress = on_progress
        self.key_id = present_key(installation)
        self.resealed = 0
        self.unopened: dict[tuple[str, str], tuple[str, Unopened]] = {}

    def run(self) -> None:
        """Go over the fields until there is nothing left to do.

        More than once, since a process may have sealed under the old key just
        before it learnt of the new one.
        """
        with self._installation.database.desk() as desk:
            for _ in range(_PASSES):
                before = self.resealed
                self._pass(desk)
                if self.resealed == before:
                    return
                self.key_id = present_key(self._installation)

    def _pass(self, desk: Desk) -> None:
        count = partial(sealed.count_not_under, key_id=self.key_id)
        total = self.resealed + desk.transact(count, is_read=True)
        known, self.unopened = self.unopened, {}
        for batch in read_batches(self._installation, not_under=self.key_id):
            fresh = []
            for field in batch:
                if (found := known.get(field.place)) is not None and found[0] == field.sealed:
                    self.unopened[field.place] = found
                else:
                    fresh.append(field)
            if fresh:
                self._reseal(desk, fresh)
            if self._on_progress:
                self._on_progress(self.resealed, total)

    def _reseal(self, desk: Desk, batch: Sequence[SealedField]) -> None:
        vault = self._installation.vault
        sealer = vault.prepare(*map(context_of, batch))
        for field in batch:
            try:
                secret = vault.open(field.sealed, context_of(field))
            except (VaultError, SettingsError) as error:
                self.unopened[field.place] = field.sealed, unopened_of(field, error)
                continue
            text = sealer.seal(secret, context_of(field))
            # Each in a transaction of its own: see reseal().
            change = partial(sealed.reseal, read=field, sealed=text, key_id=sealer.key_id)
            self.resealed += desk.transact(change)


def _make_key(installation: Installation, actor: str) -> None:
    if installation.vault.kind != "local":
        raise RefusedError(
            "keys are made by AWS KMS here",
            hint="make one there, set TIELINE_KMS_KEY_ID to it, restart what runs, then:"
            " tieline keys rotate",
        )
    if installation.settings.key:
        raise RefusedError(
            "the local keys come from TIELINE_KEY, not from a file",
            hint="put a new key in front: TIELINE_KEY=NEW,OLD; restart what runs, then:"
            " tieline keys rotate",
        )
    _note(installation, actor, "keys.added", add_key(installation.key_path))


def _note(installation: Installation, actor: str, event: str, detail: str) -> None:
    with installation.database.write() as transaction:
        log.add_entry(
            transaction, at=installation.clock.now(), actor=actor, event=event, detail=detail
        )
