"""What is special about HubSpot: merges, ids for cursors, creates without a key, its signature."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime

import pytest

import tieline_hubspot as plugin
import tieline_hubspot_sandbox as sandbox
from tieline.contract import (
    ConflictError,
    InvalidRecordError,
    Operation,
    PageParams,
    PermissionDeniedError,
    ProviderUnavailableError,
    RateLimitedError,
    RequestRejectedError,
    Window,
)
from tieline.testing import client_of, pages_of, why_refused
from tieline_hubspot_sandbox import crm

CONTACTS, COMPANIES = plugin.tieline_entities()


class At:
    """HubSpot on this machine, and the plugin's client of it."""

    def __init__(self, **options):
        self.app = sandbox.create_app(**{"contacts": 25, "companies": 3} | options)
        token = self.app.grant()["access_token"]
        self.client = client_of(plugin, self.app, {"access_token": token})

    def pages(self, step, params=None):
        return pages_of(step, self.client, params)

    def of(self, email):
        query = {"properties": plugin.properties_of(plugin.CONTACT), "idProperty": "email"}
        return plugin.look_up(self.client, f"{plugin.CRM}/contacts", email, query)


def create(at, **properties):
    operation = Operation(id="op_1", kind="create", payload={"properties": properties})
    return operation, plugin.create_contact(at.client, operation)


def update(at, key, **properties):
    asked = {"properties": properties}
    plugin.update_contact(at.client, Operation(id="op_2", kind="update", key=key, payload=asked))


# --- reading --------------------------------------------------------------------------------------


def test_all_that_is_not_archived_is_listed_once():
    at = At(most_per_page=4)
    found = [each["id"] for page in at.pages(CONTACTS.page) for each in page.records]
    assert len(found) == len(set(found)) == 25 - 2


def test_a_search_goes_on_where_hubspot_s_own_cursor_ends(monkeypatch):
    monkeypatch.setattr(crm, "MOST_RESULTS", 10)
    at = At(contacts=60, most_per_page=4, searches_per_second=100)
    found = [each.key for page in at.pages(CONTACTS.feed.page) for each in page.changes]
    assert len(found) == len(set(found)) == 60 - 6


def test_a_search_holds_its_window_with_its_start_and_without_its_end():
    at = At(contacts=3)
    clock = at.app.clock
    clock.order({"frozen": True, "advance_s": 1000})
    moments = []
    for number, each in zip((1, 2, 3), sorted(at.app.crm.stock["contacts"]), strict=True):
        moments.append(datetime.fromtimestamp(round(clock.now(), 3), UTC))
        at.app.crm.put("contacts", {"city": f"Town {number}"}, each)
        clock.order({"advance_s": 1})
    window = PageParams(window=Window(start=moments[1], end=moments[2]))
    [page] = at.pages(CONTACTS.feed.page, window)
    assert [each.record["properties"]["city"] for each in page.changes] == ["Town 2"]
    assert page.changes[0].at == moments[1]


def test_a_contact_that_was_merged_is_gone_and_the_other_is_not():
    at = At()
    stays, goes = (str(number) for number in sorted(at.app.crm.stock["contacts"])[:2])
    assert CONTACTS.get(at.client, goes)["id"] == goes
    asked = {"primaryObjectId": stays, "objectIdToMerge": goes}
    at.client.send("POST", f"{plugin.CRM}/contacts/merge", asked)
    assert CONTACTS.get(at.client, goes) is None
    assert CONTACTS.get(at.client, stays)["id"] == stays


def test_an_archived_contact_is_gone():
    at = At()
    key = str(min(at.app.crm.stock["contacts"]))
    operation = Operation(id="op_3", kind="delete", key=key)
    assert plugin.delete_contact(at.client, operation).is_gone
    assert CONTACTS.get(at.client, key) is None
    assert plugin.delete_contact(at.client, operation).is_gone


# --- writing --------------------------------------------------------------------------------------


