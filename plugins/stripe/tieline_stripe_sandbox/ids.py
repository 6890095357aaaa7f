"""Ids that look like Stripe's and can be turned back into an index.

An index is spread over the eight last letters by an affine map, so that
neighbours share no prefix; the seed chooses the letters before them.
"""

from __future__ import annotations

from hashlib import blake2b

__all__ = ["SPACE", "Ids"]

_LETTERS = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PAIRS = [bytes((high, low)) for high in _LETTERS for low in _LETTERS]
_VALUE = {letter: value for value, letter in enumerate(_LETTERS)}
_PAIR = len(_PAIRS)
_QUAD = _PAIR * _PAIR
SPACE = _QUAD * _QUAD
"""How many indices there are: 62 to the power of 8."""

_STEP = 114_306_930_817_333  # odd and no multiple of 31: invertible modulo SPACE
_STEP_BACK = pow(_STEP, -1, SPACE)


class Ids:
    """The ids of one kind of object.

    Args:
        kind: What stands before the underscore, such as ``cus``.
        seed: Worlds with different seeds share no id.
        fill: Letters between the seed's six and the index's eight, for kinds
            whose ids are longer.
    """

    def __init__(self, kind: str, seed: int, fill: str = "") -> None:
        digest = blake2b(f"{kind}:{seed}".encode(), digest_size=8).digest()
        tag = bytes(_LETTERS[byte % 62] for byte in digest[:6])
        self._prefix = f"{kind}_".encode() + fill.encode() + tag
        self._text_prefix = self._prefix.decode()
        self._length = len(self._prefix) + 8
        self._shift = int.from_bytes(digest, "big") % SPACE

    def spread(self, index: int) -> int:
        """Return a number below :data:`SPACE` that no other index has."""
        return (index * _STEP + self._shift) % SPACE

    def of_spread(self, spread: int) -> bytes:
        """Write the id of a number that :meth:`spread` returned."""
        high, low = divmod(spread, _QUAD)
        first, second = divmod(high, _PAIR)
        third, fourth = divmod(low, _PAIR)
        pairs = _PAIRS
        return self._prefix + pairs[first] + pairs[second] + pairs[third] + pairs[fourth]

    def of(self, index: int) -> str:
        """Write the id of an index."""
        return self.of_spread(self.spread(index)).decode()

    def index(self, name: str) -> int | None:
        """Read the index from an id; None when it was not made here."""
        if len(name) != self._length or not name.startswith(self._text_prefix):
            return None
        spread = 0
        for letter in name[-8:].encode("utf-8", "replace"):
            value = _VALUE.get(letter)
            if value is None:
                return None
            spread = spread * 62 + value
        return (spread - self._shift) * _STEP_BACK % SPACE if spread < SPACE else None
