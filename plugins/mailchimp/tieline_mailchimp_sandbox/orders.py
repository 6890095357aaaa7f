"""Single things on order: plant, alter or remove one contact or one list."""

from __future__ import annotations

from typing import Any

from tieline_mailchimp_sandbox.contacts import Member, renamed
from tieline_mailchimp_sandbox.merge_fields import BLANK
from tieline_mailchimp_sandbox.news import campaign
from tieline_mailchimp_sandbox.post import Post
from tieline_mailchimp_sandbox.world import World

__all__ = ["order_contact", "order_list", "order_webhooks"]


def order_contact(world: World, given: object) -> Member:
    """Carry out one order about a contact; ValueError says what is wrong with it."""
    order = _read(given, {"account", "audience", "add", "find", "set", "leave", "remove", "quiet"})
    audiences = world.at(order.get("account", 0)).audiences
    audience = audiences.all().get(str(order.get("audience")))
    if audience is None:
        raise ValueError(f"there is no audience {order.get('audience')!r}")
    if "add" in order:
        return audiences.add_member(audience, **_fields(order["add"]))
    member = audience.find(str(order.get("find")))
    if member is None:
        raise ValueError(f"nobody is {order.get('find')!r}")
    if order.get("remove"):
        audience.remove(member)
        return member
    if "leave" in order:
        return audience.let_go(member, is_bounce=order["leave"] == "bounce")
    if order.get("quiet"):
        member = member | _fields(order.get("set"))
        audience.put(member := renamed(member, member["email_address"]))
        return member
    return audience.touched(member, **_fields(order.get("set")))


def order_list(world: World, given: object) -> dict[str, Any]:
    """Carry out one order about a list; ValueError says what is wrong with it."""
    order = _read(given, {"account", "audience", "add", "set", "require", "remove"})
    audiences = world.at(order.get("account", 0)).audiences
    if "add" in order:
        return audiences.add(**_fields(order["add"])).document
    audience = audiences.all().get(str(order.get("audience")))
    if audience is None:
        raise ValueError(f"there is no audience {order.get('audience')!r}")
    if order.get("remove"):
        del audiences.all()[audience.id]
    if "require" in order:
        audience.standing.required = set(order["require"]) & set(BLANK)
    audience.document |= _fields(order.get("set"))
    return audience.document


def order_webhooks(world: World, post: Post, given: object) -> dict[str, Any]:
    """Carry out orders about deliveries; ValueError says what is wrong with them."""
    order = _read(given, {"account", "rules", "release", "resend", "audience", "campaign"})
    if "rules" in order:
        post.order(order["rules"])
    if "release" in order:
        post.let_go(order["release"])
    if "resend" in order:
        post.resend(order["resend"])
    if "campaign" in order:
        audiences = world.at(order.get("account", 0)).audiences.all()
        if (audience := audiences.get(str(order.get("audience")))) is None:
            raise ValueError(f"there is no audience {order.get('audience')!r}")
        post.publish(audience, campaign(audience.id, _fields(order["campaign"])))
    return post.report()


def _read(given: object, names: set[str]) -> dict[str, Any]:
    if not isinstance(given, dict) or given.keys() - names:
        raise ValueError(f"expected an object with some of {', '.join(sorted(names))}")
    return given


def _fields(given: object) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise TypeError("fields are an object")
    return given
