"""Whatever form a secret takes in a text, it is taken out; ordinary words stay."""

from __future__ import annotations

import ast
import base64
import json
import re
import textwrap
import urllib.parse
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import canary
import tieline
from tieline.telemetry import redact, remember
from tieline.telemetry.known import Known

ODD = 'CANARY9/+=&%7Bq"\\<x>;äb12'
LONG = "CANARY" + "".join(f"{number:04x}" for number in range(0, 65536, 911)) + "end"
SECRETS = st.text(st.characters(codec="utf-8"), min_size=8, max_size=60).filter(
    lambda text: text.isprintable() and text.strip() == text and "redact" not in text
)


@pytest.fixture(autouse=True)
def nothing_is_known(monkeypatch):
    monkeypatch.setitem(redact.__globals__, "_known", Known(100))


def left_of(secret: str, text: str) -> list[canary.Hit]:
    """Say what of a secret is left in a text, once it was redacted."""
    remember(secret)
    return canary.scan(redact(text).encode(), {"it": secret})


@given(SECRETS, st.sampled_from(sorted(canary.forms(ODD))), st.sampled_from(["", "x", "9", "\n"]))
def test_no_form_of_a_secret_is_left(secret, form, around):
    written = canary.forms(secret)[form].decode()
    assert left_of(secret, f"{around}{written}{around}") == []


@given(SECRETS, st.binary(max_size=5), st.binary(max_size=5), st.booleans(), st.booleans())
def test_no_secret_is_left_in_base64_of_something_longer(secret, before, after, is_url, is_bare):
    encode = base64.urlsafe_b64encode if is_url else base64.b64encode
    text = encode(before + secret.encode() + after).decode()
    assert left_of(secret, f"Basic {text.rstrip('=') if is_bare else text}") == []


@given(SECRETS, st.sampled_from(["", "/", "/?#[]@!$&'()*+,;=:"]), st.booleans(), st.booleans())
def test_no_secret_is_left_in_an_address(secret, safe, is_lower, is_form):
    quoted = urllib.parse.quote_plus(secret) if is_form else urllib.parse.quote(secret, safe=safe)
    if is_lower:
        quoted = re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), quoted)
    assert left_of(secret, f"https://api.example.com/v1?odd={quoted}") == []


SHOWN_BY = {
    "repr": repr,
    "repr of bytes": lambda text: repr(text.encode()),
    "json": json.dumps,
    "json unicode": lambda text: json.dumps(text, ensure_ascii=False),
}


@given(SECRETS, st.sampled_from(sorted(SHOWN_BY)), st.sampled_from(sorted(SHOWN_BY)))
def test_no_secret_is_left_in_a_text_that_was_shown_twice(secret, first, second):
    for around in ("", "'", '"', "'\""):
        once = SHOWN_BY[first](f"{around}{secret}{around}")
        assert left_of(secret, once) == []
        assert left_of(secret, SHOWN_BY[second](f"{around}{once}")) == []


WRAPPED = {
    "at 76 columns": lambda text: "\n".join(textwrap.wrap(text, 76)),
    "at 20 columns": lambda text: "\n".join(textwrap.wrap(text, 20)),
    "indented": lambda text: textwrap.indent("\n".join(textwrap.wrap(text, 30)), "    "),
    "with carriage returns": lambda text: "\r\n".join(textwrap.wrap(text, 30)),
    "in a frame": lambda text: "\n".join(f"│ {line:<40} │" for line in textwrap.wrap(text, 40)),
    "quoted by mail": lambda text: "\n".join(f"> {line}" for line in textwrap.wrap(text, 40)),
    "in JSON": lambda text: json.dumps({"said": "\n".join(textwrap.wrap(text, 30))}),
    "in JSON in JSON": lambda text: json.dumps(json.dumps("\r\n".join(textwrap.wrap(text, 30)))),
    "shown by Python": lambda text: repr("\n".join(textwrap.wrap(text, 30))),
    "in base64 of 76 columns": lambda text: base64.encodebytes(f"a:{text}".encode()).decode(),
    "in base64 in JSON": lambda text: json.dumps(base64.encodebytes(text.encode()).decode()),
}


