"""Endpoints: made, looked at, rotated while deliveries come, registered, sealed anew."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

import hooked_plugin
from ingest_kit import make_harbour
from tieline.clock import SystemClock
from tieline.contract import Registration, RequestRejectedError, Secret
from tieline.errors import InvalidInputError, NotFoundError, RefusedError
from tieline.inbox import SPREAD_S
from tieline.services import events, keys, rotation, webhook_registration, webhooks
from tieline.services.doctor import examine
from tieline.store.tables import webhook_secrets
from tieline.vault import add_key


@pytest.fixture
def harbour(sqlite_url, tmp_path):
    made = make_harbour(sqlite_url, tmp_path)
    yield made
    made.close()


def rotate(harbour, sender, secret: str | None, overlap: str = "1h") -> webhooks.Made:
    given = None if secret is None else Secret(secret)
    return webhooks.rotate_secret(
        harbour.installation, sender.endpoint_id, secret=given, overlap=overlap, actor="test"
    )


def finish(harbour, sender) -> webhooks.Listed:
    return webhooks.finish_rotation(harbour.installation, sender.endpoint_id, actor="test")


def test_old_and_new_are_both_good_for_the_overlap_and_then_the_old_is_refused(harbour):
    sender = harbour.senders["stripe"]
    rotate(harbour, sender, "whsec_the_new_one", overlap="1h")
    assert harbour.accept(sender.signed(secret="whsec_the_new_one")) == 200
    harbour.clock.move(3600 - SPREAD_S - 0.001)
    assert harbour.accept(sender.signed()) == 200
    harbour.clock.move(0.001)
    assert harbour.accept(sender.signed()) == 401
    assert harbour.accept(sender.signed(secret="whsec_the_new_one")) == 200


def test_finish_ends_the_old_secret_at_once(harbour):
    sender = harbour.senders["stripe"]
    rotate(harbour, sender, "whsec_the_new_one")
    assert harbour.accept(sender.signed()) == 200
    finish(harbour, sender)
    assert harbour.accept(sender.signed()) == 401
    assert harbour.accept(sender.signed(secret="whsec_the_new_one")) == 200
    with pytest.raises(RefusedError) as caught:
        finish(harbour, sender)
    assert caught.value.slug == "no-rotation"


def test_a_secret_in_an_address_is_rotated_in_the_same_way(harbour):
    sender = harbour.senders["mailchimp-unsigned"]
    old = sender.url
    made = rotate(harbour, sender, None)
    sender.url = made.url.reveal()
    assert sender.url != old
    new, signed = sender.signed(), sender.signed()
    before = signed.changed(path=old.removeprefix("https://hooks.example.com"))
    assert [harbour.accept(new), harbour.accept(before)] == [200, 200]
    finish(harbour, sender)
    assert harbour.accept(before) == 404
    assert harbour.accept(sender.signed()) == 200


def test_a_mailchimp_endpoint_that_got_a_signing_secret_takes_nothing_unsigned(harbour):
    sender = harbour.senders["mailchimp-unsigned"]
    rotate(harbour, sender, "mcwhsec_of_the_newer_webhook")
    assert harbour.accept(sender.signed()) == 401
    sender.scheme, sender.secret = "mailchimp", "mcwhsec_of_the_newer_webhook"
    assert harbour.accept(sender.signed()) == 200


def test_in_a_rotation_under_a_thousand_deliveries_none_is_refused_and_none_old_after_it(
    database_url, tmp_path
):
    harbour = make_harbour(database_url, tmp_path, clock=SystemClock())
    sender = harbour.senders["stripe"]
    secrets = [sender.secret]
    numbers = itertools.count()
    is_over = threading.Event()
    statuses: Counter[int] = Counter()

    def send(_hand: int) -> None:
        while not is_over.is_set():
            signed = sender.signed(f"evt_{next(numbers)}", secret=secrets[-1])
            statuses[harbour.accept(signed)] += 1

    try:
        with ThreadPoolExecutor(4) as pool:
            sending = [pool.submit(send, hand) for hand in range(4)]
            for turn in range(2):
                new = f"whsec_of_turn_{turn}_0123456789"
                rotate(harbour, sender, new)
                secrets.append(new)  # the provider signs with it from here on
            while sum(statuses.values()) < 1000:
                assert not any(each.done() for each in sending)
            in_flight = [sender.signed(f"old_{n}", secret=secrets[0]) for n in range(200)]
            is_over.set()
        assert set(statuses) == {200}
        assert sum(statuses.values()) >= 1000
        assert harbour.count() == sum(statuses.values())

        old = ThreadPoolExecutor(4)
        answers = [old.submit(harbour.accept, each) for each in in_flight]
        finish(harbour, sender)
        committed = harbour.count()
        late = [harbour.accept(sender.signed(secret=secrets[n % 2])) for n in range(100)]
        assert set(late) == {401}
        old.shutdown()
        # Those that were under way were taken before the end, or refused: none came in after.
        good = sum(each.result() == 200 for each in answers)
        assert {each.result() for each in answers} <= {200, 401}
        assert harbour.count() == committed == sum(statuses.values()) + good
    finally:
        is_over.set()
        harbour.close()


def test_a_new_secret_is_told_only_when_every_process_knows_it(harbour):
    sender = harbour.senders["stripe"]
    assert harbour.accept(sender.signed()) == 200  # this process knows the endpoint as it was
    before = harbour.clock.now()
    rotate(harbour, sender, "whsec_the_new_one")
    assert (harbour.clock.now() - before).total_seconds() >= SPREAD_S
    assert harbour.accept(sender.signed(secret="whsec_the_new_one")) == 200


ODD_ADDRESSES = [
    "",
    "ftp://x.example.com",
    "http://x.example.com",
    "https://",
    "https://u:p@x.example.com",
    "https://x.example.com?a=b",
    "https://x.example.com#a",
    "https://x.example.com:99999",
    "https://x.exa mple.com",
    "https://x.example.com/\\..\\",
    "https://ex\u00e4mple.com",
]


def test_an_address_that_no_provider_could_deliver_to_is_refused(harbour):
    for base in ODD_ADDRESSES:
        with pytest.raises(InvalidInputError):
            webhooks.add_endpoint(harbour.installation, "shop", base=base, actor="test")
    assert len(webhooks.list_endpoints(harbour.installation, target="shop")) == 1


def test_an_endpoint_is_of_a_connection_or_of_an_application_as_the_provider_has_it(harbour):
    def add(target: str) -> webhooks.Made:
        base = "https://hooks.example.com/deep/"
        return webhooks.add_endpoint(harbour.installation, target, base=base, actor="test")

    made = add("shop")
    row = made.listed.endpoint
    assert made.url.reveal() == f"https://hooks.example.com/deep/webhooks/stripe/{row.id}"
    assert made.listed.is_closed
    for target, code in (("books", "endpoint-of-application"), ("letters", None)):
        if code is None:
            assert add(target).url.reveal().count("/") == 7
            continue
        with pytest.raises(RefusedError) as caught:
            add(target)
        assert caught.value.slug == code
    with pytest.raises(RefusedError) as caught:
        add("mailchimp")
    assert caught.value.slug == "endpoint-of-connection"
    with pytest.raises(NotFoundError):
        add("shp")


@pytest.mark.parametrize("text", ["", "short", "with\nbreak", " spaced-secret "])
def test_a_text_that_is_no_secret_is_refused(harbour, text):
    with pytest.raises(InvalidInputError):
        rotate(harbour, harbour.senders["stripe"], text)


def test_a_secret_that_the_provider_makes_cannot_be_made_here(harbour):
    with pytest.raises(RefusedError) as caught:
        rotate(harbour, harbour.senders["square"], None)
    assert caught.value.slug == "secret-theirs"


def test_of_a_secret_nothing_is_stored_in_clear(harbour):
    with harbour.installation.database.read() as connection:
        rows = connection.execute(webhook_secrets.select()).mappings().all()
    whole = "\n".join(str(dict(row)) for row in rows)
    for sender in harbour.senders.values():
        for secret in (sender.secret, sender.url.rpartition("/")[2]):
            if secret and not secret.startswith("whe_"):
                assert secret not in whole
    shown = webhooks.reveal_secrets(harbour.installation, harbour.senders["stripe"].endpoint_id)
    assert [text.reveal() for _, text in shown] == [harbour.senders["stripe"].secret]


def test_rotating_the_keys_seals_the_secrets_of_endpoints_again(harbour):
    before = webhooks.get_endpoint(harbour.installation, harbour.senders["stripe"].endpoint_id)
    done = rotation.rotate(harbour.installation, makes_key=True, actor="test")
    assert done.resealed == 5  # one endpoint has no more than its address
    assert done.left == {}
    assert keys.check(harbour.installation).unopened == []
    after = webhooks.get_endpoint(harbour.installation, harbour.senders["stripe"].endpoint_id)
    assert after.secrets[0].sealed != before.secrets[0].sealed
    harbour.clock.move(SPREAD_S)
    for sender in harbour.senders.values():
        assert harbour.accept(sender.signed()) == 200


def test_a_key_that_an_endpoint_s_secret_needs_is_not_forgotten(harbour):
    old = webhooks.get_endpoint(harbour.installation, harbour.senders["stripe"].endpoint_id)
    add_key(harbour.installation.key_path)
    harbour.clock.move(3600 * 24 * 365)  # beyond the time of the file, which is the machine's
    with pytest.raises(RefusedError, match="sealed under"):
        keys.forget(harbour.installation, old.secrets[0].key_id, actor="test")


def test_an_endpoint_whose_secret_does_not_open_is_closed_and_the_others_are_not(harbour):
    sender = harbour.senders["stripe"]
    with harbour.installation.database.write() as connection:
        connection.execute(
            webhook_secrets.update()
            .where(webhook_secrets.c.endpoint_id == sender.endpoint_id)
            .values(sealed='{"v": 1}')
        )
    assert harbour.accept(sender.signed()) == 401
    assert harbour.accept(harbour.senders["square"].signed()) == 200


@pytest.fixture
def shops(harbour, monkeypatch):
    """A provider with an API for endpoints; a client needs no credential here."""
    hooked_plugin.REGISTERED.clear()

    class Opened:
        client = object()

        class transport:  # noqa: N801 - stands for an attribute
            @staticmethod
            def close() -> None:
                return

    monkeypatch.setattr(
        harbour.installation.engine.opener, "open", lambda _connection_id, **_given: Opened()
    )
    return harbour


def test_an_endpoint_is_registered_with_the_secret_that_the_provider_gives(shops):
    sender = shops.add("hooked", "things")
    found = webhook_registration.register_endpoint(
        shops.installation, sender.endpoint_id, actor="test"
    )
    assert {found.endpoint.remote_id: sender.url} == hooked_plugin.REGISTERED
    shops.clock.move(SPREAD_S)
    assert shops.accept(sender.signed(secret=hooked_plugin.GIVEN)) == 200
    with pytest.raises(RefusedError):
        webhook_registration.register_endpoint(shops.installation, sender.endpoint_id, actor="t")
    with pytest.raises(RefusedError) as caught:
        webhooks.remove_endpoint(shops.installation, sender.endpoint_id, actor="test")
    assert caught.value.slug == "endpoint-registered"
    webhook_registration.unregister_endpoint(shops.installation, sender.endpoint_id, actor="t")
    assert hooked_plugin.REGISTERED == {}
    webhooks.remove_endpoint(shops.installation, sender.endpoint_id, actor="test")
    with pytest.raises(NotFoundError):
        webhooks.get_endpoint(shops.installation, sender.endpoint_id)


def test_an_endpoint_that_was_made_in_several_places_takes_the_secret_of_each(shops, monkeypatch):
    given = [hooked_plugin.GIVEN, "whsec_b3RoZXItcGxhY2U=", "whsec_dGhpcmQtcGxhY2U="]
    made = Registration(id="hook-3", secrets=[Secret(each) for each in given])
    monkeypatch.setattr(hooked_plugin, "make", lambda _url: made)
    sender = shops.add("hooked", "things", secret="whsec_b2xkZXItb25l")
    webhook_registration.register_endpoint(shops.installation, sender.endpoint_id, actor="test")
    shops.clock.move(SPREAD_S)
    assert [shops.accept(sender.signed(secret=each)) for each in given] == [200] * 3
    assert shops.accept(sender.signed(secret="whsec_b2xkZXItb25l")) == 401


def test_what_the_provider_refuses_leaves_the_endpoint_as_it_was(shops):
    made = webhooks.add_endpoint(
        shops.installation, "things", base="https://refused.example.com", actor="test"
    )
    with pytest.raises(RequestRejectedError):
        webhook_registration.register_endpoint(
            shops.installation, made.listed.endpoint.id, actor="test"
        )
    after = webhooks.get_endpoint(shops.installation, made.listed.endpoint.id)
    assert after.endpoint.remote_id is None
    assert after.secrets == made.listed.secrets


def test_an_application_s_endpoint_is_registered_by_a_connection_that_is_named(shops):
    made = webhooks.add_endpoint(
        shops.installation, "hooked", base="https://hooks.example.com", actor="test"
    )
    endpoint_id = made.listed.endpoint.id
    with pytest.raises(RefusedError) as caught:
        webhook_registration.register_endpoint(shops.installation, endpoint_id, actor="test")
    assert caught.value.slug == "register-by-whom"
    with pytest.raises(RefusedError):
        webhook_registration.register_endpoint(
            shops.installation, endpoint_id, by="shop", actor="test"
        )
    webhook_registration.register_endpoint(
        shops.installation, endpoint_id, by="things", actor="test"
    )
    assert len(hooked_plugin.REGISTERED) == 1


def test_what_only_people_can_do_is_told_with_the_address(shops):
    sender = shops.senders["quickbooks"]
    with pytest.raises(RefusedError) as caught:
        webhook_registration.register_endpoint(shops.installation, sender.endpoint_id, actor="t")
    assert "Developer portal" in caught.value.message
    assert sender.url in caught.value.hint


def test_the_doctor_is_red_over_a_closed_endpoint_and_warns_of_one_that_is_not_signed(harbour):
    harbour.clock.move(1)  # they are listed by age
    closed = harbour.add("stripe", "shop")
    found = [each for each in examine(harbour.installation) if each.subject == "webhooks"]
    assert [(each.level, each.message.split()[0]) for each in found] == [
        ("warn", harbour.senders["mailchimp-unsigned"].endpoint_id),
        ("fail", closed.endpoint_id),
        ("ok", "6"),
    ]
    assert found[1].fix == f"tieline webhooks secret rotate {closed.endpoint_id} --secret-stdin"


def present_ids(harbour, sender) -> dict[str, str]:
    """Return the ids of an endpoint's secrets that have no end, by kind."""
    found = webhooks.get_endpoint(harbour.installation, sender.endpoint_id).secrets
    return {each.kind: each.id for each in found if each.retires_at is None}


