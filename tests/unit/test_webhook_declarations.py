"""What a plugin may declare of its deliveries: nonsense is refused when it is loaded."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tieline.contract import (
    STANDARD_WEBHOOKS,
    Event,
    Hmac,
    PathSecret,
    Registration,
    Secret,
    Webhooks,
)

SIGNED = Hmac(header="X-Sign")


def parse(_body: bytes, _headers: object) -> list[Event]:
    return []


BAD_SCHEMES = {
    "the body is not signed": {"signed": ("url",)},
    "a time that nothing holds": {"signed": ("timestamp", "body")},
    "an id that nothing holds": {"signed": ("id", "body")},
    "an unknown hash": {"algorithm": "md5"},
    "an unknown encoding": {"encoding": "base32"},
    "an unknown unit of time": {"timestamp_unit": "minutes"},
    "no header": {"header": ""},
    "no separator": {"separator": ""},
    "no assignment": {"assign": ""},
    "a tolerance below nothing": {"tolerance": timedelta(seconds=-1)},
}


@pytest.mark.parametrize("given", BAD_SCHEMES.values(), ids=BAD_SCHEMES)
def test_a_scheme_that_makes_no_sense_is_refused(given):
    with pytest.raises(ValueError, match="Hmac"):
        Hmac(**({"header": "X-Sign"} | given))


BAD_WEBHOOKS = {
    "no scheme": {"scheme": "hmac"},
    "parse is no function": {"parse": b""},
    "register is no function": {"register": "yes"},
    "unregister is no function": {"unregister": "yes"},
    "challenge is no function": {"challenge": b"ok"},
    "nobody's endpoints": {"owners": ()},
    "somebody else's endpoints": {"owners": ("tenant",)},
    "nobody's are registered": {"registers": ()},
    "somebody else's are registered": {"registers": ("tenant",)},
    "fixtures that are a path": {"fixtures": "acme/deliveries"},
    "the signature is kept": {"keeps": ("x-SIGN",)},
    "a credential is kept": {"keeps": ("Authorization",)},
    "the optional signature is kept": {"scheme": PathSecret(also=SIGNED), "keeps": ("X-Sign",)},
}


@pytest.mark.parametrize("given", BAD_WEBHOOKS.values(), ids=BAD_WEBHOOKS)
def test_webhooks_that_make_no_sense_are_refused(given):
    with pytest.raises((TypeError, ValueError), match="Webhooks"):
        Webhooks(**({"scheme": SIGNED, "parse": parse} | given))


def test_what_version_1_had_before_is_still_enough():
    declared = Webhooks(scheme=SIGNED, parse=parse)
    assert (declared.owners, declared.keeps, declared.unregister) == (("connection",), (), None)
    assert (SIGNED.separator, SIGNED.assign, SIGNED.is_spaced) == (",", "=", False)


def test_standard_webhooks_are_declared_as_their_specification_says():
    assert STANDARD_WEBHOOKS.signed == ("id", ".", "timestamp", ".", "body")
    assert STANDARD_WEBHOOKS.tolerance == timedelta(minutes=5)


def test_a_registration_does_not_print_its_secret():
    assert "hunter2" not in repr(Registration(id="hook-1", secret=Secret("hunter2")))