@pytest.mark.parametrize("case", WRAPPED)
def test_a_secret_that_line_breaks_cut_up_is_taken_out(case):
    remember(LONG)
    wrapped = WRAPPED[case](LONG)
    assert canary.scan(wrapped.encode(), {"it": LONG})
    shown = redact(f"before {wrapped} after")
    assert canary.scan(shown.encode(), {"it": LONG}) == []
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    pieces = [LONG[at : at + 12] for at in range(0, len(LONG) - 12, 4)]
    assert [piece for piece in pieces if piece in shown] == []


@pytest.mark.parametrize(
    "secrets", [["inner-se", "an inner-secret"], ["an inner-secret", "inner-se"]]
)
def test_of_secrets_within_secrets_nothing_is_left_over(secrets):
    for secret in secrets:
        remember(secret)
    assert redact("<an inner-secret> <inner-se>") == "<[redacted]> <[redacted]>"


def test_secrets_that_overlap_are_taken_out_as_one():
    remember("overlap-first-half")
    remember("half-and-second")
    assert redact("<overlap-first-half-and-second>") == "<[redacted]>"


def test_a_secret_of_many_lines_is_taken_out_line_by_line():
    remember("-----BEGIN KEY-----\nMIIBVgIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END KEY-----\n")
    assert "MIIBVgIBADANBgkq" not in redact("the line MIIBVgIBADANBgkq alone")
    assert "hkiG9w0B" not in redact("MIIBVgIBADANBgkqhkiG9w0BAQEFAASC")


def test_a_password_that_an_address_escapes_is_known_as_it_is_too():
    remember("p%40ss%2Fword-31")
    assert redact("authentication failed with p@ss/word-31") == (
        "authentication failed with [redacted]"
    )


@pytest.mark.parametrize("start", range(20))
def test_a_secret_is_found_wherever_it_begins(start):
    remember("12charsecret")
    remember("8-chars!")
    assert redact("." * start + "12charsecret8-chars!.") == "." * start + "[redacted]."


def test_what_is_forgotten_leaves_nothing_behind_and_shared_forms_stay():
    known = Known(most=2)
    known.add("a-shared-secret")
    known.add("A-SHARED-SECRET".lower().upper())
    known.add("line-of-its-own\na-shared-secret")  # drops the first, which this holds
    assert known.find("<a-shared-secret>") == [(1, 16)]
    known.add("another-secret-1")
    known.add("another-secret-2")
    assert known.find("<a-shared-secret> <line-of-its-own> A-SHARED-SECRET") == []
    assert known._owners.keys() == known._begins.keys()
    assert {form for near in known._pieces.values() for _, form in near} == known._owners.keys()


