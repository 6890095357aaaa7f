"""Customers as a function of their index.

A thousand full-size customers are made once per seed and kept as JSON text
with holes for what is unique. Writing a customer fills the holes of one of
them, which takes about a microsecond: 1,000,000 customers need no memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files
from operator import itemgetter
from random import Random
from typing import Any

import orjson

from tieline_stripe_sandbox.edges import EDGES
from tieline_stripe_sandbox.history import History
from tieline_stripe_sandbox.ids import Ids
from tieline_stripe_sandbox.names import COUPONS, METADATA, PLACES, SCRIPTS, TLDS

__all__ = ["Customer", "People", "blank_customer"]

Customer = dict[str, Any]

_POOL = 1021  # a prime, so that no pattern of the indices meets the pool's length
_SPREAD_PER_FORM = 62**4
_LAST_OF_SERIAL = re.compile(r"\.([0-9a-f]+)@")

# A hole is a text in angle brackets; the numbers lose their quotes.
_HOLES = {
    b'"<created>"': (b"%d", 1),
    b"<id>": (b"%b", 0),
    b"<serial>": (b"%x", 2),
    b"<number>": (b"%d", 2),
    b"<prefix>": (b"%08X", 3),
    b"<phone>": (b"%07d", 4),
}
_HOLE = re.compile(b"|".join(map(re.escape, _HOLES)))


def _official_customer() -> Customer:
    text = files(__package__).joinpath("data/customers.json").read_bytes()
    official: Customer = orjson.loads(text)[0]["value"]
    return official


_OFFICIAL = _official_customer()


def blank_customer() -> Customer:
    """Return what Stripe answers for a customer made without parameters.

    The fields are those of the official fixture, in the order of the wire: id
    and object first, the rest by name.
    """
    empty = {name: None for name in sorted(_OFFICIAL) if name not in {"id", "object"}}
    settings = dict.fromkeys(sorted(_OFFICIAL["invoice_settings"]))
    return (
        {"id": "<id>", "object": "customer"}
        | empty
        | {
            "balance": 0,
            "created": "<created>",
            "delinquent": False,
            "invoice_prefix": "<prefix>",
            "invoice_settings": settings,
            "livemode": False,
            "metadata": {},
            "next_invoice_sequence": 1,
            "preferred_locales": [],
            "tax_exempt": "none",
        }
    )


class People:
    """The customers that exist from the start.

    Args:
        seed: Another seed, other customers.
        ids: Their ids.
        history: When they were created.
        edge_cases: Whether the first indices hold :data:`~.edges.EDGES`.
    """

    def __init__(self, *, seed: int, ids: Ids, history: History, edge_cases: bool) -> None:
        chance = Random(seed)  # noqa: S311 - test data, nothing to guess
        self._ids = ids
        self._created = history.created
        self._pool = [_Form(_person(chance)) for _ in range(_POOL)]
        self._edges = {}
        if edge_cases:
            self._edges = {index: _Form(blank_customer() | edge) for index, edge in EDGES.items()}

    def text(self, index: int) -> bytes:
        """Write one customer as JSON."""
        spread = self._ids.spread(index)
        name = self._ids.of_spread(spread)
        form = self._edges.get(index) or self._pool[spread // _SPREAD_PER_FORM % _POOL]
        values = (name, self._created(index), index, spread & 0xFFFFFFFF, spread % 10_000_000)
        return form.template % form.pick(values)

    def index_by_email(self, email: str) -> int | None:
        """Return the only index that can have an e-mail address, if any."""
        serial = _LAST_OF_SERIAL.search(email)
        return int(serial[1], 16) if serial else None


class _Form:
    """A customer's JSON with holes."""

    __slots__ = ("pick", "template")

    def __init__(self, customer: Customer) -> None:
        text = orjson.dumps(customer).replace(b"%", b"%%")
        places = [_HOLES[hole][1] for hole in _HOLE.findall(text)]
        self.pick: Callable[[tuple[Any, ...]], tuple[Any, ...]] = itemgetter(*places)
        self.template = _HOLE.sub(lambda hole: _HOLES[hole[0]][0], text)


def _person(chance: Random) -> Customer:
    language, first_words, second_words = chance.choice(SCRIPTS)
    first, second = chance.choice(first_words), chance.choice(second_words)
    name = f"{first} {second}" if _happens(chance, 0.92) else None
    address = _address(chance) if _happens(chance, 0.85) else None
    return blank_customer() | {
        "address": address,
        "balance": chance.choice((0, 0, 0, 0, -1250, 999, -100_000)),
        "currency": chance.choice(("usd", "eur", "gbp", "jpy", None)),
        "default_source": None,
        "delinquent": _happens(chance, 0.05),
        "description": chance.choice((None, "Imported from the old shop", f"Account of {second}")),
        "discount": _discount(chance) if _happens(chance, 0.2) else None,
        "email": _email(chance, language) if _happens(chance, 0.92) else None,
        "invoice_settings": _invoice_settings(chance),
        "metadata": _metadata(chance),
        "name": name,
        "next_invoice_sequence": chance.randint(1, 400),
        "phone": "+1555<phone>" if _happens(chance, 0.80) else None,
        "preferred_locales": chance.choice(([], [language], [f"{language}-419", "en"])),
        "shipping": _shipping(chance, name, address) if _happens(chance, 0.50) else None,
        "tax_exempt": chance.choice(("none", "none", "none", "exempt", "reverse")),
    }


def _happens(chance: Random, share: float) -> bool:
    return chance.random() < share


def _address(chance: Random) -> Customer:
    line2 = chance.choice((None, None, "c/o Tieline", "2nd floor"))
    address = {"line2": line2, "state": None} | chance.choice(PLACES)
    return dict(sorted(address.items()))


def _discount(chance: Random) -> Customer:
    return {
        "id": f"di_{chance.getrandbits(64):024x}",
        "object": "discount",
        "checkout_session": None,
        "customer": "<id>",
        "customer_account": None,
        "end": None,
        "invoice": None,
        "invoice_item": None,
        "promotion_code": None,
        "source": {"coupon": chance.choice(COUPONS), "type": "coupon"},
        "start": "<created>",
        "subscription": None,
        "subscription_item": None,
    }


def _email(chance: Random, language: str) -> str:
    local = chance.choice(("billing", "ada.lovelace", "Jenny.Rosen", "o'neill", f"{language}+shop"))
    return f"{local}.<serial>@{chance.choice(TLDS)}"


def _invoice_settings(chance: Random) -> Customer:
    fields = [{"name": "VAT", "value": "DE123456789"}] if _happens(chance, 0.1) else None
    return {
        "custom_fields": fields,
        "default_payment_method": None,
        "footer": chance.choice((None, None, "Thank you!")),
        "rendering_options": {"amount_tax_display": None, "template": None},
    }


def _metadata(chance: Random) -> dict[str, str]:
    if _happens(chance, 0.01):
        return {f"key_{number:02d}": f"value {number}" for number in range(50)}
    chosen = chance.sample(METADATA, chance.choice((0, 0, 1, 2, 3, 4, 6, 10)))
    return dict(chosen) | ({"crm_id": "<number>"} if chosen else {})


def _shipping(chance: Random, name: str | None, address: Customer | None) -> Customer:
    return {
        "address": address or _address(chance),
        "name": name or "Front desk",
        "phone": chance.choice((None, "+15555550100")),
    }
