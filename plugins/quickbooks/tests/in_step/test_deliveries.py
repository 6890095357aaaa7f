"""What the sandbox delivers over HTTP, taken by the real application, ends as the books are."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest

import grants_kit
from tieline.contract import Secret
from tieline.engine import drain_events
from tieline.errors import RefusedError
from tieline.services import webhook_registration, webhooks
from tieline.store import events
from tieline.web import Listener, create_app

ENTITIES = ("customers", "invoices")
CHANGES = {
    "customers": {"create": 2, "update": 4, "deactivate": 1, "rebalance": 1, "merge": 2},
    "invoices": {"create": 2, "update": 4, "void": 1, "pay": 1, "email": 1, "delete": 1},
}


class Post:
    """An application's endpoint, and the way from the sandbox to the tables."""

    def __init__(self, books: Any, address: str, http: httpx.Client) -> None:
        self.books, self._http = books, http
        made = webhooks.add_endpoint(books.made, "quickbooks", base=address, actor="test")
        self.id, self.url = made.listed.endpoint.id, made.url.reveal()

    def enter(self) -> None:
        """Do by hand what the instructions say: the address there, the token here."""
        token = self.books.order("webhooks", url=self.url)["token"]
        webhooks.rotate_secret(self.books.made, self.id, secret=Secret(token), actor="test")

    def until(self, is_so: Callable[[], Any]) -> None:
        ends = time.monotonic() + 60
        while not is_so():
            assert time.monotonic() < ends, self.tried()[-3:]
            time.sleep(0.01)

    def wait(self) -> None:
        """Wait until all that the sandbox has to tell was answered."""
        self.until(lambda: not any(self.status()[name] for name in ("waiting", "unanswered")))

    def status(self) -> Any:
        return self._http.get("/_sandbox/webhooks").json()

    def tried(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._http.get("/_sandbox/deliveries").json()["deliveries"]
        return found

    def drain(self, *rows: Any) -> None:
        """Handle what was accepted, however often something has to be put off."""
        for _ in range(20):
            for row in rows or (self.books.row,):
                drain_events(self.books.made.engine, row.id, threading.Event())
            if not self.events("pending"):
                return
            self.books.move(60)
        raise AssertionError(self.events("pending"))

    def events(self, *states: str) -> list[events.EventRow]:
        wanted = events.EventsWanted(states=states)
        with self.books.made.database.read() as transaction:
            return list(events.list_events(transaction, wanted, limit=10_000))


@contextmanager
def post_of(books: Any) -> Iterator[Post]:
    with (
        Listener(create_app(books.made), host="127.0.0.1", port=0) as listener,
        httpx.Client(base_url=books.base, trust_env=False) as http,
    ):
        yield Post(books, listener.address, http)


@pytest.mark.parametrize("form", ["cloudevents", "older"])
def test_what_comes_twice_and_in_any_order_ends_as_the_books_of_each_company_are(site, form):
    mine = site(accounts=2, customers=20, invoices=20)
    second = grants_kit.connect_grant(mine.made, "quickbooks", mine.base, name="two", account=1)
    both = [mine, replace(mine, row=second, account=1)]
    for books in both:
        for entity in ENTITIES:
            books.sync(entity)
    with post_of(mine) as post:
        post.enter()
        mine.order("webhooks", held=True, shuffle=True, duplicate=0.4, most=9, form=form)
        for entity in ENTITIES * 2:
            for books in both:
                books.order("mutate", entity, **CHANGES[entity])
            mine.move(2)
        told = post.status()["waiting"]
        before = len(mine.asked())
        mine.order("webhooks", held=False)
        post.wait()
        assert {each["status"] for each in post.tried()} == {200}
        assert sum(each["events"] for each in post.tried()) > told  # some came twice
        whose = [each.connection_id for each in post.events()]
        assert all(whose.count(books.row.id) > 10 for books in both)
        post.drain(*(books.row for books in both))
    assert {each.state for each in post.events()} == {"done"}
    assert not {"query", "cdc"} & {path.rpartition("/")[2] for path in mine.asked()[before:]}
    for books in both:
        for entity in ENTITIES:
            assert books.stored(entity) == books.truth(entity)
        gone = books.stored("customers", with_deleted=True).keys() - books.stored("customers")
        assert len(gone) == 2 * CHANGES["customers"]["merge"]
    assert mine.is_in_step("customers")


def test_what_was_not_taken_comes_again_and_what_is_taken_away_no_longer(site):
    books = site(customers=5, invoices=0)
    books.sync("customers")
    with post_of(books) as post:
        books.order("webhooks", url=post.url)
        [first] = books.order("mutate", "customers", update=1)["update"]
        post.until(lambda: len(post.tried()) == 2)
        assert {each["status"] for each in post.tried()} == {401}  # nobody told us the token
        assert post.events() == []
        post.enter()
        books.order("webhooks", forge=1)
        books.move(10)
        post.until(lambda: len(post.tried()) == 3)
        books.move(20)
        post.wait()
        assert [each["status"] for each in post.tried()] == [401, 401, 401, 200]
        post.drain()
        assert [each.record_key for each in post.events("done")] == [first]
        assert books.stored("customers") == books.truth("customers")

        books.order("webhooks", resend=[4, 1, 4])
        post.wait()
        assert len(post.events()) == 1  # it was told five times

        token = books.order("webhooks")["token"]
        books.order("webhooks", url="")
        books.order("mutate", "customers", update=1)
        assert post.status()["waiting"] == 0
        books.order("webhooks", url=post.url, token=token)
        webhooks.remove_endpoint(books.made, post.id, actor="test")
        books.move(2)  # no process knows it any more
        books.order("mutate", "customers", update=1)
        post.until(lambda: len(post.tried()) == 9)
        assert {each["status"] for each in post.tried()[-2:]} == {404}
        assert len(post.events()) == 1


def test_registration_is_by_hand_and_says_how(site):
    books = site(customers=0, invoices=0)
    made = webhooks.add_endpoint(
        books.made, "quickbooks", base="https://hooks.example.com", actor="test"
    )
    with pytest.raises(RefusedError) as caught:
        webhook_registration.register_endpoint(
            books.made, made.listed.endpoint.id, by="books", actor="test"
        )
    for word in ("developer.intuit.com", "Webhooks", "Customer and Invoice", "verifier token"):
        assert word in caught.value.message
    assert made.listed.endpoint.address in caught.value.hint
