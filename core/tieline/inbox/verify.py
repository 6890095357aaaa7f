"""The one verifier: bytes and a declared scheme in, accepted or a reason out.

Whatever is wrong with a delivery, however it is wrong, is a refusal: no text in
a header or a body makes this raise. Where there is no secret, or the scheme is
none that is known, nothing is accepted.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from tieline.contract import Hmac, PathSecret, Scheme, Secret

__all__ = [
    "REASONS",
    "Keys",
    "Level",
    "digest_of",
    "has_time",
    "key_of",
    "signature_of",
    "signed_text",
    "units_of",
    "verify",
    "verify_path",
]

Level = Literal["signature", "path-secret"]
"""What an endpoint goes by: a signature, or no more than the secret in its address."""

REASONS: Mapping[str, str] = {
    "secret-missing": "the endpoint has no secret, so nothing is accepted",
    "scheme-unknown": "the plugin declares no scheme that is known",
    "body-empty": "there is no body",
    "header-missing": "the header with the signature is missing",
    "header-malformed": "the header with the signature is not in its form",
    "time-malformed": "the time of signing is none",
    "time-off": "it was signed too long ago, or in the future",
    "signature-wrong": "the signature does not fit: forged, signed with another secret, for another"
    " address, or changed on the way (the raw body must arrive)",
}
"""Why :func:`verify` refuses, by slug; the sender is told none of it."""

_MOST_SIGNATURES = 16
_PIECE = 2047  # hashlib gives way to other threads from 2,048 bytes on
_LARGE = 65_536
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
_TIMES = {"seconds": re.compile(r"[0-9]{1,12}"), "milliseconds": re.compile(r"[0-9]{1,15}")}


@dataclass(frozen=True, kw_only=True, slots=True)
class Keys:
    """What an endpoint's deliveries are checked with.

    Attributes:
        level: What the endpoint goes by.
        secrets: Any of these may have signed; the present one first.
        path_digests: SHA-256 of each secret that its address may end in, in hex.
    """

    level: Level = "signature"
    secrets: Sequence[Secret] = ()
    path_digests: Sequence[str] = field(default=())


def digest_of(path_secret: str) -> str:
    """Return what is kept of a secret in an address."""
    return hashlib.sha256(path_secret.encode("utf-8", "surrogatepass")).hexdigest()


def verify_path(scheme: Scheme | None, keys: Keys, given: str | None) -> bool:
    """Say whether the end of an address is one of the endpoint's secrets, in constant time.

    Args:
        scheme: As the plugin declares it.
        keys: The endpoint's.
        given: The address's last part; None if it has none.

    Returns:
        True too for a scheme without such a secret, if the address has none.
    """
    found = digest_of(given or "")
    is_known = False
    for digest in keys.path_digests:
        is_known |= hmac.compare_digest(digest, found)
    if isinstance(scheme, PathSecret):
        return is_known and bool(given)
    return given is None


def verify(
    scheme: Scheme | None,
    keys: Keys,
    *,
    headers: Mapping[str, str],
    body: bytes,
    address: str,
    now: float,
) -> str | None:
    """Check a delivery's signature, in time that does not depend on how wrong it is.

    Args:
        scheme: As the plugin declares it; None refuses.
        keys: The endpoint's.
        headers: By name in lower case, as latin-1 text.
        body: As it arrived.
        address: As the provider was told it.
        now: Seconds since 1970, in our clock.

    Returns:
        None if it is accepted, else one of :data:`REASONS`.
    """
    try:
        return _verify(scheme, keys, headers, body, address, now)
    except Exception:  # noqa: BLE001 - whatever is wrong with it, it is not accepted
        return "header-malformed"


def _verify(
    scheme: Scheme | None,
    keys: Keys,
    headers: Mapping[str, str],
    body: bytes,
    address: str,
    now: float,
) -> str | None:
    if isinstance(scheme, PathSecret):
        if keys.level == "path-secret":
            return None if keys.path_digests else "secret-missing"
        scheme = scheme.also
    if not isinstance(scheme, Hmac):
        return "scheme-unknown"
    secrets = [key for key in (key_of(scheme, each) for each in keys.secrets) if key]
    if not secrets:
        return "secret-missing"
    if not body:
        return "body-empty"
    return _verify_signature(scheme, secrets, headers, body, address, now)


def _verify_signature(
    scheme: Hmac,
    secrets: Sequence[bytes],
    headers: Mapping[str, str],
    body: bytes,
    address: str,
    now: float,
) -> str | None:
    given = headers.get(scheme.header.lower(), "")
    delivery_id = headers.get(scheme.id.lower(), "") if scheme.id else ""
    if not given or (scheme.id and not delivery_id):
        return "header-missing"
    signatures, time = _read(scheme, given, headers)
    if not 0 < len(signatures) <= _MOST_SIGNATURES:
        return "header-malformed"
    if has_time(scheme) and not _TIMES[scheme.timestamp_unit].fullmatch(time):
        return "time-malformed"
    text = signed_text(scheme, body=body, time=time, address=address, delivery_id=delivery_id)
    if not _fits(scheme, secrets, text, signatures):
        return "signature-wrong"
    if has_time(scheme) and _is_off(scheme, time, now):
        return "time-off"
    return None


def _is_off(scheme: Hmac, time: str, now: float) -> bool:
    units = units_of(scheme)
    return abs(int(now * units) - int(time)) > scheme.tolerance.total_seconds() * units


def _fits(scheme: Hmac, secrets: Iterable[bytes], text: bytes, signatures: Sequence[bytes]) -> bool:
    """Compare every signature with every secret's, to the end."""
    is_any = False
    for secret in secrets:
        expected = signature_of(scheme, secret, text)
        for signature in signatures:
            is_any |= hmac.compare_digest(expected, signature)
    return is_any


