"""Books that are kept in step: a sandbox, an installation, and what each of them has."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

import grants_kit
from tieline.engine import ask_run, help_run
from tieline.services.installation import Installation
from tieline.services.verify import read_outcome
from tieline.store import records, runs
from tieline.store.connections import ConnectionRow

KINDS = {"customers": "Customer", "invoices": "Invoice"}


@dataclass
class Site:
    """One installation with one connected company.

    Attributes:
        base: The sandbox.
        account: Index of the company there.
    """

    base: str
    made: Installation
    row: ConnectionRow
    account: int = 0

    def sync(self, entity: str, mode: str = "incremental", **options: Any) -> Any:
        """Run to the end, and let an hour go by."""
        run = self.help(self.ask(entity, mode, **options))
        self.move(3600)
        return run

    def ask(self, entity: str, mode: str, **options: Any) -> str:
        declared = self.made.registry.get("quickbooks").entity(entity)
        given = {"mode": mode, "asked_by": "test"} | options
        return ask_run(self.made.engine, self.row, declared, **given).run.id

    def help(self, run_id: str) -> Any:
        help_run(self.made.engine, run_id, threading.Event())
        with self.made.database.read() as transaction:
            return runs.get_run(transaction, run_id)

    def move(self, seconds: float) -> None:
        grants_kit.move(self.made, seconds, self.base)

    def order(self, name: str, entity: str = "", **given: Any) -> Any:
        """Give the sandbox an order; about the objects of an entity, if one is named."""
        about = {"entity": KINDS[entity], "account": self.account} if entity else {}
        return grants_kit.order(self.base, name, **(about | given))

    def script(self, *faults: dict[str, Any]) -> None:
        grants_kit.script(self.base, *faults)

    def asked(self, word: str = "/v3/") -> list[str]:
        """Return the paths of the requests so far that have a word in them."""
        requests = grants_kit.told(self.base, "log")["requests"]
        return [each["path"].rpartition("/v3/company/")[2] for each in requests
                if word in each["path"]]  # fmt: skip

    def truth(self, entity: str) -> dict[str, Any]:
        query = {"entity": KINDS[entity], "account": str(self.account)}
        text = httpx.get(f"{self.base}/_sandbox/truth", params=query, trust_env=False).text
        objects = [json.loads(line) for line in text.split("\n") if line]
        return {each["Id"]: each for each in objects}

    def stored(self, entity: str, *, with_deleted: bool = False) -> dict[str, Any]:
        with self.made.database.read() as transaction:
            rows = records.read_records(
                transaction, self.row.id, entity, limit=100_000, with_deleted=with_deleted
            )
        return {row.record_id: json.loads(row.payload) for row in rows}

    def findings(self, entity: str) -> tuple[str, dict[str, int]]:
        """Verify, and return how that ended and what it found."""
        run = self.help(self.ask(entity, "verify"))
        return run.state, read_outcome(self.made, run.id).counts

    def is_in_step(self, entity: str) -> bool:
        """Compare all that is stored with all that there is, and ask ``verify`` too."""
        assert self.stored(entity) == self.truth(entity)
        state, counts = self.findings(entity)
        return state == "succeeded" and not any(counts.values())


@contextmanager
def site_of(folder: Any, *, hands: int = 1, **options: Any) -> Iterator[Site]:
    """Make a site whose sandbox takes these options, its clock at the installation's present."""
    with grants_kit.served("quickbooks", **options) as base:
        made = grants_kit.installed(
            f"sqlite:///{folder / 'tieline.db'}",
            folder,
            hands=str(hands),
            **grants_kit.application("quickbooks"),
        )
        try:
            row = grants_kit.connect_grant(made, "quickbooks", base, name="books")
            site = Site(base, made, row)
            site.move(60)
            yield site
        finally:
            made.close()


@pytest.fixture
def site(tmp_path) -> Iterator[Callable[..., Site]]:
    """Make one site: ``site(customers=5)``."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(site_of(tmp_path, **options))
