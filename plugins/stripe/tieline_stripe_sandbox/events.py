"""The events' endpoints.

Source: Stripe API reference, "Events"; ``type`` is one name or a prefix with
one ``*``, ``types`` has up to twenty exact names.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from tieline_stripe_sandbox.answers import (
    Answer,
    invalid_request,
    list_answer,
    missing,
    unknown_parameters,
)
from tieline_stripe_sandbox.params import Params, Value, as_list, as_text
from tieline_stripe_sandbox.request import Request
from tieline_stripe_sandbox.windows import LIST_PARAMETERS, page_of, read_window
from tieline_stripe_sandbox.world import World

__all__ = ["Events"]

_FILTERS = LIST_PARAMETERS | {"delivery_success", "type", "types"}
_MOST_TYPES = 20


class Events:
    """List and retrieve the events of one world.

    Args:
        world: Whose events.
        delay_s: Seconds until a change shows in the list; Stripe's log is
            filled with some delay too.
    """

    def __init__(self, world: World, *, delay_s: float) -> None:
        self._clock = world.clock
        self._log = world.events
        self._delay_s = delay_s

    def page(self, request: Request, _name: str) -> Answer:
        """Answer a list."""
        params = request.params()
        if unknown := [name for name in params if name not in _FILTERS]:
            raise unknown_parameters(unknown)
        window = read_window(params, self._cursor)
        low, high = window.bounds(len(self._log), self._log.created)
        low, high = max(low, self._log.oldest(self._clock.second())), min(high, self._shown())
        upwards = window.after is not None
        found = self._log.matching(low, high, _wanted(params), upwards=upwards)
        if "delivery_success" in params:
            is_wanted = _is_true(params["delivery_success"])
            found = (each for each in found if (each not in self._log.pending) == is_wanted)
        positions, has_more = page_of(window, list(islice(found, window.limit + 1)))
        texts = [self._log.text(position) for position in positions]
        return list_answer(b"/v1/events", texts, has_more=has_more)

    def one(self, request: Request, name: str) -> Answer:
        """Answer one event."""
        if unknown := [given for given in request.params() if given != "expand"]:
            raise unknown_parameters(unknown)
        return Answer(body=self._log.text(self._cursor(name, "id")))

    def _cursor(self, name: str, param: str) -> int:
        position = self._log.position(name, now=self._clock.second())
        if position is None:
            raise missing("event", name, param=param)
        return position

    def _shown(self) -> int:
        """Return where the part begins that is not listed yet."""
        if not self._delay_s:
            return len(self._log)
        return self._log.first_after(self._clock.now() - self._delay_s)


def _wanted(params: Params) -> Callable[[str], bool]:
    if "type" in params and "types" in params:
        raise invalid_request("You may only specify one of these parameters: type, types.", "types")
    if "types" in params:
        return _names(params["types"]).__contains__
    return _pattern(as_text(params["type"], "type")) if "type" in params else lambda _kind: True


def _is_true(value: Value) -> bool:
    if value not in {"true", "false"}:
        raise invalid_request(f"Invalid boolean: {value}", "delivery_success")
    return value == "true"


def _names(value: Value) -> frozenset[str]:
    names = frozenset(as_text(name, "types") for name in as_list(value, "types"))
    if len(names) > _MOST_TYPES:
        raise invalid_request(f"You may pass at most {_MOST_TYPES} event types.", "types")
    return names


def _pattern(pattern: str) -> Callable[[str], bool]:
    prefix, star, rest = pattern.partition("*")
    if not star:
        return pattern.__eq__
    if "*" in rest:
        raise invalid_request(f"Invalid event type: {pattern}", "type")
    return lambda kind: kind.startswith(prefix) and kind.endswith(rest)
