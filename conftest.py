"""What the tests of the core and of the plugins have in common: they need not wait."""

from __future__ import annotations

import functools
import gc
import ssl
from collections.abc import Generator

import pytest

# httpx reads all certificates for every client, in 35 ms; nothing here changes a context.
ssl.create_default_context = functools.cache(ssl.create_default_context)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Go through none of ten thousand tests again and again, while and after they are collected.

    They make half a million objects that all stay, and each full collection takes half a second.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()
