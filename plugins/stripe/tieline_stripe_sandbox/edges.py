"""Edge cases: awkward but legal customers, always at the same indices.

=====  =====================================================================
index  what is awkward
=====  =====================================================================
0      created on 2009-02-13, before Stripe: the official fixture's time
1      created on the day Stripe opened, 2011-09-29
2      every field that may be null is null
3      emoji in name, description and metadata, also joined and with modifiers
4      right-to-left text with direction marks, mixed with left-to-right
5      an escaped NUL inside the name
6      an escaped NUL inside a metadata value and a metadata key
7      50 metadata keys of 40 characters with values of 500 characters
8      combining marks: the same letter written in two ways
9      control characters, line separators, quotes, backslashes, markup
10     largest balance; long name and description
300-   250 customers created in one second (``history.SAME_SECOND``)
=====  =====================================================================
"""

from __future__ import annotations

from typing import Any

__all__ = ["EDGES"]

_NULLABLE = (
    "address",
    "balance",
    "currency",
    "default_source",
    "delinquent",
    "description",
    "discount",
    "email",
    "invoice_prefix",
    "invoice_settings",
    "metadata",
    "name",
    "next_invoice_sequence",
    "phone",
    "preferred_locales",
    "shipping",
    "tax_exempt",
    "test_clock",
)

EDGES: dict[int, dict[str, Any]] = {
    0: {"name": "Very Old", "email": "very.old.<serial>@example.com"},
    1: {"name": "Day One", "email": "day.one.<serial>@example.com"},
    2: dict.fromkeys(_NULLABLE),
    3: {
        "name": "Zoë 🚀 👩🏽‍🚀",
        "description": "🏳️‍🌈 flags 🇩🇪🇯🇵 and 👨‍👩‍👧‍👦",
        "metadata": {"🔑": "💯", "mood": "🙂🙃"},
    },
    4: {
        "name": "\u202bשלום עולם\u202c (Ltd.)",
        "description": "مرحبا \u200f123\u200e abc \u200fالعالم",
        "address": {
            "city": "תל אביב",
            "country": "IL",
            "line1": "רחוב הרצל 1",
            "line2": None,
            "postal_code": "6688101",
            "state": None,
        },
    },
    5: {"name": "Nul\u0000l Pointer", "email": "nul.<serial>@example.com"},
    6: {"name": "Nul in metadata", "metadata": {"before": "a\u0000b", "nul\u0000key": "\u0000"}},
    7: {
        "name": "Fifty keys",
        "metadata": {f"{number:02d}{'k' * 38}": f"{number:02d}{'ä' * 498}" for number in range(50)},
    },
    8: {
        "name": "Zoe\u0308 and Zo\u00eb",
        "description": "a\u0301\u0323 \ufb01 \u017f \u1e9b\u0323 \u212b \u00c5",
    },
    9: {
        "name": "<script>alert('&amp;')</script>",
        "description": "\u0001\u001f\u007f\u0085\u2028\u2029\ufeff\ufffd\"\\/'`${x}{{y}}%s%d%(z)s",
        "metadata": {"sql": "'; DROP TABLE customers; --", "path": "..\\..//etc/passwd"},
    },
    10: {
        "name": "N" * 256,
        "description": "D" * 5000,
        "balance": -99_999_999_999,
        "next_invoice_sequence": 2**31 - 1,
    },
}