def test_a_create_is_found_by_its_address_in_any_case():
    at = At()
    operation, made = create(at, email="Ada@Example.com", firstname="Ada", phone=None)
    found = plugin.find_contact(at.client, operation)
    assert found.record["id"] == made.key
    assert found.record == CONTACTS.get(at.client, made.key)


def test_what_nobody_made_is_not_found():
    payload = {"properties": {"email": "nobody@example.com"}}
    assert (
        plugin.find_contact(At().client, Operation(id="o", kind="create", payload=payload)) is None
    )


def test_somebody_else_s_contact_is_not_taken_for_ours_and_is_a_conflict():
    at = At()
    create(at, email="ada@example.com", firstname="Ada")
    ours = {"properties": {"email": "ada@example.com", "firstname": "Augusta"}}
    operation = Operation(id="op_4", kind="create", payload=ours)
    assert plugin.find_contact(at.client, operation) is None
    with pytest.raises(ConflictError):
        plugin.create_contact(at.client, operation)


def test_an_update_changes_what_it_names_and_null_clears():
    at = At()
    _, made = create(at, email="ada@example.com", firstname="Ada", phone="1")
    update(at, made.key, phone=None, city="London")
    has = CONTACTS.get(at.client, made.key)["properties"]
    assert (has["firstname"], has["phone"], has["city"]) == ("Ada", None, "London")


def test_a_payload_names_its_address_and_misspells_nothing():
    schema = plugin.CONTACT_TO_WRITE
    assert not schema.validate({"properties": {"email": "ada@example.com"}})
    assert schema.validate({"properties": {"firstname": "Ada"}})
    assert schema.validate({"properties": {"email": "ada@example.com", "frstname": "Ada"}})
    assert not schema.validate({"properties": {"firstname": "Ada"}}, partial=True)


# --- refusals and limits --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, RequestRejectedError),
        (403, PermissionDeniedError),
        (409, ConflictError),
        (423, ProviderUnavailableError),
        (429, RateLimitedError),
        (477, ProviderUnavailableError),
        (502, ProviderUnavailableError),
    ],
)
def test_a_refusal_says_what_happens_next_and_repeats_no_words(status, error):
    at = At()
    body = {"category": "SOME_CATEGORY", "message": "access_1_1_0123456789 and ada@example.com"}
    headers = {"Retry-After": "7"}
    at.app.script.order([{"kind": "status", "status": status, "body": body, "headers": headers}])
    with pytest.raises(error) as raised:
        plugin.identify(at.client)
    assert str(raised.value) == f"HubSpot answered {status} (SOME_CATEGORY)"
    assert getattr(raised.value, "retry_after", 7) == 7


def test_the_limits_are_those_that_the_sandbox_holds():
    at = At(searches_per_second=5, per_ten_seconds=6)
    for _ in range(5):
        CONTACTS.feed.page(at.client, PageParams(), None)
        plugin.identify(at.client)
    with pytest.raises(RateLimitedError):
        COMPANIES.feed.page(at.client, PageParams(), None)
    reply = at.client.send("GET", "/account-info/2026-03/details")
    assert plugin.tieline_observe(reply).remaining == 0
    with pytest.raises(RateLimitedError):
        plugin.identify(at.client)


# --- deliveries -----------------------------------------------------------------------------------

SECRET, ADDRESS, AT = (
    "a-client-secret",
    "https://hooks.example.com/webhooks/hubspot/whe_1",
    1_772_442_900,
)
TOLD = {"eventId": 9, "subscriptionId": 2, "portalId": 62515, "occurredAt": 1_772_442_899_250,
        "subscriptionType": "contact.propertyChange", "objectId": 107}  # fmt: skip


def signed(body, at_ms):
    """Sign as HubSpot's page "Validating requests" has it, written here a second time."""
    text = b"POST" + ADDRESS.encode() + body + str(at_ms).encode()
    digest = hmac.new(SECRET.encode(), text, hashlib.sha256).digest()
    return {"X-HubSpot-Signature-v3": base64.b64encode(digest).decode(),
            "X-HubSpot-Request-Timestamp": str(at_ms)}  # fmt: skip


