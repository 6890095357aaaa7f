"""The small common part of every sandbox: its guide, and how it is asked, told and connected.

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

from tieline.auth import auth_of
from tieline.contract import ApiKey, OAuth2, Secret
from tieline.errors import PluginError
from tieline.registry import Plugin
from tieline.services.connect import connect_api_key, connect_basic
from tieline.services.installation import Installation
from tieline.services.oauth import connect_granted, intend
from tieline.store.connections import ConnectionRow

__all__ = ["Control", "EntityGuide", "Guide", "SandboxError", "connect_sandbox", "read_guide"]

_WAIT_S = 60.0


class SandboxError(PluginError):
    """A plugin's sandbox does not answer, or not as every sandbox does."""

    code = "sandbox-wrong"


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
        SandboxError: It is none.
    """
    if not isinstance(given, dict) or given.get("version") != 1:
        raise SandboxError("GET /_sandbox/guide answers no guide of version 1")
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
        raise SandboxError(
            f"GET /_sandbox/guide answers no guide: {type(error).__name__}: {error}"
        ) from None


class Control:
    """Asks a sandbox, and tells it what to do.

    Args:
        url: Where it is.
    """

    def __init__(self, url: str) -> None:
        self.url = url
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
            SandboxError: The sandbox does not answer it.
        """
        return self._ask("GET", _path(name))

    def post(self, name: str, given: Any) -> Any:
        """Tell it something.

        Raises:
            SandboxError: The sandbox does not take it.
        """
        return self._ask("POST", _path(name), json=given)

    def truth(self, entity: EntityGuide) -> dict[str, Mapping[str, Any]]:
        """Return all there is, by key."""
        text = self._answer("GET", entity.truth).text.strip()
        listed = json.loads(text) if text.startswith("[") else map(json.loads, text.split("\n"))
        found = {}
        for each in listed:
            is_wrapped = isinstance(each.get("object"), dict) and each.keys() <= {"id", "object"}
            thing = each["object"] if is_wrapped else each
            found[entity.key_of(thing)] = thing
        return found

    def _ask(self, method: str, path: str, **given: Any) -> Any:
        try:
            return self._answer(method, path, **given).json()
        except ValueError:
            raise SandboxError(f"the sandbox answers {method} {path} with no JSON") from None

    def _answer(self, method: str, path: str, **given: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **given)
        except httpx.HTTPError as error:
            raise SandboxError(f"the sandbox does not answer: {type(error).__name__}") from None
        if answer.status_code != 200:
            raise SandboxError(
                f"the sandbox answers {method} {path.partition('?')[0]} with"
                f" {answer.status_code}: {answer.text[:200]}"
            )
        return answer

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


def _filled(body: Any, words: Mapping[str, int]) -> Any:
    if isinstance(body, Mapping):
        return {name: _filled(value, words) for name, value in body.items()}
    if isinstance(body, list):
        return [_filled(value, words) for value in body]
    return words.get(body, body) if isinstance(body, str) else body


def connect_sandbox(
    installation: Installation,
    plugin: Plugin,
    url: str,
    *,
    name: str,
    actor: str,
    is_replacing: bool = False,
) -> ConnectionRow:
    """Connect the account of a sandbox, by the credential that its guide names.

    Args:
        installation: Where.
        plugin: The provider's.
        url: Where the sandbox is.
        name: What to call the connection.
        actor: Who does it, for the sync log.
        is_replacing: Whether a connection of that name gets the key anew.

    Raises:
        SandboxError: It does not answer, or names no way that the plugin has.
        SettingsError: It takes OAuth 2, and no application is set.
        ProviderError: As the plugin says it.
    """
    control = Control(url)
    try:
        guide = read_guide(control.get("guide"))
        kind = str(guide.auth.get("kind", ""))
        ways = {auth.kind: auth for auth in plugin.auth}
        if kind not in ways:
            raise SandboxError(
                f"the guide connects by {kind!r}; the plugin takes {', '.join(ways)}"
            )
        if kind == "oauth2":
            return _connect_granted(installation, plugin, control, guide, name, actor)
    finally:
        control.close()
    return _connect_by_secret(
        installation, plugin, url, guide, name=name, actor=actor, is_replacing=is_replacing
    )


def _connect_by_secret(
    installation: Installation,
    plugin: Plugin,
    url: str,
    guide: Guide,
    *,
    name: str,
    actor: str,
    is_replacing: bool,
) -> ConnectionRow:
    """Connect by the key, or user name and password, that the guide names."""
    fields: Mapping[str, str] = guide.auth.get("fields", {})
    common: dict[str, Any] = {"name": name, "base_url": url, "actor": actor}
    # A new key changes no settings.
    common |= {"is_replacing": True} if is_replacing else {"settings": guide.settings}
    way = next(auth for auth in plugin.auth if auth.kind == guide.auth["kind"])
    try:
        if isinstance(way, ApiKey):
            key = Secret(fields[way.field])
            return connect_api_key(installation, plugin.name, key=key, **common)
        username, password = fields["username"], Secret(fields["password"])
    except KeyError as error:
        raise SandboxError(f"the guide's auth.fields lack {error}") from None
    return connect_basic(installation, plugin.name, username=username, password=password, **common)


def _connect_granted(
    installation: Installation,
    plugin: Plugin,
    control: Control,
    guide: Guide,
    name: str,
    actor: str,
) -> ConnectionRow:
    """Connect by tokens that the sandbox hands out on order: there is nobody to consent."""
    intent = intend(
        installation,
        plugin.name,
        name=name,
        base_url=control.url,
        settings=guide.settings,
        actor=actor,
    )
    answer = control.post("oauth", {"grant": {"account": 0}})
    declared = auth_of(plugin, "oauth2")
    assert isinstance(declared, OAuth2)
    owners = control.get("")["accounts"] if declared.keep_redirect else []
    owner = str(owners[0]["id"]) if owners else ""
    return connect_granted(
        installation, intent, answer, dict.fromkeys(declared.keep_redirect, owner)
    )
