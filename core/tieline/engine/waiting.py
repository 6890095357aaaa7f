"""How much of the pages' time goes by waiting for the provider: more is done at once only then."""

from __future__ import annotations

__all__ = ["Waiting"]

_WORTH = 0.35
_WEIGHT = 1 / 16
_SURE_PAGES = 8
_SURE_S = 0.1


class Waiting:
    """Averages over the last pages.

    One short page says little: what tells for how long a thread computed may
    lag by a tick of the kernel, as long as the page took. Over some it evens out.

    Attributes:
        page_s: What a page takes lately, in seconds; 0: none was seen.
    """

    def __init__(self) -> None:
        self.page_s = 0.0
        self._waited_s = 0.0
        self._pages = 0

    def add(self, page_s: float, waited_s: float) -> None:
        """Take in a page.

        Args:
            page_s: Seconds since the one before was committed.
            waited_s: For how many of them nothing was computed for it.
        """
        self._pages += 1
        weight = max(1 / self._pages, _WEIGHT)
        self.page_s += (page_s - self.page_s) * weight
        self._waited_s += (waited_s - self._waited_s) * weight

    @property
    def is_long(self) -> bool:
        """Whether a good part of a page's time is spent waiting, so that more at once helps."""
        is_sure = self._pages >= _SURE_PAGES or self._pages * self.page_s >= _SURE_S
        return is_sure and self._waited_s >= _WORTH * self.page_s
