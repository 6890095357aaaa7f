"""What is special about reading Square's customers."""

from __future__ import annotations

from tieline_square.entities import CUSTOMERS


def customer(key="C1", **fields):
    return {
        "id": key,
        "created_at": "2026-03-02T09:15:00.123Z",
        "updated_at": "2026-03-02T09:15:00Z",
        "version": 3,
        "given_name": "Ada",
    } | fields


def test_a_bare_profile_is_never_listed_and_nothing_is_made_of_it(seller):
    shop = seller(customers=120)
    shop.sync("customers")
    listed = shop.stored("customers")
    bare = f"{max(listed)[:-9]}{5:09}"
    assert bare not in listed
    opened = shop.engine.opener.open(shop.id)
    assert CUSTOMERS.get(opened.client, bare)["creation_source"] == "INSTANT_PROFILE"
    opened.transport.close()
    assert shop.is_in_step("customers")


def test_a_deleted_customer_is_gone_without_trace_until_everything_is_read(seller):
    shop = seller(customers=120)
    shop.sync("customers")
    shop.pass_time(3600)
    [key] = shop.data("customers", delete=1)["deleted"]
    shop.pass_time(5)
    assert shop.sync("customers").counts.deleted == 0
    outcome = shop.verify("customers")
    assert [(each["record_id"], each["kind"]) for each in outcome.findings] == [(key, "surplus")]
    assert shop.sync("customers", "full").counts.deleted == 1
    assert shop.is_in_step("customers")


def test_merged_profiles_leave_a_new_one_and_are_tombstones_after_a_full_read(seller):
    shop = seller(customers=120)
    shop.sync("customers")
    one, two = sorted(shop.stored("customers"))[:2]
    shop.pass_time(3600)
    [merged] = shop.data("customers", merge=[one, two])["created"]
    shop.pass_time(5)
    shop.sync("customers")
    assert shop.stored("customers")[merged]["creation_source"] == "MERGE"
    assert {one, two} <= shop.stored("customers").keys()
    assert shop.sync("customers", "full").counts.deleted == 2
    assert shop.is_in_step("customers")


def test_a_profile_that_answers_for_another_one_is_not_taken_for_it(seller):
    shop = seller(customers=10)
    shop.fail({"kind": "status", "status": 200, "body": {"customer": customer("MERGED")}})
    opened = shop.engine.opener.open(shop.id)
    assert CUSTOMERS.get(opened.client, "OLD") is None
    opened.transport.close()


def test_an_index_that_lags_for_minutes_loses_no_change(seller):
    shop = seller(customers=120, index_delay_s=120)
    shop.sync("customers")
    shop.pass_time(3600)
    shop.data("customers", create=3, update=20, seed=5)
    shop.pass_time(60)
    assert shop.sync("customers").counts.seen == 0  # the index knows of nothing yet
    shop.pass_time(90)
    assert shop.sync("customers").counts.updated > 0
    assert shop.is_in_step("customers")


def test_an_older_copy_from_a_lagging_index_never_replaces_a_newer_one(seller):
    shop = seller(customers=120, index_delay_s=120)
    shop.sync("customers")
    shop.pass_time(3600)
    key = next(iter(shop.truth("customers")))
    shop.data("customers", alter={key: {"note": "one"}})
    shop.pass_time(200)
    shop.sync("customers")
    newer = shop.stored("customers")[key]
    assert newer["note"] == "one"
    stale = {name: value for name, value in newer.items() if name != "note"}
    stale |= {"version": newer["version"] - 1}
    shop.data("customers", plant=[stale])
    shop.pass_time(200)
    shop.sync("customers", "full")
    assert shop.stored("customers")[key] == newer


def test_a_change_of_segments_alone_moves_no_version_and_is_seen_by_a_full_read(seller):
    shop = seller(customers=60)
    shop.sync("customers")
    shop.pass_time(3600)
    key = next(iter(shop.truth("customers")))
    shop.data("customers", alter={key: {"segment_ids": ["S1"]}})
    shop.pass_time(5)
    assert shop.sync("customers").counts.seen == 0
    assert shop.sync("customers", "full").counts.updated == 1
    assert shop.stored("customers")[key]["segment_ids"] == ["S1"]
    assert shop.is_in_step("customers")


def test_copies_are_ordered_by_version_and_then_by_time():
    version = CUSTOMERS.version
    older = customer(version=3, updated_at="2026-03-02T09:15:00Z")
    later = customer(version=3, updated_at="2026-03-02T10:15:01.5+01:00")
    newer = customer(version=4, updated_at="2026-03-02T09:14:00.000Z")
    assert version(older) < version(later) < version(newer) < 2**63


def test_odd_but_legal_fields_are_kept_as_they_are(seller):
    shop = seller(customers=0)
    odd = [
        customer("C1", birthday="0000-12-10", creation_source="A_SOURCE_OF_NEXT_YEAR"),
        customer("C2", given_name=None, email_address="x@example.com", address=None),
        customer("C3", given_name="Nul\x00l", note="\u202e🚀", unknown={"deep": [1, None]}),
    ]
    shop.data("customers", plant=odd)
    run = shop.sync("customers")
    assert (run.state, run.counts.created) == ("succeeded", 3)
    assert shop.verify("customers").counts in ({}, {"missing": 0, "stale": 0, "surplus": 0})
    assert shop.stored("customers")["C1"] == odd[0]
    assert shop.stored("customers")["C2"] == odd[1]


BAD = {
    "no id": {"id": None},
    "a version that is text": {"version": "3"},
    "a negative version": {"version": -1},
    "no time": {"updated_at": "noon"},
    "a time without a zone": {"updated_at": "2026-03-02T09:15:00"},
    "a name that is a number": {"given_name": 5},
}


def test_records_that_cannot_be_used_are_quarantined_and_cost_no_other(seller):
    shop = seller(customers=0)
    bad = [customer(f"BAD{n}") | fields for n, fields in enumerate(BAD.values())]
    shop.data("customers", plant=[*bad, customer("GOOD")])
    run = shop.sync("customers")
    assert (run.state, run.counts.quarantined) == ("succeeded_with_quarantine", len(bad))
    assert list(shop.stored("customers")) == ["GOOD"]
    shop.pass_time(3600)
    changed = [each | {"updated_at": "2026-11-01T01:00:00Z"} for each in bad[:1]]
    shop.data("customers", plant=[*changed, customer("NEW", updated_at="2026-11-01T01:00:00Z")])
    shop.pass_time(5)
    run = shop.sync("customers")
    assert (run.mode, run.state, run.counts.created) == (
        "incremental",
        "succeeded_with_quarantine",
        1,
    )
