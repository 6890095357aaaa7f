"""The change feed, and the consumers whose positions are kept here."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from tieline.errors import NotFoundError
from tieline.services import feed as service
from tieline.web.api.operation import Call, Operation
from tieline.web.api.resources.records import Record, record_facts
from tieline.web.api.schemas import Answer, Flag, Given, Time, whole

__all__ = ["OPERATIONS"]

_FURTHEST = 2**63 - 1
_MOST = 1000


class Changes(Answer):
    """Changes in the order of their positions."""

    data = fields.List(fields.Nested(Record))
    after = fields.Integer(metadata={"description": "The position that was asked for."})
    next = fields.Integer(metadata={"description": "`after` of the next call."})
    end = fields.Integer(metadata={"description": "Position of the last change that there is."})


class ConsumerFacts(Answer):
    """A named reader of a feed."""

    name = fields.String()
    position = fields.Integer()
    behind = fields.Integer(metadata={"description": "The most changes that it has to read."})
    created_at = Time()
    updated_at = Time()


class Consumers(Answer):
    """All of a feed, by name."""

    data = fields.List(fields.Nested(ConsumerFacts))


class ChangesQuery(Given):
    """From where on."""

    after = whole(
        "0 for the beginning, then `next` of the answer before.",
        least=0,
        most=_FURTHEST,
        load_default=0,
    )
    limit = whole("The most changes to look at.", least=1, most=_MOST, load_default=100)
    live = Flag("Leave tombstones out; they count for `limit`.", load_default=False)


class ConsumerQuery(Given):
    """How many."""

    limit = whole("The most changes to look at.", least=1, most=_MOST, load_default=100)
    live = Flag("Leave tombstones out; they count for `limit`.", load_default=False)


class NewPosition(Given):
    """Where a consumer is to stand."""

    position = whole(
        "After which it goes on; 0: the beginning, null: the end.",
        least=0,
        most=_FURTHEST,
        allow_none=True,
        required=True,
    )


class Done(Given):
    """What a consumer has dealt with."""

    after = whole("`after` of the changes.", least=0, most=_FURTHEST, required=True)
    next = whole("`next` of the changes.", least=0, most=_FURTHEST, required=True)


def _of(call: Call) -> tuple[str, str]:
    return call.path["connection"].id, call.path["entity"]


def _facts(changes: Any) -> dict[str, Any]:
    return {
        "data": [record_facts(record) for record in changes.records],
        "after": changes.after,
        "next": changes.next,
        "end": changes.end,
    }


def changes(call: Call) -> dict[str, Any]:
    """Return the changes after a position, each record's last state, tombstones included."""
    query = call.query
    found = service.read_changes(
        call.installation,
        *_of(call),
        after=query["after"],
        limit=query["limit"],
        with_deleted=not query["live"],
    )
    return _facts(found)


def _told(listed: service.ListedConsumer) -> dict[str, Any]:
    names = ("name", "position", "created_at", "updated_at")
    return {name: getattr(listed.row, name) for name in names} | {"behind": listed.behind}


def consumers(call: Call) -> dict[str, Any]:
    """Return the consumers of a feed by name."""
    return {"data": [_told(each) for each in service.list_consumers(call.installation, *_of(call))]}


def _found(call: Call) -> service.ListedConsumer:
    name = call.path["consumer"]
    for each in service.list_consumers(call.installation, *_of(call)):
        if each.row.name == name:
            return each
    raise NotFoundError(
        f"there is no consumer {name!r}",
        hint="PUT it to a position; that makes it",
        code="consumer-unknown",
    )


def show(call: Call) -> dict[str, Any]:
    """Return one consumer."""
    return _told(_found(call))


def put(call: Call) -> dict[str, Any]:
    """Put a consumer to a position; make it there if there is none of that name."""
    to = call.body["position"]
    made = service.reset_consumer(
        call.installation, *_of(call), call.path["consumer"], to=to, actor=call.actor
    )
    return _told(made)


def drop(call: Call) -> None:
    """Forget a consumer; a reader that follows under its name is told, and stops."""
    service.drop_consumer(call.installation, *_of(call), call.path["consumer"], actor=call.actor)


def pending(call: Call) -> dict[str, Any]:
    """Return the changes that a consumer has not dealt with; it stays where it is."""
    query = call.query
    found = service.read_changes(
        call.installation,
        *_of(call),
        after=_found(call).row.position,
        limit=query["limit"],
        with_deleted=not query["live"],
    )
    return _facts(found)


def acknowledge(call: Call) -> dict[str, Any]:
    """Move a consumer on, once its changes were dealt with; refused if somebody else moved it."""
    service.acknowledge(
        call.installation,
        *_of(call),
        call.path["consumer"],
        after=call.body["after"],
        to=call.body["next"],
    )
    return _told(_found(call))


_ENTITY = "/connections/{connection}/entities/{entity}"
_CONSUMER = f"{_ENTITY}/consumers/{{consumer}}"

OPERATIONS = (
    Operation(
        name="list_changes",
        method="GET",
        path=f"{_ENTITY}/changes",
        tag="feed",
        summary="Read changes after a position, for whoever keeps it.",
        scope="read",
        does=changes,
        query=ChangesQuery,
        answer=Changes,
        command="records follow",
    ),
    Operation(
        name="list_consumers",
        method="GET",
        path=f"{_ENTITY}/consumers",
        tag="feed",
        summary="List the consumers of a feed.",
        scope="read",
        does=consumers,
        answer=Consumers,
        command="records consumers list",
    ),
    Operation(
        name="get_consumer",
        method="GET",
        path=_CONSUMER,
        tag="feed",
        summary="Return one consumer.",
        scope="read",
        does=show,
        answer=ConsumerFacts,
        command="records consumers list",
    ),
    Operation(
        name="set_consumer",
        method="PUT",
        path=_CONSUMER,
        tag="feed",
        summary="Put a consumer to a position, or make it there.",
        scope="operate",
        does=put,
        body=NewPosition,
        answer=ConsumerFacts,
        example={"position": 0},
        command="records consumers reset",
    ),
    Operation(
        name="drop_consumer",
        method="DELETE",
        path=_CONSUMER,
        tag="feed",
        summary="Forget a consumer.",
        scope="operate",
        does=drop,
        status=204,
        command="records consumers drop",
    ),
    Operation(
        name="list_consumer_changes",
        method="GET",
        path=f"{_CONSUMER}/changes",
        tag="feed",
        summary="Read what a consumer has not dealt with.",
        scope="read",
        does=pending,
        query=ConsumerQuery,
        answer=Changes,
        command="records follow",
    ),
    Operation(
        name="acknowledge_changes",
        method="POST",
        path=f"{_CONSUMER}/acknowledge",
        tag="feed",
        summary="Move a consumer on, once its changes were dealt with.",
        scope="operate",
        does=acknowledge,
        body=Done,
        answer=ConsumerFacts,
        example={"after": 0, "next": 100},
        command="records follow",
    ),
)
