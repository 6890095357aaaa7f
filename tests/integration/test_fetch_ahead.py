"""A thread fetches ahead where pages are waited for, and not because one was."""

from __future__ import annotations

import threading
import time

import pytest

from tieline.clock import SystemClock
from tieline.contract import Page
from tieline.engine import fetch
from tieline.engine.fetch import Fetcher
from tieline.transport import HttpTransport

PAGES = 40


@pytest.fixture
def threads_of():
    """Read some pages by a step, ``(number) -> None``; return which thread fetched each."""
    transport = HttpTransport(connection_id="con", origins=[])

    def read_all(step, *, ahead: int) -> list[str]:
        names: list[str] = []

        def read(cursor: str | None) -> Page:
            names.append(threading.current_thread().name)
            number = int(cursor or "1")
            step(number)
            return Page(records=[], next=str(number + 1) if number < PAGES else None)

        fetcher = Fetcher(
            read,
            cursor=None,
            ahead=ahead,
            clock=SystemClock(),
            wake=threading.Event(),
            transport=transport,
        )
        with fetcher:
            got = [page for page in fetcher.pages(patience_s=5) if page is not None]
        assert len(got) == len(names) == PAGES
        return names

    yield read_all
    transport.close()


def wait(number: int) -> None:
    time.sleep(0.12 if number == 1 else 0.001)


def test_pages_that_are_waited_for_are_fetched_ahead(threads_of):
    here = threading.current_thread().name
    assert threads_of(wait, ahead=1) == [here] + ["fetch"] * (PAGES - 1)
    assert threads_of(wait, ahead=0) == [here] * PAGES


def test_one_page_that_was_waited_for_starts_no_thread(threads_of, monkeypatch):
    waited = [0.0]
    monkeypatch.setattr(fetch, "_busy_s", lambda: time.monotonic() - waited[0])

    def compute(number: int) -> None:
        time.sleep(0.005)  # as good as computing: the clock above says so
        if number == 20:
            time.sleep(0.01)
            waited[0] += 0.01

    assert threads_of(compute, ahead=1) == [threading.current_thread().name] * PAGES
