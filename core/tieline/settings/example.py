"""Write ``.env.example`` from the schema, so that it cannot go stale."""

from __future__ import annotations

import textwrap

from tieline.settings.load import PREFIX
from tieline.settings.schema import SettingsSchema, is_secret

__all__ = ["env_example"]

_HEAD = """\
# Settings of Tieline. Copy to .env and set what you need: every line is optional.
# Made by: ./tie config env-example > .env.example
# A secret may also be read from a file: TIELINE_KEY_FILE=/run/secrets/tieline-key
"""
_LIMITS = """\
# A provider's limits in place of those that its plugin declares, over all workers: rates
# per account (or "endpoint", "application"), requests in flight. none: no limit.
#TIELINE_STRIPE_RATE_LIMITS=80/second; 20/second endpoint; concurrency=8
"""


def env_example() -> str:
    """Return the text of ``.env.example``: every setting, explained, commented out."""
    parts = [_HEAD]
    for name, field in SettingsSchema().fields.items():
        doc = field.metadata["doc"] + (" Secret." if is_secret(field) else "")
        default = field.load_default
        said = f"Default: {str(default).lower() if isinstance(default, bool) else default}."
        lines = textwrap.wrap(f"{doc} {said if default != '' else ''}".strip(), 90)
        parts.append("".join(f"# {line}\n" for line in lines))
        parts[-1] += f"#{PREFIX}{name.upper()}={field.metadata['example']}\n"
    parts.append(_LIMITS)
    return "\n".join(parts)