NAMED = {
    "user of a database": (
        "cannot open postgresql+psycopg://me:hunter2@db/tieline",
        "cannot open postgresql+psycopg://me:[redacted]@db/tieline",
    ),
    "password of Redis": ("redis://:hunter2@h:6379/0", "redis://:[redacted]@h:6379/0"),
    "an @ in a password": ("amqp://me:hun@ter2@host", "amqp://me:[redacted]@host"),
    "code and state": (
        "GET https://h/callback/square?code=sq0abc-1&state=Zm9v%2B HTTP/1.1",
        "GET https://h/callback/square?code=[redacted]&state=[redacted] HTTP/1.1",
    ),
    "an access token": (
        "for url: https://h/v3/me?a=1&access_token=x.y-z#top",
        "for url: https://h/v3/me?a=1&access_token=[redacted]#top",
    ),
    "a fragment": ("https://h/cb#access_token=abc", "https://h/cb#access_token=[redacted]"),
    "a key in an address": ("?key=AIza123&x=1", "?key=[redacted]&x=1"),
    "an address in JSON": (
        '{"url": "https://h/cb?code=abc\\u0026state=def"}',
        '{"url": "https://h/cb?code=[redacted]\\u0026state=[redacted]"}',
    ),
    "an address in HTML": (
        "<a href='/cb?code=abc&amp;state=def'>",
        "<a href='/cb?code=[redacted]&amp;state=[redacted]'>",
    ),
    "an address in an address": (
        "/login?next=%2Fcb%3Fcode%3Dabc%26state%3Ddef&x=1",
        "/login?next=%2Fcb%3Fcode%3D[redacted]%26state%3D[redacted]&x=1",
    ),
    "a form": (
        "grant_type=refresh_token&refresh_token=r1.abc&client_secret=s3&client_id=me",
        "grant_type=refresh_token&refresh_token=[redacted]&client_secret=[redacted]&client_id=me",
    ),
    "a driver's options": (
        "host=db user=me password='hun ter2' port=5432",
        "host=db user=me password='[redacted]' port=5432",
    ),
    "a call": ('Client(secret="it\'s c", x=1)', 'Client(secret="[redacted]", x=1)'),
    "a call in JSON": ('"C(secret=\\"ab c\\", x=1)"', '"C(secret=\\"[redacted]\\", x=1)"'),
    "JSON": (
        '{"error": "bad", "access_token": "a\\"b", "refresh_token":"c", "n": 3600}',
        '{"error": "bad", "access_token": "[redacted]", "refresh_token":"[redacted]", "n": 3600}',
    ),
    "JSON in JSON": (
        '{"body": "{\\"access_token\\": \\"abc\\", \\"x\\": 1}"}',
        '{"body": "{\\"access_token\\": \\"[redacted]\\", \\"x\\": 1}"}',
    ),
    "a mapping": (
        "{'client_secret': 'abc', 'n': 1} {b'api_key': b'q'}",
        "{'client_secret': '[redacted]', 'n': 1} {b'api_key': b'[redacted]'}",
    ),
    "a header": (
        "> Authorization: Bearer abc.def\r\n> Host: h",
        "> Authorization: Bearer [redacted]\r\n> Host: h",
    ),
    "pairs of headers": (
        "[(b'Authorization', b'Basic YTpi'), ('Cookie', 'a=b; c=d'), ('Host', 'h')]",
        "[(b'Authorization', b'Basic [redacted]'), ('Cookie', '[redacted]'), ('Host', 'h')]",
    ),
    "cookies": ("Set-Cookie: sid=abc; Path=/\nx: y", "Set-Cookie: [redacted]\nx: y"),
    "a header of a vendor": (
        "X-Api-Key: abc\nX-Request-Id: 7",
        "X-Api-Key: [redacted]\nX-Request-Id: 7",
    ),
    "a signature": ("Stripe-Signature: t=1,v1=abc\n", "Stripe-Signature: [redacted]\n"),
    "a scheme alone": ("sent Bearer abcdefgh12345678.", "sent Bearer [redacted]"),
}


@pytest.mark.parametrize("case", NAMED)
def test_what_a_name_says_is_secret_is_taken_out_unknown_as_it_is(case):
    text, shown = NAMED[case]
    assert redact(text) == shown
    assert redact(shown) == shown
    assert redact(text, by_name=False) == text


ORDINARY = [
    "run over state=succeeded code=plugin-broken key=cus_1",
    "error[key-unavailable]: the key is not to be had now (next: tieline keys status)",
    "for example: postgresql+psycopg://user:PASSWORD@host/database",
    "http://127.0.0.1:12111/v1/customers?limit=100&starting_after=cus_1",
    "https://[::1]:8443/a@b?state",
    'see "https://h:443", mail a@b.example',
    "Basic authentication is needed; a Bearer token too",
    "the password must be at least 8 characters: try again",
    '{"event": "call", "state": "running", "code": "bug", "key": "cus_1"}',
    "2026-11-01T00:00:00Z [info] said [tieline.engine] run=run_abc seconds=0.1",
    "C:\\new\\reports\\nothing",
]


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_words_stay(text):
    assert redact(text) == text


def test_no_text_of_ours_for_people_is_spoiled():
    shown = {}
    for path in Path(tieline.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text())
        of_docs = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
            if is_text and node not in of_docs and redact(node.value) != node.value:
                shown[path.name, node.lineno] = redact(node.value)
    assert shown == {}


@pytest.mark.parametrize(
    "text",
    ["\\" * 50_000, " " * 50_000 + "x", "a" * 50_000, "?" * 50_000, "://" * 20_000, '"a":' * 20_000,
     "token" * 10_000, "x-" * 25_000, "\n" * 50_000, "%26" * 20_000, "basic " * 10_000],
    ids=lambda text: ascii(text[:6]),
)  # fmt: skip
def test_no_text_takes_long(text):
    import time

    remember(ODD)
    began = time.process_time()
    redact(f"token: {text} authorization")
    assert time.process_time() - began < 1.0
