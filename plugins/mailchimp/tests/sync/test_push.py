"""What pushing contacts does at Mailchimp and here, over the real core and real HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tieline.errors import InvalidInputError
from tieline.services import alerts, outbox, syncs
from tieline.services.changes import Change

Make = Callable[..., Any]


def create(audience: str, address: str, **fields: Any) -> Change:
    payload = {"list_id": audience, "email_address": address} | fields
    return Change(kind="create", payload=payload)


def update(member: Any, **fields: Any) -> Change:
    return Change(kind="update", key=f"{member['list_id']}:{member['contact_id']}", payload=fields)


def archive(member: Any) -> Change:
    return Change(kind="delete", key=f"{member['list_id']}:{member['contact_id']}")


@pytest.fixture
def news(bench: Make) -> Any:
    made = bench(audiences=2, contacts=20)
    made.sync(mode="full")
    return made


def states(rows: Any) -> list[tuple[str, str | None]]:
    return [(row.state, row.reason_code) for row in rows]


def unmoved(made: Any) -> None:
    """Assert that the syncs that bring it all back change nothing."""
    for mode in ("incremental", "full"):
        run = made.sync(mode=mode)
        assert run.state == "succeeded"
        assert (run.counts.created, run.counts.updated, run.counts.deleted) == (0, 0, 0)


# --- one by one ----------------------------------------------------------------------------------


def test_a_new_contact_is_there_and_here_at_once_and_its_echo_changes_nothing(
    news: Any, in_step: Any
) -> None:
    audience = news.audiences()[0]
    rows = news.push(
        create(audience, "Ada@Example.com", merge_fields={"FNAME": "Ada", "POINTS": 7}, vip=True)
    )
    there = news.there(audience, "ada@example.com")
    assert states(rows) == [("done", None)]
    assert rows[0].record_id == f"{audience}:{there['contact_id']}"
    assert (there["status"], there["full_name"], there["vip"]) == ("transactional", "Ada", True)
    assert [each[:1] + each[2:] for each in news.written()] == [("PUT", 200)]
    in_step(news)
    unmoved(news)


def test_an_update_changes_what_it_names_and_no_more(news: Any, in_step: Any) -> None:
    audience = news.audiences()[0]
    merged = {"FNAME": "Ada", "LNAME": "King", "PHONE": "1"}
    member = news.plant(audience, "ada@example.com", merge_fields=merged, language="cs")
    news.sync()
    rows = news.push(update(member, merge_fields={"LNAME": "Lovelace"}, vip=True))
    there = news.there(audience, "ada@example.com")
    assert states(rows) == [("done", None)]
    assert there["merge_fields"] | {"LNAME": "King"} == there["merge_fields"] | merged
    assert (there["full_name"], there["vip"], there["language"]) == ("Ada Lovelace", True, "cs")
    assert there["status"] == "subscribed"
    in_step(news)
    unmoved(news)


def test_an_address_changes_under_the_same_key(news: Any, in_step: Any) -> None:
    audience = news.audiences()[0]
    member = news.plant(audience, "ada@example.com")
    news.sync()
    [row] = news.push(update(member, email_address="king@example.com"))
    assert row.state == "done"
    assert news.there(audience, "king@example.com")["contact_id"] == member["contact_id"]
    assert news.there(audience, "ada@example.com") is None
    in_step(news)
    unmoved(news)


def test_a_delete_archives_and_the_record_stays_with_that_status(news: Any, in_step: Any) -> None:
    audience = news.audiences()[0]
    member = news.plant(audience, "ada@example.com")
    news.sync()
    [row] = news.push(archive(member))
    assert states([row]) == [("done", None)]
    assert news.there(audience, "ada@example.com")["status"] == "archived"
    assert news.payloads()[row.record_id]["status"] == "archived"
    in_step(news)
    unmoved(news)
    again = news.push(archive(member))  # Mailchimp would refuse it
    assert states(again) == [("done", "already-so")]


def test_a_delete_is_not_held_for_statistics_that_moved(news: Any) -> None:
    audience = news.audiences()[0]
    member = news.plant(audience, "ada@example.com")
    news.sync()
    given = {"audience": audience, "find": member["id"], "quiet": True}
    news.order("contacts", given | {"set": {"member_rating": 5, "stats": {"avg_open_rate": 1}}})
    assert states(news.push(archive(member))) == [("done", None)]


@pytest.mark.parametrize("status", ["cleaned", "pending"])
def test_a_contact_that_cannot_be_archived_is_held_in_mailchimp_s_words(
    news: Any, status: str
) -> None:
    """amro/gibbon #320."""
    audience = news.audiences()[0]
    member = news.plant(audience, "ada@example.com", status=status)
    news.sync()
    after = news.answered()
    [row] = news.push(archive(member))
    assert states([row]) == [("held", "conflict")]
    assert "Can not archive a contact that is bounced, pending or archived" in row.reason
    assert len(news.written(after)) == 1


