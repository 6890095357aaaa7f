"""The accounts that exist, each with one user, who owns it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from tieline_mailchimp_sandbox.audiences import Audiences
from tieline_mailchimp_sandbox.meter import AT_ONCE, Meter

__all__ = ["Account", "World", "digest"]

_KEY = re.compile(r"[0-9a-f]{8,64}-[a-z]{2,4}[0-9]{1,4}")

# The second and third are there to be shown wrongly by somebody.
_NAMES = (
    "Tieline Coffee Roasters",
    'Smith & <b>Sons</b> "Bakery"',
    "مخبز الياسمين 🌸 נ",
    "Käthe Groß Gärtnerei",
    "O'Neill; DROP TABLE accounts; --",
    "髙橋商店",
)
_OWNERS = (("Ada", "Hopper"), ("Liam", "O'Neill"), ("ليلى", "حداد"), ("Jürgen", "Weiß-Öztürk"))


def digest(*parts: object) -> str:
    """Return 64 hex digits that are the same for the same parts."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One account and its owner.

    Attributes:
        index: Where it stands among the accounts.
        id: 25 hex digits, as ``account_id`` of the API's root.
        name: What its owner called it.
        user_id: Number of the account in the OAuth metadata; not ``id``.
        login_id: Number of its owner.
        owner: First and last name.
        email: The owner's.
        data_center: Such as ``us6``.
        api_key: The owner's.
        audiences: Its lists.
        meter: Calls of the owner in flight.
    """

    index: int
    id: str
    name: str
    user_id: int
    login_id: int
    owner: tuple[str, str]
    email: str
    data_center: str
    api_key: str
    audiences: Audiences
    meter: Meter = field(default_factory=lambda: Meter(AT_ONCE))


class World:
    """All accounts.

    Args:
        accounts: How many, at least one.
        seed: Chooses ids and keys.
        api_key: Key of the first account; its end names the data centre of all.
        audiences: Makes the lists of the account of an index.
    """

    def __init__(
        self, *, accounts: int, seed: int, api_key: str, audiences: Callable[[int], Audiences]
    ) -> None:
        if accounts < 1:
            raise ValueError("accounts: at least one is needed")
        if not _KEY.fullmatch(api_key):
            raise ValueError("api_key: hex digits, a dash and a data centre, such as 0a…f-us6")
        self._audiences = audiences
        self.data_center = api_key.rpartition("-")[2]
        self.accounts = [self._account(seed, index, api_key) for index in range(accounts)]
        self._dead_keys: set[str] = set()

    def by_key(self, key: str) -> Account | None:
        """Return the account that a key opens."""
        found = (account for account in self.accounts if account.api_key == key)
        return None if key in self._dead_keys else next(found, None)

    def at(self, index: object) -> Account:
        """Return an account; ValueError if there is none at that index."""
        if type(index) is not int or not 0 <= index < len(self.accounts):
            raise ValueError(f"there is no account {index!r}: 0 to {len(self.accounts) - 1}")
        return self.accounts[index]

    def kill_key(self, key: str) -> bool:
        """Switch a key off for good; say whether it was one that worked."""
        was_good = self.by_key(key) is not None
        self._dead_keys.add(key)
        return was_good

    def _account(self, seed: int, index: int, first_key: str) -> Account:
        found = digest(seed, "account", index)
        known = _NAMES[index] if index < len(_NAMES) else f"Shop {index + 1}"
        key = f"{digest(seed, 'key', index)[:32]}-{self.data_center}"
        return Account(
            index=index,
            id=found[:25],
            name=known,
            user_id=int(found[25:31], 16),
            login_id=int(found[31:37], 16),
            owner=_OWNERS[index % len(_OWNERS)],
            email=f"owner{index + 1}@example.com",
            data_center=self.data_center,
            api_key=key if index else first_key,
            audiences=self._audiences(index),
        )
