"""Changes on order: the same seed makes the same changes to the same world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from random import Random

from tieline_mailchimp_sandbox.audiences import Audience, Audiences
from tieline_mailchimp_sandbox.contacts import STATUSES, Member
from tieline_mailchimp_sandbox.world import World

__all__ = ["Mutation", "mutate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """What to do with how many contacts of one account, in this order.

    Args:
        account: Index of the account.
        audience: Id of the list; empty: any of the account's.
        create: New ones; all of one call have the same ``last_changed``.
        update: Change something that people see.
        archive: Archive.
        unarchive: Give archived ones another status.
        rename: Change the address.
        delete: Delete for good.
        unsubscribe: Let subscribed ones leave by themselves.
        tag: Add a tag; ``last_changed`` stays, for nobody says that it moves.
        count: Change statistics and rating; ``last_changed`` stays.
        drop: 1: delete the audience itself, which has to be named.
        seed: Chooses whom.
    """

    account: int = 0
    audience: str = ""
    create: int = 0
    update: int = 0
    archive: int = 0
    unarchive: int = 0
    rename: int = 0
    delete: int = 0
    unsubscribe: int = 0
    tag: int = 0
    count: int = 0
    drop: int = 0
    seed: int = 0

    @classmethod
    def read(cls, given: object) -> Mutation:
        """Read a mutation from JSON; ValueError says what is wrong with it."""
        names = {one.name for one in fields(cls)}
        if not isinstance(given, dict) or given.keys() - names:
            raise ValueError(f"a mutation is an object with some of {', '.join(sorted(names))}")
        numbers = [value for name, value in given.items() if name != "audience"]
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError("the numbers of a mutation are whole, from 0")
        if given.get("drop") and not given.get("audience"):
            raise ValueError("drop needs an audience")
        return cls(**given)


def mutate(world: World, mutation: Mutation) -> dict[str, list[dict[str, str]]]:
    """Run a mutation.

    Returns:
        By what was done: ``list_id``, ``contact_id`` and ``id`` of each. Fewer are
        changed when no more are there.
    """
    audiences = world.at(mutation.account).audiences
    if mutation.audience and mutation.audience not in audiences.all():
        raise ValueError(f"there is no audience {mutation.audience!r}")
    lists = audiences.all()
    among = [lists[mutation.audience]] if mutation.audience else list(lists.values())
    chance = Random(f"mutation {mutation.seed}")  # noqa: S311 - test data, nothing to guess
    done: dict[str, list[dict[str, str]]] = {}
    for name, act in _ACTS.items():
        for _ in range(getattr(mutation, name)):
            if (member := act(audiences, among, chance)) is not None:
                shown = {field: member[field] for field in ("list_id", "contact_id", "id")}
                done.setdefault(name, []).append(shown)
    if mutation.drop:
        del lists[mutation.audience]
    return done


def _pick(
    among: list[Audience], chance: Random, *, is_archived: bool | None = False
) -> tuple[Audience, Member] | None:
    found = [
        (audience, member)
        for audience in among
        for member in audience.members()
        if is_archived is None or (member["status"] == "archived") is is_archived
    ]
    return chance.choice(found) if found else None


def _create(audiences: Audiences, among: list[Audience], chance: Random) -> Member | None:
    if not among:
        return None
    address = f"New.{chance.getrandbits(48):012x}@Example.com"
    return audiences.add_member(chance.choice(among), email_address=address)


def _changing(
    change: Callable[[Member, Random], dict[str, object]],
    *,
    is_archived: bool | None = False,
    is_quiet: bool = False,
) -> Callable[[Audiences, list[Audience], Random], Member | None]:
    def act(_audiences: Audiences, among: list[Audience], chance: Random) -> Member | None:
        found = _pick(among, chance, is_archived=is_archived)
        if found is None:
            return None
        audience, member = found
        changed = change(member, chance)
        if not is_quiet:
            return audience.touched(member, **changed)
        audience.put(member | changed)
        return member

    return act


def _delete(_audiences: Audiences, among: list[Audience], chance: Random) -> Member | None:
    found = _pick(among, chance, is_archived=None)
    if found is None:
        return None
    audience, member = found
    audience.remove(member)
    return member


def _unsubscribe(_audiences: Audiences, among: list[Audience], chance: Random) -> Member | None:
    found = [
        (audience, member)
        for audience in among
        for member in audience.members()
        if member["status"] == "subscribed"
    ]
    if not found:
        return None
    audience, member = chance.choice(found)
    return audience.let_go(member)


def _tagged(member: Member, chance: Random) -> dict[str, object]:
    number = chance.randrange(1, 1 << 20)
    tags = [*member["tags"][:49], {"id": number, "name": f"tag {number}"}]
    return {"tags": tags, "tags_count": len(tags)}


def _counted(member: Member, chance: Random) -> dict[str, object]:
    stats = member["stats"] | {"avg_open_rate": round(chance.random(), 4)}
    return {"stats": stats, "member_rating": chance.randrange(1, 6)}


_ACTS: dict[str, Callable[[Audiences, list[Audience], Random], Member | None]] = {
    "create": _create,
    "update": _changing(lambda _member, chance: {"full_name": f"Changed {chance.random()}"}),
    "archive": _changing(lambda _member, _chance: {"status": "archived"}),
    "unarchive": _changing(
        lambda _member, chance: {"status": chance.choice(STATUSES[:5])}, is_archived=True
    ),
    "rename": _changing(
        lambda _member, chance: {"email_address": f"Moved.{chance.getrandbits(48):x}@Example.com"}
    ),
    "delete": _delete,
    "unsubscribe": _unsubscribe,
    "tag": _changing(_tagged, is_quiet=True),
    "count": _changing(_counted, is_quiet=True),
}
