"""``webhooks send`` against a real server: what it makes is taken as a real delivery is."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest

from ingest_kit import SECRETS, make_harbour
from kit import entry_point
from tieline.clock import SystemClock
from tieline.errors import DependencyError, InvalidInputError, NotFoundError, RefusedError
from tieline.inbox import endpoint
from tieline.registry import Registry, list_fixtures
from tieline.services import webhook_send as service
from tieline.services import webhooks
from tieline.services.webhook_send import Trial
from tieline.store import endpoints as store
from tieline.web import Listener, create_app

FORGED, LATE, TWICE = Trial(is_forged=True), Trial(is_late=True), Trial(is_twice=True)


@pytest.fixture
def harbour(sqlite_url, tmp_path, monkeypatch):
    for module in (service, endpoint):  # a change is known sooner: each secret waits for that
        monkeypatch.setattr(module, "SPREAD_S", 0.1)
    made = make_harbour(sqlite_url, tmp_path, clock=SystemClock())
    registry = made.installation.registry
    given = [each.entry_point for each in registry._found]
    made.installation._registry = Registry(given=[*given, entry_point("pathed", "pathed_plugin")])
    made.installation.__dict__.pop("registry", None)
    made.add_connection("pathed", "paths", None)
    made.senders["pathed"] = made.add("pathed", "paths")
    yield made
    made.close()


@pytest.fixture
def send(harbour):
    with Listener(create_app(harbour.installation), host="127.0.0.1", port=0) as listener:

        def sent(name: str, **options):
            options = {"default_base": listener.address, "patience_s": 0} | options
            return service.send_fixture(harbour.installation, name, **options)

        sent.address = listener.address
        yield sent


def statuses(sent) -> list[int]:
    return [each.status for each in sent.tries]


def secrets_of(harbour, scheme: str) -> list:
    with harbour.installation.database.read() as transaction:
        return store.read_secrets(transaction, harbour.senders[scheme].endpoint_id)


SCHEMES = ["stripe", "square", "quickbooks", "mailchimp", "mailchimp-unsigned", "hooked", "pathed"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_example_of_every_scheme_is_taken_and_a_forged_one_is_not(harbour, send, scheme):
    endpoint_id = harbour.senders[scheme].endpoint_id
    provider = scheme.partition("-")[0]
    fixtures = list_fixtures(harbour.installation.registry.get(provider))
    if not fixtures:
        pytest.skip(f"{provider} ships no fixtures")
    secrets_before = secrets_of(harbour, scheme)
    sent = send(fixtures[0].name, endpoint_id=endpoint_id)
    assert (statuses(sent), sent.reason, sent.is_expected) == ([200], "", True)
    assert {event.event_key for event in sent.events} == set(sent.event_ids)
    assert fixtures[0].type in {event.type for event in sent.events}
    count = harbour.count()
    assert count >= 1
    forged = send(fixtures[0].name, endpoint_id=endpoint_id, trial=FORGED)
    is_signed_alone = provider not in {"mailchimp", "pathed"}
    assert statuses(forged) == [401 if is_signed_alone else 404]
    assert forged.reason == ("signature-wrong" if is_signed_alone else "path-wrong")
    assert (forged.is_expected, forged.events, harbour.count()) == (True, [], count)
    assert secrets_of(harbour, scheme) == secrets_before


def test_each_call_makes_a_new_event_and_twice_makes_one(harbour, send):
    made = [send("customer.updated", provider="stripe") for _ in range(2)]
    assert harbour.count() == 2
    assert made[0].event_ids != made[1].event_ids
    twice = send("customer.updated", provider="stripe", trial=TWICE)
    assert (statuses(twice), twice.is_expected, len(twice.events)) == ([200, 200], True, 1)
    assert harbour.count() == 3


def test_an_id_that_is_set_is_the_same_event_again(harbour, send):
    for name in ("Ada", "Bea"):
        changes = {"id": "evt_mine", "data.object.name": name}
        sent = send("customer.updated", provider="stripe", changes=changes)
        assert list(sent.event_ids) == ["evt_mine"]
    [event] = harbour.events()
    assert json.loads(event["record"])["name"] == "Ada"


def test_a_late_one_is_refused_where_a_time_is_signed_and_else_that_is_said(harbour, send):
    late = send("customer.updated", provider="stripe", trial=LATE)
    assert (statuses(late), late.reason, late.is_expected) == ([401], "time-off", True)
    late = send("thing.changed", trial=LATE)
    assert (statuses(late), late.reason, late.is_expected) == ([401], "time-off", True)
    assert harbour.count() == 0
    late = send("letter.sent", trial=LATE)
    assert (statuses(late), late.is_expected) == ([200], True)
    assert "signs no time" in late.remark


def test_the_account_in_an_example_becomes_the_connection_s(harbour, send):
    assert statuses(send("thing.changed")) == [200]
    assert statuses(send("customer.updated+connect", provider="stripe")) == [200]
    named = send("thing.changed", changes={"account": "things-2"})
    assert (statuses(named), named.reason, named.is_expected) == ([404], "account-other", False)
    everyones = harbour.add("stripe", "stripe", secret=SECRETS["stripe"])
    sent = send("customer.updated+connect", endpoint_id=everyones.endpoint_id)
    assert [event.connection_name for event in sent.events] == ["shop"]


def test_a_body_that_the_plugin_cannot_read_is_told_as_that(harbour, send):
    sent = send("customer.updated", provider="stripe", changes={"id": "7"})
    assert (statuses(sent), sent.reason, sent.is_expected) == ([400], "body-unreadable", False)
    assert harbour.count() == 0


def test_the_address_s_further_secret_ends_with_the_delivery(harbour, send, monkeypatch):
    seen = []
    deliver = service._deliver

    def watched(letter):
        seen.append((letter.url, secrets_of(harbour, "pathed")))
        return deliver(letter)

    monkeypatch.setattr(service, "_deliver", watched)
    assert statuses(send("letter.sent")) == [200]
    [(url, during)] = seen
    assert [each.retires_at is not None for each in during].count(True) == 1
    assert len(secrets_of(harbour, "pathed")) == len(during) - 1
    assert url.rpartition("/")[2] not in send("letter.sent").url
    body = b"id=letter-1&type=letter.sent"
    letter = service._Letter(url=url, headers={}, body=body, path_secret=None)
    assert deliver(letter).status == 404


def test_it_goes_to_the_endpoint_s_own_address_if_that_is_here_or_to_where_it_is_told(
    harbour, send
):
    nobody = "http://127.0.0.1:9"
    with pytest.raises(DependencyError, match="nothing answers at http://127"):
        send("thing.changed", default_base=nobody)
    assert statuses(send("thing.changed", default_base=nobody, to=f"{send.address}/")) == [200]
    harbour.add_connection("pathed", "here", None)
    made = webhooks.add_endpoint(harbour.installation, "here", base=send.address, actor="test")
    sent = send("letter.sent", endpoint_id=made.listed.endpoint.id, default_base=nobody)
    assert (statuses(sent), sent.url) == ([200], made.listed.endpoint.address)


class _Elsewhere(BaseHTTPRequestHandler):
    seen: ClassVar[list[tuple[str, bytes]]] = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.seen.append((self.path, body))
        moved = self.path == "/moved"
        self.send_response(302 if moved else 204)
        self.send_header("Location", "http://127.0.0.1:9/")
        self.end_headers()

    def log_message(self, *_):
        pass


def test_an_address_with_a_path_is_taken_as_it_is_and_no_redirect_is_followed(harbour, send):
    with HTTPServer(("127.0.0.1", 0), _Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        sent = send("letter.sent", to=f"{base}/my/receiver")
        with pytest.raises(InvalidInputError, match="redirects are not followed"):
            send("letter.sent", to=f"{base}/moved")
        server.shutdown()
    assert (statuses(sent), sent.url, sent.is_expected) == ([204], f"{base}/my/receiver", False)
    assert [path for path, _ in _Elsewhere.seen] == ["/my/receiver", "/moved"]
    assert _Elsewhere.seen[0][1].startswith(b"id=letter-")


def test_what_is_wrong_with_a_call_is_said_with_what_to_do(harbour, send):
    shop = harbour.senders["stripe"]
    with pytest.raises(NotFoundError, match="no fixture 'custmer") as caught:
        send("custmer.updated")
    assert caught.value.hint == "did you mean customer.updated?"
    with pytest.raises(NotFoundError, match="there is no provider"):
        send("customer.updated", provider="strip")
    with pytest.raises(NotFoundError, match="there is no endpoint"):
        send("customer.updated", endpoint_id="whe_none")
    with pytest.raises(InvalidInputError, match="one of stripe, not square"):
        send("customer.updated", endpoint_id=shop.endpoint_id, provider="square")
    for odd in (
        "ftp://x",
        "localhost:8377",
        "http://",
        "http://127.0.0.1:99999",
        "http://example.com",
    ):
        with pytest.raises(InvalidInputError, match="no address"):
            send("thing.changed", to=odd)
    second = harbour.add("stripe", "shop", secret=SECRETS["stripe"])
    with pytest.raises(InvalidInputError, match=shop.endpoint_id):
        send("customer.updated", provider="stripe")
    assert statuses(send("customer.updated", endpoint_id=second.endpoint_id)) == [200]
    for sender in (shop, second):
        webhooks.set_state(harbour.installation, sender.endpoint_id, is_active=False, actor="test")
    with pytest.raises(RefusedError, match="no endpoint of stripe takes deliveries"):
        send("customer.updated", provider="stripe")
    with pytest.raises(RefusedError, match="takes no deliveries"):
        send("customer.updated", endpoint_id=shop.endpoint_id)
    harbour.add("stripe", "shop")
    with pytest.raises(RefusedError, match="no endpoint of stripe takes deliveries"):
        send("customer.updated", provider="stripe")


def test_a_fixture_that_several_providers_have_goes_to_the_one_with_an_endpoint(
    harbour, send, monkeypatch
):
    listed = service.list_fixtures

    def shared(plugin):
        found = listed(plugin)
        return [replace(each, name="shared") for each in found[:1]]

    monkeypatch.setattr(service, "list_fixtures", shared)
    with pytest.raises(InvalidInputError, match="have a fixture shared"):
        send("shared")
    for name in harbour.senders.keys() - {"hooked"}:
        webhooks.remove_endpoint(
            harbour.installation, harbour.senders[name].endpoint_id, actor="test"
        )
    assert send("shared").endpoint.provider == "hooked"


def test_in_production_nothing_is_sent_that_would_be_taken(harbour, send):
    settings = harbour.installation.settings
    harbour.installation.settings = replace(settings, env="production")
    with pytest.raises(RefusedError, match="in production"):
        send("thing.changed")
    assert statuses(send("thing.changed", trial=FORGED)) == [401]
    assert harbour.count() == 0
