"""Stripe's grammar of queries and form bodies: names with brackets.

``a[b]=1`` is a hash, ``a[]=1`` and ``a[0]=1`` are arrays. Which of the two
``a[0]`` is depends on the parameter (a metadata key may be a number), so both
are read as hashes and :func:`as_list` decides.
Source: Stripe API reference, "Request bodies" and "Expanding responses".
"""

from __future__ import annotations

import re
from typing import TypeAlias
from urllib.parse import parse_qsl

from tieline_stripe_sandbox.answers import empty_parameter, invalid_request

__all__ = ["Params", "Value", "as_hash", "as_integer", "as_list", "as_text", "parse"]

Value: TypeAlias = "str | Params"
Params: TypeAlias = dict[str, Value]

_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_KEY = re.compile(r"\[([^\[\]]*)\]")


def parse(text: bytes) -> Params:
    """Read a query or a form body.

    Raises:
        ApiError: 400, for names whose brackets do not match.
    """
    read: Params = {}
    for name, value in parse_qsl(text.decode("utf-8", "replace"), keep_blank_values=True):
        matched = _NAME.fullmatch(name)
        if matched is None:
            raise invalid_request(f"Invalid parameter name: {name}", name)
        _put(read, [matched[1], *_KEY.findall(matched[2])], value, name)
    return read


def _put(params: Params, keys: list[str], value: str, name: str) -> None:
    for number, key in enumerate(keys[:-1]):
        inner = params.setdefault(_place(params, key, keys[number + 1 :]), {})
        if not isinstance(inner, dict):
            raise invalid_request(f"Invalid hash: {name}", name)
        params = inner
    params[_place(params, keys[-1], [])] = value


def _place(params: Params, key: str, rest: list[str]) -> str:
    """Number the elements of ``a[]``; ``a[][b]`` opens a new one when b comes again."""
    if key:
        return key
    last = params.get(str(len(params) - 1))
    if rest and isinstance(last, dict) and rest[0] not in last:
        return str(len(params) - 1)
    return str(len(params))


def as_text(value: Value, name: str) -> str:
    """Read a text that may not be empty."""
    if not isinstance(value, str):
        raise invalid_request(f"Invalid string: {value}", name, "parameter_invalid_string")
    if not value:
        raise empty_parameter(name)
    return value


def as_integer(value: Value, name: str) -> int:
    """Read an integer."""
    text = as_text(value, name)
    try:
        return int(text)
    except ValueError:
        code = "parameter_invalid_integer"
        raise invalid_request(f"Invalid integer: {text}", name, code) from None


def as_hash(value: Value, name: str) -> Params:
    """Read a hash."""
    if not isinstance(value, dict):
        raise invalid_request("Invalid object", name)
    return value


def as_list(value: Value, name: str) -> list[Value]:
    """Read an array, in the order of its indices."""
    if not isinstance(value, dict) or not all(key.isdecimal() for key in value):
        raise invalid_request("Invalid array", name, "parameter_invalid_array")
    return [value[key] for key in sorted(value, key=int)]