def test_who_was_archived_meanwhile_is_archived_however_mailchimp_refuses_it(news: Any) -> None:
    audience = news.audiences()[0]
    member = news.plant(audience, "ada@example.com")
    news.sync()
    given = {"audience": audience, "find": member["id"], "set": {"status": "archived"}}
    news.order("contacts", given)
    after = news.answered()
    rows = news.push(archive(member), policy="local_wins")
    assert states(rows) == [("done", "already-so")]
    assert [each[2] for each in news.written(after)] == [405]


# --- tags ----------------------------------------------------------------------------------------


def tags(**given: str) -> list[dict[str, str]]:
    return [{"name": name, "status": status} for name, status in given.items()]


def test_tags_are_changed_at_their_own_endpoint_and_others_stay(news: Any, in_step: Any) -> None:
    audience = news.audiences()[0]
    has = [{"id": 1, "name": "lead"}, {"id": 2, "name": "kept"}]
    member = news.plant(audience, "ada@example.com", tags=has, tags_count=2)
    news.sync()
    after = news.answered()
    wanted = tags(customer="active", lead="inactive")
    rows = news.push(update(member, email_address="ada@example.com", tags=wanted))
    assert states(rows) == [("done", None)]
    there = news.there(audience, "ada@example.com")
    assert [tag["name"] for tag in there["tags"]] == ["kept", "customer"]
    place = f"/lists/{audience}/members/{member['id']}/tags"
    assert news.written(after) == [("POST", place, 204)]
    in_step(news)
    unmoved(news)
    again = news.push(update(member, email_address="ada@example.com", tags=wanted))
    assert states(again) == [("done", "already-so")]


def test_beyond_the_fifty_that_are_shown_no_tag_is_taken_for_absent(news: Any) -> None:
    audience = news.audiences()[0]
    has = [{"id": number, "name": f"t{number}"} for number in range(50)]
    member = news.plant(audience, "ada@example.com", tags=has, tags_count=51)
    news.sync()
    after = news.answered()
    gone = update(member, email_address="ada@example.com", tags=tags(hidden="inactive"))
    assert states(news.push(gone)) == [("done", None)]
    assert [each[0] for each in news.written(after)] == ["POST"]


def test_tags_of_an_address_that_is_another_by_now_go_to_nobody(news: Any) -> None:
    audience = news.audiences()[0]
    member = news.plant(audience, "ada@example.com")
    news.sync()
    wanted = update(member, email_address="ada@example.com", tags=tags(customer="active"))
    [operation] = news.want(wanted)
    given = {"email_address": "king@example.com"}
    news.order("contacts", {"audience": audience, "find": member["id"], "set": given})
    news.work()
    assert states([news.operation(operation)]) == [("held", "conflict")]
    assert news.there(audience, "king@example.com")["tags"] == member["tags"]


# --- what is refused before anything is sent -----------------------------------------------------