def signed_text(scheme: Hmac, *, body: bytes, time: str, address: str, delivery_id: str) -> bytes:
    """Return what is hashed: the parts that the scheme names, in order."""
    parts = []
    for name in scheme.signed:
        if name == "body":
            parts.append(body)
        elif name == "timestamp":
            parts.append(time.encode())
        elif name == "url":
            parts.append(address.encode())
        elif name == "id":
            parts.append(delivery_id.encode("latin-1"))
        else:
            parts.append(name.encode())
    return b"".join(parts)


def signature_of(scheme: Hmac, key: bytes, text: bytes) -> bytes:
    """Return the signature over a text, as the scheme writes it."""
    found = _hash(key, text, scheme.algorithm)
    return b64encode(found) if scheme.encoding == "base64" else found.hex().encode()


def _hash(secret: bytes, text: bytes, algorithm: str) -> bytes:
    """Hash in pieces for which no other thread is let in: one's turn may come back 5 ms later."""
    if len(text) > _LARGE:
        return hmac.digest(secret, text, algorithm)
    inner, outer = (each.copy() for each in _keyed(secret, algorithm))
    for start in range(0, len(text), _PIECE):
        inner.update(text[start : start + _PIECE])
    outer.update(inner.digest())
    return bytes(outer.digest())


@lru_cache(maxsize=1_000)
def _keyed(secret: bytes, algorithm: str) -> tuple[Any, Any]:
    """Return the two hashes of RFC 2104 that have met the key: half of a small body's work."""
    size = hashlib.new(algorithm).block_size
    key = secret if len(secret) <= size else hashlib.new(algorithm, secret).digest()
    padded = key.ljust(size, b"\0")
    inner, outer = (hashlib.new(algorithm, padded.translate(table)) for table in (_INNER, _OUTER))
    return inner, outer


def key_of(scheme: Hmac, secret: Secret) -> bytes:
    """Return a secret's key; empty for none, or for one that is not in its form."""
    text = secret.reveal()
    if scheme.secret_prefix is None:
        return text.encode()
    try:
        return b64decode(text.removeprefix(scheme.secret_prefix), validate=True)
    except ValueError:
        return b""


def has_time(scheme: Hmac) -> bool:
    """Say whether deliveries tell when they were signed, so that old ones are refused."""
    return bool(scheme.timestamp or scheme.timestamp_header)


def units_of(scheme: Hmac) -> int:
    """Return how many units of a scheme's time make a second."""
    return 1000 if scheme.timestamp_unit == "milliseconds" else 1


def _read(scheme: Hmac, given: str, headers: Mapping[str, str]) -> tuple[list[bytes], str]:
    """Return the signatures and the time; an empty time if there is none."""
    if not scheme.signature:
        name = scheme.timestamp_header or scheme.timestamp
        return [given.encode("latin-1")], headers.get(name.lower(), "") if name else ""
    signatures: list[bytes] = []
    time = headers.get(scheme.timestamp_header.lower()) if scheme.timestamp_header else None
    for part in given.split(scheme.separator):
        name, _, value = (part.strip(" ") if scheme.is_spaced else part).partition(scheme.assign)
        if name == scheme.signature:
            signatures.append(value.encode("latin-1"))
        elif time is None and name == scheme.timestamp:
            time = value
    return signatures, time or ""
