"""How a company's customers are written: one by one, or up to thirty in one request.

Source:
    Intuit, "Customer" in the entity reference, "Batch operation", and its
    developer blog of 2015-04-06 on request ids.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import orjson

from tieline_quickbooks_sandbox.answers import (
    Answer,
    ApiError,
    bad_argument,
    duplicate_name,
    json_answer,
    missing_argument,
    no_such_object,
    refused_value,
    stale_object,
    unsupported,
)
from tieline_quickbooks_sandbox.books import Books, Row, Shelf
from tieline_quickbooks_sandbox.clock import Clock
from tieline_quickbooks_sandbox.companies import Company
from tieline_quickbooks_sandbox.customers import (
    WRITABLE,
    display_name,
    emptied,
    new_names,
    read_given,
)
from tieline_quickbooks_sandbox.request import Request
from tieline_quickbooks_sandbox.seeds import CUSTOMER, Object

__all__ = ["OTHER_NAMES", "Writes"]

OTHER_NAMES = ("Ferry Lane Freight", "Söhne & Co Paper", "Ada Payroll")
"""Two vendors and an employee: customers cannot have their names."""

_MOST = 30
_DEEPEST = 4
_NEW: Object = {
    "Taxable": True,
    "Job": False,
    "BillWithParent": False,
    "Balance": 0,
    "BalanceWithJobs": 0,
    "CurrencyRef": {"value": "USD", "name": "United States Dollar"},
    "PreferredDeliveryMethod": "Print",
    "IsProject": False,
    "ClientEntityId": "0",
    "Active": True,
}


class Writes:
    """Answers writes.

    Attributes:
        remembers_s: For how long the answer to a ``requestid`` is kept, of which
            Intuit says nothing.
        holds_open: Whether who has an open balance cannot be made inactive.
    """

    def __init__(self, clock: Clock, books: Callable[[Company], Books]) -> None:
        self.remembers_s = 86400.0
        self.holds_open = False
        self._clock = clock
        self._books = books
        self._any_order = Random(2)  # noqa: S311 - no secret
        self._answered: dict[tuple[str, str], tuple[float, Answer]] = {}

    def customer(self, company: Company, request: Request, _parts: tuple[str, ...]) -> Answer:
        """Create a customer, or change the one that the body names; none can be deleted."""
        asked, now = request.asked(), self._clock.company_time()
        if asked.get("operation", "update").lower() != "update":
            raise unsupported(f"{asked['operation']} {CUSTOMER}", now)

        def write() -> Answer:
            text = self._written(company, _parsed(request.body))
            return Answer(body=b'{"Customer":%b,"time":"%b"}' % (text, now.encode()))

        return self._once(company, asked.get("requestid", ""), 50, write)

    def batch(self, company: Company, request: Request, _parts: tuple[str, ...]) -> Answer:
        """Carry out up to thirty writes, each for itself; the answers come in any order."""
        asked, now = request.asked(), self._clock.company_time()
        body = _parsed(request.body)
        items = body.get("BatchItemRequest") if isinstance(body, dict) else None
        if not isinstance(items, list) or not items:
            raise missing_argument("BatchItemRequest", now)
        if len(items) > _MOST:
            raise bad_argument("BatchItemRequest", f"has more than {_MOST} items", now)
        names = [item.get("bId") for item in items if isinstance(item, dict)]
        longest = 10 if asked.get("requestid") else 50
        has_names = all(isinstance(name, str) and 0 < len(name) <= longest for name in names)
        if not has_names or len(set(names)) < len(items):
            raise bad_argument("bId", "must be there, short, and another for each item", now)

        def write() -> Answer:
            answers = [self._item(company, item, now) for item in items]
            self._any_order.shuffle(answers)
            return json_answer({"BatchItemResponse": answers, "time": now})

        return self._once(company, asked.get("requestid", ""), 36, write)

    def _once(
        self, company: Company, request_id: str, longest: int, write: Callable[[], Answer]
    ) -> Answer:
        """Answer a request id as before, whatever the body is; refusals too."""
        if len(request_id) > longest:
            time = self._clock.company_time()
            raise bad_argument("requestid", f"is longer than {longest} characters", time)
        of = (company.id, request_id)
        at, answer = self._answered.get(of, (float("-inf"), None))
        if answer is not None and self._clock.now() < at + self.remembers_s:
            return answer
        try:
            answer = write()
        except ApiError as refusal:
            answer = refusal.answer
        if request_id:
            self._answered[of] = (self._clock.now(), answer)
        return answer

    def _item(self, company: Company, item: Any, now: str) -> Object:
        try:
            if item.get("operation") not in {"create", "update"} or CUSTOMER not in item:
                raise unsupported(f"{item.get('operation')} in a batch", now)
            body = item[CUSTOMER]
            if (item["operation"] == "update") != (isinstance(body, dict) and "Id" in body):
                raise missing_argument("Id", now)
            return {"bId": item["bId"], CUSTOMER: orjson.loads(self._written(company, body))}
        except ApiError as refusal:
            return {"bId": item["bId"], "Fault": orjson.loads(refusal.answer.body)["Fault"]}

    def _written(self, company: Company, body: Any) -> bytes:
        """Write one customer; return it as it is then."""
        time = self._clock.company_time()
        shelf = self._books(company).shelves[CUSTOMER]
        given = read_given(body, time)
        number = self._changed(shelf, body, given) if "Id" in body else self._made(shelf, given)
        row = shelf.find(number)
        assert row is not None
        return row.text

    def _made(self, shelf: Shelf, given: Object) -> str:
        time = self._clock.company_time()
        fields, _ = emptied(given)
        name = display_name(fields, time)
        self._require_free(shelf, name, 0)
        parent = self._parent(shelf, fields, 0)
        number = shelf.next_id()
        own = {
            "DisplayName": name,
            "PrintOnCheckName": name[:110],
            "V4IDPseudonym": f"002{number:029d}",
        }
        return shelf.put(_NEW | own | fields | _path(name, parent))

    def _changed(self, shelf: Shelf, body: Object, given: Object) -> str:
        time, number = self._clock.company_time(), str(body["Id"])
        row = shelf.find(number)
        if "SyncToken" not in body:
            raise missing_argument("SyncToken", time)
        if row is None or (not row.is_active and given.get("Active") is None):
            raise no_such_object(time)
        old = row.value()
        if str(body["SyncToken"]) != old["SyncToken"]:
            raise stale_object(time)
        fields, gone = emptied(given)
        if body.get("sparse") is not True:
            # All that is not named is emptied, and made up for where it has to be there.
            gone += WRITABLE - given.keys() - _NEW.keys()
            usual = WRITABLE & _NEW.keys() - {"CurrencyRef"}  # which never changes
            fields = {name: _NEW[name] for name in usual} | fields
            fields["DisplayName"] = display_name(fields, time)
        self._require_allowed(old, fields)
        taken = {each.name for each in shelf.live() if each.id != row.id}
        fields |= new_names(old, fields, lambda name: name.casefold() in taken)
        self._require_free(shelf, fields["DisplayName"], row.id)
        return shelf.put(
            {"Id": number} | fields | self._path(shelf, old, fields, gone),
            without={*gone, "Level"} - {"DisplayName"},
        )

    def _path(self, shelf: Shelf, old: Object, fields: Object, gone: list[str]) -> Object:
        """Say where a changed customer stands; a parent that it had may be inactive by now."""
        name: str = fields["DisplayName"]
        if "ParentRef" in fields:
            return _path(name, self._parent(shelf, fields, int(old["Id"])))
        above = {} if "ParentRef" in gone else old.get("ParentRef") or {}
        return _path(name, shelf.find(str(above.get("value", ""))))

    def _require_allowed(self, old: Object, fields: Object) -> None:
        time = self._clock.company_time()
        now, before = fields.get("CurrencyRef"), old.get("CurrencyRef")
        if now and before and now["value"] != before["value"]:
            words = "Business Validation Error: The currency of a customer cannot be changed."
            raise refused_value("6000", _BUSINESS, words, "CurrencyRef", time)
        if fields.get("Active") is False and self.holds_open and old.get("Balance"):
            words = "Business Validation Error: A customer with an open balance stays active."
            raise refused_value("6000", _BUSINESS, words, "Active", time)

    def _require_free(self, shelf: Shelf, name: str, own: int) -> None:
        others = {each.casefold() for each in OTHER_NAMES}
        folded = name.casefold()
        if folded in others or any(row.name == folded and row.id != own for row in shelf.live()):
            raise duplicate_name(self._clock.company_time())

    def _parent(self, shelf: Shelf, fields: Object, own: int) -> Row | None:
        """Find the parent that is named; one that is inactive is none."""
        named = (fields.get("ParentRef") or {}).get("value")
        row = None if named is None else shelf.find(named)
        if named is not None and (row is None or not row.is_active or row.id == own):
            raise no_such_object(self._clock.company_time())
        if row is not None and row.value().get("Level", 0) >= _DEEPEST:
            words = f"Business Validation Error: No more than {_DEEPEST} levels."
            time = self._clock.company_time()
            raise refused_value("6000", _BUSINESS, words, "ParentRef", time)
        return row


_BUSINESS = "A business validation error has occurred while processing your request"


def _path(name: str, parent: Row | None) -> Object:
    if parent is None:
        return {"FullyQualifiedName": name}
    above = parent.value()
    path = f"{above['FullyQualifiedName']}:{name}"
    return {"FullyQualifiedName": path, "Level": above.get("Level", 0) + 1}


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
