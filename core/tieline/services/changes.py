"""Changes that somebody wants: checked whole before any of them is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from marshmallow import ValidationError

from tieline.contract import Entity, OperationKind, Write
from tieline.engine.basis import POLICIES
from tieline.errors import InvalidInputError, nearest

__all__ = ["Change", "require_good", "require_policy", "require_write"]

_MOST_AT_ONCE = 10_000
_MOST_NAMED = 10
_MAX_KEY = 255


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A change that somebody wants.

    Attributes:
        kind: ``create``, ``update`` or ``delete``.
        key: Key of the record; empty for a create.
        payload: What the entity's write schema takes; empty for a delete.
        where: Where it stands, for messages: ``line 3``; empty for the only one.
    """

    kind: OperationKind
    key: str = ""
    payload: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""


def require_write(entity: Entity) -> Write:
    """Return how an entity is written.

    Raises:
        InvalidInputError: It is not.
    """
    if entity.write is None:
        raise InvalidInputError(
            f"{entity.name} cannot be written: the provider's plugin only reads them",
            hint="tieline providers show NAME",
            code="write-unsupported",
        )
    return entity.write


def require_policy(write: Write, policy: str, entity: Entity) -> None:
    """Refuse a policy that there is not, or not for this entity.

    Raises:
        InvalidInputError: It is refused.
    """
    if policy not in POLICIES:
        raise InvalidInputError(f"there is no policy {policy!r}", hint=nearest(policy, POLICIES))
    if policy == "newest_wins" and write.changed_at is None:
        raise InvalidInputError(
            f"the provider does not tell when its {entity.name} were changed",
            hint="another policy: hold, provider_wins or local_wins",
            code="policy-unsupported",
        )


def require_good(write: Write, entity: Entity, changes: Sequence[Change]) -> None:
    """Refuse changes of which one makes no sense.

    Raises:
        InvalidInputError: The message names where, and the fields, never a value.
    """
    if not changes:
        raise InvalidInputError("there is no change to send", code="changes-none")
    if len(changes) > _MOST_AT_ONCE:
        raise InvalidInputError(
            f"{len(changes):,} changes at once are more than {_MOST_AT_ONCE:,}",
            hint="cut the file up",
            code="changes-too-many",
        )
    fields = [
        (change.where, words)
        for change in changes
        if (words := _what_is_wrong(write, entity, change))
    ]
    if fields:
        wrong = [f"{where}: {words}" if where else words for where, words in fields]
        more = f" (and {len(wrong) - _MOST_NAMED} more)" if len(wrong) > _MOST_NAMED else ""
        raise InvalidInputError(
            f"nothing was asked for: {'; '.join(wrong[:_MOST_NAMED])}{more}",
            hint="mend it and ask for all of it again",
            code="change-invalid",
            fields=fields[:_MOST_NAMED],
        )


def _what_is_wrong(write: Write, entity: Entity, change: Change) -> str:
    """Say what is wrong with a change, naming fields and never a value; empty: nothing."""
    if change.kind not in write.kinds:
        return f"{entity.name} cannot be {change.kind}d, only: {', '.join(write.kinds)}"
    if (change.kind == "create") == bool(change.key):
        return "a create takes no key" if change.key else f"the key to {change.kind} is missing"
    if len(change.key) > _MAX_KEY or not change.key.isprintable():
        return f"a key has at most {_MAX_KEY} characters, all of them printable"
    if (change.kind == "delete") != (not change.payload):
        return "a delete takes no payload" if change.payload else "there is nothing in the payload"
    try:
        text = orjson.dumps(change.payload)
    except TypeError:
        return "the payload holds what JSON has not, or a number beyond 64 bits"
    if b"\\u0000" in text:
        return "the payload holds a NUL character"
    if change.kind == "delete":
        return ""
    try:
        write.schema.load(change.payload, partial=change.kind == "update")
    except ValidationError as error:
        found: Any = error.normalized_messages()  # type: ignore[no-untyped-call]
        return _flat(found)
    return ""


def _flat(messages: Any) -> str:
    if isinstance(messages, Mapping):
        return ", ".join(f"{name}: {_flat(inner)}" for name, inner in sorted(messages.items()))
    return " ".join(map(str, messages)) if isinstance(messages, list) else str(messages)