def let_in_by(harbour, word: str) -> list[str]:
    wanted = events.EventsWanted(verified_with=word)
    return [each.id for each in reversed(events.list_events(harbour.installation, wanted))]


def test_an_event_names_the_secret_that_let_it_in_and_those_of_a_leaked_one_are_found(harbour):
    sender, other = harbour.senders["stripe"], harbour.senders["square"]
    old = present_ids(harbour, sender)["signature"]
    assert harbour.accept(sender.signed()) == 200
    assert let_in_by(harbour, "old") == []
    rotate(harbour, sender, "whsec_the_new_one")
    new = present_ids(harbour, sender)["signature"]
    assert new != old
    for signed in (sender.signed(secret="whsec_the_new_one"), sender.signed(), other.signed()):
        assert harbour.accept(signed) == 200
    both = sender.signed()
    header, present = "stripe-signature", sender.sign(both.body, secret="whsec_the_new_one")
    part = both.headers[header].partition(",")[2]
    twice = {**both.headers, header: f"{present[header]},{part}"}
    assert harbour.accept(replace(both, headers=twice)) == 200  # as a provider signs meanwhile
    ids = [each["id"] for each in harbour.events()]
    of_square = present_ids(harbour, other)["signature"]
    names = [each["verified_with"] for each in harbour.events()]
    assert names == [old, new, old, of_square, new]
    assert let_in_by(harbour, "old") == [ids[0], ids[2]]
    finish(harbour, sender)
    assert let_in_by(harbour, "old") == [ids[0], ids[2]]  # its row is gone, its name stays
    assert let_in_by(harbour, old) == [ids[0], ids[2]]
    assert let_in_by(harbour, new) == [ids[1], ids[4]]
    wanted = events.EventsWanted(verified_with="old", since=harbour.clock.now())
    [since] = events.list_events(harbour.installation, wanted)
    assert since.id == ids[2]  # the rotation had waited for a second by then


