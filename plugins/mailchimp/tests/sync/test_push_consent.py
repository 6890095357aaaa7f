"""Consent is Mailchimp's: nothing but an update that names ``status`` moves it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from tieline.services import outbox
from tieline.services.changes import Change

Make = Callable[..., Any]
EVERY = ("subscribed", "unsubscribed", "cleaned", "pending", "transactional", "archived")


def create(audience: str, address: str, **fields: Any) -> Change:
    payload = {"list_id": audience, "email_address": address} | fields
    return Change(kind="create", payload=payload)


def key_of(member: Any) -> str:
    return f"{member['list_id']}:{member['contact_id']}"


def update(member: Any, **fields: Any) -> Change:
    return Change(kind="update", key=key_of(member), payload=fields)


@pytest.fixture
def news(bench: Make) -> Any:
    made = bench(audiences=1, contacts=6)
    made.sync(mode="full")
    return made


@pytest.mark.parametrize("how_many", [1, 2])
def test_a_new_contact_is_not_subscribed_unless_the_payload_says_so(
    news: Any, how_many: int
) -> None:
    [audience] = news.audiences()
    wanted = {"quiet@example.com": None, "asked@example.com": "pending"}
    wanted |= {"yes@example.com": "subscribed", "no@example.com": "unsubscribed"}
    changes = [
        create(audience, address, **({"status_if_new": status} if status else {}))
        for address, status in wanted.items()
    ]
    for start in range(0, 4, how_many):
        news.push(*changes[start : start + how_many])
    for address, status in wanted.items():
        assert news.there(audience, address)["status"] == (status or "transactional")


@pytest.mark.parametrize("is_batch", [False, True])
@pytest.mark.parametrize("status", EVERY)
def test_who_is_there_already_is_changed_and_keeps_its_consent(
    news: Any, in_step: Any, status: str, is_batch: bool
) -> None:
    """Archived ones stay archived (tbar0970/jethro-pmm #708)."""
    [audience] = news.audiences()
    news.plant(audience, "Ada@example.com", status=status, merge_fields={"FNAME": "A"})
    changed = create(
        audience, "ada@Example.com", status_if_new="subscribed", merge_fields={"FNAME": "Ada"}
    )
    also = [create(audience, "new@example.com")] if is_batch else []
    rows = news.push(changed, *also)
    assert {row.state for row in rows} == {"done"}
    there = news.there(audience, "ada@example.com")
    assert (there["status"], there["merge_fields"]["FNAME"]) == (status, "Ada")
    news.sync()
    in_step(news)


@pytest.mark.parametrize("status", EVERY)
def test_an_update_that_does_not_name_the_status_leaves_it(news: Any, status: str) -> None:
    [audience] = news.audiences()
    member = news.plant(audience, "ada@example.com", status=status)
    news.sync()
    [row] = news.push(update(member, language="de", email_address="king@example.com"))
    assert row.state == "done"
    assert news.there(audience, "king@example.com")["status"] == status


def test_an_archived_contact_comes_back_only_by_a_status_that_is_asked_for(news: Any) -> None:
    [audience] = news.audiences()
    member = news.plant(audience, "ada@example.com", status="archived")
    news.sync()
    [row] = news.push(update(member, status="unsubscribed"))
    assert row.state == "done"
    assert news.there(audience, "ada@example.com")["status"] == "unsubscribed"
    assert news.payloads()[key_of(member)]["status"] == "unsubscribed"


@pytest.mark.parametrize(
    ("policy", "state", "code"),
    [
        ("hold", "held", "conflict"),
        ("local_wins", "held", "conflict"),
        ("newest_wins", "held", "conflict"),
        ("provider_wins", "dropped", "provider-won"),
    ],
)
@pytest.mark.parametrize("leave", ["unsubscribe", "bounce"])
def test_who_left_is_not_subscribed_again_and_mailchimp_says_why(
    news: Any, leave: str, policy: str, state: str, code: str
) -> None:
    """``Member In Compliance State``: asked once, by no policy again."""
    [audience] = news.audiences()
    member = news.plant(audience, "ada@example.com")
    left = news.order("contacts", {"audience": audience, "find": member["id"], "leave": leave})
    news.sync()
    after = news.answered()
    [row] = news.push(update(member, status="subscribed"), policy=policy)
    assert (row.state, row.reason_code) == (state, code)
    assert "ada@example.com is in a compliance state due to unsubscribe, bounce" in row.reason
    assert [each[2] for each in news.written(after)] == [400]
    assert news.there(audience, "ada@example.com")["status"] == left["status"]
    assert news.payloads()[key_of(member)]["status"] == left["status"]


@pytest.mark.parametrize("is_batch", [False, True])
def test_an_address_that_left_is_not_subscribed_as_a_new_contact_either(
    news: Any, is_batch: bool
) -> None:
    [audience] = news.audiences()
    member = news.plant(audience, "ada@example.com")
    there = {"audience": audience, "find": member["contact_id"]}
    news.order("contacts", there | {"leave": "unsubscribe"})
    news.order("contacts", there | {"set": {"email_address": "king@example.com"}})
    wanted = create(audience, "ada@example.com", status_if_new="subscribed")
    also = [create(audience, "new@example.com")] if is_batch else []
    row, *others = news.push(wanted, *also)
    assert (row.state, row.reason_code) == ("held", "conflict")
    assert "is in a compliance state due to unsubscribe, bounce" in row.reason
    assert [other.state for other in others] == ["done"] * is_batch
    assert news.there(audience, "ada@example.com") is None
    assert len(news.written()) == 1


def test_who_left_may_be_asked_by_mail(news: Any) -> None:
    [audience] = news.audiences()
    member = news.plant(audience, "ada@example.com")
    news.order("contacts", {"audience": audience, "find": member["id"], "leave": "unsubscribe"})
    news.sync()
    [row] = news.push(update(member, status="subscribed"))
    outbox.retry_operation(news.installation, row.id, payload={"status": "pending"}, actor="test")
    news.work()
    assert news.operation(row.id).state == "done"
    assert news.there(audience, "ada@example.com")["status"] == "pending"


@pytest.mark.parametrize("status", ["subscribed", "pending"])
def test_consent_that_moved_since_it_was_known_is_not_overwritten(news: Any, status: str) -> None:
    """Unsubscribed by somebody of the account: Mailchimp itself would let it through."""
    [audience] = news.audiences()
    member = news.plant(audience, "ada@example.com", status="transactional")
    news.sync()
    [operation] = news.want(update(member, status=status))
    given = {"audience": audience, "find": member["id"], "set": {"status": "unsubscribed"}}
    news.order("contacts", given)
    news.work()
    held = news.operation(operation)
    assert (held.state, held.reason_code) == ("held", "conflict")
    assert news.there(audience, "ada@example.com")["status"] == "unsubscribed"


def test_who_was_deleted_for_good_does_not_come_back_and_it_is_not_tried_again(news: Any) -> None:
    [audience] = news.audiences()
    member = news.plant(audience, "ada@example.com")
    news.order("contacts", {"audience": audience, "find": member["id"], "remove": True})
    after = news.answered()
    [row] = news.push(create(audience, "ada@example.com"))
    assert (row.state, row.reason_code) == ("dead", "contact-forgotten")
    assert "The contact must re-subscribe to get back on the list." in row.reason
    for _ in range(3):
        news.move(3600)
        news.work()
    assert [each[2] for each in news.written(after)] == [400]


# --- by chance -----------------------------------------------------------------------------------


class Story:
    """A hundred operations without a word of status, and what must not move by them."""

    def __init__(self, made: Any, chance: Random) -> None:
        self.made, self.chance = made, chance
        self.audiences = made.audiences()
        self.new: dict[tuple[str, str], str] = {}
        self.archived: set[str] = set()
        self.number = 0

    def members(self) -> list[Any]:
        found: list[Any] = self.made.facts("truth", entity="contacts")
        return found

    def consent(self) -> dict[str, str]:
        return {key_of(one): one["status"] for one in self.members()}

    def change(self, members: list[Any]) -> Change:
        kind = self.chance.choice(("new", "new", "there", "fields", "address", "tags", "archive"))
        member = self.chance.choice(members)
        names = {"FNAME": f"N{self.chance.randrange(99)}"}
        if kind == "new":
            self.number += 1
            address = f"Story.{self.number}@Example.com"
            status = self.chance.choice((None, "pending", "subscribed", "unsubscribed"))
            audience = self.chance.choice(self.audiences)
            self.new[audience, address] = status or "transactional"
            given = {"status_if_new": status} if status else {}
            return create(audience, address, merge_fields=names, **given)
        if kind == "there":
            address = member["email_address"].swapcase()
            given = {"status_if_new": "subscribed", "merge_fields": names}
            return create(member["list_id"], address, **given)
        if kind == "fields":
            return update(member, merge_fields=names, vip=self.chance.random() < 0.5)
        if kind == "address":
            self.number += 1
            return update(member, email_address=f"Story.{self.number}@Example.com")
        if kind == "tags":
            tag = {"name": f"t{self.chance.randrange(3)}", "status": "active"}
            return update(member, email_address=member["email_address"], tags=[tag])
        self.archived.add(key_of(member))
        return Change(kind="delete", key=key_of(member))


@pytest.mark.parametrize("seed", range(3))
def test_a_hundred_operations_by_chance_move_no_consent(
    bench: Make, in_step: Any, seed: int
) -> None:
    """Whatever is lost on the way, and whoever leaves meanwhile."""
    chance = Random(seed)
    made = bench(audiences=2, contacts=30, seed=seed, short_rows=bool(seed % 2))
    made.sync(mode="full")
    story = Story(made, chance)
    expected = story.consent()
    for _ in range(5):
        story.archived.clear()
        story.new.clear()
        members = [one for one in story.members() if one["status"] not in {"cleaned", "pending"}]
        changes = [story.change(members) for _ in range(20)]
        policy = chance.choice(("hold", "local_wins", "provider_wins"))
        made.want(*changes, policy=policy)
        made.mutate(unsubscribe=2, seed=chance.randrange(10**6))
        before = story.consent()
        assert sum(before[key] != expected[key] for key in expected) <= 2
        expected = before
        for method in chance.sample(("PUT", "PATCH", "POST", "DELETE"), 2):
            made.lose(method, nth=chance.randrange(1, 4))
            made.settle()
        now = story.consent()
        for key, status in now.items():
            if key in expected and status != expected[key]:
                assert (status, key in story.archived) == ("archived", True)
        added = {
            (one["list_id"], one["email_address"]): one["status"]
            for one in story.members()
            if key_of(one) not in expected
        }
        assert added.items() <= story.new.items()
        expected = now
    ended = outbox.list_outbox(made.installation, states=outbox.operations.STATES, limit=200)
    states = [entry.row.state for entry in ended]
    assert len(states) == 100
    assert states.count("done") >= 60
    made.sync()
    made.sync(mode="full")
    in_step(made)
