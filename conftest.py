"""What the tests of the core and of the plugins have in common: they need not wait."""

from __future__ import annotations

import functools
import ssl

# httpx reads all certificates for every client, in 35 ms; nothing here changes a context.
ssl.create_default_context = functools.cache(ssl.create_default_context)
