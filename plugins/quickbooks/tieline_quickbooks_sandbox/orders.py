"""Orders about the books: change them as users do, or as nobody should."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from tieline_quickbooks_sandbox.answers import Answer
from tieline_quickbooks_sandbox.books import KINDS, Books, Row, Shelf
from tieline_quickbooks_sandbox.companies import Company
from tieline_quickbooks_sandbox.reads import Reads
from tieline_quickbooks_sandbox.seeds import (
    CUSTOMER,
    DELETED_SUFFIX,
    INVOICE,
    new_customer,
    new_invoice,
    voided,
)
from tieline_quickbooks_sandbox.writes import Writes

__all__ = ["Orders"]

_BOTH = ("create", "update", "silent", "delete")
_VERBS = {
    CUSTOMER: (*_BOTH, "rebalance", "deactivate", "merge"),
    INVOICE: (*_BOTH, "rebalance", "pay", "void", "email"),
}
_WAYS = ("record", "deleted")


class Orders:
    """Carries out orders about the companies' books.

    Args:
        companies: In the order of their indices.
        books: Opens the books of one.
        reads: Whose habits can be ordered.
        writes: The same.
    """

    def __init__(
        self,
        companies: Sequence[Company],
        books: Callable[[Company], Books],
        reads: Reads,
        writes: Writes,
    ) -> None:
        self._companies = companies
        self._books = books
        self._reads = reads
        self._writes = writes
        self._chance = Random(7)  # noqa: S311 - no secret

    def mutate(self, given: Any) -> dict[str, list[str]]:
        """Change some objects as users do; return the numbers of those of each verb."""
        shelf, rest = self._shelf(given)
        _expect(rest, set(_VERBS[shelf.kind]))
        done = {}
        for verb, count in rest.items():
            if type(count) is not int or count < 0:
                raise ValueError(f"{verb} takes a count")
            done[verb] = [self._do(verb, shelf, given) for _ in range(count)]
        return done

    def objects(self, given: Any) -> dict[str, list[str]]:
        """Put, plant and delete the very objects that are given."""
        shelf, rest = self._shelf(given)
        _expect(rest, {"put", "plant", "delete"})
        for each in rest.get("plant", []):
            shelf.plant(each)
        put = [shelf.put(each) for each in rest.get("put", [])]
        for number in rest.get("delete", []):
            shelf.delete(number)
        return {"put": put}

    def habits(self, given: Any) -> dict[str, Any]:
        """Set how reads and writes behave where Intuit says nothing."""
        _expect(given, {"inactive_as", "lag_s", "remembers_s", "holds_open"})
        if given.get("inactive_as", "record") not in _WAYS:
            raise ValueError(f"inactive_as is one of {', '.join(_WAYS)}")
        self._reads.inactive_as = given.get("inactive_as", self._reads.inactive_as)
        for company in self._companies if "lag_s" in given else ():
            for shelf in self._books(company).shelves.values():
                shelf.lag_s = int(given["lag_s"])
        self._writes.remembers_s = float(given.get("remembers_s", self._writes.remembers_s))
        self._writes.holds_open = bool(given.get("holds_open", self._writes.holds_open))
        return {"inactive_as": self._reads.inactive_as}

    def truth(self, query: dict[str, str]) -> Answer:
        """Answer all that there is of one kind, as JSON lines by number."""
        shelf, _ = self._shelf(
            {"entity": query.get("entity"), "account": int(query.get("account", "0"))}
        )
        lines = b"".join(b"%b\n" % row.text for row in shelf.live())
        return Answer(body=lines, content_type=b"application/x-ndjson")

    def _shelf(self, given: Any) -> tuple[Shelf, dict[str, Any]]:
        if not isinstance(given, dict) or given.get("entity") not in KINDS:
            raise ValueError(f"expected an object whose entity is one of {', '.join(KINDS)}")
        index = given.get("account", 0)
        if type(index) is not int or not 0 <= index < len(self._companies):
            raise ValueError(f"there is no account {index!r}: 0 to {len(self._companies) - 1}")
        rest = {name: each for name, each in given.items() if name not in {"entity", "account"}}
        return self._books(self._companies[index]).shelves[given["entity"]], rest

    def _do(self, verb: str, shelf: Shelf, given: dict[str, Any]) -> str:
        if verb == "create":
            following = shelf.next_id()
            if shelf.kind == CUSTOMER:
                return shelf.put(new_customer(self._chance, following))
            return shelf.put(new_invoice(self._chance, following, self._chance.randint(1, 9)))
        row = self._pick(shelf, verb)
        number, value = str(row.id), row.value()
        if verb == "delete":
            shelf.delete(number)
        elif verb == "merge":
            self._merge(row, self._books(self._companies[given.get("account", 0)]))
        elif verb in {"rebalance", "silent"}:
            # A customer's balance moves with an invoice: SyncToken stays as it is.
            changed = {"Id": number, "Balance": round(value.get("Balance", 0) + 1.25, 2)}
            shelf.put(changed, has_token=False, has_time=verb == "rebalance")
        else:
            operation = _OPERATIONS.get(verb, "")
            shelf.put({"Id": number} | _CHANGES[verb](value), operation=operation)
        return number

    def _pick(self, shelf: Shelf, verb: str) -> Row:
        row = shelf.pick(self._chance, is_active=verb in {"deactivate", "merge"})
        if row is None:
            raise ValueError(f"there is no {shelf.kind} to {verb}")
        return row

    def _merge(self, loser: Row, books: Books) -> None:
        """Merge a customer into another: its invoices go over to the one that stays."""
        customers, invoices = books.shelves[CUSTOMER], books.shelves[INVOICE]
        kept = next(row for row in customers.live() if row.id != loser.id and row.is_active)
        customers.put({"Id": str(kept.id)}, operation="Merge", gone=str(loser.id))
        customers.delete(str(loser.id), is_told=False)
        reference = {"value": str(kept.id), "name": kept.value()["DisplayName"]}
        for row in invoices.live():
            if row.value()["CustomerRef"]["value"] == str(loser.id):
                invoices.put({"Id": str(row.id), "CustomerRef": reference})


def _updated(value: dict[str, Any]) -> dict[str, Any]:
    name = "PrivateNote" if "Line" in value else "Notes"
    return {name: f"{value.get(name, '')[-100:]} changed {int(value['SyncToken']) + 1}"}


def _deactivated(value: dict[str, Any]) -> dict[str, Any]:
    names = {name: value[name] + DELETED_SUFFIX for name in ("DisplayName", "FullyQualifiedName")}
    return {"Active": False} | names


def _paid(value: dict[str, Any]) -> dict[str, Any]:
    payment = {"TxnId": f"8{value['Id']}", "TxnType": "Payment"}
    return {"Balance": 0, "LinkedTxn": [*value.get("LinkedTxn", []), payment]}


_CHANGES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "update": _updated,
    "deactivate": _deactivated,
    "pay": _paid,
    "void": voided,
    "email": lambda _value: {"EmailStatus": "EmailSent"},
}
_OPERATIONS = {"void": "Void", "email": "Emailed"}


def _expect(given: object, names: set[str]) -> None:
    if not isinstance(given, dict) or given.keys() - names:
        raise ValueError(f"expected an object with some of {', '.join(sorted(names))}")
