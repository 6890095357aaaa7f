"""One provider, its connection, and what people do there between syncs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random

import httpx

from servers import truth
from site_of import Site
from tieline.errors import DependencyError

__all__ = ["Shop"]

_LISTS = ("/v1/customers", "/v1/events")
_MOST_SEED = 2**31


@dataclass(eq=False)
class Shop:
    """A sandbox that is synced by one connection.

    Attributes:
        site: The installation.
        name: The connection's.
        url: The sandbox's.
        rng: Decides what happens there, and what is asked for.
        changes: How often each record was made, changed or deleted there.
        first: How many records there were at first.
        lists: Pages of lists that were asked for, refused ones left out.
        run_id: The last run that was asked for.
        is_held: No further run is asked for.
    """

    site: Site
    name: str
    url: str
    rng: Random
    changes: Counter[str] = field(default_factory=Counter)
    first: int = 0
    lists: int = 0
    run_id: str = ""
    is_held: bool = False
    _read: int = 0

    def open(self) -> None:
        """Connect it."""
        self.changes.update(truth(self.url).keys())
        self.first = len(self.changes)
        self.site.connect(self.url, name=self.name)

    def mutate(self) -> None:
        """Let people create, change and delete."""
        most = self.rng.choice((4, 40, 130))
        order = {
            "create": self.rng.randrange(most),
            "update": self.rng.randrange(most),
            "delete": self.rng.randrange(most // 2),
            "seed": self.rng.randrange(_MOST_SEED),
        }
        answer = httpx.post(f"{self.url}/_sandbox/mutate", json=order, timeout=30, trust_env=False)
        for ids in answer.raise_for_status().json().values():
            self.changes.update(ids)

    def ask(self, mode: str = "") -> str:
        """Ask for a run; incremental or full by chance. Empty if the database is away."""
        mode = mode or self.rng.choice(("incremental", "incremental", "full"))
        try:
            self.run_id = self.site.ask(self.name, mode=mode)
        except DependencyError:
            return ""
        return self.run_id

    def count_lists(self) -> int:
        """Count the pages that were asked for since the start."""
        address = f"{self.url}/_sandbox/log?after={self._read}"
        answer = httpx.get(address, timeout=60, trust_env=False).json()
        for entry in answer["requests"]:
            if entry["path"] in _LISTS and entry["status"] in {0, 200}:
                self.lists += 1
        self._read = answer["total"]
        return self.lists

    def truth(self) -> dict[str, object]:
        """Return what the provider has."""
        return truth(self.url)