def test_a_leaked_secret_is_ended_with_the_step_that_adds_the_new_one(harbour):
    sender = harbour.senders["stripe"]
    assert harbour.accept(sender.signed()) == 200
    webhooks.rotate_secret(
        harbour.installation,
        sender.endpoint_id,
        secret=Secret("whsec_the_new_one"),
        ends_old=True,
        actor="test",
    )
    assert harbour.accept(sender.signed()) == 401
    assert harbour.accept(sender.signed(secret="whsec_the_new_one")) == 200
    assert len(let_in_by(harbour, "old")) == 1


def test_an_event_through_an_old_address_names_that_whatever_it_is_signed_with(harbour):
    sender = harbour.senders["mailchimp"]
    ids = present_ids(harbour, sender)
    assert harbour.accept(sender.signed()) == 200
    rotate(harbour, sender, None)
    assert harbour.accept(sender.signed()) == 200  # through the old address, the signature is good
    unsigned = harbour.senders["mailchimp-unsigned"]
    assert harbour.accept(unsigned.signed()) == 200
    found = [each["verified_with"] for each in harbour.events()]
    assert found == [ids["signature"], ids["path"], present_ids(harbour, unsigned)["path"]]


def test_a_secret_of_the_settings_has_a_name_that_does_not_tell_it(sqlite_url, tmp_path):
    text = "token-of-the-settings"
    harbour = make_harbour(sqlite_url, tmp_path, quickbooks_webhook_secret=text)
    try:
        sender = harbour.senders["quickbooks"]
        assert harbour.accept(sender.signed(secret=text)) == 200
        [event] = harbour.events()
        listed = webhooks.get_endpoint(harbour.installation, sender.endpoint_id)
        assert [event["verified_with"]] == list(listed.from_settings)
        assert event["verified_with"].startswith("env_")
        assert len(event["verified_with"]) == 14
        assert let_in_by(harbour, "old") == []
        assert let_in_by(harbour, event["verified_with"]) == [event["id"]]
    finally:
        harbour.close()


