"""What is signed here is what the verifier accepts, in every scheme that can be declared."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tieline.contract import STANDARD_WEBHOOKS, Hmac, PathSecret, Secret
from tieline.errors import InvalidInputError
from tieline.inbox import has_time, new_signing_secret, sign, signed_by
from tieline.inbox.verify import Keys, verify
from tieline.registry import Registry

NOW = 1_772_442_900
PARTS = st.sampled_from(["timestamp", "url", "id", ".", "|", "v0:"])


@st.composite
def schemes(draw) -> Hmac:
    before, after = draw(st.lists(PARTS, max_size=3)), draw(st.lists(PARTS, max_size=3))
    signed = (*before, "body", *after)
    has_parts = draw(st.booleans())
    is_timed = "timestamp" in signed or draw(st.booleans())
    is_apart = is_timed and draw(st.booleans())
    return Hmac(
        header=draw(st.sampled_from(["X-Sign", "webhook-signature"])),
        signed=signed,
        algorithm=draw(st.sampled_from(["sha256", "sha1", "sha512"])),
        encoding=draw(st.sampled_from(["hex", "base64"])),
        signature=draw(st.sampled_from(["v1", "sig"])) if has_parts else "",
        timestamp=("t" if has_parts else "X-Time") if is_timed and not is_apart else "",
        timestamp_header="X-Stamp" if is_apart else "",
        timestamp_unit=draw(st.sampled_from(["seconds", "milliseconds"])),
        id="X-Id" if "id" in signed or draw(st.booleans()) else "",
        secret_prefix=draw(st.sampled_from([None, "whsec_", ""])),
        tolerance=timedelta(seconds=draw(st.integers(0, 900))),
        separator=draw(st.sampled_from([",", ";", " "])),
        assign=draw(st.sampled_from(["=", ",", ":"])) if has_parts else "=",
        is_spaced=draw(st.booleans()),
    )


def is_sound(scheme: Hmac) -> bool:
    return scheme.separator != scheme.assign


CASE = {
    "scheme": schemes().filter(is_sound),
    "body": st.binary(min_size=1, max_size=3000),
    "address": st.sampled_from(["https://a.example/webhooks/toy/whe_1", "http://[::1]:1/x"]),
    "delivery_id": st.text("abcXYZ0189-_", min_size=1, max_size=40),
}


def verdict(scheme, secrets, headers, *, body, address, now=NOW, **_signed):
    lowered = {name.lower(): text for name, text in headers.items()}
    keys = Keys(secrets=secrets)
    return verify(scheme, keys, headers=lowered, body=body, address=address, now=now)


@settings(max_examples=60)
@given(**CASE)
def test_what_is_signed_is_accepted_and_nothing_else_is(scheme, **told):
    secret = new_signing_secret(scheme)
    headers = sign(scheme, secret, at=NOW, **told)
    assert verdict(scheme, [secret], headers, **told) is None
    assert (
        verdict(scheme, [Secret(new_signing_secret(scheme).reveal()), secret], headers, **told)
        is None
    )
    assert verdict(scheme, [new_signing_secret(scheme)], headers, **told) == "signature-wrong"
    changed = told | {"body": told["body"] + b"."}
    assert verdict(scheme, [secret], headers, **changed) == "signature-wrong"


@settings(max_examples=60)
@given(**CASE)
def test_what_was_signed_too_long_ago_is_refused_where_a_time_is_signed(scheme, **told):
    secret = new_signing_secret(scheme)
    at = NOW - int(scheme.tolerance.total_seconds()) - 1
    found = verdict(scheme, [secret], sign(scheme, secret, at=at, **told), **told)
    assert found == ("time-off" if has_time(scheme) else None)


def declared() -> dict[str, Hmac]:
    """Return the schemes that installed plugins declare, and the one for third parties."""
    found = {"standard": STANDARD_WEBHOOKS}
    for listed in Registry().list():
        webhooks = listed.plugin.webhooks if listed.plugin else None
        if webhooks and (signed := signed_by(webhooks.scheme)):
            found[listed.found.name] = signed
    return found


@pytest.mark.parametrize("name", sorted(declared()))
def test_the_scheme_of_every_plugin_is_signed_as_it_is_verified(name):
    scheme = declared()[name]
    secret = new_signing_secret(scheme)
    told = {"body": b'{"id": 1}', "address": "https://a.example/x", "delivery_id": "msg_1"}
    headers = sign(scheme, secret, at=NOW, **told)
    assert verdict(scheme, [secret], headers, **told) is None
    assert verdict(scheme, [new_signing_secret(scheme)], headers, **told) == "signature-wrong"


def test_the_signature_of_the_standard_s_own_example_is_made():
    """Source: https://www.standardwebhooks.com, the reference libraries' test vector."""
    body = b'{"test": 2432232314}'
    made = sign(
        STANDARD_WEBHOOKS,
        Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        body=body,
        address="",
        at=1614265330,
        delivery_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
    )
    assert made["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_secret_that_is_not_in_the_scheme_s_form_signs_nothing():
    told = {"body": b"x", "address": "", "at": NOW, "delivery_id": "m"}
    for odd in ("whsec_no base64!", "whsec_", ""):
        with pytest.raises(InvalidInputError):
            sign(STANDARD_WEBHOOKS, Secret(odd), **told)
    plain = replace(STANDARD_WEBHOOKS, secret_prefix=None)
    assert sign(plain, Secret("whsec_no base64!"), **told)


def test_a_scheme_without_a_signature_has_none():
    assert signed_by(PathSecret()) is None
    assert signed_by(PathSecret(also=STANDARD_WEBHOOKS)) is STANDARD_WEBHOOKS
    assert signed_by(None) is None
    assert base64.b64decode(new_signing_secret().reveal().removeprefix("whsec_"))
