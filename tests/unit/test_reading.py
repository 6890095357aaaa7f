"""Reading what a provider sent without trusting it."""

from datetime import UTC, datetime

import pytest

from tieline.contract import (
    InvalidRecordError,
    delivery_of,
    list_of,
    object_of,
    text_of,
    time_of,
)

ODD = [None, True, 0, 1.5, "a", b"a", ("a",), ["a"], {"a": 1}, datetime(2026, 1, 1, tzinfo=UTC)]


@pytest.mark.parametrize("value", ODD, ids=repr)
def test_what_is_something_else_reads_as_empty(value):
    assert text_of(value) == (value if isinstance(value, str) else "")
    assert object_of(value) == (value if isinstance(value, dict) else {})
    assert list(list_of(value)) == (value if isinstance(value, list) else [])
    assert time_of(value) is None


TIMES = {
    "2026-11-01T00:00:00Z": datetime(2026, 11, 1, tzinfo=UTC),
    "2026-11-01T01:30:00+01:30": datetime(2026, 11, 1, tzinfo=UTC),
    "2026-10-31T16:00:00-0800": datetime(2026, 11, 1, tzinfo=UTC),
    "2026-11-01T00:00:00.123456789Z": datetime(2026, 11, 1, 0, 0, 0, 123456, tzinfo=UTC),
    "2026-11-01T00:00:00": None,  # whose midnight?
    "2026-13-01T00:00:00Z": None,
    "0001-01-01T00:00:00+14:00": None,  # before the first year in UTC
    "yesterday": None,
    "": None,
}


@pytest.mark.parametrize("text", TIMES)
def test_a_time_is_read_in_any_form_or_not_at_all(text):
    assert time_of(text) == TIMES[text]


@pytest.mark.parametrize("body", [b"", b"{", b"<html>", b"\xff\xfe", b"[" * 100_000])
def test_a_delivery_that_is_no_json_is_no_record_and_not_quoted(body):
    with pytest.raises(InvalidRecordError) as caught:
        delivery_of(body)
    assert caught.value.slug == "delivery-malformed"
    assert "html" not in caught.value.message


def test_a_delivery_may_be_any_json():
    assert delivery_of(b'[{"id": 12345678901234567890123}]') == [{"id": 12345678901234567890123}]
    assert delivery_of(b"null") is None