BAD = {
    "no list": ({"list_id": None}, "list_id"),
    "no address": ({"email_address": "ada"}, "email_address: Not a valid email"),
    "unknown": ({"first_name": "Ada"}, "first_name: Unknown field"),
    "status of a new one": ({"status": "subscribed"}, "status: for an update only"),
    "tags of a new one": ({"tags": tags(a="active")}, "tags: for an update only"),
    "archived": ({"status_if_new": "archived"}, "status_if_new: Must be one of"),
    "a path": ({"list_id": "a/../b"}, "list_id"),
    "a text for a flag": ({"vip": "yes"}, "vip: Not a valid boolean"),
    "a long tag": ({"merge_fields": {"ELEVENCHARS": 1}}, "merge_fields"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_new_contact_that_makes_no_sense_is_not_kept(news: Any, case: str) -> None:
    wrong, said = BAD[case]
    with pytest.raises(InvalidInputError, match=said):
        news.want(create(news.audiences()[0], "ada@example.com", **wrong))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"list_id": "a6b5da1054"}, "list_id: a contact stays in its list"),
        ({"status_if_new": "pending"}, "status_if_new: for a new contact only"),
        ({"status": "archived"}, "status: Must be one of"),
        ({"tags": tags(a="active")}, "tags: go with the contact's email_address"),
        ({"tags": tags(a="active"), "email_address": "a@example.com", "vip": True}, "tags: go"),
        ({"tags": tags(a="on"), "email_address": "a@example.com"}, "status: Must be one of"),
    ],
)
def test_an_update_that_makes_no_sense_is_not_kept(news: Any, wrong: Any, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        news.want(Change(kind="update", key="a:b", payload=wrong))


@pytest.mark.parametrize("key", ["a/../b:c", "a:../../c", "a:b?x=1", "ab", "a:", ":b", "a:b/c"])
@pytest.mark.parametrize("policy", ["hold", "local_wins"])
def test_a_key_that_is_none_makes_no_request(news: Any, key: str, policy: str) -> None:
    after = news.answered()
    [row] = news.push(Change(kind="update", key=key, payload={"vip": True}), policy=policy)
    assert row.state == ("held" if policy == "hold" else "dead")
    assert news.asked(after) == []


# --- refusals ------------------------------------------------------------------------------------

REFUSED = {
    "fake": ("x@example.test", {}, "request-rejected", "looks fake or invalid"),
    "field": (
        "x@example.com",
        {"merge_fields": {"BIRTHDAY": "May"}},
        "request-rejected",
        "BIRTHDAY (Birthday fields must be in the MM/DD format.)",
    ),
    "throttled": ("everywhere@example.com", {}, "address-throttled", "a lot of lists"),
}


@pytest.mark.parametrize("in_batch", [False, True])
@pytest.mark.parametrize("case", REFUSED)
def test_what_mailchimp_refuses_is_dead_with_its_own_words(
    news: Any, case: str, in_batch: bool
) -> None:
    address, fields, code, words = REFUSED[case]
    audience = news.audiences()[0]
    also = [create(audience, "good@example.com")] if in_batch else []
    row, *others = news.push(create(audience, address, **fields), *also)
    assert states([row]) == [("dead", code)]
    assert words.split(" (")[0] in row.reason
    assert words.rpartition("(")[2].strip(")") in row.reason
    assert [other.state for other in others] == ["done"] * in_batch
    assert [alert.kind for alert in alerts.list_alerts(news.installation)] == ["operations-wait"]


def test_a_required_merge_field_is_named_and_can_be_passed_over_on_purpose(news: Any) -> None:
    audience = news.audiences()[0]
    news.order("lists", {"audience": audience, "require": ["FNAME"]})
    [row] = news.push(create(audience, "ada@example.com"))
    assert row.state == "dead"
    assert "FNAME (This value should not be blank.)" in row.reason
    lax = {"list_id": audience, "email_address": "ada@example.com", "skip_merge_validation": True}
    outbox.retry_operation(news.installation, row.id, payload=lax, actor="test")
    news.work()
    assert news.operation(row.id).state == "done"
    rows = news.push(
        *(create(audience, f"{name}@example.com", skip_merge_validation=True) for name in "xy"),
        create(audience, "strict@example.com"),
    )
    assert [each.state for each in rows] == ["done", "done", "dead"]


def test_a_list_that_is_gone_makes_the_contact_dead(news: Any) -> None:
    [row] = news.push(create("0123456789", "ada@example.com"))
    assert states([row]) == [("dead", "record-not-found")]


def test_an_address_that_is_taken_is_a_conflict_and_is_asked_for_once(news: Any) -> None:
    audience = news.audiences()[0]
    member = news.plant(audience, "ada@example.com")
    news.plant(audience, "taken@example.com")
    news.sync()
    after = news.answered()
    [row] = news.push(update(member, email_address="taken@example.com"))
    assert states([row]) == [("held", "conflict")]
    assert "is already a list member" in row.reason
    assert len(news.written(after)) == 1


# --- in batch ------------------------------------------------------------------------------------


def test_five_hundred_new_contacts_of_a_list_share_a_request(news: Any, in_step: Any) -> None:
    one, two = news.audiences()
    changes = [create(one, f"n{number}@example.com") for number in range(501)]
    changes += [create(two, f"n{number}@example.com") for number in range(3)]
    rows = news.push(*changes)
    assert {row.state for row in rows} == {"done"}
    sent = [each[:2] for each in news.written()]
    assert ("POST", f"/lists/{one}") in sent
    assert ("POST", f"/lists/{two}") in sent
    assert len(sent) <= 4
    in_step(news)
    unmoved(news)


def test_of_a_batch_the_good_are_kept_and_the_bad_are_named_exactly(
    news: Any, in_step: Any
) -> None:
    audience = news.audiences()[0]
    forgotten = news.plant(audience, "forgotten@example.com")
    news.order("contacts", {"audience": audience, "find": forgotten["id"], "remove": True})
    there = news.plant(audience, "there@example.com", status="unsubscribed")
    news.sync()
    wanted = {
        "a@example.com": ("done", None),
        "fake@example.test": ("dead", "request-rejected"),
        "forgotten@example.com": ("dead", "contact-forgotten"),
        "there@example.com": ("done", None),
        "b@example.com": ("done", None),
    }
    rows = news.push(
        *(create(audience, address, merge_fields={"FNAME": "N"}) for address in wanted)
    )
    assert dict(zip(wanted, states(rows), strict=True)) == wanted
    assert "was permanently deleted and cannot be re-imported" in rows[2].reason
    now = news.there(audience, "there@example.com")
    assert (now["status"], now["merge_fields"]["FNAME"]) == ("unsubscribed", "N")
    assert rows[3].record_id == f"{audience}:{there['contact_id']}"
    [run] = [run for run in syncs.list_runs(news.installation) if run.mode == "push"]
    assert (run.counts.created, run.counts.quarantined) == (3, 2)
    in_step(news)


def test_the_same_address_twice_in_a_batch_is_one_contact_with_both_changes(
    news: Any, in_step: Any
) -> None:
    audience = news.audiences()[0]
    rows = news.push(
        create(audience, "ada@example.com", merge_fields={"FNAME": "Ada", "PHONE": "1"}),
        create(audience, "eve@example.com"),
        create(audience, "ADA@example.com", merge_fields={"PHONE": "2"}),
    )
    assert states(rows) == [("done", None)] * 3
    assert rows[0].record_id == rows[2].record_id
    merged = news.there(audience, "ada@example.com")["merge_fields"]
    assert (merged["FNAME"], merged["PHONE"]) == ("Ada", "2")
    assert [each[0] for each in news.written()] == ["POST", "PUT"]
    in_step(news)


def test_rows_that_are_less_than_records_are_read_by_their_keys(bench: Make, in_step: Any) -> None:
    """The official swagger has no contact_id in them, and by it goes the key."""
    made = bench(audiences=1, contacts=5, short_rows=True)
    made.sync(mode="full")
    audience = made.audiences()[0]
    rows = made.push(create(audience, "ada@example.com"), create(audience, "eve@example.com"))
    assert states(rows) == [("done", None)] * 2
    in_step(made)
    unmoved(made)
    assert len(made.stored()) == 7


def test_contacts_without_a_contact_id_are_written_by_the_hash_of_their_address(
    bench: Make, in_step: Any
) -> None:
    made = bench(audiences=1, contacts=5, contact_ids=False)
    made.sync(mode="full")
    audience = made.audiences()[0]
    rows = made.push(create(audience, "ada@example.com"), create(audience, "eve@example.com"))
    assert states(rows) == [("done", None)] * 2
    [row] = made.push(Change(kind="update", key=rows[0].record_id, payload={"vip": True}))
    assert row.state == "done"
    in_step(made)
    unmoved(made)


def test_many_updates_and_deletes_at_once_go_one_by_one_and_in_order(
    news: Any, in_step: Any
) -> None:
    """Rows of a batch are known by their address, and changes by what stays."""
    audience = news.audiences()[0]
    members = [news.plant(audience, f"n{number}@example.com") for number in range(4)]
    news.sync()
    rows = news.push(
        *(update(member, merge_fields={"FNAME": f"N{n}"}) for n, member in enumerate(members)),
        create(audience, "new@example.com"),
        *(update(member, vip=True) for member in members),
        archive(members[0]),
    )
    assert {row.state for row in rows} == {"done"}
    there = [news.there(audience, f"n{number}@example.com") for number in range(4)]
    assert [one["merge_fields"]["FNAME"] for one in there] == ["N0", "N1", "N2", "N3"]
    assert [(one["vip"], one["status"]) for one in there] == [(True, "archived")] + [
        (True, "subscribed")
    ] * 3
    in_step(news)
    unmoved(news)
