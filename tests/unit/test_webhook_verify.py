"""What the one verifier takes and refuses, whatever arrives."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieline.contract import STANDARD_WEBHOOKS, Hmac, PathSecret, Secret
from tieline.inbox.verify import (
    REASONS,
    Keys,
    digest_of,
    signature_of,
    verify,
    verify_path,
)

NOW = 1_772_442_900
BODY = b'{"id": "evt_1"}'
TIMED = Hmac(header="X-Sign", signed=("timestamp", ".", "body"), signature="v1", timestamp="t")
PLAIN = Hmac(header="X-Sign")
KEYS = Keys(secrets=[Secret("secret-of-the-test")])
ADDRESS = "https://hooks.example.com/webhooks/toy/whe_1"


def sign(text: bytes, secret: str = "secret-of-the-test", algorithm: str = "sha256") -> str:
    return hmac.new(secret.encode(), text, algorithm).hexdigest()


def timed(at: int = NOW, **extra: str) -> str:
    return f"t={at},v1={sign(f'{at}.'.encode() + BODY, **extra)}"


def check(scheme=TIMED, keys=KEYS, *, header=None, body=BODY, now=NOW, **headers):
    found = {} if header is None else {"x-sign": header}
    found |= {name.replace("_", "-"): text for name, text in headers.items()}
    return verify(scheme, keys, headers=found, body=body, address=ADDRESS, now=now)


@pytest.mark.parametrize(
    ("late", "reason"),
    [(0, None), (300, None), (301, "time-off"), (-300, None), (-301, "time-off")],
)
def test_three_hundred_seconds_are_taken_both_ways_and_not_one_more(late, reason):
    assert check(header=timed(), now=NOW + late) == reason


def test_a_tolerance_of_nothing_is_no_switch_that_turns_the_check_off():
    scheme = dataclasses.replace(TIMED, tolerance=timedelta(0))
    assert check(scheme, header=timed()) is None
    assert check(scheme, header=timed(), now=NOW + 1) == "time-off"


CLOSED = {
    "no secret": Keys(),
    "an empty one": Keys(secrets=[Secret("")]),
    "a path secret where a signature is wanted": Keys(path_digests=[digest_of("x")]),
}


@pytest.mark.parametrize("keys", CLOSED.values(), ids=CLOSED)
def test_without_a_secret_nothing_is_accepted(keys):
    header = f"t={NOW},v1={sign(f'{NOW}.'.encode() + BODY, secret='')}"
    assert check(keys=keys, header=header) == "secret-missing"


@pytest.mark.parametrize("scheme", [None, object(), "hmac", PathSecret()])
def test_an_unknown_scheme_accepts_nothing(scheme):
    assert check(scheme, header=timed()) == "scheme-unknown"


def test_an_empty_secret_beside_a_good_one_opens_nothing():
    keys = Keys(secrets=[Secret(""), Secret("secret-of-the-test")])
    forged = f"t={NOW},v1={sign(f'{NOW}.'.encode() + BODY, secret='')}"
    assert check(keys=keys, header=forged) == "signature-wrong"
    assert check(keys=keys, header=timed()) is None


ODD = {
    "empty": ("", "header-missing"),
    "no comma": ("t", "header-malformed"),
    "only a time": (f"t={NOW}", "header-malformed"),
    "5,000 digits": (f"t={'9' * 5000},v1={'0' * 64}", "time-malformed"),
    "superscript digits": ("t=¹²³,v1=00", "time-malformed"),
    "negative": ("t=-1,v1=00", "time-malformed"),
    "non-ASCII signature": (f"t={NOW},v1=é", "signature-wrong"),
    "beyond latin-1": (f"t={NOW},v1=\u20ac", "header-malformed"),
    "half a character": (f"t={NOW},v1=\ud800", "header-malformed"),
    "2,000 signatures": (f"t={NOW}," + ",".join(["v1=00"] * 2000), "header-malformed"),
    "a space before": (timed().replace(",", ", "), "header-malformed"),
    "upper case": (timed().upper().replace("T=", "t=").replace("V1", "v1"), "signature-wrong"),
    "NUL": (timed() + "\0", "signature-wrong"),
}


@pytest.mark.parametrize("case", ODD.values(), ids=ODD)
def test_an_odd_header_is_refused_and_raises_nothing(case):
    header, reason = case
    assert check(header=header) == reason


@given(header=st.text(max_size=200), body=st.binary(max_size=50), other=st.text(max_size=20))
def test_no_header_and_no_body_make_it_raise_or_accept(header, body, other):
    for scheme in (TIMED, PLAIN, STANDARD_WEBHOOKS, PathSecret(also=TIMED)):
        headers = {"x-sign": header, "webhook-signature": header, "webhook-id": other}
        headers["webhook-timestamp"] = other
        reason = verify(scheme, KEYS, headers=headers, body=body, address=other, now=NOW)
        assert reason in REASONS


def test_a_body_that_was_written_again_is_refused_and_the_reason_says_what_is_needed():
    assert check(header=timed(), body=b'{"id":"evt_1"}') == "signature-wrong"
    assert "raw body" in REASONS["signature-wrong"]


def test_an_empty_body_is_no_delivery_however_well_it_is_signed():
    assert check(PLAIN, header=sign(b""), body=b"") == "body-empty"


def test_any_of_several_signatures_and_any_of_several_secrets_will_do():
    keys = Keys(secrets=[Secret("new"), Secret("old")])
    zeros = "v1=" + "0" * 64
    for secret in ("new", "old"):
        time, _, signature = timed(secret=secret).partition(",")
        assert check(keys=keys, header=f"{time},{zeros},{signature}") is None
    assert check(keys=keys, header=timed(secret="older")) == "signature-wrong"


def test_of_two_times_the_first_counts():
    assert check(header=f"t={NOW - 9000},{timed()}") == "signature-wrong"


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
def test_each_algorithm_is_the_one_that_is_named(algorithm):
    scheme = Hmac(header="X-Sign", algorithm=algorithm)
    assert check(scheme, header=sign(BODY, algorithm=algorithm)) is None
    others = {"sha1", "sha256", "sha512"} - {algorithm}
    for other in others:
        assert check(scheme, header=sign(BODY, algorithm=other)) == "signature-wrong"


@pytest.mark.parametrize(
    ("off_ms", "reason"),
    [(0, None), (300_000, None), (300_001, "time-off"), (-300_000, None), (-300_001, "time-off")],
)
def test_a_time_in_milliseconds_is_off_by_milliseconds(off_ms, reason):
    scheme = Hmac(
        header="X-Sign",
        signed=("POST", "url", "body", "timestamp"),
        timestamp_header="X-Time",
        timestamp_unit="milliseconds",
    )
    at = f"{NOW * 1000 + off_ms}"
    header = sign(f"POST{ADDRESS}".encode() + BODY + at.encode())
    assert check(scheme, header=header, x_time=at) == reason
    assert check(scheme, header=header, x_time=f"{NOW}") == "signature-wrong"
    seconds = sign(f"POST{ADDRESS}".encode() + BODY + f"{NOW}".encode())
    assert check(scheme, header=seconds, x_time=f"{NOW}") == "time-off"
    assert check(scheme, header=seconds, x_time="9" * 16) == "time-malformed"


def test_the_address_is_signed_as_the_provider_was_told_it():
    scheme = Hmac(header="X-Sign", signed=("url", "body"))
    assert check(scheme, header=sign(ADDRESS.encode() + BODY)) is None
    assert check(scheme, header=sign(ADDRESS.encode() + b"/" + BODY)) == "signature-wrong"


KEY = bytes(range(32))
STANDARD = Keys(secrets=[Secret("whsec_" + base64.b64encode(KEY).decode())])


def standard(delivery_id: str = "msg_1", at: int = NOW, body: bytes = BODY) -> str:
    text = f"{delivery_id}.{at}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(KEY, text, hashlib.sha256).digest()).decode()


def check_standard(header: str, **changed):
    given = {"webhook_id": "msg_1", "webhook_timestamp": str(NOW)} | changed
    return check(STANDARD_WEBHOOKS, STANDARD, webhook_signature=header, **given)


def test_standard_webhooks_are_taken_with_several_signatures_of_several_versions():
    assert check_standard(standard()) is None
    assert check_standard(f"v1a,xyz v1,AAAA {standard()}") is None


STANDARD_FORGED = {
    "another id": {"webhook_id": "msg_2"},
    "another time": {"webhook_timestamp": str(NOW + 1)},
    "no id": {"webhook_id": ""},
    "no time": {"webhook_timestamp": ""},
}


@pytest.mark.parametrize("changed", STANDARD_FORGED.values(), ids=STANDARD_FORGED)
def test_standard_webhooks_sign_the_id_and_the_time_too(changed):
    assert check_standard(standard(), **changed) in REASONS


def test_the_specification_s_own_example_of_standard_webhooks_is_accepted():
    """From the specification's reference libraries."""
    keys = Keys(secrets=[Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")])
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    body = b'{"test": 2432232314}'
    found = verify(STANDARD_WEBHOOKS, keys, headers=headers, body=body, address="", now=1614265330)
    assert found is None


@pytest.mark.parametrize("text", ["whsec_", "whsec_***", "whsec_AAA"])
def test_a_secret_that_is_not_base64_where_it_must_be_is_none(text):
    header = standard()
    given = {"webhook_id": "msg_1", "webhook_timestamp": str(NOW), "webhook_signature": header}
    assert check(STANDARD_WEBHOOKS, Keys(secrets=[Secret(text)]), **given) == "secret-missing"


PATH = Keys(level="path-secret", path_digests=[digest_of("new"), digest_of("old")])


@pytest.mark.parametrize(
    ("shown", "is_right"),
    [("new", True), ("old", True), ("older", False), ("", False), (None, False), ("\ud800", False)],
)
def test_the_secret_in_the_address_is_always_wanted(shown, is_right):
    scheme = PathSecret(also=TIMED)
    assert verify_path(scheme, PATH, shown) is is_right


def test_an_address_with_a_secret_that_no_scheme_asks_for_is_none_of_ours():
    assert verify_path(TIMED, KEYS, None) is True
    assert verify_path(TIMED, KEYS, "x") is False


def test_a_path_scheme_goes_without_a_signature_only_where_the_endpoint_has_none():
    scheme = PathSecret(also=TIMED)
    assert check(scheme, PATH) is None
    signed = Keys(level="signature", secrets=KEYS.secrets, path_digests=PATH.path_digests)
    assert check(scheme, signed) == "header-missing"
    assert check(scheme, signed, header=timed()) is None


def test_a_path_scheme_without_any_secret_is_closed():
    assert check(PathSecret(also=TIMED), Keys(level="path-secret")) == "secret-missing"


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
@pytest.mark.parametrize("key_size", [1, 63, 64, 65, 127, 128, 129, 300])
@pytest.mark.parametrize("size", [0, 1, 2_047, 2_048, 5_000, 65_536, 65_537])
def test_a_signature_is_that_of_the_standard_library_for_keys_and_bodies_of_any_size(
    algorithm, key_size, size
):
    key, body = bytes(range(1, 256)) * 2, b"tie" * size
    scheme = Hmac(header="x-sign", algorithm=algorithm)
    expected = hmac.new(key[:key_size], body[:size], algorithm).hexdigest()
    assert signature_of(scheme, key[:key_size], body[:size]) == expected.encode()
