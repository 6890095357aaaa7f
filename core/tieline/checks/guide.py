"""The small common part of every sandbox: its guide, and how it is asked and told things.

Every sandbox answers under ``/_sandbox/``, in JSON, without a key:

``GET guide``
    How it is used: see :class:`Guide`.
``GET log?after=N``
    ``{"total", "requests": [{"method", "path", "query", "status", …}]}``.
``POST faults``
    A list of ``{"kind", "path", "method", "nth", "times", "executed", "status",
    "body", "headers"}``, all but ``kind`` optional; it replaces the script.
    Kinds: ``status``, ``html200``, ``empty``, ``drop``.
``POST clock``, ``GET clock``
    ``{"now": epoch seconds, "advance_s": seconds, "frozen": bool}``.
``POST oauth``, ``GET oauth``
    Where it has OAuth 2: ``{"grant": {"account": 0}}`` answers as the token
    endpoint does; GET tells ``{"token_calls", "refreshes", …}``.
"""

from __future__ import annotations

import json
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from tieline.checks.kinds import WrongError

__all__ = ["Control", "EntityGuide", "Guide", "read_guide"]

_WAIT_S = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class EntityGuide:
    """How a sandbox shows and changes what it has of one entity.

    Attributes:
        truth: Path that answers all there is, hidden ones too: a JSON array or
            JSON lines, each the object, or ``{"id", "object"}``.
        key: Template of the record's key over the object's fields:
            ``"{list_id}:{id}"``.
        hidden: Fields and values of what the provider's list hides by default.
        create: An order, ``{"path", "body"}``, that makes new ones; a text
            ``"$n"`` in the body becomes their number, ``"$seed"`` a new number
            each time. Empty: it cannot be ordered. So for the next two.
        update: Changes some.
        delete: Deletes some.
        is_small: No account has more than one page of it.
        write: Payloads that the plugin can send: ``{"create": {…}, "update": {…}}``.
    """

    truth: str
    key: str = "{id}"
    hidden: Mapping[str, Any] = field(default_factory=dict)
    create: Mapping[str, Any] = field(default_factory=dict)
    update: Mapping[str, Any] = field(default_factory=dict)
    delete: Mapping[str, Any] = field(default_factory=dict)
    is_small: bool = False
    write: Mapping[str, Any] = field(default_factory=dict)

    def key_of(self, thing: Mapping[str, Any]) -> str:
        """Return the key that a record should have here."""
        names = [name for _, name, _, _ in string.Formatter().parse(self.key) if name]
        return self.key.format(**{name: _at(thing, name) for name in names})


def _at(thing: Any, path: str) -> Any:
    return thing.get(path) if isinstance(thing, Mapping) else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Guide:
    """How a sandbox is used, in its own words.

    Attributes:
        auth: ``{"kind": "api_key" | "basic", "fields": {name: text}}``, or
            ``{"kind": "oauth2", "client_id", "client_secret"}``.
        entities: By the names that the plugin gives them.
        options: Of ``create_app``: few records on many small pages.
        refusals: How the provider says no, as ``{"status", "body", "headers"}``:
            ``throttled``, ``denied``, ``revoked``, and ``cursor`` where it may
            forget one.
        limits: What the provider allows: ``per_second``, ``at_once``.
        settings: What a connection sets, where the plugin wants some set.
        delivery: One that the sandbox signed by itself, as the provider does:
            ``secret``, ``address``, ``at`` (seconds since 1970), ``headers``,
            ``body``; empty: the provider signs none.
    """

    auth: Mapping[str, Any]
    entities: Mapping[str, EntityGuide]
    options: Mapping[str, Any] = field(default_factory=dict)
    refusals: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)
    delivery: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


def read_guide(given: Any) -> Guide:
    """Read a guide.

    Raises:
        WrongError: It is none.
    """
    if not isinstance(given, dict) or given.get("version") != 1:
        raise WrongError("GET /_sandbox/guide answers no guide of version 1")
    try:
        named = {name: EntityGuide(**each) for name, each in given["entities"].items()}
        return Guide(
            auth=given["auth"],
            entities=named,
            options=given.get("options", {}),
            refusals=given.get("refusals", {}),
            limits=given.get("limits", {}),
            delivery=given.get("delivery", {}),
            settings=given.get("settings", {}),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WrongError(
            f"GET /_sandbox/guide answers no guide: {type(error).__name__}: {error}"
        ) from None


class Control:
    """Asks a sandbox, and tells it what to do.

    Args:
        url: Where it is.
    """

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(
            base_url=url,
            trust_env=False,
            timeout=_WAIT_S,
            verify=False,  # noqa: S501 - it is on this machine, and certificates take 0.1 s to load
        )
        self._seed = 0

    def close(self) -> None:
        """Close the sockets."""
        self._http.close()

    def get(self, name: str) -> Any:
        """Ask for something; a path that begins with a slash is taken as it is.

        Raises:
            WrongError: The sandbox does not answer it.
        """
        return _read(self._http.get(_path(name)))

    def post(self, name: str, given: Any) -> Any:
        """Tell it something.

        Raises:
            WrongError: The sandbox does not take it.
        """
        return _read(self._http.post(_path(name), json=given))

    def truth(self, entity: EntityGuide) -> dict[str, Mapping[str, Any]]:
        """Return all there is, by key."""
        answer = self._http.get(entity.truth)
        text = answer.text.strip()
        if answer.status_code != 200:
            raise WrongError(f"GET {entity.truth} answers {answer.status_code}")
        listed = json.loads(text) if text.startswith("[") else map(json.loads, text.split("\n"))
        found = {}
        for each in listed:
            is_wrapped = isinstance(each.get("object"), dict) and each.keys() <= {"id", "object"}
            thing = each["object"] if is_wrapped else each
            found[entity.key_of(thing)] = thing
        return found

    def order(self, given: Mapping[str, Any], count: int) -> Any:
        """Carry out an order of a guide for so many records."""
        self._seed += 1
        return self.post(given["path"], _filled(given["body"], {"$n": count, "$seed": self._seed}))

    def fail(self, *faults: Mapping[str, Any]) -> None:
        """Replace the script of faults; none clears it."""
        self.post("faults", list(faults))

    def calls(self) -> int:
        """Return how many requests were answered so far."""
        total: int = self.get("log?after=1000000000")["total"]
        return total

    def calls_since(self, after: int) -> Sequence[Mapping[str, Any]]:
        """Return the requests that were answered since a number of them."""
        found: list[Mapping[str, Any]] = self.get(f"log?after={after}")["requests"]
        return [each for each in found if int(each.get("number", after + 1)) > after]


def _path(name: str) -> str:
    return name if name.startswith("/") else f"/_sandbox/{name}"


def _read(answer: httpx.Response) -> Any:
    if answer.status_code != 200:
        raise WrongError(
            f"the sandbox answers {answer.request.method} {answer.request.url.path} with"
            f" {answer.status_code}: {answer.text[:200]}"
        )
    return answer.json()


def _filled(body: Any, words: Mapping[str, int]) -> Any:
    if isinstance(body, Mapping):
        return {name: _filled(value, words) for name, value in body.items()}
    if isinstance(body, list):
        return [_filled(value, words) for value in body]
    return words.get(body, body) if isinstance(body, str) else body
