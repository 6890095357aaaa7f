"""Every ready-made step reads all that there is, over HTTP, while rows come and go."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chances import chances
from paging_server import PagingServer, get, search
from tieline.contract import (
    CursorExpiredError,
    PageParams,
    after_last_key,
    by_cursor,
    by_link,
    by_offset,
    by_page_number,
    search_after_key,
)


def above(_window, last):
    return {} if last is None else {"number above": last}


TRIES = chances(suite=25, soak=2000)
MOST_MOVES = 12
STEPS = {
    "cursor": by_cursor(get, "/cursor", items="result.list", cursor_field="paging.next.after"),
    "token in the body": by_cursor(
        search, "/token", items="result.list", cursor_field="paging.next.after"
    ),
    "keyset": after_last_key(get, "/keyset", items="rows", more="", after="after_id"),
    "search": search_after_key(
        search,
        "/search",
        asked=above,
        items="results",
        further="paging.next",
        key="properties.number",
    ),
    "search that says no more": search_after_key(
        search, "/search", asked=above, items="results", key="properties.number"
    ),
    "offset": by_offset(get, "/offset", items="rows"),
    "page number": by_page_number(get, "/page", items="rows"),
    "page number, counted": by_page_number(get, "/counted", items="rows", pages="pages"),
    "page number, 404 behind the end": by_page_number(get, "/strict", items="rows"),
    "link header": by_link(get, "/link"),
    "link in the body": by_link(
        get, "/v2/linked", items="rows", link_field="@odata.nextLink"
    ),
}  # fmt: skip
# What moves is met again by these; the others never show a record twice.
REPEATING = {name for name in STEPS if name.startswith("page number")}
MOVES = st.lists(
    st.one_of(
        st.sampled_from([("add", 0), ("wait", 0)]), st.tuples(st.just("drop"), st.integers(0, 60))
    ),
    max_size=MOST_MOVES,
)


@pytest.fixture(scope="module")
def server():
    with PagingServer() as running:
        yield running


def walk(server: PagingServer, name: str) -> list[str]:
    """Read as the engine does: to the end, again from the start where a cursor expired."""
    met: list[str] = []
    for _ in range(MOST_MOVES + 1):  # each may cost a reading; the engine gives up after five
        cursor, seen = None, set()
        try:
            while True:
                page = STEPS[name](server.client, PageParams(), cursor)
                met += [record["id"] for record in page.records]
                cursor = page.next
                if cursor is None:
                    return met
                assert cursor not in seen, "the same cursor twice"
                assert len(cursor) <= 4096
                seen.add(cursor)
        except CursorExpiredError:
            continue
    raise AssertionError("the pages never end")


@pytest.mark.parametrize("name", STEPS)
@given(count=st.integers(0, 60), size=st.integers(1, 9))
@example(count=0, size=5)
@example(count=5, size=5)
@example(count=10, size=5)
@example(count=11, size=5)
@settings(max_examples=TRIES)
def test_a_list_that_stands_still_is_read_whole(server, name, count, size):
    server.fill(count, size)
    met = walk(server, name)
    assert set(met) == server.names()
    if name not in REPEATING:
        assert len(met) == count
    pages = max(1, -(-count // size))
    assert len(server.asked) <= 2 * pages + 2 * pages.bit_length() + 2


@pytest.mark.parametrize("name", STEPS)
@given(count=st.integers(0, 60), size=st.integers(1, 9), moves=MOVES)
@example(count=20, size=5, moves=[("drop", 0)])
@example(count=20, size=5, moves=[("drop", 4), ("add", 0)])
@example(count=6, size=2, moves=[("add", 0), ("drop", 0), ("drop", 0)])
@example(count=11, size=5, moves=[("drop", 10), ("drop", 0)])
@example(count=3, size=1, moves=[("wait", 0), ("wait", 0), ("drop", 0)])
@settings(max_examples=TRIES)
def test_what_nobody_touched_is_read_whatever_else_moves(server, name, count, size, moves):
    if name == "offset":
        size += 1  # a page of one has no room for the record that is known
    server.fill(count, size, moves)
    before = server.names()
    met = walk(server, name)
    assert before & server.names() <= set(met)


def test_only_path_and_query_of_an_address_are_followed(server):
    """No credential goes to the host that an answer names."""
    server.fill(3, 2)
    assert walk(server, "link header") == ["r0001", "r0002", "r0003"]
    assert len(server.asked) == 2  # both here, and none at provider.example
