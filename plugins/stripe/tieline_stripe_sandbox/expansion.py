"""The ``expand`` parameter, as far as customers have something to expand.

``sources``, ``subscriptions`` and ``tax_ids`` come only when expanded, and of
these only ``subscriptions`` holds anything: the first ten that are not over. The
other expandable fields are null in every customer.
Source: Stripe API reference, "Expanding responses".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import orjson

from tieline_stripe_sandbox.answers import invalid_request
from tieline_stripe_sandbox.params import Params, as_list, as_text

__all__ = ["Expansion", "read_expansion"]

Expansion: TypeAlias = Callable[[bytes], bytes]

_LISTS = {
    "sources": "/v1/customers/{}/sources",
    "subscriptions": "/v1/subscriptions?customer={}",
    "tax_ids": "/v1/customers/{}/tax_ids",
}
_MOST_SHOWN = 10
_NULL = frozenset({"default_source", "invoice_settings.default_payment_method", "test_clock"})


def read_expansion(
    params: Params, subscriptions_of: Callable[[str], list[Any]], *, inside: str = ""
) -> Expansion | None:
    """Read what is to be expanded.

    Args:
        params: All parameters.
        subscriptions_of: Returns those of a customer's id.
        inside: ``data.`` for lists.

    Returns:
        What turns a customer's text into the expanded one; None: nothing to do.

    Raises:
        ApiError: 400 for a property that cannot be expanded.
    """
    if "expand" not in params:
        return None
    names = [
        _property(as_text(name, "expand"), inside) for name in as_list(params["expand"], "expand")
    ]
    lists = [name for name in names if name in _LISTS]
    return _with_lists(lists, subscriptions_of) if lists else None


def _property(path: str, inside: str) -> str:
    name = path.removeprefix(inside)
    if not path.startswith(inside) or name not in _LISTS.keys() | _NULL:
        raise invalid_request(f"This property cannot be expanded ({path}).", "expand")
    return name


def _with_lists(names: list[str], subscriptions_of: Callable[[str], list[Any]]) -> Expansion:
    def expand(text: bytes) -> bytes:
        customer = orjson.loads(text)
        for name in names:
            url = _LISTS[name].format(customer["id"])
            data = subscriptions_of(customer["id"]) if name == "subscriptions" else []
            shown, has_more = data[:_MOST_SHOWN], len(data) > _MOST_SHOWN
            customer[name] = {"object": "list", "data": shown, "has_more": has_more, "url": url}
        return orjson.dumps(customer)

    return expand
