"""The ways in which a secret may be written, beside as it is."""

from __future__ import annotations

import html
import json
import re
from base64 import b64encode
from collections.abc import Iterator
from urllib.parse import quote, quote_plus, unquote

__all__ = ["forms_of"]

_PLAIN = re.compile(r"[A-Za-z0-9_.~-]+")
_ESCAPE = re.compile(r"%[0-9A-F]{2}")
# What encoders of addresses leave as it is differs: nothing, paths, all that RFC 3986 allows.
_SAFE = ("", "/", "/?:@!$&'()*+,;=", "/?#[]@!$&'()*+,;=:")
_URL_SAFE = str.maketrans("+/", "-_")


def forms_of(secret: str, *, least: int) -> set[str]:
    """Write a secret in every way that is looked for.

    As it is and line by line; escaped for addresses, JSON, HTML and Python;
    in base64, wherever in the encoded bytes it begins and whatever follows;
    in hexadecimal digits.

    Args:
        secret: The secret.
        least: Forms of fewer characters are left out.
    """
    lines = secret.splitlines()
    plain = {secret, unquote(secret), "".join(lines), *lines}
    forms = set(_encoded(_bytes(secret)))
    for text in plain:
        if len(text) >= least:
            forms.add(text)
            if not _PLAIN.fullmatch(text):
                forms.update(_escaped(text))
                forms.update(_encoded(_bytes(text)))
                forms.update(_encoded(_bytes(json.dumps(text)[1:-1])))
    return {form for form in forms if len(form) >= least}


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _escaped(text: str) -> Iterator[str]:
    once = {text, *_backslashed(text)}
    for form in once:
        yield form
        yield from _backslashed(form)
        yield from _quoted(form)
    yield html.escape(text)


def _quoted(text: str) -> Iterator[str]:
    """Write a text for addresses, and for addresses within addresses."""
    raw = _bytes(text)
    for form in {quote(raw, safe=safe) for safe in _SAFE} | {quote_plus(raw)}:
        yield form
        yield form.replace("%", "%25")
        yield _ESCAPE.sub(lambda found: found[0].lower(), form)


def _backslashed(text: str) -> Iterator[str]:
    """Write a text as JSON and Python do; which quotes Python escapes is up to the rest."""
    for is_ascii in (True, False):
        form = json.dumps(text, ensure_ascii=is_ascii)[1:-1]
        yield form
        yield form.replace("/", "\\/")
    raw = _bytes(text)
    yield repr(text)[1:-1]
    yield repr(text + "'\"")[1:-4]
    yield repr(raw)[2:-1]
    yield repr(raw + b"'\"")[2:-4]


def _encoded(raw: bytes) -> Iterator[str]:
    yield raw.hex()
    yield raw.hex().upper()
    for form in _in_base64(raw):
        yield form
        yield form.translate(_URL_SAFE)
        if "+" in form or "/" in form:
            yield form.replace("/", "\\/")
            yield from _quoted(form)


def _in_base64(raw: bytes) -> Iterator[str]:
    """Write bytes in base64 as they look with 0, 1 or 2 others in their group before them.

    A character holds six bits, so only those that no neighbour has a part in
    are sure: all of them where the bytes end the text, else less the last.
    """
    for before in range(3):
        whole = b64encode(bytes(before) + raw).decode()
        first = (before * 8 + 5) // 6
        yield whole[first:]
        yield whole[first:].rstrip("=")
        yield whole[first : (before + len(raw)) * 8 // 6]
