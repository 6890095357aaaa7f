"""The endpoints of products, subscriptions and charges: lists, and single reads.

Source: Stripe API reference, "List all products", "List subscriptions", "List
all subscription items", "List all charges". Nothing here can be expanded, and
nothing is written: what changes, changes by order (``/_sandbox/``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

import orjson

from tieline_stripe_sandbox.answers import (
    Answer,
    invalid_request,
    list_answer,
    missing,
    missing_parameter,
    unknown_parameters,
)
from tieline_stripe_sandbox.params import Params, as_list, as_text
from tieline_stripe_sandbox.request import Request
from tieline_stripe_sandbox.shelf import Object, Shelf
from tieline_stripe_sandbox.subscriptions import STATUSES, Subscriptions
from tieline_stripe_sandbox.windows import LIST_PARAMETERS, page_of, read_window

__all__ = [
    "Objects",
    "SubscriptionItems",
    "charges_wanted",
    "products_wanted",
    "subscriptions_wanted",
]

Wanted = Callable[[Object], bool]
Reader = Callable[[Params], Wanted]

_ENDED = frozenset({"canceled", "incomplete_expired"})
_MOST_IDS = 100


class Objects:
    """List and retrieve the objects of one shelf.

    Args:
        shelf: Whose.
        filters: Parameters of the list beside those that all lists have.
        wanted: Reads them and says which objects are asked for.
    """

    def __init__(self, shelf: Shelf, filters: frozenset[str], wanted: Reader) -> None:
        self._shelf = shelf
        self._known = (LIST_PARAMETERS - {"expand"}) | filters
        self._wanted = wanted

    def page(self, request: Request, _name: str) -> Answer:
        """Answer a list, newest first."""
        params = request.params()
        if unknown := [name for name in params if name not in self._known]:
            raise unknown_parameters(unknown)
        window = read_window(params, self._cursor)
        wanted, shelf = self._wanted(params), self._shelf
        low, high = window.bounds(len(shelf), shelf.created)
        walked = self._walk(params, low, high, upwards=window.after is not None)
        found = (index for index in walked if wanted(shelf.get(index)))
        indices, has_more = page_of(window, list(islice(found, window.limit + 1)))
        texts = [shelf.served(index) for index in indices]
        return list_answer(request.path.encode(), texts, has_more=has_more)

    def one(self, request: Request, name: str) -> Answer:
        """Answer one object; unlike a customer, a deleted product is not found."""
        if unknown := list(request.params()):
            raise unknown_parameters(unknown)
        return Answer(body=self._shelf.served(self._cursor(name, "id")))

    def _walk(self, params: Params, low: int, high: int, *, upwards: bool) -> Iterable[int]:
        if "test_clock" not in params:
            return self._shelf.listed(low, high, upwards=upwards)
        clock = as_text(params["test_clock"], "test_clock")
        on_clock = [i for i in range(low, high) if self._shelf.get(i)["test_clock"] == clock]
        return on_clock if upwards else on_clock[::-1]

    def _cursor(self, name: str, param: str) -> int:
        index = self._shelf.find(name)
        if index is None or self._shelf.is_deleted(index):
            raise missing(self._shelf.kind, name, param=param)
        return index


class SubscriptionItems:
    """List the items of one subscription, whole."""

    def __init__(self, subscriptions: Subscriptions) -> None:
        self._subscriptions = subscriptions

    def page(self, request: Request, _name: str) -> Answer:
        """Answer a list, newest first."""
        params = request.params()
        known = (LIST_PARAMETERS - {"expand", "created"}) | {"subscription"}
        if unknown := [name for name in params if name not in known]:
            raise unknown_parameters(unknown)
        if "subscription" not in params:
            raise missing_parameter("subscription")
        name = as_text(params["subscription"], "subscription")
        index = self._subscriptions.find(name)
        if index is None:
            raise missing("subscription", name, param="subscription")
        oldest_first = self._subscriptions.get(index)["items"]["data"][::-1]
        places = {item["id"]: place for place, item in enumerate(oldest_first)}

        def cursor(item: str, param: str) -> int:
            if item not in places:
                raise missing("subscription item", item, param=param)
            return places[item]

        window = read_window(params, cursor)
        low, high = window.bounds(len(oldest_first), lambda place: place)
        walked = range(low, high) if window.after is not None else range(high - 1, low - 1, -1)
        found, has_more = page_of(window, list(walked[: window.limit + 1]))
        texts = [orjson.dumps(oldest_first[place]) for place in found]
        return list_answer(b"/v1/subscription_items", texts, has_more=has_more)


def products_wanted(params: Params) -> Wanted:
    """Read the filters of products; archived ones are listed unless ``active`` is given."""
    ids = _ids(params)
    flags = {name: _flag(params, name) for name in ("active", "shippable") if name in params}
    texts = {name: as_text(params[name], name) for name in ("type", "url") if name in params}

    def wanted(found: Object) -> bool:
        if ids is not None and found["id"] not in ids:
            return False
        is_flagged = all(bool(found[name]) == flag for name, flag in flags.items())
        return is_flagged and all(found[name] == text for name, text in texts.items())

    return wanted


def _ids(params: Params) -> set[str] | None:
    if "ids" not in params:
        return None
    ids = {as_text(name, "ids") for name in as_list(params["ids"], "ids")}
    if len(ids) > _MOST_IDS:
        raise invalid_request(f"You may pass at most {_MOST_IDS} ids.", "ids")
    if params.keys() & {"starting_after", "ending_before"}:
        raise invalid_request("You may not use ids with starting_after or ending_before.", "ids")
    return ids


def _flag(params: Params, name: str) -> bool:
    text = as_text(params[name], name)
    if text not in {"true", "false"}:
        raise invalid_request(f"Invalid boolean: {text}", name)
    return text == "true"


def subscriptions_wanted(params: Params) -> Wanted:
    """Read the filters of subscriptions: without ``status``, cancelled ones are left out."""
    status = as_text(params["status"], "status") if "status" in params else ""
    if status not in {"", "all", "ended", *STATUSES}:
        choice = ", ".join(("all", "ended", *STATUSES))
        raise invalid_request(f"Invalid status: must be one of {choice}", "status")
    plain = {n: as_text(params[n], n) for n in ("collection_method", "customer") if n in params}
    price = as_text(params["price"], "price") if "price" in params else None

    def wanted(found: Object) -> bool:
        if any(found[name] != text for name, text in plain.items()):
            return False
        if price is not None and price not in {i["price"]["id"] for i in found["items"]["data"]}:
            return False
        if status == "ended":
            return found["status"] in _ENDED
        return status == "all" or (found["status"] == status if status else not _is_over(found))

    return wanted


def _is_over(found: Object) -> bool:
    return bool(found["status"] == "canceled")


def charges_wanted(params: Params) -> Wanted:
    """Read the filters of charges."""
    names = ("customer", "payment_intent", "transfer_group")
    plain = {name: as_text(params[name], name) for name in names if name in params}
    return lambda found: all(found[name] == text for name, text in plain.items())
