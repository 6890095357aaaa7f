"""Texts that look random and are the same for the same seed."""

from __future__ import annotations

from hashlib import shake_256

__all__ = ["Letters"]

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_HEADER = "eyJlbmMiOiJBMTI4Q0JDLUhTMjU2IiwiYWxnIjoiZGlyIn0"  # {"enc":"A128CBC-HS256","alg":"dir"}
_HEX = "0123456789abcdef"


class Letters:
    """Makes one text after the other; none comes twice.

    Args:
        kind: Two kinds share no text.
        seed: Same seed, same texts in the same order.
    """

    def __init__(self, kind: str, seed: int) -> None:
        self._start = f"{kind}:{seed}"
        self._made = 0

    def code(self) -> str:
        """Make an authorization code, as Intuit writes them."""
        return f"AB11{self._take(46)}"

    def access_token(self) -> str:
        """Make an access token: an encrypted JWT, which tells a client nothing."""
        return f"{_HEADER}..{self._take(22)}.{self._take(640)}.{self._take(22)}"

    def refresh_token(self, expires: float) -> str:
        """Make a refresh token, which shows when it ends.

        Args:
            expires: Seconds since the epoch.
        """
        return f"RT1-{self._take(3, '0123456789')}-H0-{int(expires)}{self._take(20)}"

    def request_id(self, now: float) -> str:
        """Make an ``intuit_tid``.

        Args:
            now: Seconds since the epoch.
        """
        return f"1-{int(now):08x}-{self._take(24, _HEX)}"

    def _take(self, length: int, alphabet: str = _ALPHABET) -> str:
        self._made += 1
        digest = shake_256(f"{self._start}:{self._made}".encode()).digest(length)
        return "".join(alphabet[byte % len(alphabet)] for byte in digest)
