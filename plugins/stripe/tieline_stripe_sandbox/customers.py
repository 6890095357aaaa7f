"""The customers' endpoints.

Source: Stripe API reference, "Customers".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import orjson

from tieline_stripe_sandbox.answers import Answer, list_answer, missing, unknown_parameters
from tieline_stripe_sandbox.customer_form import read_customer_form
from tieline_stripe_sandbox.expansion import Expansion, read_expansion
from tieline_stripe_sandbox.params import Params, as_text
from tieline_stripe_sandbox.request import Request
from tieline_stripe_sandbox.windows import LIST_PARAMETERS, Window, page_of, read_window
from tieline_stripe_sandbox.world import World

__all__ = ["Customers"]

_FILTERS = LIST_PARAMETERS | {"email", "test_clock"}


class Customers:
    """List, retrieve, create, update and delete customers of one world."""

    def __init__(self, world: World, subscriptions_of: Callable[[str], list[Any]]) -> None:
        self._world = world
        self._subscriptions_of = subscriptions_of

    def page(self, request: Request, _name: str) -> Answer:
        """Answer a list."""
        params = request.params()
        if unknown := [name for name in params if name not in _FILTERS]:
            raise unknown_parameters(unknown)
        window = read_window(params, self._cursor)
        expansion = read_expansion(params, self._subscriptions_of, inside="data.")
        indices, has_more = page_of(
            window, list(islice(self._walk(params, window), window.limit + 1))
        )
        text = self._world.text
        texts = [text(index) for index in indices]
        if expansion is not None:
            texts = [expansion(name) for name in texts]
        return list_answer(b"/v1/customers", texts, has_more=has_more)

    def one(self, request: Request, name: str) -> Answer:
        """Answer one customer, or the stub of a deleted one."""
        params = request.params()
        if unknown := [given for given in params if given != "expand"]:
            raise unknown_parameters(unknown)
        index = self._world.find(name)
        if index is None:
            raise missing("customer", name)
        if self._world.is_deleted(index):
            return _stub(name)
        return self._answer(index, read_expansion(params, self._subscriptions_of))

    def create(self, request: Request, _name: str) -> Answer:
        """Make a customer; nothing is checked for duplicates."""
        params = request.params()
        patch = read_customer_form(params, is_new=True)
        expansion = read_expansion(params, self._subscriptions_of)
        return self._answer(self._world.create(patch, request.cause()), expansion)

    def update(self, request: Request, name: str) -> Answer:
        """Change a customer."""
        index = self._live(name)
        params = request.params()
        patch = read_customer_form(params, is_new=False)
        expansion = read_expansion(params, self._subscriptions_of)
        self._world.update(index, patch, request.cause())
        return self._answer(index, expansion)

    def delete(self, request: Request, name: str) -> Answer:
        """Delete a customer for good."""
        self._world.delete(self._live(name), request.cause())
        return _stub(name)

    def _answer(self, index: int, expansion: Expansion | None) -> Answer:
        text = self._world.text(index)
        return Answer(body=expansion(text) if expansion else text)

    def _live(self, name: str) -> int:
        index = self._world.find(name)
        if index is None or self._world.is_deleted(index):
            raise missing("customer", name)
        return index

    def _cursor(self, name: str, param: str) -> int:
        """A deleted customer is no place to go on from (tap-stripe met this)."""
        index = self._world.find(name)
        if index is None or self._world.is_deleted(index):
            raise missing("customer", name, param=param)
        return index

    def _walk(self, params: Params, window: Window) -> Iterable[int]:
        world = self._world
        low, high = window.bounds(len(world), world.created)
        upwards = window.after is not None
        if "email" not in params and "test_clock" not in params:
            return world.listed(low, high, upwards=upwards)
        found = self._filtered(params)
        inside = [index for index in found if low <= index < high]
        return inside if upwards else reversed(inside)

    def _filtered(self, params: Params) -> list[int]:
        clock = as_text(params["test_clock"], "test_clock") if "test_clock" in params else None
        email = as_text(params["email"], "email") if "email" in params else None
        if email is None:
            return self._world.with_test_clock(clock or "")
        return self._world.with_email(email, test_clock=clock)


def _stub(name: str) -> Answer:
    return Answer(body=orjson.dumps({"id": name, "object": "customer", "deleted": True}))