def verdict(headers, body, address=ADDRESS):
    scheme = plugin.tieline_webhooks().scheme
    given = {"secret": SECRET, "address": address, "at": AT}
    return why_refused(scheme, headers=headers, body=body, **given)


def test_a_delivery_is_taken_that_is_signed_as_hubspot_signs():
    body = json.dumps([TOLD]).encode()
    headers = signed(body, AT * 1000 - 250)
    assert verdict(headers, body) is None
    assert verdict(headers, body + b" ") == "signature-wrong"
    assert verdict(headers, body, ADDRESS + "?x=1") == "signature-wrong"
    assert verdict(signed(body, AT * 1000 - 300_001), body) == "time-off"
    assert verdict(signed(body, AT), body) == "time-off"  # seconds are no milliseconds


def test_a_delivery_is_taken_that_hubspot_s_own_sdk_signs():
    """Made by ``hubspot.utils.signature`` of hubspot-api-client 12.0.0 (Apache-2.0)."""
    body = (
        b'[{"eventId":9,"subscriptionId":2,"portalId":62515,"occurredAt":1772442899250,'
        b'"subscriptionType":"contact.propertyChange","objectId":107}]'
    )
    headers = {
        "X-HubSpot-Signature-v3": "2wnqVwankOCVWIt7QP4oOMBkyuE+ECExCfhc88+TFos=",
        "X-HubSpot-Request-Timestamp": "1772442899750",
    }
    assert verdict(headers, body) is None
    assert [event.key for event in plugin.parse(body, headers)] == ["107"]


def events(*told):
    return plugin.parse(json.dumps(told).encode(), {})


def test_an_event_names_account_record_and_time():
    [event] = events(TOLD)
    assert (event.entity, event.key, event.account) == ("contacts", "107", "62515")
    assert event.occurred_at == datetime(2026, 3, 2, 9, 14, 59, 250_000, UTC)


def test_a_retry_is_the_same_event_and_another_subscription_s_is_another():
    first, retry, other = events(
        TOLD, TOLD | {"attemptNumber": 1}, TOLD | {"subscriptionId": 3, "propertyName": "phone"}
    )
    assert first.id == retry.id != other.id


def test_a_merge_is_about_both_sides():
    merge = {name: value for name, value in TOLD.items() if name != "objectId"}
    merge |= {"subscriptionType": "company.merge", "primaryObjectId": 107, "mergedObjectIds": [114],
              "newObjectId": 107}  # fmt: skip
    assert [(each.entity, each.key) for each in events(merge)] == [
        ("companies", "107"),
        ("companies", "114"),
    ]
    assert len({each.id for each in events(merge)}) == 2


@pytest.mark.parametrize(
    ("kind", "type_id", "entity"),
    [
        ("object.creation", "0-1", "contacts"),
        ("object.deletion", "0-2", "companies"),
        ("object.creation", "0-3", None),
        ("deal.creation", None, None),
    ],
)
def test_the_new_platform_names_the_type_apart(kind, type_id, entity):
    [event] = events(TOLD | {"subscriptionType": kind, "objectTypeId": type_id})
    assert event.entity == entity


@pytest.mark.parametrize(
    "odd",
    [b"{}", b"[]", b"[1]", b"nonsense", json.dumps([TOLD | {"occurredAt": "now"}]).encode()],
    ids=["an object", "empty", "a number", "no JSON", "no time"],
)
def test_a_body_that_is_none_of_hubspot_s_is_refused(odd):
    with pytest.raises(InvalidRecordError):
        plugin.parse(odd, {})


# --- meanings -------------------------------------------------------------------------------------


def test_a_contact_means_a_person_and_says_nothing_of_consent():
    at = At()
    create(at, email="ada@example.com", firstname="Ada", lastname="Lovelace", zip="W1")
    person = plugin.contact(at.of("ada@example.com"))
    assert (person.name, person.email, person.accepts_email) == (
        "Ada Lovelace", "ada@example.com", None)  # fmt: skip
    assert (person.address.postal_code, person.address.city) == ("W1", None)
