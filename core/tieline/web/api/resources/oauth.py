"""Sign-ins at providers: addresses that an account's owner opens to connect it."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from tieline.errors import NotFoundError, RefusedError
from tieline.services import oauth as service
from tieline.services.oauth import Link
from tieline.web.api.operation import Call, Operation
from tieline.web.api.resources.connections import Connection, facts_of
from tieline.web.api.schemas import NAME, Answer, Choice, Given, Nested, Payload, Text, Told

__all__ = ["OPERATIONS"]


class MadeLink(Answer):
    """An address that may be opened, in any browser, to connect an account."""

    link = fields.String(metadata={"description": "By which it is known here."})
    address = Told("What to send to the account's owner; good for seven days.")


class LinkState(Answer):
    """What became of a link."""

    link = fields.String()
    state = Choice("waiting", "connected")
    connection = Nested(Connection, allow_none=True)


class NewLink(Given):
    """An account that is to be connected by signing in."""

    provider = Text("Name of the provider.", least=1, most=40, required=True)
    name = Text("What to call the connection.", pattern=NAME, most=64, required=True)
    environment = Text("One of the provider's.", most=40, load_default="")
    base_url = Text("Another address of the API.", most=500, load_default="")
    settings = Payload("What the plugin lets a connection set; no secrets.", load_default=dict)


def _told(link: Link) -> dict[str, Any]:
    return {"link": link.digest, "address": link.address}


def make(call: Call) -> dict[str, Any]:
    """Make an address that an account's owner opens to connect it."""
    body = call.body
    intent = service.intend(
        call.installation,
        body["provider"],
        name=body["name"],
        environment=body["environment"],
        base_url=body["base_url"],
        settings=body["settings"],
        actor=call.actor,
    )
    return _told(service.make_link(call.installation, intent))


def make_again(call: Call) -> dict[str, Any]:
    """Make an address that a connection's owner opens to connect it anew."""
    row = call.path["connection"]
    intent = service.intend_again(call.installation, row.id, actor=call.actor)
    return _told(service.make_link(call.installation, intent))


def show(call: Call) -> dict[str, Any]:
    """Say whether the account was connected by a link."""
    link = call.path["link"]
    try:
        row = service.find_connected(call.installation, Link(address="", digest=link))
    except RefusedError:
        raise _unknown(link) from None
    return {
        "link": link,
        "state": "waiting" if row is None else "connected",
        "connection": None if row is None else facts_of(row),
    }


def drop(call: Call) -> None:
    """End a link that nobody waits for any more."""
    service.drop_link(call.installation, Link(address="", digest=call.path["link"]))


def _unknown(link: str) -> NotFoundError:
    return NotFoundError(
        f"there is no link {link[:80]!r}, or no longer", hint="make a new one", code="link-unknown"
    )


OPERATIONS = (
    Operation(
        name="create_oauth_link",
        method="POST",
        path="/oauth/links",
        tag="oauth",
        summary="Make an address that an account's owner opens to connect it.",
        scope="admin",
        does=make,
        body=NewLink,
        answer=MadeLink,
        status=201,
        is_secret=True,
        is_for_all=True,
        example={"provider": "acme", "name": "shop"},
        command="connect",
    ),
    Operation(
        name="get_oauth_link",
        method="GET",
        path="/oauth/links/{link}",
        tag="oauth",
        summary="Say whether the account was connected by a link.",
        scope="admin",
        does=show,
        answer=LinkState,
        is_for_all=True,
        command="connections list",
    ),
    Operation(
        name="drop_oauth_link",
        method="DELETE",
        path="/oauth/links/{link}",
        tag="oauth",
        summary="End a link.",
        scope="admin",
        does=drop,
        status=204,
        is_for_all=True,
        why_no_command="the command waits for its link itself, and ends it when it is stopped",
    ),
    Operation(
        name="renew_oauth_link",
        method="POST",
        path="/connections/{connection}/oauth-link",
        tag="oauth",
        summary="Make an address that a connection's owner opens to connect it anew.",
        scope="admin",
        does=make_again,
        answer=MadeLink,
        status=201,
        is_secret=True,
        command="connections reauth",
    ),
)