def old_secrets(harbour) -> list[tuple[str, str]]:
    """Return what the doctor says of rotations: code, and what is to be done."""
    return [
        (each.code, each.fix or each.message)
        for each in examine(harbour.installation)
        if each.code == "webhook-secret-old" or "used the old secret" in each.message
    ]


def test_the_doctor_sees_a_rotation_through(sqlite_url, redis_url, tmp_path):
    harbour = make_harbour(sqlite_url, tmp_path, redis_url=redis_url)
    try:
        sender, other = harbour.senders["stripe"], harbour.senders["square"]
        assert harbour.accept(sender.signed()) == 200
        assert old_secrets(harbour) == []
        rotate(harbour, sender, "whsec_the_new_one", overlap="24h")
        assert harbour.accept(other.signed()) == 200
        assert harbour.accept(sender.signed(secret="whsec_the_new_one")) == 200
        harbour.inbox.after.do()
        assert old_secrets(harbour) == []
        assert harbour.accept(sender.signed()) == 200
        harbour.inbox.after.do()
        assert old_secrets(harbour) == [("webhook-secret-old", "give the provider the new secret")]
        harbour.clock.move(3700)
        [(code, said)] = old_secrets(harbour)
        assert code == ""
        assert said.endswith(f"tieline webhooks secret finish {sender.endpoint_id}")
        finish(harbour, sender)
        assert old_secrets(harbour) == []
    finally:
        harbour.close()
