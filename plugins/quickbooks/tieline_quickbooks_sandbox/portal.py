"""The webhooks page of Intuit's developer portal, as orders of the control surface.

Intuit has no API for it: an application has one address and one verifier token
in each environment, which people enter and copy by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tieline_quickbooks_sandbox.notices import FORMS, OPERATIONS
from tieline_quickbooks_sandbox.post import is_address

__all__ = ["Portal", "Rules", "entered"]

_MOST_AT_ONCE = 500
_LEAST_SCALE = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Portal:
    """What is entered there; both texts are empty without an endpoint.

    Attributes:
        url: The application's address.
        token: What deliveries are signed with.
        entities: Kind of object to the operations that are told.
        form: Which of the two bodies is sent.
    """

    url: str = ""
    token: str = field(default="", repr=False)
    entities: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict(OPERATIONS))
    form: str = FORMS[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How deliveries go.

    Attributes:
        held: Nothing is sent; what happens meanwhile is told later.
        shuffle: Those that wait are sent in any order.
        duplicate: Share of the events that is told once more.
        drop: Share of the events that is lost.
        delay_s: How long an event waits at least, in seconds of the sandbox.
        most: The most events in one body.
        forge: How many of the next attempts are signed with another token.
        scale: What the waits between attempts are multiplied by.
        timeout_s: For how long an answer is waited for, in real seconds.
    """

    held: bool = False
    shuffle: bool = False
    duplicate: float = 0.0
    drop: float = 0.0
    delay_s: float = 0.0
    most: int = 100
    forge: int = 0
    scale: float = 1.0
    timeout_s: float = 3.0

    def changed(self, given: Mapping[str, Any]) -> Rules:
        """Return the rules with others in their place.

        Raises:
            ValueError: One makes no sense.
        """
        made = replace(self, **given)
        for name in given:
            _expect(getattr(made, name), type(getattr(Rules(), name)), name)
        is_share = all(0 <= share <= 1 for share in (made.duplicate, made.drop))
        is_time = min(made.delay_s, made.forge) >= 0 and 0 < made.timeout_s <= 60
        if not (
            is_share and is_time and made.scale >= _LEAST_SCALE and 1 <= made.most <= _MOST_AT_ONCE
        ):
            raise ValueError(
                "duplicate and drop are shares from 0 to 1; delay_s and forge not below 0;"
                f" scale from {_LEAST_SCALE}; timeout_s up to 60; most from 1 to {_MOST_AT_ONCE}"
            )
        return made


def entered(portal: Portal, given: Mapping[str, Any], new_token: Callable[[], str]) -> Portal:
    """Return what the page holds after somebody entered something.

    Args:
        portal: What it held.
        given: Fields of it. An empty ``url`` takes the endpoint away; an empty
            ``token`` makes a new one, as does the first address.
        new_token: Makes one.

    Raises:
        ValueError: Intuit would not take it.
    """
    for name in given.keys() & {"url", "token", "form"}:
        _expect(given[name], str, name)
    url = given.get("url", portal.url)
    if url and not is_address(url):
        raise ValueError("url is an https address, or an http one; or empty, to take it away")
    if given.get("form", portal.form) not in FORMS:
        raise ValueError(f"form is one of {', '.join(FORMS)}")
    token = given.get("token", portal.token) or (new_token() if url else "")
    return Portal(
        url=url,
        token=token if url else "",
        entities=_chosen(given["entities"]) if "entities" in given else portal.entities,
        form=given.get("form", portal.form),
    )


def _chosen(given: Any) -> dict[str, tuple[str, ...]]:
    _expect(given, dict, "entities")
    for kind, operations in given.items():
        known = OPERATIONS.get(kind)
        if known is None or not isinstance(operations, list) or set(operations) - set(known):
            raise ValueError(f"entities: {kind} has {', '.join(known or ()) or 'no webhooks'}")
    return {kind: tuple(operations) for kind, operations in given.items()}


def _expect(value: object, kind: type, name: str) -> None:
    is_number = kind is float and isinstance(value, int) and not isinstance(value, bool)
    if type(value) is not kind and not is_number:
        raise ValueError(f"{name} cannot be {value!r}")
